"""Time and memory against batch, steps, resolution and channels, with the slope that one expects;
draws `scaling.png`.

Convolutions grow with the square of the side, attention with its fourth power: the measured slope
lies between."""
import multiprocessing
import statistics
import sys
import time
import warnings

import torch

from .common import SMALL, high_water


def measure(batch=4, steps=10, side=32, width=32):
    "Median seconds of one run of a small network's pipeline, and the MB that it needs in addition."
    from ddpm_edu import DDPMPipeline, DDPMScheduler, UNet
    torch.manual_seed(0)
    widths = (width, 2*width, 2*width)
    unet = UNet(**SMALL | dict(sample_size=side, block_out_channels=widths))
    pipe = DDPMPipeline(unet, DDPMScheduler())
    pipe.set_progress_bar_config(disable=True)
    pipe(batch_size=batch, num_inference_steps=1, output_type="pt")
    times, before = [], high_water(reset=True)
    for _ in range(3):
        start = time.perf_counter()
        pipe(batch_size=batch, num_inference_steps=steps, output_type="pt")
        times.append(time.perf_counter() - start)
    return statistics.median(times), (high_water() - before)/1024


# name: values, expected exponent or exponents of the time, what is fixed
CURVES = {
    "batch": ([1, 4, 16, 64, 256], (1,), dict(steps=2)),
    "steps": ([10, 100, 1000], (1,), dict(batch=1, width=8, side=28)),
    "side": ([28, 64, 128], (2, 4), dict(steps=2)),
    "width": ([16, 32, 64, 128], (2,), dict(steps=2)),
}
LABELS = {"batch": "batch", "steps": "steps", "side": "height and width",
          "width": "channels of the first level"}


def curves():
    "name -> (values, seconds, MB, expected exponents of the seconds)"
    found, Pool = {}, multiprocessing.get_context("spawn").Pool
    for name, (values, slopes, fixed) in CURVES.items():
        # a process for each point: memory that one has kept would hide the next one's
        with Pool(1, maxtasksperchild=1) as pool:
            points = [pool.apply(measure, kwds={**fixed, name: v}) for v in values]
        times, memory = zip(*points)
        found[name] = values, times, memory, slopes
    return found


def show(found, out):
    import math
    for name, (values, times, memory, slopes) in found.items():
        got = math.log(times[-1]/times[-2])/math.log(values[-1]/values[-2])
        points = ", ".join(f"{v}: {t:.3f} s {m:.0f} MB" for v, t, m in zip(values, times, memory))
        print(f"{name:6} {points}; slope at the end {got:.2f}, expected {slopes}")
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    fig, axes = plt.subplots(2, 4, figsize=(12, 5), layout="constrained", sharey="row",
                             sharex="col")
    for (ax, below), (name, (values, times, memory, slopes)) in zip(axes.T, found.items()):
        below.loglog(values, [max(m, 0.1) for m in memory], "o-", color="C1")
        ax.loglog(values, times, "o-", label="measured")
        for k in slopes:
            line = [times[-1]*(v/values[-1])**k for v in values]
            ax.loglog(values, line, "--", color="0.5", label=f"slope {k}")
        below.set(xlabel=LABELS[name], xticks=values, xticklabels=values)
        for a in (ax, below): a.minorticks_off()
        ax.legend()
    axes[0, 0].set_ylabel("seconds")
    axes[1, 0].set_ylabel("MB, at least 0.1")
    fig.savefig(out, dpi=120)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    show(curves(), sys.argv[1] if len(sys.argv) > 1 else "scaling.png")
