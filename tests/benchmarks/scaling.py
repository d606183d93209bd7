"""Time against batch, steps, resolution and channels, with the slope that one expects; draws `scaling.png`.

Convolutions grow with the square of the side, attention with its fourth power: the measured slope lies between."""
import statistics
import sys
import time
import warnings

import torch

from .common import SMALL


def measure(batch=4, steps=10, side=32, width=32):
    "Median seconds of one run of the pipeline with a small network."
    from ddpm_edu import DDPMPipeline, DDPMScheduler, UNet
    torch.manual_seed(0)
    pipe = DDPMPipeline(UNet(**SMALL | dict(sample_size=side, block_out_channels=(width, 2*width, 2*width))), DDPMScheduler())
    pipe.set_progress_bar_config(disable=True)
    pipe(batch_size=batch, num_inference_steps=1, output_type="pt")
    times = []
    for _ in range(3):
        start = time.perf_counter()
        pipe(batch_size=batch, num_inference_steps=steps, output_type="pt")
        times.append(time.perf_counter() - start)
    return statistics.median(times)


CURVES = {"batch": ([1, 4, 16, 64, 256], 1, dict(steps=2)), "steps": ([10, 100, 1000], 1, dict(batch=1, width=8, side=28)), "side": ([28, 64, 128], (2, 4), dict(steps=2)), "width": ([16, 32, 64, 128], 2, dict(steps=2))}


def curves():
    "name -> (values, seconds, expected exponent)"
    return {name: (values, [measure(**{**fixed, name: v}) for v in values], slope) for name, (values, slope, fixed) in CURVES.items()}


def show(found, out):
    import math
    for name, (values, times, slope) in found.items():
        got = math.log(times[-1]/times[-2])/math.log(values[-1]/values[-2])
        print(f"{name:6}", ", ".join(f"{v}: {t:.3f} s" for v, t in zip(values, times)), f"; slope at the end {got:.2f}, expected {slope}")
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    fig, axes = plt.subplots(1, 4, figsize=(12, 3), layout="constrained", sharey=True)
    for ax, (name, (values, times, slope)) in zip(axes, found.items()):
        ax.loglog(values, times, "o-", label="measured")
        for k in slope if isinstance(slope, tuple) else (slope,): ax.loglog(values, [times[-1]*(v/values[-1])**k for v in values], "--", color="0.5", label=f"slope {k}")
        ax.set(xlabel={"batch": "batch", "steps": "steps", "side": "height and width", "width": "channels of the first level"}[name], xticks=values, xticklabels=values)
        ax.minorticks_off(); ax.legend()
    axes[0].set_ylabel("seconds")
    fig.savefig(out, dpi=120)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    show(curves(), sys.argv[1] if len(sys.argv) > 1 else "scaling.png")
