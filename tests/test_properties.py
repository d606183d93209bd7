"Properties that hold for every valid configuration, searched by hypothesis."
import tempfile
import warnings

import torch
from hypothesis import HealthCheck, given, settings, strategies as st

from ddpm_edu import DDPMPipeline, DDPMScheduler, UNet

few = settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
numbers = lambda lo, hi: st.floats(lo, hi, allow_nan=False)
blocks = lambda way, n: st.tuples(*[st.sampled_from([f"{way}Block2D", f"Attn{way}Block2D"])]*n)


@st.composite
def unet_configs(draw):
    "Every option of UNet, each over its whole range as far as a small network goes."
    levels, groups = draw(st.integers(1, 3)), draw(st.sampled_from([1, 2, 4]))
    return dict(sample_size=draw(st.sampled_from([None, 8, (8, 16)])), in_channels=draw(st.integers(1, 3)), out_channels=draw(st.integers(1, 3)), center_input_sample=draw(st.booleans()),
        time_embedding_type=draw(st.sampled_from(["positional", "fourier"])), time_embedding_dim=draw(st.sampled_from([None, 7, 16])), freq_shift=draw(st.sampled_from([0, 0.5, 1])), flip_sin_to_cos=draw(st.booleans()),
        down_block_types=draw(blocks("Down", levels)), mid_block_type=draw(st.sampled_from([None, "UNetMidBlock2D"])), up_block_types=draw(blocks("Up", levels)),
        block_out_channels=draw(st.tuples(*[st.sampled_from([4, 8, 16])]*levels)), layers_per_block=draw(st.integers(1, 2)), mid_block_scale_factor=draw(numbers(0.1, 3)), downsample_padding=draw(st.integers(0, 1)),
        downsample_type=draw(st.sampled_from(["conv", "resnet"])), upsample_type=draw(st.sampled_from(["conv", "resnet"])), dropout=draw(numbers(0, 0.9)), act_fn=draw(st.sampled_from(["silu", "relu", "gelu", "mish"])),
        attention_head_dim=draw(st.sampled_from([None, 1, 2, 4])), norm_num_groups=groups, attn_norm_num_groups=draw(st.sampled_from([None, 2])), norm_eps=draw(numbers(1e-8, 0.1)),
        resnet_time_scale_shift=draw(st.sampled_from(["default", "scale_shift"])), add_attention=draw(st.booleans()), num_class_embeds=draw(st.sampled_from([None, 1, 4])))


@st.composite
def scheduler_configs(draw, predictions=("epsilon", "sample", "v_prediction")):
    "Every option of DDPMScheduler whose images stay finite."
    T = draw(st.integers(2, 60))
    prediction, zero = draw(st.sampled_from(predictions)), draw(st.booleans())
    trained = draw(st.one_of(st.none(), st.lists(numbers(1e-4, 0.5), min_size=T, max_size=T)))
    return dict(num_train_timesteps=T, beta_start=draw(numbers(1e-4, 0.01)), beta_end=draw(numbers(0.02, 0.2)), beta_schedule=draw(st.sampled_from(["linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid"])), trained_betas=trained,
        variance_type=draw(st.sampled_from(["fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log"])), clip_sample=draw(st.booleans()), prediction_type=prediction, thresholding=draw(st.booleans()),
        dynamic_thresholding_ratio=draw(numbers(0, 1)), clip_sample_range=draw(numbers(0.5, 3)), sample_max_value=draw(numbers(1, 3)), timestep_spacing=draw(st.sampled_from(["leading", "trailing", "linspace"])),
        steps_offset=0, rescale_betas_zero_snr=zero and prediction != "epsilon")


