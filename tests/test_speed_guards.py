"Speed without a clock: calls, copies, synchronisations, things not to be remembered too long."
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ddpm_edu import DDPMPipeline, DDPMScheduler, UNet
from ddpm_edu.unet import unet_config


class Calls(TorchDispatchMode):
    "Every elementary operation: its name, and whether it left an image in the contiguous order."
    COMPUTE = ("conv", "norm", "silu", "add", "cat", "upsample", "pad", "avg_pool")
    def __init__(self):
        super().__init__()
        self.names, self.turned = [], []

    def __torch_dispatch__(self, f, types, args=(), kwargs=None):
        out, name = f(*args, **(kwargs or {})), f.name().split(".")[0].removeprefix("aten::")
        self.names.append(name)
        image = isinstance(out, torch.Tensor) and out.ndim == 4 and min(out.shape[1:3]) > 1
        if image and any(part in name for part in self.COMPUTE):
            if not out.is_contiguous(memory_format=torch.channels_last): self.turned.append(name)
        return out


WAITS = {"_local_scalar_dense", "item", "nonzero", "is_nonzero"}        # a GPU would be waited for


def calls(f, *args, **kwargs):
    with torch.no_grad(), Calls() as c: f(*args, **kwargs)
    return c


@pytest.mark.parametrize("options, limit", [
    ({}, 11), (dict(clip_sample=False), 10), (dict(prediction_type="v_prediction"), 11),
    (dict(prediction_type="sample"), 8), (dict(variance_type="fixed_large"), 11)], ids=str)
def test_a_step_is_a_few_calls_and_never_waits_for_the_device(options, limit):
    s, g, x = DDPMScheduler(**options), torch.Generator().manual_seed(0), torch.randn(2, 3, 8, 8)
    s.step(x, 500, x, generator=g)
    names = calls(s.step, x, 500, x, generator=g).names
    assert len(names) <= limit, names
    assert not (WAITS | {"_to_copy"}) & set(names)


def test_the_same_calls_at_every_timestep_and_batch_size():
    s, g = DDPMScheduler(), torch.Generator().manual_seed(0)
    def count(t, b):
        x = torch.randn(b, 1, 8, 8)
        return len(calls(s.step, x, t, x, generator=g).names)
    for _ in range(2): counts = {count(t, b) for t in (1, 500, 999) for b in (1, 16)}
    assert len(counts) == 1


def network_and_images(name):
    config = unet_config("cifar10" if name == "paper" else name)
    if name == "paper": config |= dict(block_out_channels=(32, 64, 64, 64), norm_num_groups=8)
    side = config["sample_size"]
    return UNet(**config).eval(), torch.randn(2, config.get("in_channels", 3), side, side)


@pytest.mark.parametrize("t", [5, torch.tensor(5), torch.tensor([5, 6])], ids=str)
@pytest.mark.parametrize("name", ["fashion-mnist", "tiny", "paper"])
def test_the_network_never_waits_for_the_device(name, t):
    "Checks look at shapes and types; nothing is copied that lies right, nothing dropped at rate 0."
    unet, x = network_and_images(name)
    names = calls(unet, x, t).names
    assert not (WAITS | {"dropout", "native_dropout"}) & set(names)
    assert names.count("clone") + names.count("copy_") <= 4*sum(
        type(m).__name__ == "Attention" for m in unet.modules())  # pixels become rows and back
    assert WAITS & set(calls(lambda: unet(x, int(torch.tensor(5)))).names)       # negative control


@pytest.mark.parametrize("name", ["fashion-mnist", "tiny", "paper"])
def test_no_image_is_turned_over_inside_a_network_in_channels_last_order(name):
    unet, x = network_and_images(name)
    assert len(calls(unet, x, 5).turned) > 10            # negative control: as it is built
    unet.to(memory_format=torch.channels_last)
    assert not calls(unet, x.contiguous(memory_format=torch.channels_last), 5).turned


