"What the five checks refuse, whoever calls them."
import math

from ddpm_edu.checks import check_bool, check_choice, check_int, check_names, check_number

schedules, formats = ["linear", "sigmoid"], ["pil", "np"]
known = ["beta_start", "beta_end", "beta_schedule"]
nan, huge = math.nan, 10**400

ROWS = [
    ("check_choice('beta_schedule', 'linaer', schedules)", ValueError,
     ("beta_schedule must be one of 'linear', 'sigmoid'", "Did you mean 'linear'?")),
    ("check_choice('output_type', ['pil'], formats)", ValueError, "output_type must be one of"),
    ("check_int('num_inference_steps', 2000, 1, 1000)", ValueError, "between 1 and 1000, got 2000"),
    ("check_int('n', 2000, 1, 1000, why='num_train_timesteps')", ValueError,
     "between 1 and 1000 (num_train_timesteps)"),
    ("check_int('batch_size', 0)", ValueError, "at least 1, got 0"),
    ("check_int('batch_size', 2.0)", TypeError, ("whole number", "2.0 (float)")),
    ("check_int('batch_size', True)", TypeError, ("whole number", "True (bool)")),
    ("check_number('dropout', 1.0, 0, 1, open_hi=True)", ValueError, "in [0, 1), got 1.0"),
    ("check_number('lr', 0, 0, open_lo=True)", ValueError, "in (0, inf), got 0"),
    ("check_number('beta_end', nan)", ValueError, ("beta_end", "finite", "nan")),
    ("check_number('x', huge)", ValueError, "x must be a finite number"),
    ("check_number('x', -huge)", ValueError, "x must be a finite number"),
    ("check_number('beta_end', '0.02')", TypeError, "must be a number, got '0.02' (str)"),
    ("check_bool('clip_sample', 'False')", TypeError, "must be True or False, got 'False' (str)"),
    ("check_names('DDPMScheduler', ['beta_end', 'beta_shedule'], known)", TypeError,
     "DDPMScheduler() has no argument 'beta_shedule'. Did you mean 'beta_schedule'?"),
    ("check_names('Toy', ['wheels'], known)", TypeError,
     "no argument 'wheels'. It has beta_start, beta_end, beta_schedule"),
]
