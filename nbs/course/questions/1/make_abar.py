r"""the table

A step keeps the share $1-\beta_t$ of the signal's variance. After all steps up to $t$ the share $\bar\alpha_t=\prod_{s\le t}(1-\beta_s)$ is left: equation (4). Make this table.
"""
import torch
from draws import betas_of

POINTS = 2


def make_abar(betas):
    "betas (T,) -> abar (T,)"
    return torch.cumprod(1-betas, 0)


def visible():
    yield torch.tensor([0.1, 0.2, 0.5, 0.3]),


def draw(seed):
    return betas_of(seed),


MISTAKES = [
    ("these are the alphas of the single steps: each entry needs the factors of all steps up to it",
     "1 - betas"),
    ("this is the product of the betas: how much does one step keep?", "torch.cumprod(betas, 0)"),
]

RIGHT = [
    "torch.exp(torch.cumsum(torch.log1p(-betas), 0))",
    """
    out, left = [], 1.0
    for b in betas.tolist():
        left *= 1-b
        out.append(left)
    return torch.tensor(out)""",
]
