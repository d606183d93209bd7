"What the schedules and the doors of chapter 1 refuse."
import torch

from ddpm_edu.forward_process import (NoiseSchedule, check_floats, check_timesteps, given_betas,
    listed_timesteps, make_betas, one_timestep, rescale_zero_terminal_snr, spaced_timesteps)

schedule = NoiseSchedule(make_betas())
images, bytes_ = torch.zeros(3, 1, 4, 4), torch.zeros(3, 1, 4, 4, dtype=torch.uint8)
FALLING = "whole numbers that fall, between 999 and 0"
RISING = "whole numbers that rise, between 0 and 999"
WHOLE = "timesteps must be whole numbers"


def made(abar): return NoiseSchedule.from_alphas_cumprod(torch.tensor(abar))
tensor = torch.tensor


def times(t): return check_timesteps(t, 1000, images)
def floats(x, like=None): return check_floats("x0", x, like)


ROWS = [
    # make_betas
    ("make_betas('Linear')", ValueError, ("beta_schedule must be one of", "Did you mean 'linear'")),
    ("make_betas(T=0)", ValueError, ("num_train_timesteps must be at least 1", "got 0")),
    ("make_betas(T=10.)", TypeError, ("num_train_timesteps must be a whole number", "10.0")),
    ("make_betas(beta_start=0.)", ValueError,
     "beta_start must be a finite number in (0, 1), got 0.0"),
    ("make_betas(beta_start=1.)", ValueError,
     "beta_start must be a finite number in (0, 1), got 1.0"),
    ("make_betas(beta_end=1)", ValueError, "beta_end must be a finite number in (0, 1), got 1"),
    ("make_betas(beta_end=-0.5)", ValueError, ("beta_end", "-0.5")),
    ("make_betas(beta_end=float('nan'))", ValueError, ("beta_end", "finite", "nan")),
    # NoiseSchedule
    ("NoiseSchedule([])", ValueError, ("betas", "one variance per timestep", "(0,)")),
    ("NoiseSchedule([[0.1]])", ValueError, ("one variance per timestep", "(1, 1)")),
    ("NoiseSchedule(0.1)", ValueError, ("one variance per timestep", "shape ()")),
    ("NoiseSchedule([1.1])", ValueError, ("betas must lie in [0, 1]", "1.1")),
    ("NoiseSchedule([float('nan')])", ValueError, ("betas must lie in [0, 1]", "nan")),
    ("NoiseSchedule([0.1, -0.1])", ValueError, ("betas must lie in [0, 1]", "-0.1")),
    ("NoiseSchedule([0., 0.1])", ValueError, ("can tell from none", "at least 1e-7", "got 0.0")),
    ("NoiseSchedule([1e-9])", ValueError, ("can tell from none", "float32")),
    ("made([])", ValueError, ("abar must be a vector", "(0,)")),
    ("made([[0.5]])", ValueError, ("abar must be a vector", "(1, 1)")),
    ("made([1., 0.5])", ValueError, ("abar must fall from below 1", "1.0")),
    ("made([0.5, 0.6])", ValueError, "abar must fall"),
    ("made([0.5, -0.1])", ValueError, "abar must fall"),
    ("made([0.5, float('nan')])", ValueError, ("abar must fall", "nan")),
    ("given_betas([0.1, 2.])", ValueError, ("trained_betas", "betas must lie in [0, 1]")),
    ("rescale_zero_terminal_snr(torch.tensor([0.5]))", ValueError,
     ("rescale_betas_zero_snr", "at least 2 timesteps", "got 1")),
    # fewer steps
    *[(f"schedule.respace({bad})", ValueError, (RISING, f"got {bad}"))
      for bad in ([3, 2], [0, 0], [-1, 5], [5, 1000], [], [[1]], [0.5])],
    *[(f"listed_timesteps({bad}, 1000)", ValueError, (FALLING, f"got {bad}"))
      for bad in ([3, 400], [5, 5], [1000, 2], [5, -1], [], [[1]], [1.5], [True])],
    ("spaced_timesteps(1000, 1000, steps_offset=1)", ValueError,
     ("num_inference_steps=1000", "steps_offset=1", "start at timestep 1000, but the last is 999")),
    # the doors
    ("times(1000)", ValueError, ("between 0 and 999", "0-based", "got 1000")),
    ("times(-1)", ValueError, ("between 0 and 999", "got -1")),
    ("times(torch.tensor([1, 5000, 2]))", ValueError, ("between 0 and 999", "got 5000")),
    ("times(torch.tensor([1, 2]))", ValueError, ("one for each image", "(3,)", "got (2,)")),
    ("times(0.5)", TypeError, (WHOLE, "float32")),
    ("times(torch.ones(3))", TypeError, (WHOLE, "float32")),
    ("times(torch.ones(3).bool())", TypeError, (WHOLE, "bool")),
    ("times(1j)", TypeError, (WHOLE, "complex64")),
    ("floats(bytes_)", TypeError, ("x0 must hold floating-point", "uint8", "x.float()/127.5 - 1")),
    ("floats(images.numpy())", TypeError, ("x0 must be a tensor", "ndarray")),
    ("floats(images[:2], images)", ValueError,
     ("x0 must have the shape (3, 1, 4, 4)", "got (2, 1, 4, 4)")),
    *[(f"one_timestep({bad})", TypeError, ("timestep must be a whole number", f"got {bad}"))
      for bad in ("True", "None", "'3'", "[3]", "tensor(True)", "tensor([True])")],
    ("one_timestep(torch.tensor([1, 2]))", ValueError,
     ("timestep must be one number", "got shape (2,)")),
    # words that an equation does not know
    ("schedule.predict_x0(images, 5, images, 'noise')", ValueError,
     ("prediction_type must be one of", "'epsilon'", "got 'noise'")),
    ("schedule.convert(images, 5, images, 'epsilon', 'eps')", ValueError,
     ("target must be one of", "got 'eps'", "Did you mean 'epsilon'")),
]
