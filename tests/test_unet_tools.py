"""What the usual tools see of the network: hooks, wrappers, parametrisations, contiguous weights,
torch's transformations. None of them may notice how a result was computed."""
import copy
import pickle

import pytest
import torch
from torch import nn

from ddpm_edu.unet import UNet, unet_config

EVERY = dict(in_channels=2, out_channels=1, block_out_channels=(8, 16), norm_num_groups=4,
             layers_per_block=1, attention_head_dim=3,
             down_block_types=("AttnDownBlock2D", "DownBlock2D"),
             up_block_types=("UpBlock2D", "AttnUpBlock2D"))
CONFIGS = {
    "usual": EVERY,
    "resampling blocks": EVERY | dict(downsample_type="resnet", upsample_type="resnet"),
    "time multiplies": EVERY | dict(resnet_time_scale_shift="scale_shift", downsample_padding=0),
    "noise levels, classes": EVERY | dict(time_embedding_type="fourier", num_class_embeds=3),
    "rescaled": EVERY | dict(mid_block_scale_factor=2, act_fn="mish", center_input_sample=True),
}
LAYERS = (nn.Conv2d, nn.GroupNorm, nn.Linear, nn.Embedding)


@pytest.fixture(params=CONFIGS)
def net(request):
    torch.manual_seed(0)
    return UNet(**CONFIGS[request.param]).eval()


@pytest.fixture
def tiny():
    torch.manual_seed(0)
    return UNet(**unet_config("tiny")).eval()


def images(net, batch=2): return torch.randn(batch, net.config.in_channels, 8, 8)
def answer(net, x):
    labels = torch.arange(len(x)) % 3 if net.config.num_class_embeds else None
    return net(x, torch.arange(len(x)) + 3, labels).sample


def differ(a, b): return ((a - b).abs().max()/b.abs().max()).item()


@pytest.mark.parametrize("gradients", [False, True])
def test_hooks_see_what_their_layer_computed(net, gradients):
    "What a hook keeps, of inputs and of outputs, is the same after the pass; every hook runs."
    kept, x = [], images(net)
    def before(name): return lambda m, args: kept.append((name, "in", args[0], args[0].clone()))
    def after(name): return lambda m, args, out: kept.append((name, "out", out, out.clone()))
    layers = {n: m for n, m in net.named_modules() if isinstance(m, LAYERS)}
    for name, m in layers.items():
        m.register_forward_pre_hook(before(name))
        m.register_forward_hook(after(name))
    with torch.set_grad_enabled(gradients): answer(net, x)
    assert not [(n, side) for n, side, now, then in kept if not torch.equal(now, then)]
    assert {n for n, *_ in kept} == set(layers)


def test_hooks_on_all_modules_at_once(net):
    "torch's global hooks, and those of containers and blocks."
    kept, x = [], images(net)
    def look(m, args, out):
        if isinstance(out, torch.Tensor): kept.append((type(m).__name__, out, out.clone()))
    hook = nn.modules.module.register_module_forward_hook(look)
    try: answer(net, x)
    finally: hook.remove()
    assert not [name for name, now, then in kept if not torch.equal(now, then)]
    assert {"ResnetBlock", "Attention", "Conv2d", "TimeMLP"} <= {name for name, *_ in kept}


def test_what_a_layer_gives_can_be_viewed_flat(net):
    "Images lie in memory as callers expect, inside the network too."
    bent = []
    def look(name): return lambda m, args, out: None if out.is_contiguous() else bent.append(name)
    for name, m in net.named_modules():
        if isinstance(m, (nn.Conv2d, nn.GroupNorm)): m.register_forward_hook(look(name))
    x = images(net)
    assert answer(net, x).view(len(x), -1).shape == (2, 64) and not bent


def test_full_backward_hooks(net):
    "On every module; they see gradients of the shape of what went in and out, and change nothing."
    x, seen = images(net), []
    answer(net, x).square().sum().backward()
    want = {k: p.grad.clone() for k, p in net.named_parameters() if p.grad is not None}
    net.zero_grad()
    for m in net.modules():
        if isinstance(m, LAYERS): m.register_full_backward_hook(lambda m, gi, go: seen.append(m))
    answer(net, x).square().sum().backward()
    assert len(set(seen)) == sum(isinstance(m, LAYERS) for m in net.modules())
    for k, g in want.items(): torch.testing.assert_close(net.get_parameter(k).grad, g)


def test_a_hook_may_replace_what_a_layer_gives(net):
    "An output of zeros, layer by layer, changes the answer: no result is computed past the module."
    x = images(net)
    with torch.no_grad():
        want = answer(net, x)
        for name, m in net.named_modules():
            if not isinstance(m, (nn.Conv2d, nn.GroupNorm)): continue
            hook = m.register_forward_hook(lambda m, args, out: torch.ones_like(out))
            assert not torch.equal(answer(net, x), want), name
            hook.remove()
        assert torch.equal(answer(net, x), want)


