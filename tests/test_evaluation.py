"Bits per dimension and distances, against worlds where the answer is known."
import math

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import nn

from ddpm_edu import DDPMPipeline, DDPMScheduler
from ddpm_edu.evaluation import bits_per_dim, frechet_distance, timestep_groups


class Linear(nn.Module):
    "Says that all noise is a fixed share of x_t."
    def __init__(self):
        super().__init__()
        self.share = nn.Parameter(torch.tensor(0.6))

    def forward(self, x, t): return self.share*x


def expected(images, betas, share, large):
    "The bound of `Linear`, by hand in float64: all expectations over the noise in closed form."
    x0, abar, total = images.double()/127.5 - 1, 1., 0.
    keep = math.prod(1 - b for b in betas)
    total = 0.5*(keep*x0**2 + (1 - keep) - 1 - math.log(1 - keep))
    for t, b in enumerate(betas):
        prev, abar = abar, abar*(1 - b)
        m = (1 - b/math.sqrt(1 - abar)*share)/math.sqrt(1 - b)          # mean is m x_t: (11)
        if t == 0: first = m, abar
        else:
            small = b*(1 - prev)/(1 - abar)
            sigma2 = b if large else small
            if t == 1: second = small                                 # the decoder's variance
            c0 = math.sqrt(prev)*b/(1 - abar)
            ct = math.sqrt(1 - b)*(1 - prev)/(1 - abar)
            off = ((c0 + (ct - m)*math.sqrt(abar))*x0)**2 + (ct - m)**2*(1 - abar)
            total = total + 0.5*(math.log(sigma2/small) + (small + off)/sigma2 - 1)
    m, abar = first
    z, w = (torch.from_numpy(v) for v in np.polynomial.hermite_e.hermegauss(40))
    x_1 = math.sqrt(abar)*x0[..., None] + math.sqrt(1 - abar)*z
    hi = torch.where(x0 > 0.999, math.inf, x0 + 1/255)[..., None]
    lo = torch.where(x0 < -0.999, -math.inf, x0 - 1/255)[..., None]
    a, b = ((end.numpy() - (m*x_1).numpy())/math.sqrt(second) for end in (lo, hi))
    tail = np.where(a + b > 0, norm.sf(a) - norm.sf(b), norm.cdf(b) - norm.cdf(a))
    log_p = torch.from_numpy(tail).log()
    total = total - (log_p*w/w.sum()).sum(-1)
    return (total.flatten(1).mean(1)/math.log(2)).mean().item()


@pytest.mark.parametrize("groups", [None, 4])
@pytest.mark.parametrize("kind", ["fixed_large", "fixed_small"])
def test_bits_of_a_linear_model(kind, groups):
    betas = [0.05, 0.1, 0.15, 0.2, 0.3, 0.4]
    images = torch.randint(0, 256, (4, 1, 6, 6), generator=torch.Generator().manual_seed(0))
    images[0, 0, 0, :2] = torch.tensor([0, 255])
    pipe = DDPMPipeline(Linear(), DDPMScheduler(num_train_timesteps=6, trained_betas=betas))
    pipe.set_progress_bar_config(disable=True)
    found = bits_per_dim(pipe, images.byte(), groups, draws=400, variance_type=kind, clip=False,
                         generator=torch.Generator().manual_seed(1), batch_size=100)
    right = {large: expected(images, betas, 0.6, large) for large in (True, False)}
    large = kind == "fixed_large"
    assert abs(found.mean - right[large]) < 4*found.noise_error
    assert abs(found.mean - right[not large]) > 8*found.noise_error     # the other variance


def test_groups_cover_every_timestep_once():
    for T in (1, 2, 7, 1000):
        assert timestep_groups(T, T) == list(range(1, T + 1))
        for n in range(2, min(T, 40) + 1):
            ends = timestep_groups(T, n)
            assert ends[0] == 1 and ends[-1] == T and len(set(ends)) == n and ends == sorted(ends)


def test_frechet_distance_of_gaussians():
    "Diagonal covariances: the square of the difference of the deviations."
    x = torch.randn(500, 3, generator=torch.Generator().manual_seed(0))
    x = x.double() - x.double().mean(0)
    x = x @ torch.linalg.inv(torch.linalg.cholesky(x.T.cov())).T           # exactly white
    a, b = x*torch.tensor([1., 2., 3.]), x*torch.tensor([2., 2., 1.]) + 1
    assert abs(frechet_distance(a, b) - (1 + 0 + 4 + 3)) < 1e-9
    assert abs(frechet_distance(a, a)) < 1e-9
