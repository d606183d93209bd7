"Whole pipelines: the same weights, seed and steps; and what half precision does to the time."
import copy
from functools import partial

import torch

from .common import SMALL, both, both_schedulers, interleaved, peak, row, show


def draw(pipe, batch, steps):
    g = torch.manual_seed(0)
    return pipe(batch, generator=g, num_inference_steps=steps, output_type="np").images


def pipelines(config):
    import diffusers
    from ddpm_edu import DDPMPipeline
    (ours, theirs), (scheduler, their_scheduler) = both(config), both_schedulers()
    pipes = {"ours": DDPMPipeline(ours, scheduler),
             "theirs": diffusers.DDPMPipeline(theirs, their_scheduler),
             "bf16": DDPMPipeline(copy.deepcopy(ours).bfloat16(), scheduler)}
    for p in pipes.values(): p.set_progress_bar_config(disable=True)
    return pipes


def rows(rounds=3):
    from ddpm_edu.unet import unet_config
    cases = (("small network", SMALL, 16, 50, (1.3, 1.65)),
             ("`cifar10` network", unet_config("cifar10"), 4, 8, (1.25, 2.0)))
    for name, config, batch, steps, targets in cases:
        pipes = pipelines(config)
        a, b = (draw(pipes[k], batch, steps) for k in ("ours", "theirs"))
        changed = ((a*255).round() != (b*255).round()).sum()
        note = f"largest difference of a pixel {abs(a - b).max():.0e}, {changed} bytes differ"
        t = interleaved({k: partial(draw, p, batch, steps) for k, p in pipes.items()}, rounds)
        what = f"sampling fp32, {name}, {steps} steps, batch {batch}"
        yield row(what, t["theirs"], t["ours"], targets[0], note=note)
        note = f"bf16 matrix products run at {peak(torch.bfloat16)/peak():.2f} x the speed of fp32"
        yield row(f"sampling bf16, {name}", t["theirs"], t["bf16"], targets[1], note=note)


if __name__ == "__main__": show(rows())
