"DDPMScheduler against diffusers' over random configurations, and where it does better on purpose."
import copy
import inspect
import json
import pickle
import random
import warnings

import pytest
import torch

from ddpm_edu import DDPMScheduler
from ddpm_edu.forward_process import NoiseSchedule, make_betas, spaced_timesteps
from ddpm_edu.randn import randn

diffusers = pytest.importorskip("diffusers")
diffusers.utils.logging.set_verbosity_error()
pytestmark = [pytest.mark.filterwarnings("ignore:with num_train_timesteps"),
              pytest.mark.filterwarnings("ignore:the last step starts at timestep")]


def seed(n=0): return torch.Generator().manual_seed(n)


def random_configuration(rng):
    T = rng.choice([1, 2, 3, 17, 100, 250, 1000])
    config = dict(
        num_train_timesteps=T,
        beta_schedule=rng.choice(["linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid"]),
        beta_start=rng.choice([1e-4, 1e-3]), beta_end=rng.choice([0.02, 0.2]),
        variance_type=rng.choice(["fixed_small", "fixed_small_log", "fixed_large", "learned",
                                  "learned_range"]),
        clip_sample=rng.random() < 0.5,
        prediction_type=rng.choice(["epsilon", "sample", "v_prediction"]),
        thresholding=rng.random() < 0.3, dynamic_thresholding_ratio=rng.choice([0.5, 0.995]),
        clip_sample_range=rng.choice([1., 2.5]), sample_max_value=rng.choice([0.5, 1., 3.]),
        timestep_spacing=rng.choice(["leading", "trailing", "linspace"]),
        rescale_betas_zero_snr=T > 1 and rng.random() < 0.2)
    if rng.random() < 0.15: config["trained_betas"] = torch.linspace(0.001, 0.3, T).tolist()
    if config["prediction_type"] == "epsilon":
        if config["rescale_betas_zero_snr"]: config["prediction_type"] = "v_prediction"
        elif DDPMScheduler(**config).alphas_cumprod[-1] == 0: config["prediction_type"] = "sample"
    return config


@pytest.mark.parametrize("number", range(150))
def test_steps_are_diffusers(number):
    rng, g = random.Random(number), seed(number)
    config = random_configuration(rng)
    T = config["num_train_timesteps"]
    ours, theirs = DDPMScheduler(**config), diffusers.DDPMScheduler(**config)
    kind = rng.random()
    if kind < 0.6:
        n = rng.choice([n for n in (1, 2, 5, 50, T) if n <= T])
        for s in (ours, theirs): s.set_timesteps(n)
        if len(theirs.timesteps) != n:                  # diffusers' trailing count is sometimes off
            theirs.set_timesteps(timesteps=ours.timesteps.tolist())
    elif kind < 0.8:
        chosen = sorted(rng.sample(range(T), rng.randint(1, T)), reverse=True)
        for s in (ours, theirs): s.set_timesteps(timesteps=chosen)
    assert torch.equal(ours.timesteps, theirs.timesteps)
    visited = ours.timesteps.tolist()
    channels = 6 if config["variance_type"].startswith("learned") else 3
    for t in visited[:3] + visited[-3:]:
        assert ours.previous_timestep(t) == theirs.previous_timestep(t)
        x = torch.randn(2, 3, 4, 5, generator=g)
        output = torch.randn(2, channels, 4, 5, generator=g)
        if config["variance_type"] == "learned": output[:, 3:] = output[:, 3:].abs()
        a, b = (s.step(output, t, x, generator=seed(1)) for s in (ours, theirs))
        for name in ("prev_sample", "pred_original_sample"):
            mine, other = getattr(a, name), getattr(b, name)
            assert mine.isfinite().all()
            if not other.isfinite().all(): continue     # diffusers divides 0 by 0
            assert (mine - other).abs().max() <= 1e-5*max(1, other.abs().max()), (name, t)


