"""`UNet` against diffusers' `UNet2DModel`, both ways, on random configurations; and what a notebook
is the wrong place for. What it refuses is in refusals/unet.py; hooks are in test_unet_tools.py."""
import random
import warnings

import pytest
import torch

from ddpm_edu.unet import PRESETS, UNet, UNetOutput, unet_config

TINY = dict(in_channels=2, out_channels=1, block_out_channels=(8, 16), norm_num_groups=4,
            layers_per_block=1, attention_head_dim=8,
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"))


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
    head = r.choice([None, 3, 5, 8])
    width = lambda: r.choice([8, 16, 24])
    down = tuple(r.choice(["DownBlock2D", "AttnDownBlock2D"]) for _ in range(levels))
    up = tuple(r.choice(["UpBlock2D", "AttnUpBlock2D"]) for _ in range(levels))
    return dict(
        sample_size=r.choice([None, 16, (16, 24)]), in_channels=r.randint(1, 4),
        out_channels=r.randint(1, 4), center_input_sample=r.random() < 0.3,
        time_embedding_type=r.choice(["positional", "positional", "fourier"]),
        time_embedding_dim=r.choice([None, None, 12, 33]), freq_shift=r.choice([0, 1]),
        flip_sin_to_cos=r.random() < 0.5, down_block_types=down, up_block_types=up,
        mid_block_type=r.choice(["UNetMidBlock2D", "UNetMidBlock2D", None]),
        block_out_channels=tuple(width() for _ in range(levels)),
        layers_per_block=r.choice([1, 1, 2, 3]),
        mid_block_scale_factor=r.choice([1, 1, 1.4142, 0.5]),
        downsample_padding=r.choice([0, 1]), downsample_type=r.choice(["conv", "resnet"]),
        upsample_type=r.choice(["conv", "resnet"]), dropout=r.choice([0.0, 0.1]),
        act_fn=r.choice(["silu", "swish", "relu", "gelu", "mish"]), attention_head_dim=head,
        norm_num_groups=groups, attn_norm_num_groups=r.choice([None, None, 2, 8]),
        norm_eps=r.choice([1e-5, 1e-6, 1e-2]), add_attention=r.random() < 0.7,
        resnet_time_scale_shift=r.choice(["default", "scale_shift"]),
        num_class_embeds=r.choice([None, None, 5]))


def both(config, seed=0):
    "Our network and diffusers', with equal weights that were drawn by the first of them."
    from diffusers import UNet2DModel
    torch.manual_seed(seed)
    ours, theirs = UNet(**config), UNet2DModel(**config)
    return ours, theirs


def inputs(config, seed=0, batch=2, size=(8, 16)):
    g = torch.Generator().manual_seed(seed)
    t = torch.tensor([3, 700])[:batch]
    if config["time_embedding_type"] == "fourier": t = t.float()
    labels = torch.tensor([4, 0])[:batch] if config["num_class_embeds"] else None
    return torch.randn(batch, config["in_channels"], *size, generator=g), t, labels


def relative(a, b): return ((a - b).abs().max()/b.abs().max().clamp_min(1e-12)).item()


@pytest.mark.parametrize("seed", range(24))
def test_agrees_with_diffusers(seed):
    config = random_configuration(seed)
    ours, theirs = both(config, seed)
    x, t, labels = inputs(config, seed)
    for a, b in (ours, theirs), (theirs, ours):           # weights go both ways, key for key
        b.load_state_dict(a.state_dict(), strict=True)
        ours.eval(), theirs.eval()
        with torch.no_grad():
            mine, other = (m(x, t, labels).sample for m in (ours, theirs))
            assert relative(mine, other) < 1e-5
            mine, other = (m(x, t[1], labels, return_dict=False)[0] for m in (ours, theirs))
            assert relative(mine, other) < 1e-5
        torch.nn.init.normal_(theirs.conv_out.weight, std=0.1)
    theirs.load_state_dict(ours.state_dict())
    gradients_agree(ours, theirs, x.double(), t, labels)


def gradients_agree(ours, theirs, x, t, labels):
    "In float64: no rounding that moves an x across a kink of relu."
    for m in ours, theirs:
        y = m.double()(x, t, labels).sample
        ((y - x.mean(1, keepdim=True))**2).mean().backward()
    largest = max(p.grad.abs().max().item() for p in theirs.parameters() if p.grad is not None)
    pairs = zip(sorted(ours.named_parameters()), sorted(theirs.named_parameters()), strict=True)
    for (name, p), (_, q) in pairs:
        assert p.requires_grad == q.requires_grad, name
        if p.requires_grad: assert (p.grad - q.grad).abs().max() < 1e-7*largest, name


def test_heads_that_do_not_divide_the_width():
    "8 channels in heads of 3 are two heads with 6 channels, as in diffusers."
    config = TINY | dict(block_out_channels=(4, 8), norm_num_groups=2, attention_head_dim=3)
    ours, theirs = both(config)
    theirs.load_state_dict(ours.state_dict())
    assert ours.mid_block.attentions[0].to_q.weight.shape == (6, 8)
    assert ours.mid_block.attentions[0].to_out[0].weight.shape == (8, 6)
    x, t = torch.randn(2, 2, 8, 8), torch.tensor([3, 700])
    with torch.no_grad(): assert relative(ours(x, t).sample, theirs(x, t).sample) < 1e-6


def test_extreme_options_can_be_built():
    "The largest and the smallest that are allowed, on a device without memory."
    ends = dict(layers_per_block=[1, 64], in_channels=[1, 2**14], sample_size=[(2**16, 1), None, 1],
                num_class_embeds=[1, 2**20], time_embedding_dim=[1, 2**14],
                downsample_padding=[0, 1], attention_head_dim=[1, 5, 8], dropout=[0, 0.99],
                freq_shift=[-1, 3.9], norm_num_groups=[1, 8],
                block_out_channels=[[8, 16], (8, 2**12)],
                attn_norm_num_groups=[1, 16])
    many = dict(block_out_channels=(8,)*16, down_block_types=("DownBlock2D",)*16,
                up_block_types=("UpBlock2D",)*16)
    with torch.device("meta"):
        for name, values in ends.items():
            for value in values: assert UNet(**TINY | {name: value}).num_parameters() > 0, name
        assert len(UNet(**TINY | many).down_blocks) == 16


@pytest.mark.parametrize("options", [
    dict(block_out_channels=(4, 8)), dict(block_out_channels=(12, 12), attention_head_dim=None),
    dict(block_out_channels=(4, 4), add_attention=False, down_block_types=("DownBlock2D",)*2,
         up_block_types=("UpBlock2D",)*2),
    dict(time_embedding_type="fourier", freq_shift=50)], ids=str)
def test_options_that_do_not_matter_are_not_refused(options):
    "A width below the head where nothing attends; a shift where there are no such frequencies."
    if options.get("block_out_channels") == (4, 8): options = options | dict(attention_head_dim=8)
    assert UNet(**TINY | options).eval()(torch.randn(1, 2, 8, 8), 5).sample.isfinite().all()


def test_same_seed_same_initial_weights():
    from diffusers import UNet2DModel
    odd = TINY | dict(num_class_embeds=3, resnet_time_scale_shift="scale_shift",
                      attention_head_dim=3)
    for config in unet_config("tiny"), unet_config("fashion-mnist"), odd:
        tables = []
        for kind in UNet, UNet2DModel:
            torch.manual_seed(5)
            tables.append(kind(**config).state_dict())
        assert tables[0].keys() == tables[1].keys()
        assert all(torch.equal(v, tables[1][k]) for k, v in tables[0].items())


def test_signature_and_defaults_are_diffusers():
    import inspect
    from diffusers import UNet2DModel
    theirs, ours = (inspect.signature(c.__init__).parameters for c in (UNet2DModel, UNet))
    theirs = {k: p.default for k, p in theirs.items() if k not in UNet.refused_config}
    assert list(theirs.items()) == [(k, p.default) for k, p in ours.items()]
    forward = [list(inspect.signature(c.forward).parameters) for c in (UNet, UNet2DModel)]
    assert forward[0] == forward[1]


@pytest.mark.parametrize("name, count", [
    ("cifar10", 35_746_307), ("lsun-256", 113_673_219), ("celebahq-256", 113_673_219),
    ("fashion-mnist", 1_112_801), ("tiny", 44_969)])
def test_presets(name, count):
    from diffusers import UNet2DModel
    with torch.device("meta"): ours, theirs = (c(**unet_config(name)) for c in (UNet, UNet2DModel))
    assert ours.num_parameters() == theirs.num_parameters() == count
    shapes = [{k: v.shape for k, v in m.state_dict().items()} for m in (ours, theirs)]
    assert shapes[0] == shapes[1]
    assert ours.num_parameters(only_trainable=True) == count


def test_presets_are_copies():
    unet_config("tiny")["dropout"] = 0.9
    assert "dropout" not in PRESETS["tiny"]


def test_frozen_fourier_weights_do_not_train():
    unet = UNet(**TINY, time_embedding_type="fourier")
    assert unet.num_parameters() - unet.num_parameters(only_trainable=True) == 8


@pytest.mark.parametrize("t", [
    7, 7.0, torch.tensor(7), torch.tensor([7]), torch.tensor([7, 7]), torch.tensor(7.0),
    torch.tensor([7, 7], dtype=torch.int32), torch.tensor([7.0, 7.0], dtype=torch.float64),
    torch.tensor(7, dtype=torch.uint8)], ids=str)
def test_kinds_of_timestep(t):
    torch.manual_seed(0)
    unet, x = UNet(**TINY).eval(), torch.randn(2, 2, 8, 8)
    with torch.no_grad():
        assert relative(unet(x, t).sample, unet(x, torch.tensor([7, 7])).sample) < 1e-6


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
    for t in (5, torch.tensor(5), torch.tensor([5]), torch.tensor([5, 5, 5])):
        unet(torch.randn(3, 2, 8, 8), t)
    assert rows == [1, 1, 1, 3]


def test_channels_last_is_the_users_choice_and_then_stays():
    torch.manual_seed(0)
    unet, x = UNet(**unet_config("fashion-mnist")).eval(), torch.randn(4, 1, 28, 28)
    with torch.no_grad():
        want = unet(x, 5).sample
        unet.to(memory_format=torch.channels_last)
        formats = []
        def note(m, args, out): formats.append(out.is_contiguous(memory_format=torch.channels_last))
        for m in unet.modules():
            if type(m).__name__ in ("ResnetBlock", "Attention", "Downsample", "Upsample"):
                m.register_forward_hook(note)
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
    limit = {torch.float64: 1e-5, torch.bfloat16: 0.1, torch.float16: 0.02}[dtype]
    assert relative(got.double(), want.double()) < limit


def test_half_precision_tells_neighboring_times_apart():
    unet = UNet(**TINY).bfloat16()
    waves = [unet.time_proj(torch.tensor([t])) for t in (998, 999)]    # one number in bfloat16
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
        torch.manual_seed(1)                              # the same dropout, also computed again
        unet(x, torch.tensor([1, 2])).sample.square().mean().backward()
        results.append([p.grad.clone() for p in unet.parameters()])
    assert all(torch.allclose(a, b, rtol=1e-5, atol=1e-8) for a, b in zip(*results))


def test_gradient_checkpointing_keeps_less_and_says_so():
    unet, x = UNet(**TINY), torch.randn(2, 2, 8, 8)
    def kept():
        numbers = []
        def pack(t): numbers.append(t.numel())
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t): unet(x, 5)
        return sum(numbers)
    assert UNet._supports_gradient_checkpointing and not unet.is_gradient_checkpointing
    usual = kept()
    unet.enable_gradient_checkpointing()
    assert unet.is_gradient_checkpointing and kept() < 0.7*usual
    unet.disable_gradient_checkpointing()
    assert not unet.is_gradient_checkpointing and kept() == usual


