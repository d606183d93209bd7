"""Fewer products for the same numbers: agreement with diffusers, kernels that are never stale, and
all that must not notice. The rule is told to say yes, so that small networks take part."""
import copy
import pickle
import threading

import pytest
import torch
from torch import nn

from ddpm_edu import DDPMPipeline, DDPMScheduler, UNet, channels_last, winograd
from ddpm_edu.unet import unet_config
from ddpm_edu.winograd import (Plan, convolve, row_kernels, rows_conv, square_conv, tile_kernels,
                               tiles_conv)
from test_unet import inputs, random_configuration, relative

CONFIG = unet_config("tiny") | dict(sample_size=(8, 12))


@pytest.fixture(autouse=True, params=["rows", "tiles"])
def used(monkeypatch, request):
    "Every layer of 3x3 takes part, in one form; the list grows by one with each that does."
    calls, usual = [], {"rows": rows_conv, "tiles": tiles_conv}[request.param]
    def counting(*args):
        calls.append(args)
        return usual(*args)
    def form(conv, shape, twice=False):
        if twice: return ""
        if square(conv) and winograd.wins(conv, shape): return request.param
        return "packed" if winograd.packs(conv) else ""
    monkeypatch.setattr(winograd, "wins", lambda conv, shape: True)
    monkeypatch.setattr(winograd, "packs", lambda conv: False)
    monkeypatch.setattr(winograd, "best_form", form)
    monkeypatch.setattr(winograd, usual.__name__, counting)
    monkeypatch.setattr(winograd, "ENOUGH", 1)
    return calls


def square(conv): return all(getattr(conv, k) == v for k, v in winograd.SQUARE.items())


@pytest.fixture
def copies(used):
    "Of the weights, how many the kernels take."
    return winograd.COPIES[winograd.best_form(nn.Conv2d(1, 1, 3, padding=1), None)]


def network(seed=0, **options):
    torch.manual_seed(seed)
    return UNet(**CONFIG | options).eval()


def pipeline(unet=None):
    pipe = DDPMPipeline(unet or network(), DDPMScheduler())
    pipe.set_progress_bar_config(disable=True)
    return pipe


def draw(pipe, steps=8, **options):
    g = torch.Generator().manual_seed(0)
    return pipe(2, g, steps, output_type="pt", **options).images


def layers(net):
    "Those that can take part: all of 3x3."
    return [m for m in net.modules() if winograd.is_usual(m) and square(m)]


def planned(net, x, t=5, **options):
    with torch.no_grad(), Plan(net, x.shape, **options): return net(x, t).sample


def usual(net, x, t=5):
    with torch.no_grad(): return net(x, t).sample


def beside_diffusers(seed):
    "A plan for a random network, and how far that is from diffusers' with the same weights."
    diffusers = pytest.importorskip("diffusers")
    config = random_configuration(seed)
    torch.manual_seed(seed)
    ours, theirs = UNet(**config).eval(), diffusers.UNet2DModel(**config).eval()
    theirs.load_state_dict(ours.state_dict())
    x, t, labels = inputs(config, seed)
    with torch.no_grad():
        with Plan(ours, x.shape) as plan: mine = ours(x, t, labels).sample
        other = theirs(x, t, labels).sample
    return plan, relative(mine, other)


