"""`UNet` against diffusers' `UNet2DModel`, both ways, on random configurations; and what a notebook is the wrong place for."""
import random
import warnings

import pytest
import torch

from ddpm_edu.unet import PRESETS, UNet, UNetOutput, unet_config

TINY = dict(in_channels=2, out_channels=1, block_out_channels=(8, 16), norm_num_groups=4, layers_per_block=1, attention_head_dim=8,
    down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"))


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def random_configuration(seed):
    "Arguments of a small network, every option drawn at random."
    r = random.Random(seed)
    levels, groups = r.choice([1, 2, 2, 2, 3, 4]), r.choice([1, 2, 4])
    head = r.choice([None, 4, 8])
    width = lambda: r.choice([8, 16, 24])
    return dict(sample_size=r.choice([None, 16, (16, 24)]), in_channels=r.randint(1, 4), out_channels=r.randint(1, 4), center_input_sample=r.random() < 0.3,
        time_embedding_type=r.choice(["positional", "positional", "fourier"]), time_embedding_dim=r.choice([None, None, 12, 33]),
        freq_shift=r.choice([0, 1]), flip_sin_to_cos=r.random() < 0.5, down_block_types=tuple(r.choice(["DownBlock2D", "AttnDownBlock2D"]) for _ in range(levels)),
        mid_block_type=r.choice(["UNetMidBlock2D", "UNetMidBlock2D", None]), up_block_types=tuple(r.choice(["UpBlock2D", "AttnUpBlock2D"]) for _ in range(levels)),
        block_out_channels=tuple(width() for _ in range(levels)), layers_per_block=r.choice([1, 1, 2, 3]), mid_block_scale_factor=r.choice([1, 1, 1.4142, 0.5]),
        downsample_padding=r.choice([0, 1]), downsample_type=r.choice(["conv", "resnet"]), upsample_type=r.choice(["conv", "resnet"]), dropout=r.choice([0.0, 0.1]),
        act_fn=r.choice(["silu", "swish", "relu", "gelu", "mish"]), attention_head_dim=head, norm_num_groups=groups, attn_norm_num_groups=r.choice([None, None, 2, 8]),
        norm_eps=r.choice([1e-5, 1e-6, 1e-2]), resnet_time_scale_shift=r.choice(["default", "scale_shift"]), add_attention=r.random() < 0.7,
        num_class_embeds=r.choice([None, None, 5]))


def both(config, seed=0):
    "Our network and diffusers', with equal weights that were drawn by the first of them."
    from diffusers import UNet2DModel
    torch.manual_seed(seed)
    ours, theirs = UNet(**config), UNet2DModel(**config)
    return ours, theirs


def inputs(config, seed=0, batch=2, size=(8, 16)):
    g = torch.Generator().manual_seed(seed)
    t = torch.tensor([3.0, 700.0])[:batch] if config["time_embedding_type"] == "fourier" else torch.tensor([3, 700])[:batch]
    labels = torch.tensor([4, 0])[:batch] if config["num_class_embeds"] else None
    return torch.randn(batch, config["in_channels"], *size, generator=g), t, labels


def relative(a, b): return ((a - b).abs().max()/b.abs().max().clamp_min(1e-12)).item()


@pytest.mark.parametrize("seed", range(24))
def test_agrees_with_diffusers(seed):
    config = random_configuration(seed)
    ours, theirs = both(config, seed)
    x, t, labels = inputs(config, seed)
    for a, b in (ours, theirs), (theirs, ours):                        # weights go both ways, key for key
        b.load_state_dict(a.state_dict(), strict=True)
        ours.eval(), theirs.eval()
        with torch.no_grad():
            assert relative(ours(x, t, labels).sample, theirs(x, t, labels).sample) < 1e-5
            assert relative(ours(x, t[1], labels, return_dict=False)[0], theirs(x, t[1], labels, return_dict=False)[0]) < 1e-5
        torch.nn.init.normal_(theirs.conv_out.weight, std=0.1)
    theirs.load_state_dict(ours.state_dict())
    outs = [m.double()(x.double(), t, labels).sample for m in (ours, theirs)]     # in float64: no rounding that moves an x across a kink of relu
    for y in outs: ((y - x.mean(1, keepdim=True))**2).mean().backward()
    largest = max(p.grad.abs().max().item() for p in theirs.parameters() if p.grad is not None)
    for (name, p), (_, q) in zip(sorted(ours.named_parameters()), sorted(theirs.named_parameters()), strict=True):
        assert p.requires_grad == q.requires_grad, name
        if p.requires_grad: assert (p.grad - q.grad).abs().max() < 1e-7*largest, name


def test_same_seed_same_initial_weights():
    from diffusers import UNet2DModel
    for config in unet_config("tiny"), unet_config("fashion-mnist"), TINY | dict(num_class_embeds=3, resnet_time_scale_shift="scale_shift"):
        tables = []
        for kind in UNet, UNet2DModel:
            torch.manual_seed(5)
            tables.append(kind(**config).state_dict())
        assert tables[0].keys() == tables[1].keys() and all(torch.equal(v, tables[1][k]) for k, v in tables[0].items())


def test_signature_and_defaults_are_diffusers():
    import inspect
    from diffusers import UNet2DModel
    theirs = {k: p.default for k, p in inspect.signature(UNet2DModel.__init__).parameters.items() if k not in UNet.refused_config}
    assert list(theirs.items()) == [(k, p.default) for k, p in inspect.signature(UNet.__init__).parameters.items()]
    forward = [list(inspect.signature(c.forward).parameters) for c in (UNet, UNet2DModel)]
    assert forward[0] == forward[1]


@pytest.mark.parametrize("name, count", {"cifar10": 35_746_307, "lsun-256": 113_673_219, "celebahq-256": 113_673_219, "fashion-mnist": 1_112_801, "tiny": 44_969}.items())
def test_presets(name, count):
    from diffusers import UNet2DModel
    with torch.device("meta"): ours, theirs = UNet(**unet_config(name)), UNet2DModel(**unet_config(name))
    assert ours.num_parameters() == theirs.num_parameters() == count
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in theirs.state_dict().items()}
    assert ours.num_parameters(only_trainable=True) == count