def test_gradient_checkpointing_is_a_matter_of_the_levels():
    "As in diffusers: levels have the switch, and the names of the options; the way can be given."
    unet, seen = UNet(**TINY), []
    unet.enable_gradient_checkpointing(lambda block, *args: seen.append(block) or block(*args))
    unet(torch.randn(2, 2, 8, 8), 5)
    resnets = [m for m in unet.modules() if type(m).__name__ == "ResnetBlock"]
    assert len(seen) == len(resnets) and set(seen) == set(resnets)
    levels = {type(m).__name__ for m in unet.modules() if hasattr(m, "gradient_checkpointing")}
    assert levels == {*TINY["down_block_types"], "UNetMidBlock2D", *TINY["up_block_types"]}


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
        alone = [unet(x[i:i+1], t[i:i+1]).sample for i in range(4)]
        assert relative(torch.cat(alone), together) < 1e-5


def test_compiles_in_one_graph():
    torch.manual_seed(0)
    one_level = dict(block_out_channels=(8,), down_block_types=("AttnDownBlock2D",),
                     up_block_types=("UpBlock2D",), mid_block_type=None)
    unet, x = UNet(**TINY | one_level).eval(), torch.randn(2, 2, 8, 8)
    compiled = torch.compile(unet, backend="eager", fullgraph=True)
    with torch.no_grad():
        for t in torch.tensor([5, 900]), 5, 6:
            assert relative(compiled(x, t).sample, unet(x, t).sample) < 1e-6


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