def test_nothing_is_divided_by_one_and_nothing_dropped_at_rate_zero():
    def names(**options):
        unet = UNet(**unet_config("tiny") | options).train()
        return calls(unet, torch.randn(1, 1, 8, 8), 5).names
    drops = lambda names: [n for n in names if "dropout" in n or "bernoulli" in n]
    assert names().count("div") <= 1 and not drops(names())    # the one is in the time embedding
    assert drops(names(dropout=0.5))                                    # negative controls
    assert names(mid_block_scale_factor=2).count("div") == 4


def test_a_weight_that_changes_changes_the_image_at_once():
    "Nothing derived from a weight may be remembered."
    torch.manual_seed(0)
    unet, x = UNet(**unet_config("tiny")).eval(), torch.randn(1, 1, 8, 8)
    with torch.no_grad():
        before = unet(x, 5).sample
        for name, p in unet.named_parameters():
            parts = ("to_q.weight", "to_k.weight", "to_v", "to_out", "conv", "time_emb", "norm")
            if not any(part in name for part in parts): continue
            old = p.clone()
            p.mul_(3).add_(0.5)
            changed = unet(x, 5).sample
            p.copy_(old)
            unseen = name.endswith("to_k.bias")   # softmax does not see a shift of all keys
            assert not torch.equal(changed, before) or unseen, name
        assert torch.equal(unet(x, 5).sample, before)
        unet.load_state_dict(UNet(**unet_config("tiny")).state_dict())
        assert not torch.equal(unet(x, 5).sample, before)


def test_the_moving_average_is_one_call_for_all_tensors():
    "And the same bits as one after the other."
    from ddpm_edu.training import ema_weights
    unet = UNet(**unet_config("tiny"))
    ema = ema_weights(unet, 0.9)
    ema.update_parameters(unet)
    with torch.no_grad():
        for p in unet.parameters(): p.add_(torch.randn_like(p))
        pairs = zip(ema.module.parameters(), unet.parameters())
        expected = [a.lerp(w, 1 - min(0.9, 2/11)) for a, w in pairs]
    names = calls(ema.update_parameters, unet).names
    assert names.count("_foreach_lerp_") == 1 and "lerp_" not in names
    assert all(map(torch.equal, ema.module.parameters(), expected))


def test_steps_made_in_inference_mode_leave_gradients_possible():
    s, x = DDPMScheduler(), torch.randn(1, 1, 4, 4)
    with torch.inference_mode():
        s.set_timesteps(10)
        s.step(x, 500, x)
    y = x.clone().requires_grad_()
    s.step(y, 500, y).prev_sample.sum().backward()
    assert y.grad.isfinite().all()


def test_sampling_holds_no_more_tensors_with_more_steps():
    import gc
    pipe = DDPMPipeline.from_config("tiny")
    pipe.set_progress_bar_config(disable=True)
    alive = []
    def count(pipe, i, t, state):
        if i not in (2, 30): return
        gc.collect()                                     # what other tests have left
        alive.append(sum(isinstance(o, torch.Tensor) for o in gc.get_objects()))
    pipe(num_inference_steps=40, callback_on_step_end=count)
    assert alive[1] <= alive[0]


def test_kept_memory_spares_page_faults():
    "In a process of its own: passes that keep everything for the gradient, before and after."
    import platform
    import subprocess
    import sys
    if platform.libc_ver()[0] != "glibc": pytest.skip("keep_memory is for glibc")
    script = """
import resource, torch
from ddpm_edu.training import keep_memory
from ddpm_edu.unet import UNet, unet_config
unet, x = UNet(**unet_config("fashion-mnist")), torch.randn(64, 1, 28, 28)
def faults():
    for _ in range(2): unet(x, 5)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(3): unet(x, 5)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
usual = faults()
assert keep_memory()
print(usual, faults())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True,
                          check=True)
    usual, kept = map(int, done.stdout.split())
    assert usual > 1000 and kept < usual/4