def test_presets_are_copies():
    unet_config("tiny")["dropout"] = 0.9
    assert "dropout" not in PRESETS["tiny"]


def test_frozen_fourier_weights_do_not_train():
    unet = UNet(**TINY, time_embedding_type="fourier")
    assert unet.num_parameters() - unet.num_parameters(only_trainable=True) == 8


@pytest.mark.parametrize("t", [7, 7.0, torch.tensor(7), torch.tensor([7]), torch.tensor([7, 7]), torch.tensor(7.0), torch.tensor([7, 7], dtype=torch.int32),
    torch.tensor([7.0, 7.0], dtype=torch.float64), torch.tensor(7, dtype=torch.uint8)], ids=str)
def test_kinds_of_timestep(t):
    torch.manual_seed(0)
    unet, x = UNet(**TINY).eval(), torch.randn(2, 2, 8, 8)
    with torch.no_grad(): assert relative(unet(x, t).sample, unet(x, torch.tensor([7, 7])).sample) < 1e-6


def test_numpy_timestep_and_fractions():
    import numpy as np
    torch.manual_seed(0)
    unet, x = UNet(**TINY).eval(), torch.randn(2, 2, 8, 8)
    with torch.no_grad():
        assert torch.equal(unet(x, np.int64(7)).sample, unet(x, 7).sample)
        assert not torch.allclose(unet(x, 7.5).sample, unet(x, 7).sample)
        assert torch.equal(unet(x, 7.5).sample, unet(x, torch.tensor(7.5)).sample)


def test_scalar_time_is_embedded_once():
    unet, rows = UNet(**TINY), []
    unet.time_embedding.register_forward_hook(lambda m, args, out: rows.append(len(out)))
    for t in (5, torch.tensor(5), torch.tensor([5]), torch.tensor([5, 5, 5])): unet(torch.randn(3, 2, 8, 8), t)
    assert rows == [1, 1, 1, 3]


