"What the scheduler refuses."
import torch

from ddpm_edu import DDPMScheduler

plain = DDPMScheduler()
learned = DDPMScheduler(variance_type="learned_range")
offset = DDPMScheduler(steps_offset=1)
four = DDPMScheduler()
four.set_timesteps(4)
rescaled = DDPMScheduler(rescale_betas_zero_snr=True)
x, twice, t = torch.zeros(3, 1, 4, 4), torch.zeros(3, 2, 4, 4), torch.tensor([0, 500, 999])
bytes_ = x.byte()


def steep():
    "A schedule that underflows, without anything that would make a guess finite."
    s = DDPMScheduler(1000, 0.001, 0.2, clip_sample=False)
    s.step(x, 999, x)


FLAGS = ("clip_sample", "thresholding", "rescale_betas_zero_snr")
FALLING = "whole numbers that fall, between 999 and 0"
HOW_MANY = "num_inference_steps must be between 1 and 1000 (num_train_timesteps)"
ROWS = [
    # tables that follow from the betas
    ("setattr(plain, 'alphas_cumprod', plain.alphas_cumprod*0.9)", ValueError,
     ("alphas_cumprod follows from the betas", "trained_betas")),
    # the constructor
    ("DDPMScheduler(beta_schedule='linaer')", ValueError,
     ("beta_schedule", "Did you mean 'linear'")),
    ("DDPMScheduler(beta_schedule='cosine')", ValueError,
     ("beta_schedule must be one of", "'cosine'")),
    ("DDPMScheduler(variance_type='fixed')", ValueError,
     ("variance_type must be one of", "'fixed'")),
    ("DDPMScheduler(prediction_type='noise')", ValueError,
     ("prediction_type must be one of", "'noise'")),
    ("DDPMScheduler(prediction_type='mu')", ValueError, ("prediction_type must be one of", "'mu'")),
    ("DDPMScheduler(timestep_spacing='even')", ValueError,
     ("timestep_spacing must be one of", "even")),
    ("DDPMScheduler(num_train_timesteps=0)", ValueError,
     ("num_train_timesteps must be between 1 and 1000000", "got 0")),
    ("DDPMScheduler(num_train_timesteps=10.)", TypeError, ("num_train_timesteps", "10.0")),
    ("DDPMScheduler(num_train_timesteps=10**12)", ValueError,
     ("num_train_timesteps", "got 1000000000000")),
    ("DDPMScheduler(beta_start=0.)", ValueError, ("beta_start", "(0, 1), got 0.0")),
    ("DDPMScheduler(beta_end=2)", ValueError, ("beta_end", "(0, 1), got 2")),
    ("DDPMScheduler(beta_end=float('nan'))", ValueError, ("beta_end", "nan")),
    ("DDPMScheduler(steps_offset=-1)", ValueError, ("steps_offset must be at least 0", "got -1")),
    ("DDPMScheduler(clip_sample_range=0)", ValueError, ("clip_sample_range", "(0, ", "got 0")),
    ("DDPMScheduler(clip_sample_range=-1.)", ValueError, ("clip_sample_range", "got -1.0")),
    ("DDPMScheduler(dynamic_thresholding_ratio=1.5)", ValueError,
     ("dynamic_thresholding_ratio", "[0, 1]", "got 1.5")),
    ("DDPMScheduler(dynamic_thresholding_ratio=-0.1)", ValueError,
     ("dynamic_thresholding_ratio", "got -0.1")),
    ("DDPMScheduler(sample_max_value=0)", ValueError, ("sample_max_value", "(0, ", "got 0")),
    *[(f"DDPMScheduler({name}='yes')", TypeError, (f"{name} must be True or False", "'yes'"))
      for name in FLAGS],
    ("DDPMScheduler(clip_sample=1)", TypeError, "clip_sample must be True or False"),
    ("DDPMScheduler(trained_betas=[0.1, 2.])", ValueError, ("trained_betas", "must lie in [0, 1]")),
    ("DDPMScheduler(trained_betas=[0.1, -1])", ValueError, ("trained_betas", "-1.0")),
    ("DDPMScheduler(trained_betas=[])", ValueError, ("trained_betas must be a list", "got []")),
    ("DDPMScheduler(trained_betas=0.1)", ValueError, "trained_betas must be a list"),
    ("DDPMScheduler(trained_betas=['a'])", ValueError, ("trained_betas must be a list", "'a'")),
    ("DDPMScheduler(trained_betas=[0.5], rescale_betas_zero_snr=True)", ValueError,
     ("rescale_betas_zero_snr", "at least 2 timesteps")),
    # which timesteps
    ("plain.set_timesteps()", ValueError, ("num_inference_steps", "one of the two", "neither")),
    ("plain.set_timesteps(5, timesteps=[3, 2])", ValueError,
     ("one of the two", "both: 5 and [3, 2]")),
    *[(f"plain.set_timesteps({bad})", ValueError, (HOW_MANY, f"got {bad}"))
       for bad in (0, -1, 1001)],
    ("plain.set_timesteps(2.5)", TypeError, ("num_inference_steps must be a whole number", "2.5")),
    ("plain.set_timesteps(timesteps=[3, 400])", ValueError, (FALLING, "got [3, 400]")),
    ("plain.set_timesteps(timesteps=[1000])", ValueError, (FALLING, "got [1000]")),
    ("plain.set_timesteps(timesteps=[100, 87, 50, 51, 0])", ValueError,
     (FALLING, "got [100, 87, 50, 51, 0]")),
    ("offset.set_timesteps(1000)", ValueError,
     "steps_offset=1 would start at timestep 1000, but the last is 999"),
    ("four.previous_timestep(999)", ValueError,
     ("one of scheduler.timesteps (750, ..., 0; 4 of them)", "got 999",
      "call set_timesteps first")),
    # the step
    ("plain.step(x, 1000, x)", ValueError, ("(999, ..., 0; 1000 of them)", "got 1000")),
    ("plain.step(x, -1, x)", ValueError, ("timestep must be one of", "got -1")),
    ("plain.step(x, True, x)", TypeError, ("timestep must be a whole number", "got True")),
    ("plain.previous_timestep(True)", TypeError, ("timestep must be a whole number", "got True")),
    ("plain.step(x, 500.5, x)", ValueError, ("timestep must be one of", "got 500.5")),
    ("plain.step(x, t, x)", ValueError, ("timestep must be one number", "got shape (3,)")),
    ("learned.step(x, 500, x)", ValueError,
     ("model_output must have shape (3, 2, 4, 4)", "'learned_range'", "twice the channels")),
    ("plain.step(twice, 500, x)", ValueError,
     "model_output must have shape (3, 1, 4, 4), got (3, 2, 4, 4)"),
    ("plain.step(x[:1], 500, x)", ValueError, ("model_output must have shape", "got (1, 1, 4, 4)")),
    ("plain.step(x, 500, bytes_)", TypeError, ("sample must hold floating-point", "uint8")),
    ("plain.step(bytes_, 500, x)", TypeError, ("model_output must hold floating-point", "uint8")),
    ("plain.step(x.numpy(), 500, x)", TypeError, ("model_output must be a tensor", "ndarray")),
    ("plain.step(x, 500, x, generator=42)", TypeError, ("generator", "torch.manual_seed(seed)")),
    ("rescaled.step(x, 999, x)", ValueError,
     ("'epsilon'", "timestep 999", "zero terminal SNR", "Use 'v_prediction' or 'sample'")),
    ("steep()", ValueError, ("'epsilon'", "has underflowed to 0", "Use clip_sample=True")),
    # the way forward
    ("plain.add_noise(bytes_, x, t)", TypeError,
     ("original_samples must hold floating-point values in the model's range [-1, 1]",
      "torch.uint8", "x.float()/127.5 - 1")),
    ("plain.add_noise(x.numpy(), x, t)", TypeError,
     "original_samples must be a tensor, got ndarray"),
    ("plain.add_noise(x, bytes_, t)", TypeError, ("noise must hold floating-point", "uint8")),
    ("plain.add_noise(x, x[:1], t)", ValueError,
     ("noise must have the shape (3, 1, 4, 4)", "(1, 1")),
    ("plain.add_noise(x, x, t + 1)", ValueError,
     ("timesteps must be between 0 and 999", "got 1000")),
    ("plain.add_noise(x, x, t - 1)", ValueError, ("timesteps must be between 0 and 999", "got -1")),
    ("plain.add_noise(x, x, t[:2])", ValueError, ("one for each image", "got (2,)")),
    ("plain.add_noise(x, x, t/2)", TypeError, ("timesteps must be whole numbers", "float32")),
    ("plain.get_velocity(bytes_, x, t)", TypeError, ("sample must hold floating-point", "uint8")),
    ("plain.get_velocity(x, x[:1], t)", ValueError, ("noise must have the shape", "(1, 1, 4, 4)")),
    ("plain.get_velocity(x, x, 1000)", ValueError, ("timesteps must be between 0 and 999", "1000")),
    # afterwards
    ("DDPMScheduler().register_to_config(beta_schedule='linaer')", ValueError,
     ("beta_schedule", "Did you mean 'linear'")),
    ("DDPMScheduler().register_to_config(beta_shedule='linear')", TypeError, "beta_shedule"),
]
