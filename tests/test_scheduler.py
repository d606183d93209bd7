"DDPMScheduler against diffusers' over random configurations, and where it does better on purpose."
import inspect
import json
import random
import warnings

import pytest
import torch

from ddpm_edu import DDPMScheduler
from ddpm_edu.forward_process import spaced_timesteps

diffusers = pytest.importorskip("diffusers")
diffusers.utils.logging.set_verbosity_error()
pytestmark = pytest.mark.filterwarnings("ignore:with num_train_timesteps")


def random_configuration(rng):
    T = rng.choice([1, 2, 3, 17, 100, 250, 1000])
    config = dict(num_train_timesteps=T, beta_schedule=rng.choice(["linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid"]), beta_start=rng.choice([1e-4, 1e-3]), beta_end=rng.choice([0.02, 0.2]),
        variance_type=rng.choice(["fixed_small", "fixed_small_log", "fixed_large", "learned", "learned_range"]), clip_sample=rng.random() < 0.5, prediction_type=rng.choice(["epsilon", "sample", "v_prediction"]),
        thresholding=rng.random() < 0.3, dynamic_thresholding_ratio=rng.choice([0.5, 0.995]), clip_sample_range=rng.choice([1., 2.5]), sample_max_value=rng.choice([1., 3.]),
        timestep_spacing=rng.choice(["leading", "trailing", "linspace"]), rescale_betas_zero_snr=T > 1 and rng.random() < 0.2)
    if rng.random() < 0.15: config["trained_betas"] = torch.linspace(0.001, 0.3, T).tolist()
    if config["rescale_betas_zero_snr"] and config["prediction_type"] == "epsilon": config["prediction_type"] = "v_prediction"
    if config["prediction_type"] == "epsilon" and DDPMScheduler(**config).alphas_cumprod[-1] == 0: config["prediction_type"] = "sample"
    return config


@pytest.mark.parametrize("seed", range(150))
def test_steps_are_diffusers(seed):
    rng, g = random.Random(seed), torch.Generator().manual_seed(seed)
    config = random_configuration(rng)
    T = config["num_train_timesteps"]
    ours, theirs = DDPMScheduler(**config), diffusers.DDPMScheduler(**config)
    kind = rng.random()
    if kind < 0.6:
        n = rng.choice([n for n in (1, 2, 5, 50, T) if n <= T])
        ours.set_timesteps(n); theirs.set_timesteps(n)
        if len(theirs.timesteps) != n: theirs.set_timesteps(timesteps=ours.timesteps.tolist())      # diffusers' trailing count is sometimes off
    elif kind < 0.8:
        chosen = sorted(rng.sample(range(T), rng.randint(1, T)), reverse=True)
        ours.set_timesteps(timesteps=chosen); theirs.set_timesteps(timesteps=chosen)
    assert torch.equal(ours.timesteps, theirs.timesteps)
    visited = ours.timesteps.tolist()
    channels = 6 if config["variance_type"].startswith("learned") else 3
    for t in visited[:3] + visited[-3:]:
        assert ours.previous_timestep(t) == theirs.previous_timestep(t)
        x, output = torch.randn(2, 3, 4, 5, generator=g), torch.randn(2, channels, 4, 5, generator=g)
        if config["variance_type"] == "learned": output[:, 3:] = output[:, 3:].abs()
        a, b = (s.step(output, t, x, generator=torch.Generator().manual_seed(1)) for s in (ours, theirs))
        for name in ("prev_sample", "pred_original_sample"):
            mine, other = getattr(a, name), getattr(b, name)
            assert mine.isfinite().all()
            if not other.isfinite().all(): continue                      # nothing of the image left at two timesteps: diffusers divides 0 by 0
            assert (mine - other).abs().max() <= 1e-5*max(1, other.abs().max()), (name, t)


@pytest.mark.parametrize("seed", range(20))
def test_forward_is_diffusers(seed):
    rng, g = random.Random(seed), torch.Generator().manual_seed(seed)
    config = random_configuration(rng)
    ours, theirs = DDPMScheduler(**config), diffusers.DDPMScheduler(**config)
    x0, noise = torch.randn(2, 4, 3, 5, 5, generator=g)
    t = torch.randint(config["num_train_timesteps"], (4,), generator=g)
    assert torch.equal(ours.add_noise(x0, noise, t), theirs.add_noise(x0, noise, t))
    assert torch.equal(ours.get_velocity(x0, noise, t), theirs.get_velocity(x0, noise, t))
    assert torch.equal(ours.scale_model_input(x0, 1), x0)


def test_signature_is_diffusers():
    for name in ("__init__", "step", "set_timesteps", "add_noise", "get_velocity", "previous_timestep", "scale_model_input"):
        mine, theirs = (inspect.signature(getattr(c, name)).parameters for c in (DDPMScheduler, diffusers.DDPMScheduler))
        assert list(mine) == list(theirs), name
        assert [p.default for p in mine.values()] == [p.default for p in theirs.values()] or name == "previous_timestep", name
    ours, theirs = DDPMScheduler(), diffusers.DDPMScheduler()
    for name in ("init_noise_sigma", "order", "num_inference_steps", "custom_timesteps", "variance_type"): assert getattr(ours, name) == getattr(theirs, name), name
    assert len(ours) == len(theirs)