X = torch.randn(2, 1, 8, 12, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("seed", range(40))
def test_both_forms_are_the_convolution(seed):
    r = torch.Generator().manual_seed(seed)
    b, c, o, h, w = (int(torch.randint(1, 9, (), generator=r)) for _ in range(5))
    x = torch.randn(b, c, h, w, generator=r, dtype=torch.float64)
    k, bias = (torch.randn(*s, generator=r, dtype=torch.float64) for s in ((o, c, 3, 3), (o,)))
    exact = nn.functional.conv2d(x, k, bias, padding=1)
    assert torch.allclose(rows_conv(x, row_kernels(k), bias), exact, atol=1e-12)
    assert torch.allclose(tiles_conv(x, tile_kernels(k), bias), exact, atol=1e-11)
    x = torch.randn(b, c, 4*h, 4*w, generator=r, dtype=torch.float64)
    assert torch.allclose(square_conv(x, k), nn.functional.conv2d(x, k, padding=1), atol=1e-11)


@pytest.mark.parametrize("block", [1, 60, 300, 10**6])
def test_any_size_of_block(block, monkeypatch):
    monkeypatch.setattr(winograd, "BLOCK", block)
    monkeypatch.setattr(winograd, "TILES", block)
    x, k = torch.randn(3, 5, 13, 6).double(), torch.randn(4, 5, 3, 3).double()
    exact = nn.functional.conv2d(x, k, padding=1)
    assert torch.allclose(rows_conv(x, row_kernels(k)), exact, atol=1e-12)
    assert torch.allclose(tiles_conv(x, tile_kernels(k)), exact, atol=1e-11)


@pytest.mark.parametrize("seed", range(25))
def test_networks_agree_with_diffusers(seed, used):
    _, difference = beside_diffusers(seed)
    assert used and difference < 2e-5


@pytest.mark.parametrize("quick", [False, True])
def test_the_papers_network_agrees_with_diffusers(quick, used, monkeypatch):
    "With the rule as it is, on the processors of the maps."
    diffusers = pytest.importorskip("diffusers")
    monkeypatch.undo()
    calls = []
    def counting(usual):
        return lambda *args: calls.append(usual.__name__) or usual(*args)
    for usual_conv in (rows_conv, tiles_conv):
        monkeypatch.setattr(winograd, usual_conv.__name__, counting(usual_conv))
    monkeypatch.setattr(winograd, "quick_products", lambda: quick)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    torch.manual_seed(0)
    config = unet_config("cifar10")
    ours, theirs = UNet(**config).eval(), diffusers.UNet2DModel(**config).eval()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(4, 3, 32, 32)
    with torch.no_grad(): other = theirs(x, 500).sample
    assert relative(planned(ours, x, 500), other) < 2e-5
    assert len(calls) >= 16 and ("tiles_conv" in calls) == quick


@pytest.mark.parametrize("seed", range(4))
def test_pictures_agree_with_diffusers(seed, used):
    diffusers = pytest.importorskip("diffusers")
    ours = pipeline(network(seed))
    theirs = diffusers.UNet2DModel(**CONFIG).eval()
    theirs.load_state_dict(ours.unet.state_dict())
    there = diffusers.DDPMPipeline(theirs, diffusers.DDPMScheduler())
    there.set_progress_bar_config(disable=True)
    g = torch.Generator().manual_seed(0)
    want = torch.from_numpy(there(2, g, 10, output_type="np").images).movedim(-1, 1)
    found = draw(ours, 10)
    bytes_apart = ((found*255).round() != (want*255).round()).sum().item()
    assert used and (found - want).abs().max() < 1e-4
    assert bytes_apart <= 0.01*want.numel()


def test_a_pipeline_uses_it_and_one_switch_turns_it_off(used):
    pipe = pipeline()
    found, n = draw(pipe), len(used)
    assert n == 8*len(layers(pipe.unet))
    pipe.unet.minimal_filtering = False
    want = draw(pipe)
    assert len(used) == n and 0 < (found - want).abs().max() < 1e-4
    assert found.is_contiguous()


def exchanged(conv): conv.weight = nn.Parameter(2*conv.weight.detach())
def data_replaced(conv): conv.weight.data = 2*conv.weight.data


CHANGES = {
    "in place": lambda net, conv: conv.weight.detach().mul_(2),
    "through data": lambda net, conv: conv.weight.data.mul_(2),
    "other data": lambda net, conv: data_replaced(conv),
    "other parameter": lambda net, conv: exchanged(conv),
    "load_state_dict": lambda net, conv: net.load_state_dict(network(7).state_dict()),
    "assigned": lambda net, conv: net.load_state_dict(network(7).state_dict(), assign=True),
    "there and back": lambda net, conv: net.double().float().conv_in.weight.data.mul_(2),
}


@pytest.fixture
def only_packed(monkeypatch):
    "No layer wins by rows; all keep their kernels packed."
    if not winograd.can_pack(): pytest.skip("this PyTorch has no packed kernels")
    monkeypatch.setattr(winograd, "wins", lambda conv, shape: False)
    monkeypatch.setattr(winograd, "packs", lambda conv: True)


@pytest.mark.parametrize("seed", range(10))
def test_packed_kernels_agree_with_diffusers(seed, used, only_packed):
    plan, difference = beside_diffusers(seed)
    assert plan.kept and not used and difference < 1e-5


@pytest.mark.parametrize("steps, uses", [(7, False), (8, True)])
def test_a_few_steps_do_not_pay_for_the_kernels(steps, uses, used, monkeypatch):
    monkeypatch.setattr(winograd, "ENOUGH", 8*2*8*12)          # two images of 8 x 12
    draw(pipeline(), steps)
    assert bool(used) == uses


@pytest.mark.parametrize("fails", [AttributeError, RuntimeError])
def test_where_kernels_cannot_be_packed(fails, used, monkeypatch):
    "A PyTorch without the internal functions: nothing is packed, the result is the same."
    def refuse(*args): raise fails("no such function")
    usual_can_pack = channels_last.can_pack.__wrapped__
    monkeypatch.setattr(channels_last, "packed", refuse)
    for module in (channels_last, winograd): monkeypatch.setattr(module, "can_pack", usual_can_pack)
    assert not winograd.can_pack()
    net = network()
    assert (planned(net, X) - usual(net, X)).abs().max() < 1e-5 and used
    monkeypatch.setattr(winograd, "wins", lambda conv, shape: False)
    assert not Plan(net, X.shape).on


@pytest.mark.parametrize("name", CHANGES)
def test_a_callback_that_changes_a_weight_is_seen_at_once(name, used):
    def images(on):
        net = network()
        net.minimal_filtering, conv = on, net.down_blocks[0].resnets[0].conv1
        def callback(pipe, i, t, state):
            if i == 0:
                with torch.no_grad(): CHANGES[name](net, conv)
            return {}
        return draw(pipeline(net), callback_on_step_end=callback)
    kept = draw(pipeline())
    n = len(used)
    found, want = images(True), images(False)
    assert len(used) > n and (found - want).abs().max() < 1e-4
    assert (want - kept).abs().max() > 1e-3              # the change can be seen at all


COUNTED = [k for k in CHANGES if k not in ("through data", "there and back")]


@pytest.mark.parametrize("name", COUNTED)
def test_packed_kernels_are_not_stale_either(name, used, only_packed):
    test_a_plan_sees_what_torch_counts(name, [1])
    assert not used


@pytest.mark.parametrize("name", COUNTED)
def test_a_plan_sees_what_torch_counts(name, used):
    "What is written through `data` is not counted: hence nothing is kept where other code runs."
    net = network()
    with torch.no_grad(), Plan(net, X.shape):
        before = net(X, 5).sample
        CHANGES[name](net, net.down_blocks[0].resnets[0].conv1)
        found = net(X, 5).sample
    assert used and (found - usual(net, X)).abs().max() < 1e-4 < (found - before).abs().max()


def test_a_change_between_two_calls_is_seen(used):
    pipe = pipeline()
    before = draw(pipe)
    pipe.unet.down_blocks[0].resnets[0].conv1.weight.data.mul_(2)
    found = draw(pipe)
    pipe.unet.minimal_filtering = False
    assert (found - draw(pipe)).abs().max() < 1e-4 < 1e-3 < (found - before).abs().max()


def with_hook(net): net.mid_block.resnets[0].conv1.register_forward_hook(lambda *a: None)
def with_pre_hook(net): net.mid_block.register_forward_pre_hook(lambda *a: None)
def replaced(net): net.mid_block.forward = type(net.mid_block).forward.__get__(net.mid_block)
def halved(net): net.bfloat16()


@pytest.mark.parametrize("change", [with_hook, with_pre_hook, replaced, halved])
def test_a_network_that_is_watched_or_in_another_type_is_left_alone(change, used):
    net = network()
    change(net)
    assert not Plan(net, X.shape).on
    draw(pipeline(net))
    assert not used


def test_a_hook_on_all_modules_is_left_alone(used):
    handle = nn.modules.module.register_module_forward_hook(lambda *a: None)
    try: draw(pipeline())
    finally: handle.remove()
    assert not used


class Adapted(nn.Conv2d):
    "As a low-rank correction would be."
    def forward(self, x): return 2*super().forward(x)


def adapted(block): block.conv1.__class__ = Adapted


def parametrised(block):
    class Doubled(nn.Module):
        def forward(self, w): return 2*w
    nn.utils.parametrize.register_parametrization(block.conv1, "weight", Doubled())


@pytest.mark.parametrize("change", [adapted, parametrised])
def test_a_layer_of_another_class_is_called(change, used):
    net = network()
    before = planned(net, X)
    n = len(used)
    change(net.mid_block.resnets[0])
    found = planned(net, X)
    assert len(used) == 2*n - 1
    assert (found - usual(net, X)).abs().max() < 1e-4 < (found - before).abs().max()


def test_gradients_flow_inside_a_plan(used):
    net = network()
    with Plan(net, X.shape) as plan:
        net(X, 5).sample.sum().backward()
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16): net(X, 5)
    assert not used and not plan.kept
    assert all(p.grad is not None for p in net.parameters())