def test_channels_last_equals_contiguous_and_stays():
    torch.manual_seed(0)
    unet, x = UNet(**unet_config("fashion-mnist")).eval(), torch.randn(4, 1, 28, 28)
    with torch.no_grad():
        want = unet(x, 5).sample
        unet.to(memory_format=torch.channels_last)
        formats = []
        for m in unet.modules():
            if type(m).__name__ in ("ResnetBlock", "Attention", "Downsample", "Upsample"):
                m.register_forward_hook(lambda m, a, out: formats.append(out.is_contiguous(memory_format=torch.channels_last)))
        assert relative(unet(x.to(memory_format=torch.channels_last), 5).sample, want) < 1e-5
    assert formats and all(formats)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_dtypes(dtype):
    torch.manual_seed(0)
    unet, x = UNet(**TINY).eval(), torch.randn(2, 2, 8, 8)
    with torch.no_grad():
        want = unet(x, 999).sample
        got = unet.to(dtype)(x.to(dtype), 999).sample
    assert unet.dtype == got.dtype == dtype
    assert relative(got.double(), want.double()) < {torch.float64: 1e-5, torch.bfloat16: 0.1, torch.float16: 0.02}[dtype]


def test_half_precision_tells_neighboring_times_apart():
    unet = UNet(**TINY).bfloat16()
    waves = [unet.time_proj(torch.tensor([t])) for t in (998, 999)]    # bfloat16 could not tell these numbers apart
    assert waves[0].dtype == torch.float32 and not torch.allclose(*waves)


def test_autocast():
    unet, x = UNet(**TINY).eval(), torch.randn(2, 2, 8, 8)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16): y = unet(x, 5).sample
    assert y.dtype == torch.bfloat16 and relative(y.float(), unet(x, 5).sample) < 0.1


def test_gradient_checkpointing_gives_the_same_gradients():
    torch.manual_seed(0)
    unet, x, results = UNet(**TINY | dict(dropout=0.2)).train(), torch.randn(2, 2, 8, 8), []
    for on in False, True:
        unet.enable_gradient_checkpointing() if on else unet.disable_gradient_checkpointing()
        unet.zero_grad()
        torch.manual_seed(1)                                           # the same dropout, also when computed again
        unet(x, torch.tensor([1, 2])).sample.square().mean().backward()
        results.append([p.grad.clone() for p in unet.parameters()])
    assert all(torch.allclose(a, b, rtol=1e-5, atol=1e-8) for a, b in zip(*results))


def test_dropout_only_while_training_and_eval_is_deterministic():
    torch.manual_seed(0)
    unet, x = UNet(**TINY | dict(dropout=0.5)), torch.randn(2, 2, 8, 8)
    with torch.no_grad():
        assert not torch.equal(unet(x, 5).sample, unet(x, 5).sample)
        unet.eval()
        assert torch.equal(unet(x, 5).sample, unet(x, 5).sample)


def test_input_is_left_alone_and_output_kinds():
    unet, x = UNet(**TINY | dict(center_input_sample=True)).eval(), torch.rand(2, 2, 8, 8)
    before, out = x.clone(), unet(x, 5)
    assert torch.equal(x, before)
    assert isinstance(out, UNetOutput) and out.sample is out[0] is out["sample"]
    assert isinstance(unet(x, 5, return_dict=False), tuple)


def test_images_do_not_see_each_other():
    torch.manual_seed(0)
    unet, x, t = UNet(**TINY).eval(), torch.randn(4, 2, 8, 16), torch.tensor([1, 20, 300, 999])
    with torch.no_grad():
        together, order = unet(x, t).sample, torch.tensor([2, 0, 3, 1])
        assert relative(unet(x[order], t[order]).sample, together[order]) < 1e-5
        assert relative(torch.cat([unet(x[i:i+1], t[i:i+1]).sample for i in range(4)]), together) < 1e-5


def test_compiles_in_one_graph():
    torch.manual_seed(0)
    one_level = dict(block_out_channels=(8,), down_block_types=("AttnDownBlock2D",), up_block_types=("UpBlock2D",), mid_block_type=None)
    unet, x = UNet(**TINY | one_level).eval(), torch.randn(2, 2, 8, 8)
    compiled = torch.compile(unet, backend="eager", fullgraph=True)
    with torch.no_grad():
        for t in torch.tensor([5, 900]), 5, 6: assert relative(compiled(x, t).sample, unet(x, t).sample) < 1e-6


def test_save_load_both_libraries(tmp_path):
    from diffusers import UNet2DModel
    torch.manual_seed(0)
    x, ours = torch.randn(1, 1, 8, 8), UNet(**unet_config("tiny")).eval()
    ours.save_pretrained(tmp_path/"ours")
    theirs = UNet2DModel.from_pretrained(tmp_path/"ours").eval()
    theirs.save_pretrained(tmp_path/"theirs")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = UNet.from_pretrained(tmp_path/"theirs")
    with torch.no_grad():
        assert relative(theirs(x, 5).sample, ours(x, 5).sample) < 1e-5
        assert torch.equal(again(x, 5).sample, ours(x, 5).sample)
    assert again.config == ours.config


