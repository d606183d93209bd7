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
    elif kind == 1: betas = torch.full((max(least, 1),), r.choice([0.3, 0.9997, 1e-4]))
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


def usual(T): return torch.linspace(1e-4, 0.02, T, dtype=torch.float64)


def abar_of(seed):
    "abar (T,), falling: of the usual schedule, of one step, with both ends, or of random steps."
    g, r = start(seed + 31)
    kind = seed % 4
    if kind == 0: return (1-usual(r.choice([1000, 1200]))).cumprod(0)
    if kind == 1: return torch.tensor([0.9999, 0.81, 0.3, 1e-4])
    if kind == 2: return torch.tensor([r.choice([0.36, 0.9998, 0.02])])
    return (0.01 + 0.98*torch.rand(r.randint(2, 9), generator=g)).sort(descending=True).values


def noising_of(seed, shape=None):
    "x0 (B, ...), t (B,), abar (T,), noise like x0: an end of the table among the timesteps."
    g, r = start(seed + 101)
    x0, abar = tensor_of(seed, shape), abar_of(seed)
    abar = abar.float().to(abar)             # whoever takes it to float32 first loses nothing
    t = torch.randint(len(abar), (len(x0),), generator=g)
    t[0] = r.choice([0, len(abar)-1])
    noise = r.choice([1, 1, 8])*torch.randn(x0.shape, generator=g)
    if r.random() < 0.5: x0, noise = x0.double(), noise.double()
    return x0, t, abar, noise


def step_of(seed, least=1):
    "t, a whole number, and betas (T,): t at both ends and inside; float64 where it is needed."
    betas, r = betas_of(seed, least), start(seed + 31)[1]
    last = len(betas) - 1
    t = (0, last, min(1, last), 0, r.randint(0, last))[seed//6 % 5]
    # 1 - abar of a small beta is known to few digits in float32
    return max(t, least - 1), betas.double() if betas.min() < 1e-2 else betas


def reverse_of(seed, least=1):
    "(x_t, t, eps, betas) of a reverse step; one dtype."
    t, betas = step_of(seed, least)
    shapes = [(3,), (2, 2), (2, 3, 2), (1, 1, 2, 2), (2, 3, 1, 4), (4, 1, 3, 3), (1, 5)]
    x = tensor_of(seed, start(seed + 32)[1].choice(shapes)).to(betas)
    if x.abs().max() < 0.1: x, betas = x.double(), betas.double()           # tiny numbers
    return x, t, noise_like(x, seed + 37), betas


def noise_like(x, seed):
    "Standard normal, but much more of it beside large data."
    return (8 if x.abs().max() > 10 else 1)*torch.randn(x.shape, generator=start(seed)[0]).to(x)


def variance_of(seed): return ("large", "small")[(seed + seed//6 + 1) % 2]
