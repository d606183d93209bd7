"Bits per dimension, against worlds where the answer is known."
import math

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import nn

from ddpm_edu import DDPMPipeline, DDPMScheduler
from ddpm_edu.bits import bits_per_dim, timestep_groups
from ddpm_edu.variational_bound import vlb_terms


# The six timesteps of these tests leave much of the image.
pytestmark = pytest.mark.filterwarnings("ignore:with num_train_timesteps")


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


def pipeline():
    "A pipeline of six timesteps."
    betas = [0.05, 0.1, 0.15, 0.2, 0.3, 0.4]
    pipe = DDPMPipeline(Linear(), DDPMScheduler(num_train_timesteps=6, trained_betas=betas))
    pipe.set_progress_bar_config(disable=True)
    return pipe


images = torch.randint(0, 256, (5, 1, 6, 6), generator=torch.Generator().manual_seed(3)).byte()


def seeded(n): return torch.Generator().manual_seed(n)


def test_every_timestep_is_the_bound_of_chapter_2():
    "Its sum and its terms, with other noise."
    pipe = pipeline()
    found = bits_per_dim(pipe, images, draws=300, generator=seeded(0), clip=True)
    model = lambda x, t: pipe.unet(x, t)
    x0 = (images.float()/127.5 - 1).repeat(300, 1, 1, 1)
    with torch.no_grad():
        right = vlb_terms(model, x0, pipe.scheduler.schedule, "fixed_small", clip=True)
    assert abs(found.mean - right.total.mean()) < 0.01*found.mean
    terms = torch.cat([right.L_0[:, None], right.L_t], 1).mean(0)
    assert torch.allclose(found.terms.float(), terms, rtol=0.03)
    assert abs(found.L_T - right.L_T.mean()) < 1e-5
    assert abs(found.terms.sum() + found.L_T - found.mean) < 1e-9


def test_the_errors_are_those_of_repetition():
    "Noise: the same images again. Both: other images."
    pipe = pipeline()
    many = torch.randint(0, 256, (300, 1, 6, 6), generator=seeded(1)).byte()
    many = (many*torch.linspace(0, 1, 300).view(-1, 1, 1, 1)).byte()
    many = many[torch.randperm(300, generator=seeded(2))]
    one = [bits_per_dim(pipe, many[:10], 3, 2, generator=seeded(i)) for i in range(40)]
    spread = torch.tensor([b.mean for b in one]).std()
    said = torch.tensor([b.noise_error for b in one]).square().mean().sqrt()
    assert 0.7 < said/spread < 1.4
    parts = [bits_per_dim(pipe, x, 3, 2, generator=seeded(i)) for i, x in enumerate(many.split(10))]
    spread = torch.tensor([b.mean for b in parts]).std()
    said = torch.tensor([b.error for b in parts]).square().mean().sqrt()
    assert 0.6 < said/spread < 1.6
    assert math.isnan(bits_per_dim(pipe, many[:4], 3).noise_error)


class Stop(Exception):
    "The plug is pulled."


def interrupted(pipe, after):
    "The pipeline, but its progress bar raises."
    def bar(items):
        for i, item in enumerate(items):
            if i == after: raise Stop
            yield item
    pipe.progress_bar = bar
    return pipe


@pytest.mark.parametrize("after", [0, 1, 4])
def test_resume(tmp_path, after):
    "As if it had not been interrupted; nothing is computed again."
    options = dict(draws=2, groups=5, batch_size=3)
    whole = bits_per_dim(pipeline(), images, generator=seeded(7), **options)
    options["resume"] = tmp_path/"bits.pt"
    with pytest.raises(Stop):
        bits_per_dim(interrupted(pipeline(), after), images, generator=seeded(7), **options)
    pipe, calls = pipeline(), []
    pipe.unet.register_forward_hook(lambda *args: calls.append(1))
    found = bits_per_dim(pipe, images, generator=seeded(7), **options)
    assert torch.equal(found.draws, whole.draws) and len(calls) == (5 - after)*4
    assert [p.name for p in tmp_path.iterdir()] == ["bits.pt"]
    calls.clear()
    assert torch.equal(bits_per_dim(pipe, images, generator=seeded(7), **options).draws,
                       whole.draws) and not calls


@pytest.mark.parametrize("change,word", [
    (dict(images=images.flip(0)), "images"), (dict(draws=2), "draws"), (dict(groups=4), "groups"),
    (dict(generator=seeded(8)), "seed"), (dict(variance_type="fixed_large"), "variance_type"),
    (dict(weights=0.7), "weights")])