@pytest.mark.parametrize("options, words", [
    (dict(block_out_channels=(10**9, 10**9)), "block_out_channels must be between 1 and 16384"), (dict(block_out_channels=(2**14, 2**14)), "parameters"),
    (dict(down_block_types=("DownBlock2D",)), "down_block_types must have 2 entries"), (dict(up_block_types=("UpBlock2D",)*3), "up_block_types must have 2 entries"),
    (dict(block_out_channels=(8, 18)), "multiples of norm_num_groups=4"), (dict(block_out_channels=(8, 20)), "multiples of attention_head_dim=8"),
    (dict(attn_norm_num_groups=3), "attn_norm_num_groups"), (dict(time_embedding_type="learned"), "time_embedding_type"), (dict(class_embed_type="timestep"), "class_embed_type"),
    (dict(class_embed_type="identity"), "class_embed_type"), (dict(num_train_timesteps=1000), "num_train_timesteps"), (dict(down_block_types=("SkipDownBlock2D",)*2), "SkipDownBlock2D"),
    (dict(up_block_types=("ResnetUpsampleBlock2D",)*2), "ResnetUpsampleBlock2D"), (dict(mid_block_type="UNetMidBlock2DCrossAttn"), "mid_block_type"), (dict(layers_per_block=0), "layers_per_block"),
    (dict(in_channels=0), "in_channels"), (dict(out_channels=-3), "out_channels"), (dict(norm_num_groups=None), "norm_num_groups"), (dict(dropout=1.0), "dropout"), (dict(act_fn="tanh"), "act_fn"),
    (dict(downsample_padding=2), "downsample_padding"), (dict(sample_size="28"), "sample_size"), (dict(freq_shift=4), "freq_shift"), (dict(norm_eps=0), "norm_eps")], ids=str)
def test_bad_options(options, words):
    with pytest.raises((ValueError, TypeError)) as e: UNet(**TINY | options)
    assert words in str(e.value)


def test_unknown_option_is_an_error():
    with pytest.raises(TypeError, match="layers_per_blok"): UNet(layers_per_blok=2)


@pytest.mark.parametrize("call, words", [
    (lambda u: u(torch.randn(1, 2, 7, 8), 5), "multiples of 2"), (lambda u: u(torch.randn(1, 3, 8, 8), 5), "(batch, 2, height, width), got (1, 3, 8, 8)"),
    (lambda u: u(torch.randn(2, 8, 8), 5), "(2, 8, 8)"), (lambda u: u(torch.zeros(1, 2, 8, 8, dtype=torch.uint8), 5), "torch.uint8"), (lambda u: u(torch.zeros(1, 2, 8, 8).long(), 5), "torch.int64"),
    (lambda u: u(torch.zeros(1, 2, 8, 8).half(), 5), "unet.dtype"), (lambda u: u(None, 5), "sample must be a tensor"), (lambda u: u(torch.zeros(3, 2, 8, 8), torch.tensor([1, 2])), "(), (1,) or (3,)"),
    (lambda u: u(torch.zeros(3, 2, 8, 8), torch.zeros(3, 1)), "timestep"), (lambda u: u(torch.zeros(3, 2, 8, 8), None), "timestep"), (lambda u: u(torch.zeros(3, 2, 8, 8), -1), "timestep"),
    (lambda u: u(torch.zeros(3, 2, 8, 8), True), "timestep"), (lambda u: u(torch.zeros(3, 2, 8, 8), 5, torch.zeros(3).long()), "num_class_embeds")])
def test_bad_inputs(call, words):
    with pytest.raises((ValueError, TypeError)) as e: call(UNet(**TINY))
    assert words in str(e.value)


def test_28_through_four_levels_says_what_works():
    unet = UNet(in_channels=1, block_out_channels=(8,)*4, norm_num_groups=4, layers_per_block=1)
    with pytest.raises(ValueError, match="28x28, but 4 levels .* multiples of 8; pad the images to 32x32"): unet(torch.randn(1, 1, 28, 28), 5)
