"The benchmarks that need a machine of their own, in a tiny form: what they run, not how fast."
import pytest
import torch

from benchmarks import gpu
from ddpm_edu import DDPMPipeline, DDPMScheduler
from ddpm_edu.randn import randn
from ddpm_edu.unet import unet_config

CPU = torch.device("cpu")
tiny = [("tiny", unet_config("tiny"), 2, 3)]


@pytest.mark.parametrize("steps", [1, 4, 1000])
def test_the_step_without_arguments_draws_what_the_pipeline_draws(steps):
    "The same noise in the same order, the place in the schedule on the device."
    torch.manual_seed(0)
    pipe = DDPMPipeline.from_config("tiny")
    pipe.scheduler = DDPMScheduler()
    if steps == 1000: pipe.unet = One()
    pipe.set_progress_bar_config(disable=True)
    shape = (2, 1, 8, 8)
    whole = gpu.WholeStep(pipe.unet, gpu.prepared(steps), shape, CPU).record()
    torch.manual_seed(5)
    ours = pipe(2, num_inference_steps=steps, output_type="pt").images
    torch.manual_seed(5)
    theirs = whole.draw(randn(shape))
    assert torch.allclose(ours, ((theirs + 1)/2).clamp(0, 1), atol=1e-5)
    torch.manual_seed(6)
    assert not torch.allclose(theirs, whole.draw(), atol=1e-2)       # negative control: other noise


class One(torch.nn.Module):
    "A network of one weight that knows the answer badly, for a thousand steps in no time."
    def __init__(self):
        super().__init__()
        self.w, self.config = torch.nn.Parameter(torch.tensor(0.9)), DDPMPipeline.from_config(
            "tiny").unet.config

    def forward(self, x, t):
        from types import SimpleNamespace
        return SimpleNamespace(sample=self.w*x*(t.float()/1000).view(-1, 1, 1, 1))


def test_every_way_has_a_row(capsys):
    found = list(gpu.rows(CPU, tiny, backend="eager"))
    names = [r["what"].rsplit(", ", 1)[1] for r in found]
    assert len(found) >= 5 and names[-5:] == ["fp32", "bf16", "fp32", "bf16", "compiled"]
    assert found[0]["ratio"] == 1 and all(r["ours"] > 0 for r in found)
    assert "not measured" not in capsys.readouterr().out


def test_what_fails_or_comes_too_late_is_said(capsys):
    found = list(gpu.rows(CPU, tiny, backend="no such compiler"))
    assert len(found) >= 4 and "compiled (" in capsys.readouterr().out
    clock = iter(range(0, 1000, 100))
    late = list(gpu.rows(CPU, tiny, backend="eager", limit=250, clock=lambda: next(clock)))
    assert len(late) == 2
    assert capsys.readouterr().out.startswith("not measured: tiny, 2 images, ")


def test_without_a_gpu_it_says_so(capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main() == 1 and "no GPU" in capsys.readouterr().out
