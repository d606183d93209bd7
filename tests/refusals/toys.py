"What the toys refuse."
import math

import torch

from ddpm_edu.toys import GaussianMixture, swiss_roll, two_moons

mix = GaussianMixture([[-1., 0.5], [1.2, 0.], [0.2, -1.1]], [0.15, 0.3, 0.2], [1, 2, 5])
x = torch.tensor([[0., 0.], [1., -0.7], [-0.8, 0.4], [2., 2.]], dtype=torch.float64)
METHODS = ("log_prob", "score", "eps", "posterior_mean")
ROWS = [
    ("GaussianMixture([1., 2.], 1.)", ValueError, ("means must be", "(K, D)", "got shape (2,)")),
    ("GaussianMixture([[0., math.nan]], 1.)", ValueError, "means must be finite"),
    ("GaussianMixture(torch.zeros(0, 2), 1.)", ValueError, ("means must be", "(0, 2)")),
    ("GaussianMixture([[0., 0.]], 0.)", ValueError, ("stds must be 1 positive", "[0.0]")),
    ("GaussianMixture([[0., 0.]], math.inf)", ValueError, ("stds must be 1 positive", "[inf]")),
    ("GaussianMixture([[0., 0.]]*3, [1., 2.])",
     ValueError, ("stds must be 3 positive", "[1.0, 2.0]")),
    ("GaussianMixture([[0., 0.]], 1., [1, 1])", ValueError, "weights must be 1 positive"),
    ("GaussianMixture([[0., 0.]], 1., [-1.])",
     ValueError, ("weights must be 1 positive", "[-1.0]")),
    ("GaussianMixture.ring(0)", ValueError, "k must be at least 1"),
    ("GaussianMixture.ring(3, -1.)", ValueError, "radius must be"),
    ("mix.sample(0)", ValueError, "n must be at least 1"),
    ("swiss_roll(0)", ValueError, "n must be at least 1"),
    ("swiss_roll(9, noise=-1.)", ValueError, "noise must be"),
    ("two_moons(0)", ValueError, "n must be at least 1"),
    ("two_moons(9, noise=-1.)", ValueError, "noise must be"),
]
for name in METHODS:
    ROWS += [
        (f"mix.{name}(x, 1.1)",
         ValueError, ("abar must be between 0 and 1", "alphas_cumprod", "1.1")),
        (f"mix.{name}(x, -0.1)", ValueError, ("abar must be between 0 and 1", "-0.1")),
        (f"mix.{name}(x, torch.tensor([0.9, 0.1, 0.5]))",
         ValueError, "each of the 4 points, got 3"),
        (f"mix.{name}(x[0], 0.5)", ValueError, ("floating point of shape (N, 2)", "got (2,)")),
        (f"mix.{name}(x[:, :1], 0.5)",
         ValueError, ("floating point of shape (N, 2)", "got (4, 1)")),
        (f"mix.{name}(x.long(), 0.5)", ValueError, ("floating point of shape (N, 2)", "int64")),
    ]