@pytest.mark.parametrize("number", range(20))
def test_forward_is_diffusers(number):
    rng, g = random.Random(number), seed(number)
    config = random_configuration(rng)
    ours, theirs = DDPMScheduler(**config), diffusers.DDPMScheduler(**config)
    x0, noise = torch.randn(2, 4, 3, 5, 5, generator=g)
    t = torch.randint(config["num_train_timesteps"], (4,), generator=g)
    assert torch.equal(ours.add_noise(x0, noise, t), theirs.add_noise(x0, noise, t))
    assert torch.equal(ours.get_velocity(x0, noise, t), theirs.get_velocity(x0, noise, t))
    assert torch.equal(ours.scale_model_input(x0, 1), x0)


def test_signature_is_diffusers():
    for name in ("__init__", "step", "set_timesteps", "add_noise", "get_velocity",
                 "previous_timestep", "scale_model_input"):
        mine, theirs = (inspect.signature(getattr(c, name)).parameters
                        for c in (DDPMScheduler, diffusers.DDPMScheduler))
        assert list(mine) == list(theirs), name
        defaults = [[p.default for p in these.values()] for these in (mine, theirs)]
        assert defaults[0] == defaults[1], name
    ours, theirs = DDPMScheduler(), diffusers.DDPMScheduler()
    for name in ("init_noise_sigma", "order", "num_inference_steps", "custom_timesteps",
                 "variance_type"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert len(ours) == len(theirs)


def test_files_are_interchangeable(tmp_path):
    ours = DDPMScheduler(variance_type="fixed_large", trained_betas=[0.1, 0.2, 0.5, 0.99],
                         clip_sample=False)
    ours.save_pretrained(tmp_path)
    theirs = diffusers.DDPMScheduler.from_pretrained(tmp_path)
    public = {k: v for k, v in theirs.config.items() if not k.startswith("_")}
    assert public == {k: list(v) if isinstance(v, tuple) else v for k, v in ours.config.items()}
    theirs.save_pretrained(tmp_path/"back")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert DDPMScheduler.from_pretrained(tmp_path/"back").config == ours.config
    text = json.loads((tmp_path/"scheduler_config.json").read_text())
    assert text["_class_name"] == "DDPMScheduler"
    assert text["trained_betas"] == [0.1, 0.2, 0.5, 0.99]


def test_a_list_of_generators_as_in_diffusers():
    x, e = torch.randn(2, 3, 1, 4, 4)
    a, b = (s.step(e, 500, x, generator=[seed(i) for i in range(3)]).prev_sample
            for s in (DDPMScheduler(), diffusers.DDPMScheduler()))
    assert torch.equal(a, b)


@pytest.mark.parametrize("n", [None, 10])
def test_previous_timestep_of_a_tensor_is_a_tensor(n):
    ours, theirs = DDPMScheduler(), diffusers.DDPMScheduler()
    if n:
        for s in (ours, theirs): s.set_timesteps(n)
    for t in ours.timesteps[[0, 1, -2, -1]]:
        assert ours.previous_timestep(t).item() == theirs.previous_timestep(t).item()
        assert isinstance(ours.previous_timestep(t.item()), int)


@pytest.mark.parametrize("limit", [0.3, 0.5, 1., 2.])
@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
def test_a_limit_of_the_quantile_below_one(limit, prediction):
    options = dict(thresholding=True, sample_max_value=limit, prediction_type=prediction)
    x, e = torch.randn(2, 2, 1, 6, 6, generator=seed())
    a, b = (s(**options).step(e, 300, x, generator=seed()).pred_original_sample
            for s in (DDPMScheduler, diffusers.DDPMScheduler))
    assert torch.equal(a, b) and a.abs().max() == 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compatibles_take_the_configuration_and_give_it_back():
    ours = DDPMScheduler(beta_end=0.03, variance_type="fixed_large")
    kinds = ours.compatibles
    assert kinds[0] is DDPMScheduler and diffusers.DDIMScheduler in kinds and len(kinds) > 10
    for kind in kinds:
        other = kind.from_config(ours.config)
        assert other.config.beta_end == 0.03, kind
        other.set_timesteps(5)


# What a call may not change --------------------------------------------------------------------

def pickled(s): return pickle.loads(pickle.dumps(s))


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy, pickled])
def test_a_copy_visits_timesteps_of_its_own(make):
    s = DDPMScheduler(variance_type="fixed_large")
    x, e = torch.randn(2, 1, 1, 4, 4)
    s.add_noise(x, e, torch.tensor([3]))                # tables that are kept do not hinder
    before = s.step(e, 999, x, generator=seed()).prev_sample
    own = make(s)
    own.set_timesteps(4)
    assert own.previous_timestep(750) == 500 and own.num_inference_steps == 4
    assert s.previous_timestep(750) == 749 and s.num_inference_steps is None
    assert torch.equal(s.step(e, 999, x, generator=seed()).prev_sample, before)
    own.set_timesteps(1000)
    assert torch.equal(own.step(e, 999, x, generator=seed()).prev_sample, before)