class Plus(nn.Module):
    "A layer with a correction of its own, as LoRA has."
    def __init__(self, layer):
        super().__init__()
        self.layer, self.extra = layer, copy.deepcopy(layer)

    def forward(self, *args): return self.layer(*args) + self.extra(*args)


def replaced(net, kind, make):
    for name, m in list(net.named_modules()):
        if isinstance(m, kind):
            parent, _, last = name.rpartition(".")
            setattr(net.get_submodule(parent), last, make(m))
    return net


@pytest.mark.parametrize("kind", [nn.Conv2d, nn.Linear, nn.GroupNorm])
def test_layers_can_be_wrapped(net, kind):
    "A correction of zero changes nothing, another one does; its weights get gradients."
    x = images(net)
    want = answer(net, x)
    wrapped = replaced(net, kind, Plus)
    extras = [m.extra for m in wrapped.modules() if isinstance(m, Plus)]
    with torch.no_grad():
        for p in (p for m in extras for p in m.parameters()): p.zero_()
        assert differ(answer(wrapped, x), want) < 1e-6
        for p in (p for m in extras for p in m.parameters()): p.normal_()
        assert differ(answer(wrapped, x), want) > 1e-3
    answer(wrapped, x).square().sum().backward()
    assert all(p.grad is not None for m in extras for p in m.parameters())


def test_parametrised_and_normalised_weights(net):
    "Each convolution's weight doubled by a parametrisation, which must be asked in every pass."
    class Double(nn.Module):
        def forward(self, w): return 2*w
    x = images(net)
    doubled = copy.deepcopy(net)
    for m in doubled.modules():
        if isinstance(m, nn.Conv2d): m.weight.data.mul_(2)
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    for m in convolutions: nn.utils.parametrize.register_parametrization(m, "weight", Double())
    assert differ(answer(net, x), answer(doubled, x)) < 1e-6
    normalised = copy.deepcopy(doubled)
    for m in list(normalised.modules()):
        if isinstance(m, nn.Conv2d): nn.utils.spectral_norm(m)
    assert differ(answer(normalised, x), answer(doubled, x)) > 1e-3


def test_weights_stored_in_another_type_than_they_compute_in(net):
    "diffusers' layerwise casting: hooks turn the weights back before each layer."
    from diffusers.hooks import apply_layerwise_casting
    x = images(net)
    want = answer(net, x)
    apply_layerwise_casting(net, storage_dtype=torch.float16, compute_dtype=torch.float32,
                            skip_modules_pattern=("norm", "time_proj"))
    assert net.conv_in.weight.dtype == torch.float16
    with torch.no_grad(): assert 0 < differ(answer(net, x), want) < 1e-2


def test_forward_of_a_part_can_be_overridden(tiny):
    "accelerate and others put a `forward` on the module itself."
    x, calls = images(tiny), []
    up = tiny.up_blocks[0].upsamplers[0].conv
    original = up.forward
    up.forward = lambda x: (calls.append(x.shape), original(x))[1]
    answer(tiny, x)
    assert calls == [(2, 16, 8, 8)]


def test_weights_are_ordinary(net, tmp_path):
    "Contiguous after building, loading, copying, casting and training; so the usual tools work."
    from safetensors.torch import load_file, save_file
    save_file(net.state_dict(), tmp_path/"weights.safetensors")
    net.load_state_dict(load_file(tmp_path/"weights.safetensors"))
    vector = nn.utils.parameters_to_vector(net.parameters())
    nn.utils.vector_to_parameters(vector, net.parameters())
    answer(net, images(net)).square().sum().backward()
    flat = torch.cat([p.grad.view(-1) for p in net.parameters() if p.requires_grad])
    assert flat.isfinite().all()
    net.save_pretrained(tmp_path/"folder")
    for m in (net, UNet.from_pretrained(tmp_path/"folder"), copy.deepcopy(net), net.bfloat16()):
        assert all(p.is_contiguous() for p in m.parameters())


def test_optimisers_that_flatten(tiny):
    x, losses = images(tiny), []
    optimiser = torch.optim.LBFGS(tiny.parameters(), max_iter=3)
    def closure():
        optimiser.zero_grad()
        loss = answer(tiny, x).square().mean()
        loss.backward()
        losses.append(loss.item())
        return loss
    optimiser.step(closure)
    assert losses[-1] < losses[0]


def test_copies_and_pickles(net):
    x = images(net)
    want = answer(net, x)
    for other in copy.deepcopy(net), pickle.loads(pickle.dumps(net)):
        assert torch.equal(answer(other, x), want) and other.config == net.config


