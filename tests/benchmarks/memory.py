"""Peak memory of sampling and of a training step, each in a process of its own: what the process
holds at most, less what it held before (Linux)."""
import subprocess
import sys

from .common import row, show

SAMPLE = """
import torch
from tests.benchmarks.common import *
import diffusers
from ddpm_edu import DDPMPipeline
ours, theirs = both(SMALL)
schedulers = both_schedulers()
if {ours}: pipe = DDPMPipeline(ours, schedulers[0])
else: pipe = diffusers.DDPMPipeline(theirs, schedulers[1])
pipe.set_progress_bar_config(disable=True)
before = high_water(reset=True)
pipe(batch_size=16, num_inference_steps={steps}, output_type="np")
print(high_water() - before)
"""
TRAIN = """
import torch
from tests.benchmarks.common import *
from ddpm_edu.unet import unet_config
which = 0 if {ours} else 1
net, scheduler = both(unet_config("fashion-mnist"))[which].train(), both_schedulers()[which]
adam = torch.optim.AdamW(net.parameters())
before = high_water(reset=True)
for _ in range({steps}):
    x0, noise = torch.randn(64, 1, 28, 28), torch.randn(64, 1, 28, 28)
    t = torch.randint(0, 1000, (64,))
    (net(scheduler.add_noise(x0, noise, t), t).sample - noise).square().mean().backward()
    adam.step()
    adam.zero_grad()
print(high_water() - before)
"""


def megabytes(script, **values):
    command = [sys.executable, "-W", "ignore", "-c", script.format(**values)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout)/1024


def rows():
    cases = (("sampling, small network, batch 16", SAMPLE, 3, 30),
             ("training step, batch 64", TRAIN, 2, 8))
    for name, script, few, many in cases:
        theirs, ours = (megabytes(script, ours=which, steps=few) for which in (0, 1))
        note = f"{few} steps; ours after {many}: {megabytes(script, ours=1, steps=many):.0f} MB"
        yield row(f"peak memory of {name}", theirs, ours, 1, "MB", note)


if __name__ == "__main__": show(rows())