@pytest.mark.parametrize("changes", [
    dict(beta_end=0.1), dict(prediction_type="sample"), dict(variance_type="fixed_large"),
    dict(clip_sample=False), dict(thresholding=True, sample_max_value=2.), dict(steps_offset=1),
    dict(timestep_spacing="trailing"), dict(rescale_betas_zero_snr=True)], ids=str)
def test_what_the_config_says_is_what_is_computed(changes):
    x, e = torch.randn(2, 2, 1, 4, 4, generator=seed())
    new, s = DDPMScheduler(**changes), DDPMScheduler()
    s.register_to_config(**changes)
    assert s.config == new.config and torch.equal(s.betas, new.betas)
    for n in (None, 10):
        if n:
            for each in (s, new): each.set_timesteps(n)
        assert torch.equal(s.timesteps, new.timesteps)
        t = s.timesteps[5].item()
        a, b = (each.step(3*e, t, x, generator=seed()) for each in (s, new))
        assert torch.equal(a.prev_sample, b.prev_sample)
        assert torch.equal(a.pred_original_sample, b.pred_original_sample)


def test_a_change_that_is_refused_changes_nothing():
    s = DDPMScheduler()
    s.set_timesteps(timesteps=[500, 3])
    config = dict(s.config)
    with pytest.raises(ValueError, match="beta_end"): s.register_to_config(beta_end=-1)
    assert s.config == config and s.timesteps.tolist() == [500, 3]
    s.register_to_config(variance_type="fixed_large")
    assert s.timesteps.tolist() == [500, 3] and s.custom_timesteps and s.previous_timestep(500) == 3


def test_the_schedule_is_not_the_callers_tensor():
    betas = torch.linspace(0.001, 0.3, 100)
    s = DDPMScheduler(trained_betas=betas)
    first = s.betas.clone()
    betas.fill_(0.5)
    assert torch.equal(s.betas, first)


def results():
    "Tables, timesteps and one step, from arguments that leave types and devices to torch."
    s = DDPMScheduler(trained_betas=[0.1, 0.2, 0.3, 0.5, 0.9])
    x, e = (randn((2, 1, 3, 3), seed(i)) for i in range(2))
    out = [NoiseSchedule([0.1, 0.2]).alphas_cumprod, s.betas, randn((20,), seed())]
    out += [make_betas(name, 7) for name in ("linear", "sigmoid", "squaredcos_cap_v2")]
    for spacing in ("leading", "trailing", "linspace"):
        t = DDPMScheduler(5, 0.1, 0.5, timestep_spacing=spacing, rescale_betas_zero_snr=True)
        t.set_timesteps(3)
        out += [t.betas, t.timesteps, t.steps.posterior_variance]
    s.set_timesteps(timesteps=[4, 2, 0])
    out += [s.timesteps, s.step(e, 2, x, generator=seed()).prev_sample]
    return out + [s.add_noise(x, e, [1, 4]), s.add_noise(x, e, 3)]