def test_gradients_of_single_images(tiny):
    "torch.func: functional_call, grad and vmap together; their mean is the gradient of the batch."
    from torch.func import functional_call, grad, vmap
    x, t = images(tiny), torch.tensor([3, 4])
    weights = {k: p.detach() for k, p in tiny.named_parameters()}
    def loss(weights, x, t):
        args, options = (x[None], t[None]), {"return_dict": False}
        return functional_call(tiny, weights, args, options)[0].square().mean()
    each = vmap(grad(loss), in_dims=(None, 0, 0))(weights, x, t)
    tiny(x, t, return_dict=False)[0].square().mean().backward()
    for k, p in tiny.named_parameters():
        torch.testing.assert_close(each[k].mean(0), p.grad, rtol=1e-4, atol=1e-6)


def test_forward_mode_and_second_derivatives(tiny):
    "With the attention that torch has written for both (its fused one for CPUs has neither)."
    from torch.nn.attention import SDPBackend, sdpa_kernel
    with sdpa_kernel(SDPBackend.MATH): derivatives(tiny)


def derivatives(tiny):
    from torch.func import jvp
    x = images(tiny).double()
    net, v = tiny.double(), torch.randn(2, 1, 8, 8).double()
    f = lambda x: net(x, 5, return_dict=False)[0]
    _, slope = jvp(f, (x,), (v,))
    torch.testing.assert_close(slope, (f(x + 1e-5*v) - f(x - 1e-5*v))/2e-5, rtol=1e-5, atol=1e-7)
    leaf = x.clone().requires_grad_()
    first, = torch.autograd.grad(f(leaf).square().sum(), leaf, create_graph=True)
    first.square().sum().backward()
    assert leaf.grad.abs().max() > 0


def test_symbolic_trace(net):
    fixed = {"return_dict": False}
    if not net.config.num_class_embeds: fixed["class_labels"] = None
    traced = torch.fx.symbolic_trace(net, concrete_args=fixed)
    x, t = images(net), torch.tensor([3, 4])
    labels = torch.tensor([2, 0]) if net.config.num_class_embeds else None
    assert torch.equal(traced(x, t, labels, False)[0], net(x, t, labels, return_dict=False)[0])


def test_export(tiny):
    "With a batch size that stays open."
    batch, x, t = torch.export.Dim("batch", min=2, max=64), images(tiny), torch.tensor([3, 4])
    shapes = {"sample": {0: batch}, "timestep": {0: batch}, "return_dict": None}
    exported = torch.export.export(tiny, (x, t), {"return_dict": False}, dynamic_shapes=shapes)
    x, t = images(tiny, 5), torch.arange(5)
    with torch.no_grad():
        got = exported.module()(x, t, return_dict=False)[0]
        assert differ(got, tiny(x, t).sample) < 1e-5


def replica(module):
    "What nn.DataParallel makes of a module for a device: no parameters any more, only tensors."
    copied = {m: m._replicate_for_data_parallel() for m in module.modules()}
    for m, twin in copied.items():
        for name, child in m._modules.items(): twin._modules[name] = copied.get(child)
        for name, p in m._parameters.items(): setattr(twin, name, None if p is None else p*1)
    return copied[module]


def test_replicas(net):
    x = images(net)
    twin = replica(net)
    assert not list(twin.parameters())
    assert torch.equal(answer(twin, x), answer(net, x))


def test_autocast_trains(tiny):
    x = images(tiny)
    with torch.autocast("cpu", torch.bfloat16): loss = answer(tiny, x).float().square().mean()
    loss.backward()
    assert all(p.grad.isfinite().all() and p.grad.dtype == torch.float32 for p in tiny.parameters())


def test_types_and_devices_set_for_everything(tiny):
    "set_default_dtype and a default device must not reach into a pass."
    x = images(tiny)
    want = answer(tiny, x)
    torch.set_default_dtype(torch.float64)
    try: got = answer(tiny, x)
    finally: torch.set_default_dtype(torch.float32)
    assert torch.equal(got, want)
    with torch.device("meta"): got = tiny(x, 5).sample
    assert torch.equal(got, tiny(x, torch.tensor(5)).sample)


def test_class_numbers_are_looked_at_where_there_are_any():
    "On the CPU an unknown class is named; a transformation or another device is left alone."
    torch.manual_seed(0)
    net = UNet(**CONFIGS["noise levels, classes"]).eval()
    x, known, unknown = images(net), torch.tensor([2, 0]), torch.tensor([2, 3])
    with pytest.raises(ValueError, match="between 0 and 2 .* got 3"): net(x, 5, unknown)
    want = net(x, 5, known).sample

    def one(x, label): return net(x[None], 5, label[None]).sample[0]
    close = dict(rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(torch.func.vmap(one)(x, known), want, **close)
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, 5, known).sample, want, **close)
    program = torch.export.export(net, (x, torch.tensor(5), known)).module()
    torch.testing.assert_close(program(x, torch.tensor(5), known).sample, want, **close)
    assert net.to("meta")(x.to("meta"), 5, unknown.to("meta")).sample.shape == want.shape