def test_weights_made_in_inference_mode_have_no_version_and_are_left_alone(used):
    with torch.inference_mode(): net = network()
    assert not Plan(net, X.shape).on
    draw(pipeline(net))
    assert not used


def test_inside_inference_mode(used):
    net = network()
    with torch.inference_mode(), Plan(net, X.shape): found = net(X, 5).sample
    assert used and (found - usual(net, X)).abs().max() < 1e-5


def test_a_compiler_does_not_see_it(used):
    conv, x = nn.Conv2d(4, 4, 3, padding=1), torch.randn(1, 4, 8, 8)
    quick = torch.compile(lambda x: convolve(conv, x), backend="eager", fullgraph=True)
    holder = nn.ModuleList([conv])
    holder.minimal_filtering = True
    with torch.no_grad(), Plan(holder, x.shape) as plan:
        assert plan.on and torch.equal(quick(x), conv(x)) and not used
        convolve(conv, x)
    assert used                                          # negative control


def test_a_compiled_network_or_a_function_is_left_alone(used):
    assert not Plan(lambda x, t: x, X.shape).on
    assert Plan(network(), X.shape).on
    assert not Plan(torch.compile(network(), backend="eager"), X.shape).on


@pytest.mark.parametrize("budget", [0, 40_000, 2**28])
def test_a_bound_on_the_memory(budget, used, copies):
    net = network()
    with torch.no_grad(), Plan(net, X.shape, budget=budget) as plan: found = net(X, 5).sample
    held = sum(size for *_, size in plan.kept.values())
    assert held == sum(4*k.numel() for _, made, _ in plan.kept.values() for k in made)
    assert held <= budget and held == budget - plan.left
    assert (found - usual(net, X)).abs().max() < 1e-5
    assert bool(used) == (budget > 0)
    everything = sum(copies*4*m.weight.numel() for m in layers(net))
    assert (held == everything) == (budget > everything) and everything > 40_000


