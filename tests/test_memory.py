"""Networks in less memory, by the names that diffusers has for it: weights stored in a smaller type,
weights that wait elsewhere, and pipelines that find out where to compute."""
import copy
import pickle
import sys
import threading

import pytest
import torch
from accelerate import cpu_offload, cpu_offload_with_hook
from accelerate.hooks import AlignDevicesHook, add_hook_to_module
from diffusers.hooks import apply_group_offloading, apply_layerwise_casting
from torch import nn

from ddpm_edu import DDPMPipeline, DDPMScheduler, UNet
from ddpm_edu.memory import LAYERS, computing_device, computing_dtype
from ddpm_edu.unet import unet_config

CPU, FP8 = torch.device("cpu"), torch.float8_e4m3fn


@pytest.fixture
def net():
    torch.manual_seed(0)
    return UNet(**unet_config("tiny")).eval()


@pytest.fixture
def pipe(net):
    pipe = DDPMPipeline(net, DDPMScheduler())
    pipe.set_progress_bar_config(disable=True)
    return pipe


def draw(pipe):
    return pipe(num_inference_steps=3, generator=torch.Generator().manual_seed(1),
                output_type="pt").images


def images(): return torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
def far_off(a, b): return ((a.float() - b.float()).norm()/b.float().norm()).item()


@pytest.mark.parametrize("storage", [torch.float32, torch.bfloat16, FP8, torch.float8_e5m2])
@torch.no_grad()
def test_stored_in_one_type_computed_in_another(net, storage):
    exact, size = net(images(), 5).sample, net.get_memory_footprint()
    net.enable_layerwise_casting(storage)
    for name, m in net.named_modules():
        if isinstance(m, LAYERS): assert m.weight.dtype == m.bias.dtype == storage, name
        if isinstance(m, nn.GroupNorm): assert m.weight.dtype == torch.float32, name
    assert net.dtype == torch.float32
    y = net(images(), 5).sample
    assert y.dtype == torch.float32 and far_off(y, exact) < 0.2
    assert far_off(y, exact) == 0 if storage == torch.float32 else far_off(y, exact) > 0
    if storage.itemsize < 4: assert net.get_memory_footprint() < size
    again = copy.deepcopy(net)
    if storage.itemsize > 1: again = pickle.loads(pickle.dumps(again))       # torch knows no others
    assert torch.equal(again(images(), 5).sample, y)
    assert all(m.forward.args[1] is m for m in again.modules() if isinstance(m, LAYERS))


@torch.no_grad()
def test_what_is_cast_can_be_chosen(net):
    net.enable_layerwise_casting(FP8, torch.bfloat16, ("down_blocks", "conv_in"), (nn.Linear,))
    kinds = {n: m.weight.dtype for n, m in net.named_modules() if isinstance(m, LAYERS)}
    assert kinds["conv_out"] == FP8 and kinds["conv_in"] == torch.float32
    assert {k for n, k in kinds.items() if n.startswith("down_blocks")} == {torch.float32}
    assert {k for n, k in kinds.items() if "time" in n} == {torch.float32}


def test_gradients_reach_stored_weights(net):
    other = copy.deepcopy(net)
    other.enable_layerwise_casting(torch.bfloat16)
    for n in (net, other): n(images(), 5).sample.square().mean().backward()
    for (name, p), q in zip(net.named_parameters(), other.parameters()):
        assert q.grad.dtype == q.dtype, name
        if "to_k.bias" in name: continue                   # 0: all keys moved alike change nothing
        assert far_off(q.grad, p.grad) < 0.2, name


def test_training_with_stored_weights_and_autocast(net):
    net.train().enable_layerwise_casting(FP8)
    with torch.autocast("cpu", torch.bfloat16): loss = net(images(), 5).sample.square().mean()
    loss.backward()
    assert all(p.grad.float().isfinite().all() for p in net.parameters())


def test_threads_share_stored_weights(net):
    net.enable_layerwise_casting(FP8)
    with torch.no_grad(): expected = net(images(), 5).sample
    found = []
    @torch.no_grad()
    def work(): found.extend(net(images(), 5).sample for _ in range(20))
    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads: t.start()
    for t in threads: t.join()
    assert len(found) == 80 and all(torch.equal(y, expected) for y in found)
    assert net.conv_in.weight.dtype == FP8


@pytest.mark.parametrize("cast", [
    lambda net: net.enable_layerwise_casting(FP8, torch.bfloat16),
    lambda net: apply_layerwise_casting(net.to(torch.bfloat16), FP8, torch.bfloat16)],
    ids=["ours", "theirs"])
