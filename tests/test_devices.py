"Losses, walks and toys on another device, and with other defaults of torch: the same numbers."
import pytest
import torch

from ddpm_edu.forward_process import NoiseSchedule, make_betas
from ddpm_edu.score_matching import (annealed_langevin, denoising_score_matching, eps_from_score,
                                     explicit_score_matching, implicit_score_matching, langevin)
from ddpm_edu.toys import (GaussianMixture, PointNet, density_test, energy_test, swiss_roll,
                           two_moons)
from ddpm_edu.variational_bound import (LOSSES, bound_weights, discretized_gaussian_log_likelihood,
                                        importance_timesteps, training_loss, vlb_terms)
from pretend_device import FAR, Far, accelerator, far, near

schedule = NoiseSchedule(make_betas("linear", 12, 0.01, 0.4))
mixture = GaussianMixture([[-1.2, 0.], [0.8, 0.5]], [0.35, 0.25], [0.4, 0.6])
bytes_ = torch.arange(256).view(4, 1, 8, 8)/127.5 - 1
points, noise = torch.randn(2, 4, 2, generator=torch.Generator().manual_seed(0))
t = torch.tensor([0, 3, 7, 11])
half = torch.full_like(bytes_, 0.3)


def seeded(n): return torch.Generator().manual_seed(n)
def number(x): return torch.tensor(x, device="cpu")
def itself(x, t): return 0.9*x
def both(x, t): return torch.cat([0.9*x, 0.1*x], 1)
def down(x): return -0.9*x


def loss_of(kind, prediction_type):
    return lambda put: training_loss(itself, schedule, put(points), put(t), put(noise),
                                     kind, prediction_type)


FIXED = [kind for kind in LOSSES if kind != "hybrid"]      # the losses of a fixed variance
def learned(kind):
    return lambda put: training_loss(both, schedule, put(points), put(t), put(noise), kind,
                                     variance_type="learned_range")


TASKS = {
    "vlb-learned": learned("vlb"), "hybrid": learned("hybrid"),
    **{f"{kind}-{what}": loss_of(kind, what)
       for kind in FIXED for what in ("epsilon", "sample", "v_prediction")},
    "bytes": lambda put: vlb_terms(itself, put(bytes_), schedule, generator=seeded(1)).total,
    "numbers": lambda put: vlb_terms(itself, put(points), schedule, "fixed_small", "gaussian", True,
                                     generator=seeded(1)).total,
    "decoder": lambda put: discretized_gaussian_log_likelihood(put(bytes_), put(half), 0.4),
    "widths": lambda put: discretized_gaussian_log_likelihood(put(bytes_), put(half), put(half)),
    "timesteps": lambda put: importance_timesteps(put(bound_weights(schedule)), 9, seeded(2))[1],
    "explicit": lambda put: explicit_score_matching(down, put(points), put(noise)),
    "implicit": lambda put: implicit_score_matching(down, put(points)).detach(),
    "denoising": lambda put: denoising_score_matching(down, put(points), schedule, put(t),
                                                      put(noise)),
    "eps": lambda put: eps_from_score(put(points), schedule, put(t)),
    "langevin": lambda put: langevin(down, put(points), 0.1, 3, seeded(3)),
    "annealed": lambda put: annealed_langevin(itself, schedule, put(points), [9, 4], 2,
                                              generator=seeded(4)),
    "log_prob": lambda put: mixture.log_prob(put(points), 0.6),
    "score": lambda put: mixture.score(put(points), schedule.alphas_cumprod[3]),
    "eps-of-each": lambda put: mixture.eps(put(points), put(schedule.alphas_cumprod[t])),
    "posterior_mean": lambda put: mixture.posterior_mean(put(points), 0.3),
}
ON_THE_CPU = {       # answers about points of any device, or points that are always made on the CPU
    "nearest": lambda put: mixture.nearest(put(points), 0.5),
    "energy": lambda put: number(energy_test(put(points), put(noise), 20)),
    "density": lambda put: number(density_test(put(points), mixture, 1000)),
    "sample": lambda put: mixture.sample(5, seeded(5)),
    "ring": lambda put: GaussianMixture.ring(5).sample(5, seeded(5)),
    "roll": lambda put: swiss_roll(5, seeded(6)),
    "moons": lambda put: two_moons(5, seeded(6)),
}
stay = lambda x: x