def test_files_are_interchangeable(tmp_path):
    ours = DDPMScheduler(variance_type="fixed_large", trained_betas=[0.1, 0.2, 0.5, 0.99], clip_sample=False)
    ours.save_pretrained(tmp_path)
    theirs = diffusers.DDPMScheduler.from_pretrained(tmp_path)
    assert {k: v for k, v in theirs.config.items() if not k.startswith("_")} == {k: list(v) if isinstance(v, tuple) else v for k, v in ours.config.items()}
    theirs.save_pretrained(tmp_path/"back")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert DDPMScheduler.from_pretrained(tmp_path/"back").config == ours.config
    text = json.loads((tmp_path/"scheduler_config.json").read_text())
    assert text["_class_name"] == "DDPMScheduler" and text["trained_betas"] == [0.1, 0.2, 0.5, 0.99]


def test_a_list_of_generators_as_in_diffusers():
    ours, theirs = DDPMScheduler(), diffusers.DDPMScheduler()
    x, e = torch.randn(2, 3, 1, 4, 4)
    g = lambda: [torch.Generator().manual_seed(i) for i in range(3)]
    assert torch.equal(ours.step(e, 500, x, generator=g()).prev_sample, theirs.step(e, 500, x, generator=g()).prev_sample)


# Where diffusers goes wrong ------------------------------------------------------------------------------------------

def test_fixed_large_log_equals_fixed_large():
    x, e = torch.randn(2, 2, 1, 4, 4)
    a, b = (DDPMScheduler(variance_type=v).step(e, 500, x, generator=torch.Generator().manual_seed(0)).prev_sample for v in ("fixed_large", "fixed_large_log"))
    assert torch.equal(a, b) and a.isfinite().all()


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("T", [1000, 999, 250, 13, 1])
def test_every_count_of_timesteps(spacing, T):
    s = DDPMScheduler(num_train_timesteps=T, timestep_spacing=spacing)
    for n in range(1, T+1):
        ts = spaced_timesteps(n, T, spacing)
        assert len(ts) == len(set(ts.tolist())) == n and 0 <= ts[0] and ts[-1] < T


@pytest.mark.parametrize("T", [1000, 400, 250, 17])
def test_trailing_is_diffusers_wherever_that_counts_right(T):
    ours, theirs = DDPMScheduler(T, timestep_spacing="trailing"), diffusers.DDPMScheduler(T, timestep_spacing="trailing")
    right = 0
    for n in range(1, T+1):
        theirs.set_timesteps(n)
        if len(theirs.timesteps) != n or theirs.timesteps.min() < 0: continue
        right += 1
        assert torch.equal(spaced_timesteps(n, T, "trailing").flip(0), theirs.timesteps), n
    assert right > T/2
    print(f"diffusers' trailing count is right for {right} of {T} values")


def test_zero_terminal_snr_with_epsilon_is_refused_not_nan():
    s = DDPMScheduler(rescale_betas_zero_snr=True)
    with pytest.raises(ValueError, match="v_prediction"): s.step(torch.randn(1, 1, 2, 2), 999, torch.randn(1, 1, 2, 2))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    s = DDPMScheduler()
    x, e = torch.randn(2, 2, 1, 8, 8)
    for t in (0, 1, 2, 500, 999):
        half = s.step(e.to(dtype), t, x.to(dtype), generator=torch.Generator().manual_seed(0))
        full = s.step(e.to(dtype).float(), t, x.to(dtype).float(), generator=torch.Generator().manual_seed(0))
        assert half.prev_sample.dtype == dtype and (half.pred_original_sample.float() - full.pred_original_sample).abs().max() < 0.01
    noisy = s.add_noise(torch.zeros(3, 1, 4, 4, dtype=dtype), torch.ones(3, 1, 4, 4, dtype=dtype), torch.arange(3))
    assert (noisy > 0.009).all()                                     # at t = 0, 1, 2 there is noise


@pytest.mark.parametrize("options, message", [
    (dict(beta_schedule="lineer"), "Did you mean 'linear'"), (dict(variance_type="small"), "variance_type"), (dict(prediction_type="eps"), "prediction_type"), (dict(timestep_spacing="x"), "timestep_spacing"),
    (dict(num_train_timesteps=0), "num_train_timesteps"), (dict(num_train_timesteps=10.), "num_train_timesteps"), (dict(beta_start=0.), "beta_start"), (dict(beta_end=1.), "beta_end"), (dict(beta_end=float("nan")), "beta_end"),
    (dict(trained_betas=[]), "betas"), (dict(trained_betas=[0.1, -1]), "betas"), (dict(clip_sample=1), "clip_sample"), (dict(steps_offset=-1), "steps_offset"), (dict(clip_sample_range=-1.), "clip_sample_range")], ids=str)
def test_bad_options(options, message):
    with pytest.raises((ValueError, TypeError), match=message): DDPMScheduler(**options)


@pytest.mark.parametrize("timesteps", [torch.tensor([1000]), torch.tensor([-1]), torch.tensor([0.5]), torch.tensor([1, 2, 3])], ids=str)
def test_bad_timesteps_for_noise(timesteps):
    with pytest.raises((ValueError, TypeError), match="timesteps"): DDPMScheduler().add_noise(torch.zeros(2, 1, 2, 2), torch.zeros(2, 1, 2, 2), timesteps)


def test_uint8_images_are_refused():
    with pytest.raises(TypeError, match="original_samples.*uint8.*127.5"): DDPMScheduler().add_noise(torch.zeros(2, 1, 2, 2, dtype=torch.uint8), torch.zeros(2, 1, 2, 2), torch.tensor([1, 2]))


def test_gradients_flow_through_a_step():
    "For guidance: the step is differentiable in the sample and the prediction."
    x, e = torch.randn(2, 1, 1, 3, 3).unbind(0)
    x.requires_grad_(); e.requires_grad_()
    DDPMScheduler(clip_sample=False).step(e, 500, x).prev_sample.sum().backward()
    assert x.grad.abs().min() > 0 and e.grad.abs().min() > 0