def test_a_changed_weight_costs_no_memory_twice(used):
    net = network()
    with torch.no_grad(), Plan(net, X.shape) as plan:
        net(X, 5)
        left = plan.left
        for p in net.parameters(): p.mul_(1)
        net(X, 5)
    assert plan.left == left < winograd.BUDGET


def test_nothing_stays_in_the_network(used):
    pipe = pipeline()
    before = {k: v.clone() for k, v in pipe.unet.state_dict().items()}
    draw(pipe)
    after = pipe.unet.state_dict()
    assert used and before.keys() == after.keys()
    assert all(torch.equal(v, after[k]) for k, v in before.items())
    assert all(p.is_contiguous() for p in pipe.unet.parameters())
    twins = copy.deepcopy(pipe.unet), pickle.loads(pickle.dumps(pipe.unet))
    for twin in twins:
        twin.conv_out.weight.data.mul_(2)
        assert (draw(pipeline(twin)) - draw(pipe)).abs().max() > 1e-3
    assert channels_last.planning() is None


def test_another_thread_has_no_plan(used):
    net, counts = network(), []
    def run():
        usual(net, X)
        counts.append(len(used))
    with torch.no_grad(), Plan(net, X.shape):
        other = threading.Thread(target=run)
        other.start()
        other.join()
        net(X, 5)
    assert counts == [0] and used


def test_an_error_ends_the_plan(used):
    net = network()
    with pytest.raises(ValueError), Plan(net, X.shape): net(torch.randn(1, 5, 8, 8), 5)
    assert channels_last.planning() is None


def test_what_is_set_for_all_of_torch_does_not_decide_whether_kernels_are_packed():
    "Asked once for the whole process: not by the type, the device or the precision of that moment."
    usual = winograd.can_pack.__wrapped__
    try:
        torch.set_default_dtype(torch.float64)
        with torch.device("meta"), torch.autocast("cpu", torch.bfloat16): found = usual()
    finally: torch.set_default_dtype(torch.float32)
    assert found == usual()


def test_who_counts_operations_counts_all_of_them(used):
    "FlopCounterMode does not know packed kernels; whoever looks on sees the usual layers."
    from torch.utils.flop_counter import FlopCounterMode
    net, x = network(), torch.randn(2, 1, 8, 12)
    with FlopCounterMode(display=False) as once, torch.no_grad(): net(x, 5)
    with FlopCounterMode(display=False) as ten: draw(pipeline(net), 10)
    assert ten.get_total_flops() == 10*once.get_total_flops() > 0 and not used
    draw(pipeline(net), 10)                                    # nobody looks on
    assert used


def test_where_the_memory_is_small_the_layers_with_few_pixels_go_without(used, copies):
    "Those at the end of the network keep theirs, too, and a step later nothing changes any more."
    net = network()
    def kept(budget):
        with torch.no_grad(), Plan(net, X.shape, budget=budget) as plan:
            after = []
            for _ in range(3):
                net(X, 5)
                after.append({conv: state[-1] for conv, (state, _, _) in plan.kept.items()})
                held = sum(size for *_, size in plan.kept.values())
                assert held == budget - plan.left <= budget
        assert after[1] == after[2]
        return after[2]
    everything = kept(2**28)
    sizes = {conv: copies*4*conv.weight.numel() for conv in everything}
    large = {conv for conv, pixels in everything.items() if pixels == max(everything.values())}
    assert 0 < len(large) < len(everything)                  # there are layers with fewer pixels
    needed = sum(sizes[conv] for conv in large)
    assert set(kept(needed)) == large
    assert set(list(everything)[:len(large)]) != large       # who comes first is somebody else