def test_settings_of_torch_change_nothing():
    expected = results()
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.zeros(1).dtype == torch.float64
        doubled = results()
    finally: torch.set_default_dtype(torch.float32)
    with torch.device("meta"):
        assert torch.zeros(1).device.type == "meta"
        elsewhere = results()
    for found in (doubled, elsewhere):
        for a, b in zip(expected, found, strict=True):
            assert a.dtype == b.dtype and a.device == b.device and torch.equal(a, b)


def test_made_in_inference_mode_and_used_for_training():
    with torch.inference_mode():
        s = DDPMScheduler()
        s.set_timesteps(10)
        half = torch.zeros(2, 1, 2, 2, dtype=torch.float16)
        s.add_noise(half, half, torch.tensor([1, 2]))
    x = torch.zeros(2, 1, 2, 2, requires_grad=True)
    s.add_noise(x, x, torch.tensor([1, 2])).sum().backward()
    s.add_noise(x.half(), x.half(), torch.tensor([1, 2])).sum().backward()
    s.step(x*2, 900, x).prev_sample.sum().backward()
    assert x.grad.isfinite().all() and x.grad.abs().min() > 0


# Where diffusers goes wrong --------------------------------------------------------------------

def test_fixed_large_log_equals_fixed_large():
    x, e = torch.randn(2, 2, 1, 4, 4)
    a, b = (DDPMScheduler(variance_type=v).step(e, 500, x, generator=seed()).prev_sample
            for v in ("fixed_large", "fixed_large_log"))
    assert torch.equal(a, b) and a.isfinite().all()


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("T", [1000, 999, 250, 13, 1])
def test_every_count_of_timesteps(spacing, T):
    for n in range(1, T+1):
        ts = spaced_timesteps(n, T, spacing)
        assert len(ts) == len(set(ts.tolist())) == n and 0 <= ts[0] and ts[-1] < T


@pytest.mark.parametrize("T", [1000, 400, 250, 17])
def test_trailing_is_diffusers_wherever_that_counts_right(T):
    theirs, right = diffusers.DDPMScheduler(T, timestep_spacing="trailing"), 0
    for n in range(1, T+1):
        theirs.set_timesteps(n)
        if len(theirs.timesteps) != n or theirs.timesteps.min() < 0: continue
        right += 1
        assert torch.equal(spaced_timesteps(n, T, "trailing").flip(0), theirs.timesteps), n
    assert right > T/2
    print(f"diffusers' trailing count is right for {right} of {T} values")


def warned(make):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made = make()
    return made, [str(w.message) for w in caught]


@pytest.mark.parametrize("options", [
    dict(num_train_timesteps=4000, beta_start=0.001, beta_end=0.05),
    dict(beta_start=0.001, beta_end=0.2)], ids=str)
def test_an_underflow_is_announced_and_can_be_sampled_from(options):
    ours, said = warned(lambda: DDPMScheduler(**options))
    assert len(said) == 1 and "underflows" in said[0] and "lower beta_end" in said[0]
    theirs, x = diffusers.DDPMScheduler(**options), torch.randn(2, 1, 4, 4, generator=seed())
    for n in (50, 1000):
        for s in (ours, theirs): s.set_timesteps(n)
        for t in ours.timesteps[:3].tolist():
            e = torch.randn(x.shape, generator=seed(t))
            a, b = (s.step(e, t, x, generator=seed(1)).prev_sample for s in (ours, theirs))
            assert a.isfinite().all()
            if b.isfinite().all(): assert torch.equal(a, b)
    assert not warned(lambda: DDPMScheduler(4000, 0.001, 0.01))[1]


