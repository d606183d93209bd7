"Whole pipelines: the same weights, seed and steps on both sides; and what half precision does to the time."
import copy

import torch

from .common import SMALL, both, both_schedulers, interleaved, peak, row, show


def rows(rounds=3):
    import diffusers
    from ddpm_edu import DDPMPipeline
    from ddpm_edu.unet import unet_config
    for name, config, batch, steps, targets in (("small network", SMALL, 16, 50, (1.3, 1.65)), ("`cifar10` network", unet_config("cifar10"), 4, 8, (1.25, 2.0))):
        (ours, theirs), schedulers = both(config), both_schedulers()
        pipes = {"ours": DDPMPipeline(ours, schedulers[0]), "theirs": diffusers.DDPMPipeline(theirs, schedulers[1]), "bf16": DDPMPipeline(copy.deepcopy(ours).bfloat16(), schedulers[0])}
        for p in pipes.values(): p.set_progress_bar_config(disable=True)
        draw = lambda p: p(batch_size=batch, num_inference_steps=steps, generator=torch.manual_seed(0), output_type="np").images
        images = {k: draw(p) for k, p in pipes.items()}
        worst, changed = abs(images["ours"] - images["theirs"]).max(), ((images["ours"]*255).round() != (images["theirs"]*255).round()).sum()
        t = interleaved({k: lambda p=p: draw(p) for k, p in pipes.items()}, rounds)
        yield row(f"sampling fp32, {name}, {steps} steps, batch {batch}", t["theirs"], t["ours"], targets[0], note=f"largest difference of a pixel {worst:.0e}, {changed} bytes differ")
        yield row(f"sampling bf16, {name}", t["theirs"], t["bf16"], targets[1], note=f"this machine multiplies bf16 matrices at {peak(torch.bfloat16)/peak():.2f} x the speed of fp32")


if __name__ == "__main__": show(rows())
