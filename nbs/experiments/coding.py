"""What the files of chapter 9 cost: `python nbs/experiments/coding.py` writes coding.json beside it.

For 100 test images of the slice: the curve of rate and distortion along true q-samples, the bytes
that `encode` needs for three errors, files with every pixel, and other formats: at the same errors,
and their own curves. Half an hour of one core; stopped and started again, it goes on where it was.
"""
import argparse
import io
import json
import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ddpm_edu import DDPMPipeline, progressive_coding
from ddpm_edu.code_files import pack, unpack
from ddpm_edu.data import SLICE, load_fashion_mnist
from ddpm_edu.progressive_coding import SCHEDULES, _Codec, _encode, decode, encode, error_curve
from ddpm_edu.pipeline import evaluating

GOALS = (15, 10, 7)                  # root mean square errors on 0..255
SWITCH = (30, 60, 86)               # bytes of indices before the tail with the exact pixels
FORMATS = {"JPEG": range(1, 96, 2), "WEBP": range(0, 101, 2), "AVIF": range(0, 101, 4)}


def images(n):
    "Test images in a random order, bytes and floats."
    test = load_fashion_mnist("test", root=SLICE).images
    test = test[torch.randperm(len(test), generator=torch.Generator().manual_seed(0))[:n]]
    test = test.view(n, 1, 28, 28)
    return test, test.float()/127.5 - 1


def curve(codec, x, times, draws=2):
    "Mean square errors of x_0-hat along q-samples, (images, timesteps)."
    noise, schedule = torch.Generator().manual_seed(7), codec.pipe.scheduler.schedule
    found = torch.zeros(len(x), len(times))
    with evaluating(codec.pipe.unet), torch.inference_mode():
        for k, t in enumerate(times):
            for _ in range(draws):
                x_t = schedule.q_sample(x, t, torch.randn(x.shape, generator=noise))
                guess = codec.guess(x_t, torch.full((len(x),), t))
                found[:, k] += ((x - guess)**2).flatten(1).mean(1)/draws
    return found


def rounded(table):
    "As lists, with five digits."
    return [[float(f"{e:.5g}") for e in row] for row in table.tolist()]


def rate(codec, errors, times):
    "The error at each timestep and the bytes of divergence spent until then, (T,) each."
    m = error_curve(codec.snr.log(), times, errors).numpy()
    jumps = 0.5*codec.D*(codec.snr[:-1] - codec.snr[1:]).numpy()*m[1:]/math.log(2)/8
    start = 0.5*codec.D*codec.snr[-1].item()*m[-1]/math.log(2)/8
    return m**0.5*127.5, start + np.append(jumps[::-1].cumsum()[::-1], 0)


def ideal(errors, spent, goal):
    "The bytes of divergence at which the error first falls to the goal."
    t = int((errors > goal).nonzero()[0][0])
    if t == 0: return float(spent[0])
    share = (goal - errors[t-1])/(errors[t] - errors[t-1])
    return float(spent[t-1] + share*(spent[t] - spent[t-1]))


def size_of(image, kind, goal):
    "Bytes of the smallest file of another format with that error, and of its empty picture."
    sizes = []
    for picture in (image[0].numpy(), np.zeros((1, 1), np.uint8)):
        best = None
        for quality in FORMATS[kind]:
            file = io.BytesIO()
            Image.fromarray(picture).save(file, kind, quality=quality)
            seen = np.asarray(Image.open(file).convert("L")).astype(float)
            error = ((seen - picture)**2).mean()**0.5
            if error <= goal or picture.size == 1:
                best = min(best or 10**9, len(file.getvalue()))
        sizes.append(best)
    return sizes


def lossless(image):
    "Bytes of the PNG file and of the lossless WebP file."
    found = []
    for kind, options in (("PNG", {"optimize": True}), ("WEBP", {"lossless": True, "method": 6})):
        file = io.BytesIO()
        Image.fromarray(image[0].numpy()).save(file, kind, **options)
        found.append(len(file.getvalue()))
    return found


