"Whole pipelines: the same weights, seed and steps; and what half precision does to the time."
import copy
import time
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


def rows(rounds=3, clock=time.perf_counter):
    from ddpm_edu.unet import unet_config
    paper, bundled = unet_config("cifar10"), unet_config("fashion-mnist")
    cases = (("small network", SMALL, 16, 50, 1.4, 1.65),
             ("`cifar10` network", paper, 4, 8, 1.5, 2.0),
             ("`cifar10` network", paper, 8, 8, 1.55, None),
             ("the bundled network", bundled, 16, 20, 1.6, None),
             ("the bundled network", bundled, 64, 5, 1.5, None),
             ("`lsun-256` network", unet_config("lsun-256"), 1, 8, 1.5, None))
    for name, config, batch, steps, target, half in cases:
        pipes = pipelines(config)
        a, b = (draw(pipes[k], batch, steps) for k in ("ours", "theirs"))
        changed = ((a*255).round() != (b*255).round()).sum()
        note = (f"largest difference of a pixel {abs(a - b).max():.0e}, "
                f"{changed} of {a.size:,} bytes differ")
        if half is None: del pipes["bf16"]
        t = interleaved({k: partial(draw, p, batch, steps) for k, p in pipes.items()}, rounds,
                        clock=clock)
        what = f"sampling fp32, {name}, {steps} steps, batch {batch}"
        yield row(what, t["theirs"], t["ours"], target, note=note)
        if half is None: continue
        note = f"bf16 matrix products run at {peak(torch.bfloat16)/peak():.2f} x the speed of fp32"
        yield row(f"sampling bf16, {name}", t["theirs"], t["bf16"], half, note=note)


if __name__ == "__main__":
    # one thread on a machine that is not quiet: OMP_NUM_THREADS=1, and the processor's own time
    show(rows(clock=time.process_time if torch.get_num_threads() == 1 else time.perf_counter))