def test_noise_that_stays_is_announced():
    options = dict(variance_type="fixed_large", timestep_spacing="trailing")
    ours, theirs = DDPMScheduler(**options), diffusers.DDPMScheduler(**options)
    said = warned(lambda: ours.set_timesteps(10))[1]
    assert len(said) == 1 and "timestep 99" in said[0] and "fixed_small" in said[0]
    theirs.set_timesteps(10)
    x, e = torch.randn(2, 1, 1, 4, 4)
    a, b = (s.step(e, 99, x, generator=seed()).prev_sample for s in (ours, theirs))
    assert torch.equal(a, b)                            # diffusers does the same and says nothing
    assert not warned(lambda: ours.set_timesteps(1000))[1]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    s = DDPMScheduler()
    x, e = torch.randn(2, 2, 1, 8, 8).to(dtype)
    for t in (0, 1, 2, 500, 999):
        half = s.step(e, t, x, generator=seed())
        full = s.step(e.float(), t, x.float(), generator=seed())
        error = half.pred_original_sample.float() - full.pred_original_sample
        assert half.prev_sample.dtype == dtype and error.abs().max() < 0.01
    zero = torch.zeros(3, 1, 4, 4, dtype=dtype)
    noisy = s.add_noise(zero, zero + 1, torch.arange(3))
    assert noisy.dtype == dtype and (noisy > 0.009).all()    # at t = 0, 1, 2 there is noise


def test_gradients_flow_through_a_step():
    "For guidance: the step is differentiable in the sample and the prediction."
    x, e = (torch.randn(1, 1, 3, 3).requires_grad_() for _ in range(2))
    DDPMScheduler(clip_sample=False).step(e, 500, x).prev_sample.sum().backward()
    assert x.grad.abs().min() > 0 and e.grad.abs().min() > 0


def test_a_table_may_move_and_not_change():
    "Training scripts write `s.alphas_cumprod = s.alphas_cumprod.to(device)`."
    s, own = DDPMScheduler(100), DDPMScheduler(100).alphas_cumprod
    s.alphas_cumprod = moved = s.alphas_cumprod.clone()
    assert s.alphas_cumprod is moved and torch.equal(s.schedule.alphas_cumprod, own)
    s.register_to_config(beta_end=0.2)
    assert torch.equal(s.alphas_cumprod, DDPMScheduler(100, beta_end=0.2).alphas_cumprod)


def test_timesteps_that_cannot_be_set_change_nothing():
    "An accelerator that is not there: what was chosen before is still in force, all of it."
    s = DDPMScheduler()
    s.set_timesteps(10)
    before = s.timesteps.tolist(), s.visited, s.num_inference_steps, len(s.steps)
    with pytest.raises(RuntimeError): s.set_timesteps(20, device="nowhere")
    assert before == (s.timesteps.tolist(), s.visited, s.num_inference_steps, len(s.steps))
    s.set_timesteps(timesteps=(t for t in (999, 5, 0)))
    assert s.timesteps.tolist() == [999, 5, 0]


def test_the_quantile_of_many_images():
    "torch.quantile takes 2**24 numbers at most; an image's limit does not depend on the others."
    s = DDPMScheduler(thresholding=True)
    x = torch.randn(6, 1, 1700, 1700, generator=seed())              # more than that
    together = s.clip(x)
    assert all(torch.equal(together[i:i+1], s.clip(x[i:i+1])) for i in (0, 5))


def test_points_on_a_line_and_betas_with_a_gradient():
    betas = torch.linspace(1e-4, 0.02, 1000).requires_grad_()
    s = copy.deepcopy(DDPMScheduler(trained_betas=betas))
    assert not s.betas.requires_grad
    line, plane = (s.step(x, 500, x, seed()).prev_sample for x in (torch.ones(3), torch.ones(3, 1)))
    assert torch.equal(line, plane[:, 0])


def test_predict_epsilon_is_todays_prediction_type():
    "Files of 2022 say it so; to leave it out would sample with the wrong equation."
    for old, new in ((False, "sample"), (True, "epsilon"), (None, "epsilon")):
        assert DDPMScheduler.from_config({"predict_epsilon": old}).prediction_type == new
    config = {"predict_epsilon": True, "prediction_type": "v_prediction"}
    assert DDPMScheduler.from_config(config).prediction_type == "v_prediction"