def other_curves(raw):
    "For each format and quality the mean bytes and the mean error, and the empty picture's bytes."
    found, pictures = {}, [image[0].numpy() for image in raw]
    pictures.append(np.zeros((1, 1), np.uint8))
    for kind, qualities in FORMATS.items():
        rows = []
        for quality in list(qualities)[::3] + [100]:
            sizes, errors = [], []
            for picture in pictures:
                file = io.BytesIO()
                Image.fromarray(picture).save(file, kind, quality=quality)
                seen = np.asarray(Image.open(file).convert("L")).astype(float)
                sizes.append(len(file.getvalue()))
                errors.append(((seen - picture)**2).mean()**0.5)
            rows.append([quality, np.mean(sizes[:-1]), np.mean(errors[:-1]), sizes[-1]])
        found[kind] = [[round(float(v), 3) for v in row] for row in rows]
    empty = io.BytesIO()
    Image.fromarray(pictures[-1]).save(empty, "PNG", optimize=True)
    return {**found, "PNG": len(empty.getvalue())}


def walk(codec, image, effort):
    "One run of the encoder: the errors and indices of all its schedules, (schedules, steps + 1)."
    seen, winner = [], progressive_coding._winner
    progressive_coding._winner = lambda *args: seen.append(args) or winner(*args)
    chains = [codec.chain(k)[:SWITCH[-1]//2 + 1] for k in range(SCHEDULES)]
    try: _encode(codec, image[None], SWITCH[-1]//2, 0., effort, chains)
    finally: progressive_coding._winner = winner
    return seen[0][:2]


def sizes(codec, image, effort):
    """For each goal the bytes of indices, as `encode(rmse=goal)` sends them; for each switch point
    the length of the lossless file, and the errors on the way of the longest. A goal only ends
    a run, and so does a length: one run holds the beginning of them all."""
    errors, indices = walk(codec, image, effort)
    short, files = [], []
    for goal in GOALS:
        _, sent, path = progressive_coding._winner(errors, indices, goal)
        if path[-1] > goal:
            file = encode(codec.pipe, image, 510, rmse=goal, effort=effort)
            sent = unpack(file).indices
        short.append(2*len(sent))
    for n in SWITCH:
        kind, sent, path = progressive_coding._winner(errors[:, :n//2+1], indices[:, :n//2], 0.)
        files.append(pack(kind, codec.model, sent))
    pixels = ((image[None] + 1)*127.5).round().to(torch.uint8).repeat(len(files), 1, 1, 1)
    files = progressive_coding._exact(codec, files, pixels)
    assert all((decode(codec.pipe, file, "pt") == image).all() for file in files)
    return short, [len(file) for file in files], [round(e, 3) for e in path]


def begun(parser, file, images):
    "What the command line says, and what the file already holds."
    parser.add_argument("--images", type=int, default=images)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name(file))
    options = parser.parse_args()
    path, state = options.out, {"goals": GOALS, "images": {}}
    return options, json.loads(path.read_text()) if path.exists() else state


def bundled():
    "The codec of the model of this package, without a bar."
    pipe = DDPMPipeline.from_pretrained("fashion-mnist")
    pipe.set_progress_bar_config(disable=True)
    return _Codec(pipe)


def fill(options, state, codec, work):
    "Let `work(i, row)` add to the row of each image; what it calls new is written at once."
    with evaluating(codec.pipe.unet), torch.inference_mode():
        for i in range(options.images):
            row = state["images"].setdefault(str(i), {})
            if not work(i, row): continue
            options.out.write_text(json.dumps(state) + "\n")
            print(i, row, flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--effort", type=int, default=3)
    options, state = begun(parser, "coding.json", 100)
    codec, (raw, x) = bundled(), images(options.images)
    times = codec.pipe.coding["timesteps"]
    if len(state.get("errors", ())) < len(x):
        state["timesteps"], state["errors"] = times, rounded(curve(codec, x, times))
    if "curves" not in state: state["curves"] = other_curves(raw)
    state["switch"], key = SWITCH, f"effort {options.effort}"

    def work(i, row):
        if "ideal" not in row:
            errors, spent = rate(codec, np.array(state["errors"][i]), times)
            row["ideal"] = [round(ideal(errors, spent, goal), 2) for goal in GOALS]
            row["lossless"] = lossless(raw[i])
            for kind in FORMATS: row[kind] = [size_of(raw[i], kind, goal) for goal in GOALS]
        if key in row and "exact" in row: return False
        row[key], row["exact"], row["path"] = sizes(codec, x[i], options.effort)
        return True
    fill(options, state, codec, work)


if __name__ == "__main__": main()
