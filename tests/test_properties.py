"Properties that hold for every valid configuration, searched by hypothesis."
import tempfile
import warnings

import torch
from hypothesis import HealthCheck, given, settings, strategies as st

from ddpm_edu import DDPMPipeline, DDPMScheduler, UNet

few = settings(max_examples=30, deadline=None, derandomize=True,
               suppress_health_check=list(HealthCheck))
numbers = lambda lo, hi: st.floats(lo, hi, allow_nan=False)
blocks = lambda way, n: st.tuples(*[st.sampled_from([f"{way}Block2D", f"Attn{way}Block2D"])]*n)
one_of = lambda *values: st.sampled_from(values)
flag, few_channels = st.booleans(), st.integers(1, 3)


@st.composite
def unet_configs(draw):
    "Every option of UNet, each over its whole range as far as a small network goes."
    levels, groups = draw(few_channels), draw(one_of(1, 2, 4))
    options = dict(
        sample_size=one_of(None, 8, (8, 16)), in_channels=few_channels, out_channels=few_channels,
        center_input_sample=flag, time_embedding_type=one_of("positional", "fourier"),
        time_embedding_dim=one_of(None, 7, 16), freq_shift=one_of(0, 0.5, 1), flip_sin_to_cos=flag,
        down_block_types=blocks("Down", levels), mid_block_type=one_of(None, "UNetMidBlock2D"),
        up_block_types=blocks("Up", levels),
        block_out_channels=st.tuples(*[one_of(4, 8, 16)]*levels),
        layers_per_block=st.integers(1, 2),
        mid_block_scale_factor=numbers(0.1, 3), downsample_padding=st.integers(0, 1),
        downsample_type=one_of("conv", "resnet"), upsample_type=one_of("conv", "resnet"),
        dropout=numbers(0, 0.9), act_fn=one_of("silu", "relu", "gelu", "mish"),
        attention_head_dim=one_of(None, 1, 2, 4), attn_norm_num_groups=one_of(None, 2),
        norm_eps=numbers(1e-8, 0.1), resnet_time_scale_shift=one_of("default", "scale_shift"),
        add_attention=flag, num_class_embeds=one_of(None, 1, 4))
    return {name: draw(values) for name, values in options.items()} | dict(norm_num_groups=groups)


@st.composite
def scheduler_configs(draw, predictions=("epsilon", "sample", "v_prediction")):
    "Every option of DDPMScheduler whose images stay finite."
    T = draw(st.integers(2, 60))
    prediction, zero = draw(st.sampled_from(predictions)), draw(st.booleans())
    trained = draw(st.one_of(st.none(), st.lists(numbers(1e-4, 0.5), min_size=T, max_size=T)))
    options = dict(
        beta_start=numbers(1e-4, 0.01), beta_end=numbers(0.02, 0.2),
        beta_schedule=one_of("linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid"),
        variance_type=one_of("fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log"),
        clip_sample=flag, thresholding=flag, dynamic_thresholding_ratio=numbers(0, 1),
        clip_sample_range=numbers(0.5, 3), sample_max_value=numbers(0.5, 3),
        timestep_spacing=one_of("leading", "trailing", "linspace"))
    return {name: draw(values) for name, values in options.items()} | dict(
        num_train_timesteps=T, trained_betas=trained, prediction_type=prediction, steps_offset=0,
        rescale_betas_zero_snr=zero and prediction != "epsilon")