@pytest.mark.parametrize("task", [*TASKS, *ON_THE_CPU])
def test_on_an_accelerator(task):
    run = (TASKS | ON_THE_CPU)[task]
    expected = run(stay)
    with accelerator(): got = run(far)
    assert isinstance(got, Far) == (task in TASKS) and got.dtype == expected.dtype
    assert torch.allclose(near(got), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("task", [*TASKS, *ON_THE_CPU])
def test_defaults_of_torch_change_nothing(task):
    "Neither the device nor the type that torch would take if nobody said."
    run = (TASKS | ON_THE_CPU)[task]
    expected = run(stay)
    with torch.device("meta"): got = run(stay)       # a tensor that is made there has no numbers
    assert got.device.type == "cpu" and torch.equal(got, expected)
    torch.set_default_dtype(torch.float64)
    try: got = run(stay)
    finally: torch.set_default_dtype(torch.float32)
    assert torch.allclose(got.to(expected.dtype), expected, rtol=1e-5, atol=1e-6)


def test_a_network_of_the_accelerator():
    "PointNet's waves go where its weights go."
    torch.manual_seed(0)
    net = PointNet(16)
    expected = training_loss(net, schedule, points, t, noise)
    assert set(net.state_dict()) == {n for n, _ in net.named_parameters()}    # waves: no weights
    for module in net.modules():
        for table in (module._parameters, module._buffers):
            for name, value in table.items(): table[name] = far(value.detach())
    with accelerator(): got = training_loss(net, schedule, far(points), far(t), far(noise))
    assert torch.allclose(near(got), expected, atol=1e-6)


class impatient(accelerator):
    "An accelerator that nobody may ask for a number."
    def __torch_function__(self, function, types, args=(), kwargs=None):
        if getattr(function, "__name__", "") in ("item", "tolist", "__bool__", "__int__", "cpu"):
            raise AssertionError(f"{function.__name__} waits for the accelerator")
        return super().__torch_function__(function, types, args, kwargs)


def test_a_loss_reads_no_number():
    "An accelerator would have to finish everything before it could answer."
    x0, when, z = far(points), far(t), far(noise)
    with impatient():
        for task in (lambda: x0.sum().item(), lambda: bool((when < 3).all())):    # controls
            with pytest.raises(AssertionError, match="waits"): task()
        for kind in FIXED:
            for what in ("epsilon", "v_prediction"):
                assert training_loss(itself, schedule, x0, when, z, kind, what).shape == (4,)
        for kind in ("vlb", "hybrid"):
            args = both, schedule, x0, when, z, kind, "epsilon", "learned_range"
            assert training_loss(*args).shape == (4,)


def test_the_accelerator_is_one():
    "Negative control: it refuses what accelerators refuse."
    x = far(points)
    assert x.device == FAR and near(x + x).equal(points + points) and (x + 1).device == FAR
    with pytest.raises(RuntimeError, match="two devices"): x + points
    with pytest.raises(RuntimeError, match="two devices"): schedule.betas[far(t)]
    assert x[t[:1]].device == FAR
    with pytest.raises(TypeError, match="float64"): x.double()
    with accelerator():
        assert points.to(FAR).device == torch.zeros(2, device=FAR).device == FAR
        assert x.cpu().device.type == "cpu"
        with pytest.raises(RuntimeError, match="generator"):
            torch.randn(2, generator=seeded(0), device=FAR)
        with pytest.raises(TypeError, match="float64"):
            torch.zeros(2, dtype=torch.float64, device=FAR)
