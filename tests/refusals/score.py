"What score matching and Langevin dynamics refuse."
import torch

from ddpm_edu.forward_process import NoiseSchedule, make_betas
from ddpm_edu.score_matching import (annealed_langevin, denoising_score_matching,
                                     explicit_score_matching, implicit_score_matching, langevin)

schedule = NoiseSchedule(make_betas())
x, t = torch.zeros(4, 2), torch.tensor([0, 1, 300, 999])


def down(x): return -x
def narrow(x): return -x[:, :1]
def wide(x): return torch.cat([x, x], 1)
def predictor(x, t): return x
def narrow_predictor(x, t): return x[:, :1]


WIDE = ("score must have the shape (4, 2)", "got (4, 4)")
NARROW = ("score must have the shape (4, 2)", "got (4, 1)")
ROWS = [
    # what broadcasts is not compared
    ("explicit_score_matching(narrow, x, x)", ValueError, NARROW),
    ("explicit_score_matching(down, x, x[:1])",
     ValueError, ("score must have the shape (4, 2)", "got (1, 2)")),
    ("implicit_score_matching(wide, x)", ValueError, WIDE),
    ("implicit_score_matching(narrow, x)", ValueError, NARROW),
    ("denoising_score_matching(narrow, x, schedule, t, x)", ValueError, NARROW),
    ("denoising_score_matching(down, x, schedule, t, x[:1])",
     ValueError, ("noise must have the shape (4, 2)", "got (1, 2)")),
    ("langevin(narrow, x, 0.1, 3)", ValueError, NARROW),
    ("annealed_langevin(narrow_predictor, schedule, x, [5])", ValueError, NARROW),
    # Langevin dynamics
    ("langevin(down, x, 0., 5)", ValueError, "step_size must be"),
    ("langevin(down, x, -1., 5)", ValueError, ("step_size must be", "-1.0")),
    ("langevin(down, x, 0.1, -1)", ValueError, ("steps must be", "got -1")),
    ("langevin(down, x, 0.1, 1.5)", TypeError, ("steps must be a whole number", "1.5")),
    ("annealed_langevin(predictor, schedule, x, [5], scale=0.)", ValueError, "scale must be"),
    ("annealed_langevin(predictor, schedule, x, [5], scale=1.5)",
     ValueError, ("scale must be", "1.5")),
    ("annealed_langevin(predictor, schedule, x, [5], steps=-1)", ValueError, "steps must be"),
]
