"What the questions draw their hidden arguments from: ordinary ones, and the ends of each range."
import math
import random

import torch


class Given:
    "A function that a question hands to the student's: known by its source, so it can be sent."
    def __init__(self, code): self.code, self.call = code, eval(code, {"torch": torch, "math": math})
    def __call__(self, *args): return self.call(*args)


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


def step_of(seed, least=1):
    "(x_t, t, eps, betas) of a reverse step: t at both ends of the schedule and inside; one dtype."
    betas, r = betas_of(seed, least), start(seed + 31)[1]
    last = len(betas) - 1
    t = (0, last, min(1, last), 0, r.randint(0, last))[seed//6 % 5]
    shapes = [(3,), (2, 2), (2, 3, 2), (1, 1, 2, 2), (2, 3, 1, 4), (4, 1, 3, 3), (1, 5)]
    x = tensor_of(seed, r.choice(shapes)).to(betas)
    # tiny numbers in float64: 1 - abar of a small beta is known to few digits in float32
    if x.abs().max() < 0.1: x, betas = x.double(), betas.double()
    return x, max(t, least - 1), noise_like(x, seed + 37), betas


def noise_like(x, seed):
    "Standard normal, but much more of it beside large data."
    return (8 if x.abs().max() > 10 else 1)*torch.randn(x.shape, generator=start(seed)[0]).to(x)


def variance_of(seed): return ("large", "small")[(seed + seed//6 + 1) % 2]