def test_another_computation_is_not_resumed(tmp_path, change, word):
    options = dict(images=images, groups=5, generator=seeded(7), resume=tmp_path/"bits.pt")
    bits_per_dim(pipeline(), **options)
    pipe = pipeline()
    if (share := change.pop("weights", None)) is not None: pipe.unet.share.data.fill_(share)
    options["generator"] = seeded(7)
    with pytest.raises(ValueError, match=f"resume=.*another {word}; name another file"):
        bits_per_dim(pipe, **{**options, **change})


def test_the_network_is_left_as_it_was():
    pipe = pipeline()
    pipe.unet.train()
    bits_per_dim(pipe, images, 2)
    assert pipe.unet.training and pipe.unet.share.grad is None


def test_the_prediction_type_is_followed():
    "A network that says x_0 where it means the noise has another bound."
    class Says(Linear):
        def forward(self, x, t):
            a = schedule.at("alphas_cumprod", t, x)
            return (x - (1 - a).sqrt()*0.6*x)/a.sqrt()
    schedule, config = pipeline().scheduler.schedule, pipeline().scheduler.config
    pipe = DDPMPipeline(Says(), DDPMScheduler.from_config(config, prediction_type="sample"))
    pipe.set_progress_bar_config(disable=True)
    options = dict(groups=6, clip=False)
    right = bits_per_dim(pipeline(), images, generator=seeded(0), **options)
    assert torch.allclose(bits_per_dim(pipe, images, generator=seeded(0), **options).draws,
                          right.draws, rtol=1e-4)
    pipe.scheduler = pipeline().scheduler
    wrong = bits_per_dim(pipe, images, generator=seeded(0), **options)
    assert not torch.allclose(wrong.draws, right.draws, rtol=0.01)


class Speckled(Linear):
    "Says something of its own about the variance of each pixel, where `v` is not fixed."
    def __init__(self, v=None):
        super().__init__()
        self.v = v

    def forward(self, x, t):
        v = torch.sin(5*x) if self.v is None else torch.full_like(x, self.v)
        return torch.cat([self.share*x, v], 1)


def by_hand(images, betas, seed, share, flip=1, own=False, said=None):
    "The bound of `Speckled` from the generator's own noise: float64, NumPy and SciPy."
    x0, g = images.numpy()/127.5 - 1, seeded(seed)
    abar = np.cumprod([1 - b for b in betas])
    total = 0.5*(abar[-1]*x0**2 + (1 - abar[-1]) - 1 - math.log(1 - abar[-1]))
    for t, b in enumerate(betas):
        torch.randint(t, t + 1, (len(x0),), generator=g)                # drawn, and known
        z = torch.randn(x0.shape, generator=g).double().numpy()
        x_t = math.sqrt(abar[t])*x0 + math.sqrt(1 - abar[t])*z
        mean = (x_t - b/math.sqrt(1 - abar[t])*share*x_t)/math.sqrt(1 - b)             # (11)
        before = abar[t-1] if t else 1.
        k = max(t, 1)                                                   # beta-tilde of the second
        small = betas[k]*(1 - abar[k-1])/(1 - abar[k])
        if own and t == 0: small = 1e-20
        v = np.sin(5*x_t)
        var = said(x_t) if said else b**((1 + flip*v)/2)*small**((1 - flip*v)/2)
        if t == 0:
            hi = np.where(x0 > 0.999, np.inf, x0 + 1/255)
            lo = np.where(x0 < -0.999, -np.inf, x0 - 1/255)
            a, c = (lo - mean)/np.sqrt(var), (hi - mean)/np.sqrt(var)
            total = total - np.log(np.where(a + c > 0, norm.sf(a) - norm.sf(c),
                                            norm.cdf(c) - norm.cdf(a)))
        else:
            c0 = math.sqrt(before)*b/(1 - abar[t])
            ct = math.sqrt(1 - b)*(1 - before)/(1 - abar[t])
            off = (c0*x0 + ct*x_t - mean)**2
            total = total + 0.5*(np.log(var/small) + (small + off)/var - 1)
    return total.reshape(len(x0), -1).mean(1)/math.log(2)


def learned_pipeline(unet, kind="learned_range"):
    "Six timesteps, and a network with twice the channels."
    betas = [0.05, 0.1, 0.15, 0.2, 0.3, 0.4]
    scheduler = DDPMScheduler(num_train_timesteps=6, trained_betas=betas, variance_type=kind)
    pipe = DDPMPipeline(unet, scheduler)
    pipe.set_progress_bar_config(disable=True)
    return pipe, betas


def test_a_learned_variance_is_that_of_an_independent_computation():
    "Pixel by pixel, with the same noise; not with v the other way round, nor a sharp last step."
    pipe, betas = learned_pipeline(Speckled())
    with torch.no_grad():
        found = bits_per_dim(pipe, images, clip=False, generator=seeded(4)).draws[0].numpy()
    right = by_hand(images, betas, 4, 0.6)
    assert np.abs(found/right - 1).max() < 1e-5
    for slip in (dict(flip=-1), dict(own=True), dict(share=0.5)):
        with np.errstate(divide="ignore"):
            wrong = by_hand(images, betas, 4, **{"share": 0.6, **slip})
        assert (np.abs(found/wrong - 1) > 0.01).any(), slip