def quiet(make, *args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")     # short schedules end far from noise, and say so
        return make(*args, **kwargs)


def seeds(n, first=0): return [torch.Generator().manual_seed(first + i) for i in range(n)]


@few
@given(unet_configs(), st.integers(0, 9), one_of(None, "v2"), flag, one_of("10GB", "2KB"))
def test_save_then_load_is_the_identity_for_networks(config, seed, variant, safe, shard):
    torch.manual_seed(seed)
    net = UNet(**config)
    with tempfile.TemporaryDirectory() as d, warnings.catch_warnings():
        warnings.simplefilter("error")
        net.save_pretrained(d, variant=variant, safe_serialization=safe, max_shard_size=shard)
        again = UNet.from_pretrained(d, variant=variant)
    assert again.config == net.config and not again.training
    a, b = net.state_dict(), again.state_dict()
    assert a.keys() == b.keys()
    assert all(torch.equal(v, b[k]) and v.dtype == b[k].dtype for k, v in a.items())
    trains = lambda network: [p.requires_grad for p in network.parameters()]
    assert trains(net) == trains(again)


@few
@given(scheduler_configs())
def test_save_then_load_is_the_identity_for_schedulers(config):
    s = quiet(DDPMScheduler, **config)
    with tempfile.TemporaryDirectory() as d:
        s.save_pretrained(d)
        again = quiet(DDPMScheduler.from_pretrained, d)
    assert again.config == s.config and torch.equal(again.betas, s.betas)
    assert torch.equal(again.timesteps, s.timesteps)


@few
@given(scheduler_configs(), st.integers(0, 2**31 - 1))
def test_noise_and_exact_prediction_give_the_image_back(config, seed):
    "add_noise, a perfect network, x-hat_0: the image, but for rounding divided by sqrt(abar)."
    s = quiet(DDPMScheduler, **config | dict(clip_sample=False, thresholding=False))
    g = torch.Generator().manual_seed(seed)
    x0, eps = torch.rand(3, 1, 4, 4, generator=g)*2 - 1, torch.randn(3, 1, 4, 4, generator=g)
    kind = config["prediction_type"]
    for t in {0, len(s)//2, len(s) - 1}:
        times = torch.full((3,), t)
        x_t, abar = s.add_noise(x0, eps, times), s.alphas_cumprod[t].item()
        velocity = s.get_velocity(x0, eps, times)
        output = {"epsilon": eps, "sample": x0, "v_prediction": velocity}[kind]
        if kind == "epsilon" and abar < 1e-4: continue      # nothing of the image is left
        guess = s.step(output, t, x_t, generator=seeds(1)[0]).pred_original_sample
        limit = 2e-6/max(abar, 1e-4)**0.5 if kind == "epsilon" else 2e-6
        assert (guess - x0).abs().max() <= limit


@few
@given(scheduler_configs(), st.permutations(range(4)), st.integers(0, 2**31 - 1))
def test_a_step_does_not_care_for_the_order_of_the_batch(config, order, seed):
    s, g = quiet(DDPMScheduler, **config), torch.Generator().manual_seed(seed)
    x, output = torch.randn(2, 4, 2, 3, 3, generator=g)
    for t in (0, len(s)//2, len(s) - 1 - (config["prediction_type"] == "epsilon")):
        a = s.step(output, t, x, generator=seeds(4))
        b = s.step(output[order], t, x[order], generator=[seeds(4)[i] for i in order])
        assert torch.equal(a.prev_sample[order], b.prev_sample)
        assert torch.equal(a.pred_original_sample[order], b.pred_original_sample)


@settings(few, max_examples=10)
@given(unet_configs(), scheduler_configs(), st.integers(1, 4), st.integers(0, 99))
def test_an_image_does_not_depend_on_its_batch(config, scheduler, batch, seed):
    "With a list of generators, on a CPU, up to the rounding of sums that are blocked differently."
    torch.manual_seed(seed)
    config |= dict(sample_size=8, out_channels=config["in_channels"], num_class_embeds=None,
                   time_embedding_type="positional")
    scheduler |= dict(clip_sample=True, rescale_betas_zero_snr=False)
    pipe = DDPMPipeline(UNet(**config), quiet(DDPMScheduler, **scheduler))
    pipe.set_progress_bar_config(disable=True)
    together = pipe(batch, seeds(batch, seed), num_inference_steps=2, output_type="pt").images
    for i in range(batch):
        alone = pipe(num_inference_steps=2, generator=seeds(1, seed + i), output_type="pt").images
        assert (together[i] - alone[0]).abs().max() < 1e-4
