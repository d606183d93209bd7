"""A network in channels-last order while a pipeline samples: each of its parts is what PyTorch's is,
nothing is overwritten that somebody may still want, and a picture does not depend on who looks on."""
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ddpm_edu import DDPMPipeline, DDPMScheduler, UNet, channels_last, winograd
from ddpm_edu.channels_last import (LAST, added, doubled_conv, doubled_kernels, group_norm,
                                    mix_heads, normed, pieces)
from ddpm_edu.unet import unet_config
from ddpm_edu.winograd import Plan, convolve
from test_unet import relative
from test_winograd import beside_diffusers

SMALL = dict(sample_size=16, in_channels=1, out_channels=1, block_out_channels=(32, 64),
             layers_per_block=1, norm_num_groups=8, attention_head_dim=8,
             down_block_types=("AttnDownBlock2D", "DownBlock2D"),
             up_block_types=("UpBlock2D", "AttnUpBlock2D"))
NETWORKS = {"small": SMALL, "fashion-mnist": unet_config("fashion-mnist"),
            "odd": SMALL | dict(act_fn="gelu", resnet_time_scale_shift="scale_shift",
                                downsample_type="resnet", upsample_type="resnet")}


@pytest.fixture(autouse=True)
def as_measured(monkeypatch):
    "The rules of a processor with AVX-512, wherever the test runs."
    monkeypatch.setattr(winograd, "is_measured", winograd.can_pack)
    if not winograd.can_pack(): pytest.skip("this PyTorch has no packed kernels")


@pytest.fixture
def on():
    "As if a plan were in force."
    channels_last.plan_here("any plan")
    with torch.no_grad(): yield
    channels_last.plan_here(None)


def network(name, seed=0):
    torch.manual_seed(seed)
    return UNet(**NETWORKS[name]).eval()


def pipeline(unet):
    pipe = DDPMPipeline(unet, DDPMScheduler())
    pipe.set_progress_bar_config(disable=True)
    return pipe


def draw(pipe, steps=6, n=3, **options):
    return pipe(n, torch.Generator().manual_seed(0), steps, output_type="pt", **options).images


def noisy(name, n=3):
    config = NETWORKS[name]
    side = config["sample_size"]
    return torch.randn(n, config["in_channels"], side, side, generator=torch.manual_seed(1))


@pytest.mark.parametrize("seed", range(30))
def test_group_norm_is_pytorchs(seed, monkeypatch):
    r = torch.Generator().manual_seed(seed)
    b, g, c, h, w = (int(torch.randint(1, 9, (), generator=r)) for _ in range(5))
    norm = nn.GroupNorm(g, g*c, eps=10.**-seed if seed < 6 else 1e-5).double()
    x = 3 + torch.randn(b, g*c, h, w, generator=r, dtype=torch.float64)
    monkeypatch.setattr(channels_last, "PIECE", [1, 50, 2**20][seed%3])
    with torch.no_grad():
        for p in norm.parameters(): p.normal_(generator=r)
        want, y = norm(x), x.contiguous(memory_format=LAST)
        kept = y.clone()
        assert torch.allclose(group_norm(y, norm), want, atol=1e-9) and torch.equal(y, kept)
        assert torch.allclose(group_norm(y, norm, F.relu_, over=True), want.relu(), atol=1e-9)


@pytest.mark.parametrize("mean", [0, 100])
def test_group_norm_keeps_its_digits_where_the_mean_is_large(mean):
    x = (mean + torch.randn(2, 32, 28, 28)).contiguous(memory_format=LAST)
    norm = nn.GroupNorm(8, 32)
    with torch.no_grad(): found = group_norm(x, norm)
    assert relative(found, F.group_norm(x.double(), 8)) < (1e-4 if mean else 1e-6)


def test_pieces_cover_everything_once(monkeypatch):
    for size in (1, 7, 64, 10**6):
        monkeypatch.setattr(channels_last, "PIECE", size)
        seen = torch.zeros(5, 6)
        for i, j in pieces(5, 6, 4): seen[i, j] += 1
        assert (seen == 1).all()