def quiet(make, *args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")                                    # short schedules end far from noise, and say so
        return make(*args, **kwargs)


def seeds(n, first=0): return [torch.Generator().manual_seed(first + i) for i in range(n)]


@few
@given(unet_configs(), st.integers(0, 9), st.sampled_from([None, "v2"]), st.booleans(), st.sampled_from(["10GB", "2KB"]))
def test_save_then_load_is_the_identity_for_networks(config, seed, variant, safe, shard):
    torch.manual_seed(seed)
    net = UNet(**config)
    with tempfile.TemporaryDirectory() as d, warnings.catch_warnings():
        warnings.simplefilter("error")
        net.save_pretrained(d, variant=variant, safe_serialization=safe, max_shard_size=shard)
        again = UNet.from_pretrained(d, variant=variant)
    assert again.config == net.config and not again.training
    a, b = net.state_dict(), again.state_dict()
    assert a.keys() == b.keys() and all(torch.equal(v, b[k]) and v.dtype == b[k].dtype for k, v in a.items())
    assert [p.requires_grad for p in net.parameters()] == [p.requires_grad for p in again.parameters()]


@few
@given(scheduler_configs())
def test_save_then_load_is_the_identity_for_schedulers(config):
    s = quiet(DDPMScheduler, **config)
    with tempfile.TemporaryDirectory() as d:
        s.save_pretrained(d)
        again = quiet(DDPMScheduler.from_pretrained, d)
    assert again.config == s.config and torch.equal(again.betas, s.betas) and torch.equal(again.timesteps, s.timesteps)


@few
@given(scheduler_configs(), st.integers(0, 2**31 - 1))
def test_noise_and_exact_prediction_give_the_image_back(config, seed):
    "add_noise, then a perfect network, then x-hat_0: the image, to the rounding that dividing by sqrt(abar) leaves."
    s = quiet(DDPMScheduler, **config | dict(clip_sample=False, thresholding=False))
    g = torch.Generator().manual_seed(seed)
    x0, eps = torch.rand(3, 1, 4, 4, generator=g)*2 - 1, torch.randn(3, 1, 4, 4, generator=g)
    for t in {0, len(s)//2, len(s) - 1}:
        times = torch.full((3,), t)
        x_t, abar = s.add_noise(x0, eps, times), s.alphas_cumprod[t].item()
        output = {"epsilon": eps, "sample": x0, "v_prediction": s.get_velocity(x0, eps, times)}[config["prediction_type"]]
        if config["prediction_type"] == "epsilon" and abar < 1e-4: continue             # nothing of the image is left
        guess = s.step(output, t, x_t, generator=seeds(1)[0]).pred_original_sample
        limit = 2e-6/max(abar, 1e-4)**0.5 if config["prediction_type"] == "epsilon" else 2e-6
        assert (guess - x0).abs().max() <= limit


@few
@given(scheduler_configs(), st.permutations(range(4)), st.integers(0, 2**31 - 1))
def test_a_step_does_not_care_for_the_order_of_the_batch(config, order, seed):
    s, g = quiet(DDPMScheduler, **config), torch.Generator().manual_seed(seed)
    x, output = torch.randn(2, 4, 2, 3, 3, generator=g)
    for t in (0, len(s)//2, len(s) - 1 - (config["prediction_type"] == "epsilon")):
        a = s.step(output, t, x, generator=seeds(4))
        b = s.step(output[order], t, x[order], generator=[seeds(4)[i] for i in order])
        assert torch.equal(a.prev_sample[order], b.prev_sample) and torch.equal(a.pred_original_sample[order], b.pred_original_sample)


@settings(few, max_examples=10)
@given(unet_configs(), scheduler_configs(), st.integers(1, 4), st.integers(0, 99))
def test_an_image_does_not_depend_on_its_batch(config, scheduler, batch, seed):
    "With a list of generators, on a CPU, up to the rounding of sums that are blocked differently."
    torch.manual_seed(seed)
    config |= dict(sample_size=8, out_channels=config["in_channels"], num_class_embeds=None, time_embedding_type="positional")
    pipe = DDPMPipeline(UNet(**config), quiet(DDPMScheduler, **scheduler | dict(clip_sample=True, rescale_betas_zero_snr=False)))
    pipe.set_progress_bar_config(disable=True)
    together = pipe(batch_size=batch, num_inference_steps=2, generator=seeds(batch, seed), output_type="pt").images
    for i in range(batch):
        alone = pipe(num_inference_steps=2, generator=seeds(1, seed + i), output_type="pt").images
        assert (together[i] - alone[0]).abs().max() < 1e-4
