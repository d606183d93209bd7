"What can be said about speed without a clock: calls, copies, synchronisations, and things that must not be remembered too long."
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ddpm_edu import DDPMPipeline, DDPMScheduler, UNet
from ddpm_edu.unet import unet_config


class Calls(TorchDispatchMode):
    "Every elementary operation: its name, and whether it brought an image into the contiguous order."
    def __init__(self):
        super().__init__()
        self.names, self.turned = [], []

    def __torch_dispatch__(self, f, types, args=(), kwargs=None):
        out, name = f(*args, **(kwargs or {})), f.name().split(".")[0].removeprefix("aten::")
        self.names.append(name)
        if isinstance(out, torch.Tensor) and out.ndim == 4 and min(out.shape[1:3]) > 1 and any(part in name for part in ("conv", "norm", "silu", "add", "cat", "upsample", "pad", "avg_pool")):
            if not out.is_contiguous(memory_format=torch.channels_last): self.turned.append(name)
        return out


def calls(f, *args, **kwargs):
    with torch.no_grad(), Calls() as c: f(*args, **kwargs)
    return c


@pytest.mark.parametrize("options, limit", [({}, 11), (dict(clip_sample=False), 10), (dict(prediction_type="v_prediction"), 11), (dict(prediction_type="sample"), 8), (dict(variance_type="fixed_large"), 11)], ids=str)
def test_a_step_is_a_few_calls_and_never_waits_for_the_device(options, limit):
    s, g, x = DDPMScheduler(**options), torch.Generator().manual_seed(0), torch.randn(2, 3, 8, 8)
    s.step(x, 500, x, generator=g)
    names = calls(s.step, x, 500, x, generator=g).names
    assert len(names) <= limit, names
    assert not {"_local_scalar_dense", "item", "nonzero", "_to_copy"} & set(names)       # these would wait for a GPU


def test_the_same_calls_at_every_timestep_and_batch_size():
    s, g = DDPMScheduler(), torch.Generator().manual_seed(0)
    counts = {(t, b): len(calls(s.step, torch.randn(b, 1, 8, 8), t, torch.randn(b, 1, 8, 8), generator=g).names) for t in (1, 500, 999) for b in (1, 16) for _ in (0, 1)}
    assert len(set(counts.values())) == 1


@pytest.mark.parametrize("name", ["fashion-mnist", "tiny", "paper"])
def test_no_image_is_turned_over_inside_the_network(name):
    paper = unet_config("cifar10") | dict(block_out_channels=(32, 64, 64, 64), norm_num_groups=8)
    config = paper if name == "paper" else unet_config(name)
    unet = UNet(**config).eval()
    size, c = (config["sample_size"],)*2, config.get("in_channels", 3)
    x = torch.randn(2, c, *size)
    found = calls(unet, x, 5)
    assert not found.turned and not {"_local_scalar_dense", "dropout", "native_dropout"} & set(found.names)
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in unet.parameters() if p.ndim == 4)
    if c == 1: assert len(calls(UNet(**config).eval().to(memory_format=torch.contiguous_format), x, 5).turned) > 10      # negative control
    assert unet(x, 5).sample.is_contiguous()


def test_nothing_is_divided_by_one_and_nothing_dropped_at_rate_zero():
    drops = lambda names: [n for n in names if "dropout" in n or "bernoulli" in n]
    names = calls(UNet(**unet_config("tiny")).train(), torch.randn(1, 1, 8, 8), 5).names
    assert names.count("div") <= 1 and not drops(names)                      # the one is in the time embedding
    assert drops(calls(UNet(**unet_config("tiny") | dict(dropout=0.5)).train(), torch.randn(1, 1, 8, 8), 5).names)        # negative controls
    assert calls(UNet(**unet_config("tiny") | dict(mid_block_scale_factor=2)), torch.randn(1, 1, 8, 8), 5).names.count("div") == 4


def test_loading_and_copying_keep_the_order_in_memory(tmp_path):
    import copy
    pipe = DDPMPipeline.from_config("tiny")
    pipe.save_pretrained(tmp_path)
    for unet in (DDPMPipeline.from_pretrained(tmp_path).unet, copy.deepcopy(pipe.unet), copy.deepcopy(pipe.unet).to(torch.bfloat16)):
        assert all(p.is_contiguous(memory_format=torch.channels_last) for p in unet.parameters() if p.ndim == 4)


def test_a_weight_that_changes_changes_the_image_at_once():
    "Nothing derived from a weight may be remembered."
    torch.manual_seed(0)
    unet, x = UNet(**unet_config("tiny")).eval(), torch.randn(1, 1, 8, 8)
    with torch.no_grad():
        before = unet(x, 5).sample
        for name, p in unet.named_parameters():
            if not any(part in name for part in ("to_q.weight", "to_k.weight", "to_v", "to_out", "conv", "time_emb", "norm")): continue
            old = p.clone()
            p.mul_(3).add_(0.5)
            changed = unet(x, 5).sample
            p.copy_(old)
            assert not torch.equal(changed, before) or name.endswith("to_k.bias"), name      # softmax does not see a shift of all keys
        assert torch.equal(unet(x, 5).sample, before)
        unet.load_state_dict(UNet(**unet_config("tiny")).state_dict())
        assert not torch.equal(unet(x, 5).sample, before)


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
    count = lambda p, i, t, state: alive.append(sum(isinstance(o, torch.Tensor) for o in gc.get_objects())) if i in (2, 30) else None
    pipe(num_inference_steps=40, callback_on_step_end=count)
    assert alive[1] <= alive[0]


def test_kept_memory_spares_page_faults():
    "In a process of its own: forward passes that keep everything for the gradient, before and after the setting."
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
    unet(x, 5); unet(x, 5)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(3): unet(x, 5)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
usual = faults()
assert keep_memory()
print(usual, faults())
"""
    usual, kept = map(int, subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split())
    assert usual > 1000 and kept < usual/4