@pytest.mark.parametrize("seed", range(30))
def test_doubling_and_convolving_as_one(seed, monkeypatch):
    r = torch.Generator().manual_seed(seed)
    b, c, o, h, w = (int(torch.randint(1, 9, (), generator=r)) for _ in range(5))
    x = torch.randn(b, c, h, w, generator=r, dtype=torch.float64)
    k, bias = (torch.randn(*s, generator=r, dtype=torch.float64) for s in ((o, c, 3, 3), (o,)))
    monkeypatch.setattr(channels_last, "PIECE", [1, 100, 2**20][seed%3])
    want = F.conv2d(F.interpolate(x, scale_factor=2.), k, bias, padding=1)
    assert torch.allclose(doubled_conv(x, doubled_kernels(k), bias), want, atol=1e-12)
    want -= bias[:, None, None]
    assert torch.allclose(doubled_conv(x, doubled_kernels(k)), want, atol=1e-12)


@pytest.mark.parametrize("d", [1, 3, 8, 15, 16, 40])
@pytest.mark.parametrize("n", [255, 256])
def test_padded_heads_give_the_same(n, d, on):
    q, k, v = torch.randn(3, 2, 3, n, d)
    assert torch.allclose(mix_heads(q, k, v), F.scaled_dot_product_attention(q, k, v), atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_agrees_with_diffusers(name):
    diffusers = pytest.importorskip("diffusers")
    ours, theirs = network(name), diffusers.UNet2DModel(**NETWORKS[name]).eval()
    theirs.load_state_dict(ours.state_dict())
    x = noisy(name)
    with torch.no_grad():
        with Plan(ours, x.shape) as plan: found = ours(x, 5).sample
        want = theirs(x, 5).sample
    forms = {state[2] for state, *_ in plan.kept.values()}
    assert plan.on and forms == {"doubled", "packed"} and relative(found, want) < 1e-5
    assert found.is_contiguous(memory_format=LAST)


@pytest.mark.parametrize("seed", range(20))
def test_random_networks_agree_with_diffusers(seed, monkeypatch):
    "Also with the layers that are too narrow to gain."
    monkeypatch.setattr(winograd, "packs", lambda conv: True)
    plan, difference = beside_diffusers(seed)
    assert plan.kept and difference < 1e-5


@pytest.mark.parametrize("name", NETWORKS)
def test_the_input_and_the_weights_stay_as_they_are(name):
    net, x = network(name), noisy(name)
    weights, before = {k: w.clone() for k, w in net.state_dict().items()}, x.clone()
    with torch.no_grad(), Plan(net, x.shape):
        first, second = (net(x, 5).sample for _ in range(2))
    assert torch.equal(x, before) and torch.equal(first, second)
    assert all(torch.equal(w, weights[k]) for k, w in net.state_dict().items())


@pytest.mark.parametrize("name", NETWORKS)
def test_a_callback_that_looks_on_changes_no_bit(name):
    "With one, nothing is kept from step to step; the numbers are the same."
    pipe = pipeline(network(name))
    assert torch.equal(draw(pipe), draw(pipe, callback_on_step_end=lambda *a: {}))


def test_a_hook_that_a_callback_registers_sees_the_usual_network():
    net, orders = network("small"), []
    def hook(m, args, out): orders.append(args[0].is_contiguous())
    def callback(pipe, i, t, state):
        if i == 2: net.mid_block.register_forward_hook(hook)
        return {}
    draw(pipeline(net), callback_on_step_end=callback)
    assert orders == [True]*3


class Remembers(nn.Conv2d):
    "A layer that computes once and gives the same tensor ever after."
    def forward(self, x):
        if not hasattr(self, "memory"): self.memory = super().forward(x)
        return self.memory


@pytest.mark.parametrize("which", ["conv1", "conv2", "conv_shortcut"])
def test_a_layer_that_remembers_its_output_is_not_overwritten(which):
    net, x = network("small"), noisy("small")
    layer = getattr(net.up_blocks[0].resnets[0], which)
    layer.__class__ = Remembers
    with torch.no_grad(), Plan(net, x.shape) as plan:
        first = net(x, 5).sample
        memory = layer.memory.clone()
        second = net(x, 5).sample
    assert plan.on and torch.equal(layer.memory, memory) and torch.equal(first, second)


def test_what_is_added_in_place(on):
    conv, x, y = nn.Conv2d(4, 4, 1), *torch.randn(2, 2, 4, 3, 3)
    h = conv(x)
    assert added(y, h, conv) is h
    assert added(y, x, nn.Identity()) is not x
    conv.register_forward_hook(lambda *a: None)
    assert added(y, h, conv) is not h


@pytest.mark.parametrize("pixels", [(8, 8), (28, 28), (64, 64)])
@pytest.mark.parametrize("act", [None, F.silu, F.relu, F.gelu, F.mish, torch.tanh],
                         ids=["none", "silu", "relu", "gelu", "mish", "tanh"])
def test_a_norm_with_what_follows(pixels, act, on):
    norm, x = nn.GroupNorm(2, 8), torch.randn(2, 8, *pixels)
    want, before = norm(x) if act is None else act(norm(x)), x.clone()
    assert torch.allclose(normed(norm, x, act), want, atol=1e-5) and torch.equal(x, before)
    assert torch.allclose(normed(norm, x, act, over=True), want, atol=1e-5)


def without_bias():
    norm = nn.GroupNorm(2, 8)
    norm.bias = None
    return norm


@pytest.mark.parametrize("norm", [nn.Identity(), nn.GroupNorm(2, 8, affine=False), without_bias(),
                                  nn.BatchNorm2d(8).eval(), nn.GroupNorm(2, 8).double()],
                         ids=["none", "without factors", "without offsets", "batch", "float64"])
def test_another_norm_is_called(norm, on):
    x = torch.randn(2, 8, 28, 28, dtype=next(iter(norm.parameters()), torch.zeros(1)).dtype)
    before = x.clone()
    assert torch.equal(normed(norm, x, F.silu, over=True), F.silu(norm(x)))
    assert torch.equal(x, before)


def test_without_a_plan_nothing_is_overwritten_and_gradients_flow():
    conv, norm = nn.Conv2d(8, 8, 1), nn.GroupNorm(2, 8)
    x, y = torch.randn(2, 1, 8, 28, 28)
    h = conv(x)
    assert added(y, h, conv) is not h
    normed(norm, h, F.silu, over=True).sum().backward()
    assert conv.weight.grad is not None


def test_the_doubled_layer_without_a_plan():
    conv, x = nn.Conv2d(64, 64, 3, padding=1), torch.randn(1, 64, 8, 8)
    with torch.no_grad():
        want = conv(F.interpolate(x, scale_factor=2.))
        assert torch.equal(convolve(conv, x, twice=True), want)
        holder = nn.ModuleList([conv])
        holder.minimal_filtering = True
        with Plan(holder, (1, 64, 16, 16)) as plan:
            assert torch.allclose(convolve(conv, x, twice=True), want, atol=1e-5)
            assert [state[2] for state, *_ in plan.kept.values()] == ["doubled"]
            low = x[:, :, :4]                            # too low to gain
            assert torch.allclose(convolve(conv, low, twice=True),
                                  conv(F.interpolate(low, scale_factor=2.)), atol=1e-5)


def test_an_image_does_not_depend_on_its_batch():
    pipe = pipeline(network("fashion-mnist"))
    def images(seeds):
        g = [torch.Generator().manual_seed(s) for s in seeds]
        return pipe(len(seeds), g, 4, output_type="pt").images
    assert torch.allclose(images([0, 1, 2])[1:2], images([1]), atol=1e-5)


def test_large_tensors_teach_the_allocator_and_take_no_memory():
    from tests.benchmarks.common import high_water
    before = high_water()
    assert Plan(network("small"), (4, 1, 16, 16)).on
    assert high_water() - before < 16_000                # kB, of 32 MB asked for


def pages_of_a_step(largest):
    "That the system has to hand out in the third, fourth and fifth step of a plan, in a process."
    import subprocess
    import sys
    script = f"""
import resource, torch
from ddpm_edu import UNet, winograd
from ddpm_edu.unet import unet_config
winograd.is_measured = winograd.can_pack
winograd.LARGEST = {largest}
net = UNet(**unet_config("cifar10") | dict(
    block_out_channels=(128, 256), layers_per_block=1, down_block_types=("DownBlock2D",)*2,
    up_block_types=("UpBlock2D",)*2)).eval()
def pages(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
with torch.no_grad(), winograd.Plan(net, (4, 3, 32, 32)):
    for step in range(5):
        if step == 2: before = pages()
        net(torch.zeros(4, 3, 32, 32), 5)
print(pages() - before)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    return int(done.stdout)


def test_memory_that_is_given_back_is_kept_for_the_next_step():
    import platform
    if platform.libc_ver()[0] != "glibc": pytest.skip("the lesson is glibc's")
    assert pages_of_a_step(winograd.LARGEST) < 1000 < 5000 < pages_of_a_step(1)
