"What the questions draw their hidden arguments from: ordinary ones, and the ends of each range."
import random

import torch

from ddpm_edu.course.wire import Given  # noqa: F401  (questions take it from here)


def start(seed):
    "A generator of torch's and one of Python's, from the seed of a draw."
    return torch.Generator().manual_seed(seed), random.Random(seed)


def betas_of(seed, least=1):
    "Betas (T,): the linear schedule and its ends, one step, none at all, large ones, random ones."
    g, r = start(seed)
    kind = seed % 6
    if kind == 0: betas = torch.linspace(1e-4, 0.02, r.choice([10, 100, 1000]))
    elif kind == 1: betas = torch.full((max(least, 1),), r.choice([0.3, 0.999, 1e-4]))
    elif kind == 2: betas = torch.rand(max(least, 7), generator=g)*0.05
    else: betas = 0.01 + 0.97*torch.rand(r.randint(max(least, 2), 12), generator=g)
    return betas.double() if r.random() < 0.5 else betas


def tensor_of(seed, shape=None):
    "Data of any number of axes: some of length 1, in [-1, 1] or far outside, large or tiny."
    g, r = start(seed + 7919)
    shape = shape or r.choice([(3,), (2, 2), (1, 1, 2, 2), (2, 3, 1, 4), (4, 1, 3, 3), (1, 5)])
    x = torch.randn(shape, generator=g)
    scale = r.choice([1, 1, 1, 0.01, 30, 1000])
    return scale*x
