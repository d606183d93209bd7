"The schedules against diffusers', bit for bit, and the algebra for random schedules and shapes."
import pytest
import torch
from hypothesis import given, settings, strategies as st

from ddpm_edu.forward_process import (PREDICTION_TYPES, SCHEDULES, NoiseSchedule, check_timesteps,
    make_betas, rescale_zero_terminal_snr)

diffusers = pytest.importorskip("diffusers")
betas = st.floats(1e-5, 0.5)


@settings(deadline=None, max_examples=60)
@given(name=st.sampled_from(SCHEDULES), T=st.integers(1, 2000), start=betas, end=betas)
def test_betas_are_diffusers(name, T, start, end):
    theirs = diffusers.DDPMScheduler(T, start, end, name)
    ours = NoiseSchedule(make_betas(name, T, start, end))
    assert torch.equal(ours.betas, theirs.betas) and torch.equal(ours.alphas, theirs.alphas)
    assert torch.equal(ours.alphas_cumprod, theirs.alphas_cumprod)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("T", [2, 10, 1000])
def test_zero_terminal_snr_is_diffusers(name, T):
    theirs = diffusers.DDPMScheduler(T, beta_schedule=name, rescale_betas_zero_snr=True)
    ours = NoiseSchedule(rescale_zero_terminal_snr(make_betas(name, T)))
    assert torch.equal(ours.betas, theirs.betas) and ours.alphas_cumprod[-1] == 0


def test_tables_in_float32_are_close_to_those_in_float64():
    for name in SCHEDULES:
        s = NoiseSchedule(make_betas(name))
        for table in ("sqrt_alphas_cumprod", "sqrt_one_minus_alphas_cumprod", "posterior_variance",
                      "posterior_mean_coef1", "posterior_mean_coef2"):
            a, b = getattr(s, table).double(), getattr(s.double(), table)
            assert (a - b).abs().max() < 2e-3*b.abs().max(), (name, table)


random_schedule = st.lists(st.floats(1e-4, 0.9), min_size=1, max_size=40).map(
    lambda betas: NoiseSchedule(torch.tensor(betas, dtype=torch.float64)))


@settings(deadline=None, max_examples=80)
@given(s=random_schedule, seed=st.integers(0, 10**6), source=st.sampled_from(PREDICTION_TYPES),
       target=st.sampled_from(PREDICTION_TYPES))
def test_round_trips(s, seed, source, target):
    g = torch.Generator().manual_seed(seed)
    x_t, x0 = torch.randn(2, 5, 2, 3, generator=g, dtype=torch.float64)
    t = torch.randint(s.T, (5,), generator=g)
    output = s.convert(x_t, t, x0, "sample", source)
    there = s.convert(x_t, t, output, source, target)
    back = s.convert(x_t, t, there, target, source)
    scale = max(1., s.convert(x_t, t, there, target, "sample").abs().max().item())
    assert (back - output).abs().max() < 1e-7*scale*max(1, output.abs().max().item())


@settings(deadline=None, max_examples=80)
@given(s=random_schedule, data=st.data())
def test_posterior_is_bayes(s, data):
    "Equation (7) against the product of two Gaussians, in precisions and weighted means."
    t = data.draw(st.integers(0, s.T - 1))
    x0, x_t = torch.tensor([[0.3], [-1.2]]).double()
    mean, var = s.q_posterior(x0, x_t, t)
    if t == 0:
        assert var == 0 and torch.allclose(mean, x0)
        return
    b, a, prev = s.betas[t], s.alphas[t], s.alphas_cumprod[t-1]
    precision = a/b + 1/(1 - prev)
    weighted = a.sqrt()/b*x_t + prev.sqrt()/(1 - prev)*x0
    assert torch.allclose(var, 1/precision) and torch.allclose(mean, weighted/precision)


