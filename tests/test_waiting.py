"A run of a pipeline asks a device for nothing while it goes on: counted, not timed."
from collections import Counter

import pytest
import torch

from ddpm_edu import DDPMPipeline, DDPMScheduler
from ddpm_edu import randn as noise
from pretend_device import FAR, Far, accelerator, far

ASK = {"item", "tolist", "numpy", "__bool__", "__int__", "__float__", "__index__", "cpu", "nonzero",
       "equal", "allclose"}


class counting(accelerator):
    "Counts numbers that are asked for, of any tensor, and tensors that change their place."
    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name = getattr(function, "__name__", "")
        if name in ASK: self.counts[name] += 1
        out = super().__torch_function__(function, types, args, kwargs)
        moves = function is torch.Tensor.to or function is torch.as_tensor
        if moves and isinstance(args[0], torch.Tensor):
            if isinstance(out, Far) and not isinstance(args[0], Far): self.counts["there"] += 1
            if isinstance(args[0], Far) and not isinstance(out, Far): self.counts["back"] += 1
        return out


@pytest.fixture
def pipe():
    "A pipeline whose network is on the accelerator."
    torch.manual_seed(0)
    pipe = DDPMPipeline.from_config("tiny")
    pipe.set_progress_bar_config(disable=True)
    for module in pipe.unet.modules():
        for table in (module._parameters, module._buffers):
            for name, value in table.items():
                if value is not None: table[name] = far(value.detach())
    assert pipe.device == FAR
    return pipe


def counts(pipe, steps, **call):
    with counting() as mode: pipe(2, num_inference_steps=steps, output_type="pt", **call)
    return mode.counts


SCHEDULERS = {"usual": {}, "large": dict(variance_type="fixed_large"),
              "velocity": dict(prediction_type="v_prediction"), "log": dict(
              variance_type="fixed_small_log", clip_sample=False), "trailing": dict(
              timestep_spacing="trailing", thresholding=True)}


@pytest.mark.parametrize("options", SCHEDULERS.values(), ids=SCHEDULERS)
def test_what_is_asked_of_a_device_does_not_grow_with_the_steps(pipe, options):
    "Without a generator the noise is drawn where it is needed."
    pipe.scheduler = DDPMScheduler(**options)
    few, many = counts(pipe, 3), counts(pipe, 40)
    assert few == many, (few, many)


@pytest.mark.parametrize("many", [False, True])
def test_noise_of_the_processor_goes_over_and_nothing_comes_back(pipe, many):
    "A generator of the CPU means the same picture everywhere: a transfer a step, in one direction."
    seeds = lambda: [torch.Generator().manual_seed(i) for i in range(2)]
    def asked(steps): return counts(pipe, steps, generator=seeds() if many else seeds()[0])
    grown = asked(40) - asked(3)
    assert grown == {"there": 37*(1 + many)}


def test_the_count_sees_what_waits(pipe):
    "Negative controls: a scheduler that looks at its numbers or fetches them, and a callback."
    class Curious(DDPMScheduler):
        def step(self, output, *args, **options):
            if output.isnan().any(): raise ValueError
            return super().step(output, *args, **options)
    class Fetching(DDPMScheduler):
        def step(self, output, *args, **options):
            output.to("cpu")
            return super().step(output, *args, **options)
    for kind, name in ((Curious, "__bool__"), (Fetching, "back")):
        pipe.scheduler = kind()
        assert counts(pipe, 9) - counts(pipe, 4) == {name: 5}
    pipe.scheduler = DDPMScheduler()
    look = lambda pipe, i, t, state: print(end=str(state["sample"].sum().item())[:0])
    call = dict(callback_on_step_end=look)
    assert counts(pipe, 9, **call) - counts(pipe, 4, **call) == {"item": 5}


def test_the_images_are_those_of_the_processor():
    "The same bits, wherever the timesteps are."
    torch.manual_seed(0)
    pipe = DDPMPipeline.from_config("tiny")
    pipe.set_progress_bar_config(disable=True)
    call = dict(num_inference_steps=5, output_type="pt")
    seeded = lambda: torch.Generator().manual_seed(1)
    here = pipe(2, generator=seeded(), **call).images
    x, scheduler = noise.randn((2, 1, 8, 8), g := seeded()), pipe.own_scheduler(5)
    with torch.no_grad():
        for t in scheduler.timesteps:
            x = scheduler.step(pipe.unet(x, t).sample, t, x, g).prev_sample
    assert torch.equal(here, ((x + 1)/2).clamp(0, 1))


def test_noise_for_a_gpu_is_fetched_by_it(monkeypatch):
    "Pinned, and nobody waits; other places get an ordinary copy. Here is no GPU: see who asks."
    said, z, other = [], torch.zeros(3), torch.zeros(3, device="meta")
    def to(self, place, **options):
        said.append((place.type, options))
        return self
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: said.append("pinned") or self)
    monkeypatch.setattr(torch.Tensor, "to", to)
    noise.moved(z, torch.device("cuda"))
    assert said == ["pinned", ("cuda", {"non_blocking": True})]
    said.clear()
    noise.moved(z, torch.device("mps"))
    assert said == [("mps", {})] and noise.moved(z, torch.device("cpu")) is z
    said.clear()
    noise.moved(other, torch.device("cuda"))
    assert said == [("cuda", {})]                            # it was drawn on another accelerator
