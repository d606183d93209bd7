"""Where minimal filtering wins: `python nbs/experiments/minimal_filtering.py` writes
a file beside it, named after the processor's family, on one thread. A minute or two of one core; stopped and started
again, it goes on where it was.

For each layer the median processor time of PyTorch's convolution in both orders of memory and with
a packed kernel, and of the three forms of the appendix in channels-last order, taking turns."""
import argparse
import json
import platform
import re
import statistics
import time
from itertools import product
from pathlib import Path

import torch
import torch.nn.functional as F

from ddpm_edu.channels_last import LAST, conv2d, packed
from ddpm_edu.store import whole_file
from ddpm_edu.winograd import prepared, rows_conv, square_conv, tile_kernels, tiles_conv

HERE = Path(__file__).parent
CHANNELS, SIDES, BATCHES = (32, 64, 128, 256), (8, 16, 32, 64), (1, 4)


def processor():
    "Its name, as Linux gives it."
    lines = Path("/proc/cpuinfo")
    if not lines.exists(): return platform.processor()
    table = dict(map(str.strip, line.split(":", 1)) for line in lines.read_text().splitlines()
                 if ":" in line)
    return "{model name}, family {cpu family}, model {model}".format(**table)


def family():
    "Its number, 25 and 26 for those that were measured."
    return re.sub(r".*family (\w+).*|.*", r"\1", processor()) or "unknown"


def turns(functions, seconds):
    "Median milliseconds of processor time of each; they take turns for so long."
    times = {name: [] for name in functions}
    for f in functions.values(): f()
    end = time.process_time() + seconds
    while time.process_time() < end or len(times["rows"]) < 5:
        for name, f in functions.items():
            start = time.process_time()
            f()
            times[name].append(1e3*(time.process_time() - start))
    return {name: round(statistics.median(t), 3) for name, t in times.items()}


def layer(batch, channels, side, seconds):
    "One row of the map."
    x = torch.randn(batch, channels, side, side)
    conv, last = torch.nn.Conv2d(channels, channels, 3, padding=1), x.contiguous(memory_format=LAST)
    w = conv.weight.detach()
    kernels, one, squares = prepared(conv, x.shape, "rows"), packed(w, x.shape), tile_kernels(w)
    return turns({"contiguous": lambda: F.conv2d(x, w, padding=1),
                  "channels last": lambda: F.conv2d(last, w, padding=1),
                  "packed": lambda: conv2d(last, one),
                  "rows": lambda: rows_conv(last, kernels),
                  "tiles": lambda: tiles_conv(last, squares),
                  "kernels": lambda: prepared(conv, x.shape, "rows"),
                  "square": lambda: square_conv(last, w)}, seconds)


def main(out, seconds):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    about = dict(processor=processor(), capability=torch.backends.cpu.get_cpu_capability(),
                 torch=torch.__version__, threads=1, unit="ms of processor time, median")
    found = json.loads(out.read_text()) if out.exists() else about | {"layers": []}
    if any(found[name] != value for name, value in about.items()):
        raise SystemExit(f"{out} was measured elsewhere; choose another --out")
    known = [(r["batch"], r["channels"], r["side"]) for r in found["layers"]]
    for shape in product(BATCHES, CHANNELS, SIDES):
        if shape in known: continue
        with torch.no_grad(): times = layer(*shape, seconds=seconds)
        found["layers"].append(dict(zip(("batch", "channels", "side"), shape)) | times)
        print(found["layers"][-1], flush=True)
        with whole_file(out, alone=True) as part:
            part.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    ask = argparse.ArgumentParser()
    ask.add_argument("--out", type=Path, default=HERE/f"minimal_filtering_{family()}.json")
    ask.add_argument("--seconds", type=float, default=0.5)
    main(**vars(ask.parse_args()))