@settings(deadline=None, max_examples=50)
@given(T=st.integers(1, 200), data=st.data())
def test_respaced_steps_compose_to_the_marginals(T, data):
    s = NoiseSchedule(make_betas("linear", T, 1e-3, 0.2).double())
    kept = sorted(data.draw(st.sets(st.integers(0, T-1), min_size=1)))
    coarse, A, V = s.respace(kept), 1., 0.
    for k, b in enumerate(coarse.betas):
        A, V = (1-b).sqrt()*A, (1-b)*V + b
        left = s.alphas_cumprod[kept[k]]
        assert torch.allclose(A**2, left) and torch.allclose(V, 1-left)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", SCHEDULES)
def test_half_precision_noises_the_first_timesteps(dtype, name):
    s = NoiseSchedule(make_betas(name))
    t, zero, one = torch.arange(5), torch.zeros(5, 1, dtype=dtype), torch.ones(5, 1, dtype=dtype)
    got = s.q_sample(zero, t, one)[:, 0].double()
    exact = s.double().sqrt_one_minus_alphas_cumprod[:5]
    assert torch.allclose(got, exact, rtol=0.02) and (got > 0).all()


def test_same_device_and_shape_rules():
    s = NoiseSchedule(make_betas())
    for shape in ((4,), (4, 2), (4, 3, 8, 8), (4, 1, 2, 3, 5)):
        x, n = torch.randn(2, *shape)
        t = torch.tensor([0, 1, 2, 999])
        assert s.q_sample(x, t, n).shape == shape and s.q_sample(x, 5, n).shape == shape
    assert s.at("betas", torch.tensor([5]), torch.randn(4, 2)).shape == (1, 1)


class Waits(torch.utils._python_dispatch.TorchDispatchMode):
    "Counts the operations whose answer an accelerator would be waited for."
    count = 0

    def __torch_dispatch__(self, f, types, args=(), kwargs=None):
        aten = torch.ops.aten
        waits = (aten._local_scalar_dense.default, aten.is_nonzero.default, aten.equal.default)
        self.count += f in waits
        return f(*args, **(kwargs or {}))


def test_equations_wait_for_nothing():
    "Nothing is asked of a tensor's values behind the doors: a GPU runs ahead."
    s, t = NoiseSchedule(make_betas()), torch.tensor([3, 500, 999])
    x, n = torch.randn(2, 3, 1, 4, 4)
    with Waits() as waits:
        x_t = s.q_sample(x, t, n)
        s.velocity(x, t, n)
        s.q_posterior(x, x_t, t)
        s.q_mean_variance(x, t)
        s.prior_kl(x)
        for source in PREDICTION_TYPES:
            for target in PREDICTION_TYPES: s.convert(x_t, t, x, source, target)
    assert waits.count == 0
    with Waits() as waits: t.max().item()                       # negative control
    assert waits.count == 1


def test_a_prediction_that_needs_no_conversion_is_not_touched():
    s = NoiseSchedule(rescale_zero_terminal_snr(make_betas()))
    x, eps = torch.randn(2, 3, 1, 4, 4)
    for kind in PREDICTION_TYPES: assert s.convert(x, 999, eps, kind, kind) is eps


def test_kept_tables_do_not_change_what_a_schedule_is():
    s = NoiseSchedule(make_betas())
    x = torch.ones(2, 1, dtype=torch.float16)
    t = torch.tensor([0, 999])
    expected = s.at("betas", t, x.double()).float()
    for dtype in (torch.float16, torch.bfloat16, torch.float32):    # kept for one, asked in another
        assert torch.equal(s.at("betas", t, x.to(dtype)), expected)
        assert s.at("betas", t, x.to(dtype)).dtype == torch.float32
    assert s.at("betas", 7, x).dtype == torch.float32
    assert s.at("betas", 7, x.double()).dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_whole_numbers_of_any_type_are_timesteps(dtype):
    x = torch.zeros(2, 1)
    t = check_timesteps(torch.tensor([3, 99], dtype=dtype), 100, x)
    assert t.dtype == torch.int64 and t.tolist() == [3, 99]