def test_a_learned_variance_that_is_no_range():
    "The network says the variance itself."
    class Says(Speckled):
        def forward(self, x, t): return torch.cat([self.share*x, 0.1 + torch.sin(5*x)**2], 1)
    pipe, betas = learned_pipeline(Says(), "learned")
    found = bits_per_dim(pipe, images, clip=False, generator=seeded(4)).draws[0].numpy()
    right = by_hand(images, betas, 4, 0.6, said=lambda x: 0.1 + np.sin(5*x)**2)
    assert np.abs(found/right - 1).max() < 1e-5


@pytest.mark.parametrize("v,kind", [(-1., "fixed_small"), (1., "fixed_large")])
def test_the_ends_of_the_range_are_the_fixed_variances(v, kind):
    "Every term but the decoder's of the larger one: there beta_1 stands, not the second's."
    pipe, _ = learned_pipeline(Speckled(v))
    options = dict(generator=seeded(5), clip=False)
    found = bits_per_dim(pipe, images, **options)
    options["generator"] = seeded(5)
    fixed = bits_per_dim(pipe, images, variance_type=kind, **options)     # the same network
    options["generator"] = seeded(5)
    alone = bits_per_dim(pipeline(), images, variance_type=kind, **options)
    assert torch.equal(fixed.draws, alone.draws)
    skip = int(v == 1)
    assert torch.allclose(found.terms[skip:], fixed.terms[skip:], rtol=1e-5)
    other = bits_per_dim(learned_pipeline(Speckled(-v))[0], images, clip=False,
                         generator=seeded(5))
    assert not torch.allclose(other.terms[1:], fixed.terms[1:], rtol=1e-2)


def test_the_bound_of_chapter_2_has_learned_variances():
    "All timesteps: `vlb_terms` and `bits_per_dim` agree, in the mean of many draws."
    pipe, _ = learned_pipeline(Speckled())
    found = bits_per_dim(pipe, images, draws=300, generator=seeded(0), clip=True)
    x0 = (images.float()/127.5 - 1).repeat(300, 1, 1, 1)
    with torch.no_grad():
        right = vlb_terms(pipe.unet, x0, pipe.scheduler.schedule, "learned_range", clip=True)
    assert abs(found.mean - right.total.mean()) < 0.01*found.mean
    terms = torch.cat([right.L_0[:, None], right.L_t], 1).mean(0)
    assert torch.allclose(found.terms.float(), terms, rtol=0.03)


def test_numbers_of_numpy_and_a_file_that_is_read_again(tmp_path):
    pipe, images = pipeline(), torch.arange(4*16, dtype=torch.uint8).view(4, 1, 4, 4)
    some = dict(groups=np.int64(3), draws=np.int64(2), batch_size=np.int64(3))
    def found(**options):
        return bits_per_dim(pipe, images, generator=seeded(0), resume=tmp_path/"b.pt", **options)
    first = found(**some)
    assert torch.equal(first.draws, found(**some).draws)
    assert torch.equal(first.draws, found(groups=3, draws=2, batch_size=3).draws)


def test_a_network_that_is_told_the_class():
    "It hears of none, the last class: as in the pipeline's call."
    from ddpm_edu import UNet
    from ddpm_edu.unet import unet_config
    torch.manual_seed(0)
    pipe = DDPMPipeline(UNet(**unet_config("tiny"), num_class_embeds=3), DDPMScheduler())
    pipe.set_progress_bar_config(disable=True)
    heard, images = [], torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    pipe.unet.class_embedding.register_forward_hook(lambda m, args, out: heard.append(args[0]))
    bits_per_dim(pipe, images, groups=2)
    assert [h.tolist() for h in heard] == [[2, 2]]*2


def test_an_open_autocast_changes_no_bit():
    from ddpm_edu import UNet
    from ddpm_edu.unet import unet_config
    torch.manual_seed(0)
    pipe = DDPMPipeline(UNet(**unet_config("tiny")), DDPMScheduler())
    pipe.set_progress_bar_config(disable=True)
    x = torch.full((2, 1, 8, 8), 40, dtype=torch.uint8)

    def bits(): return bits_per_dim(pipe, x, 5, generator=torch.Generator().manual_seed(0)).mean
    want, heard = bits(), []
    hook = pipe.unet.conv_out.register_forward_hook(lambda m, x, y: heard.append(y.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        assert bits() == want and set(heard) == {torch.float32}
        pipe.unet(torch.zeros(1, 1, 8, 8), 5)                    # negative control
    assert heard[-1] == torch.bfloat16
    hook.remove()