def test_a_pipeline_draws_in_the_type_of_the_computation(pipe, cast):
    exact = draw(pipe)
    if pipe.unet.dtype == torch.float32: pipe.to(torch.bfloat16)
    cast(pipe.unet)
    assert pipe.dtype == pipe.unet.dtype == computing_dtype(pipe.unet) == torch.bfloat16
    assert far_off(draw(pipe), exact) < 0.5
    assert computing_dtype(nn.Conv2d(1, 1, 1).half()) == torch.float16


OFFLOADS = {
    "all at once": lambda pipe: pipe.enable_model_cpu_offload(device="cpu"),
    "layer by layer": lambda pipe: pipe.enable_sequential_cpu_offload(device="cpu"),
    "accelerate, all": lambda pipe: cpu_offload_with_hook(pipe.unet, CPU),
    "accelerate, layers": lambda pipe: cpu_offload(pipe.unet, CPU),
    "groups of blocks": lambda pipe: pipe.enable_group_offload("cpu", num_blocks_per_group=1),
    "groups, the network's": lambda pipe: pipe.unet.enable_group_offload(
        "cpu", offload_type="leaf_level"),
    "groups, diffusers'": lambda pipe: apply_group_offloading(pipe.unet, CPU,
                                                              num_blocks_per_group=1),
}


@pytest.mark.parametrize("how", OFFLOADS)
def test_weights_that_wait_elsewhere_give_the_same_images(pipe, how):
    exact = draw(pipe)
    OFFLOADS[how](pipe)
    assert pipe._execution_device.type == computing_device(pipe.unet).type == "cpu"
    for _ in range(2): assert torch.equal(draw(pipe), exact)
    pipe.maybe_free_model_hooks()
    assert torch.equal(draw(pipe), exact)


def test_hooks_can_be_taken_off_again(pipe):
    exact = draw(pipe)
    pipe.enable_sequential_cpu_offload(device="cpu")
    assert pipe.device.type == "meta"
    pipe.enable_model_cpu_offload(device="cpu")
    pipe.remove_all_hooks()
    assert not any(hasattr(m, "_hf_hook") for m in pipe.unet.modules())
    assert pipe.device.type == "cpu" and torch.equal(draw(pipe), exact)
    pipe.unet.enable_layerwise_casting(torch.bfloat16)
    assert far_off(draw(pipe), exact) < 0.5


def test_without_an_accelerator_offloading_says_so(pipe):
    if torch.cuda.is_available(): pytest.skip("there is one")
    for offload in (pipe.enable_model_cpu_offload, pipe.enable_sequential_cpu_offload):
        with pytest.raises(RuntimeError, match="has none"): offload()
        with pytest.raises(ValueError, match="pass one of the two"): offload(1, "cuda:0")


def test_hooks_may_copy_what_a_block_is_given(net):
    "accelerate and diffusers make new lists when they move inputs: no block may rely on the old."
    exact = net(images(), 5).sample
    def rebuilt(module, args):
        return tuple(list(a) if isinstance(a, list) else a for a in args)
    hooks = [m.register_forward_pre_hook(rebuilt) for m in net.modules()]
    assert torch.equal(net(images(), 5).sample, exact)
    for h in hooks: h.remove()
    for block in net.up_blocks: add_hook_to_module(block, AlignDevicesHook(CPU))
    assert torch.equal(net(images(), 5).sample, exact)


def test_group_offload_needs_diffusers(net, monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers.hooks", None)
    with pytest.raises(ImportError, match="pip install diffusers"): net.enable_group_offload("cpu")


def test_casting_comes_before_other_hooks(net):
    cpu_offload(net, CPU)
    with pytest.raises(ValueError, match="before weights are offloaded"):
        net.enable_layerwise_casting()
    assert net.dtype == torch.float32
    for wrong in (dict(storage_dtype="float8"), dict(compute_dtype=torch.int8)):
        with pytest.raises(TypeError, match="must be a floating type"):
            net.enable_layerwise_casting(**wrong)


def test_casting_and_offloading_together(pipe):
    pipe.unet.enable_layerwise_casting(FP8)
    expected = draw(pipe)
    pipe.enable_sequential_cpu_offload(device="cpu")
    assert torch.equal(draw(pipe), expected)


def test_attention_of_xformers_has_nothing_to_do(pipe):
    exact = draw(pipe)
    for part in (pipe, pipe.unet):
        part.enable_xformers_memory_efficient_attention()
        assert torch.equal(draw(pipe), exact)
        part.disable_xformers_memory_efficient_attention()
    assert torch.equal(draw(pipe), exact)
