"""What it costs to feed a run: `python -m tests.benchmarks.feeding`. About two minutes on two cores.

The other side is torch's plain, shuffling `DataLoader` over a data set that does the same to a file:
JPEG's draft mode at twice the wanted size, upright, cropped, scaled, turned into [-1, 1]. It draws
no noise, which ours does: a normal number for each value of each image."""
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch.utils.data import DataLoader, Dataset

from ddpm_edu.data import ImageFolder, load_fashion_mnist
from ddpm_edu.feeding import Feed, Steps

from .common import interleaved, row, show

B = 64


def photograph(side, seed):
    "Waves that are the weaker the shorter they are."
    f = np.fft.fftfreq(side)
    size = np.hypot(f[:, None], f[None])
    size[0, 0] = 1
    noise = np.random.default_rng(seed).standard_normal((3, side, side))
    x = np.fft.ifft2(np.fft.fft2(noise)/size).real
    return Image.fromarray(((x/x.std()*50 + 128).clip(0, 255)).astype(np.uint8).transpose(1, 2, 0))


def folder_of(where, side, n, different=100):
    "A folder of n JPEG files, some of them links."
    where.mkdir()
    for i in range(n):
        if i < different: photograph(side, i).save(where/f"{i:06}.jpg", quality=90)
        else: (where/f"{i:06}.jpg").hardlink_to(where/f"{i % different:06}.jpg")
    return where


class Plain(Dataset):
    "What one would write without this library."
    def __init__(self, paths, size): self.paths, self.size = paths, size
    def __len__(self): return len(self.paths)
    def __getitem__(self, i):
        with Image.open(self.paths[i]) as im:
            im.draft("RGB", (2*self.size,)*2)
            im = ImageOps.exif_transpose(im).convert("RGB")
        im = ImageOps.fit(im, (self.size,)*2, Image.Resampling.BICUBIC)
        return torch.from_numpy(np.array(im)).movedim(-1, 0).float()/127.5 - 1


def decoding(where, side, workers, rounds=3):
    "Seconds an image of a plain loader's epoch and of ours, nothing kept in memory."
    data = ImageFolder(where, 64, 3, flip=False, cache_bytes=0)
    def plain():
        loader = DataLoader(Plain(data.paths, 64), B, shuffle=True, num_workers=workers)
        for x in loader: x.mean()
    def ours():
        steps = len(data)//B
        with Feed(Steps(data, 1000, B, 0), steps, workers) as feed:
            for k in range(steps): feed(k)[0].mean()
    t = interleaved({"plain": plain, "ours": ours}, rounds)
    each = {k: v/len(data) for k, v in t.items()}
    note = f"images/s: plain {1/each['plain']:.0f}, ours {1/each['ours']:.0f}"
    what = f"decoding {side}x{side} JPEG to 64x64, {workers} workers (left: plain DataLoader)"
    return row(what, each["plain"], each["ours"], 1., note=note)


def order(rounds=9):
    "Seconds a step for the order of a million images: drawn anew, and kept."
    from ddpm_edu.feeding import generator_of
    steps = Steps(range(10**6), 1000, B, 0)
    def anew(): torch.randperm(10**6, generator=generator_of(0, 0, 0))
    t = interleaved({"anew": anew, "kept": lambda: steps.order(0)}, rounds)
    return row("order of 1,000,000 images, a step (left: before)", t["anew"], t["kept"], None)


def waiting(data, what, workers, batch=B, steps=30):
    "The share of a training step that is spent waiting for its batch."
    from ddpm_edu import DDPMScheduler
    from ddpm_edu.cli import fitted
    from ddpm_edu.training import TrainConfig, Trainer
    with tempfile.TemporaryDirectory() as out:
        config = TrainConfig(steps=steps + 5, batch_size=batch, workers=workers)
        run = Trainer(fitted(data.shape)[0], DDPMScheduler(), data, out, config, cpu=True,
                      progress_bar=False)
        usual, waited = run.feed, [0.]
        def timed(step):
            start = time.perf_counter()
            batch_ = usual(step)
            waited[0] += time.perf_counter() - start
            return batch_
        run.feed = timed
        with usual:
            for _ in range(5): run.train_step()
            waited[0], start = 0., time.perf_counter()
            for _ in range(steps): run.train_step()
            total = time.perf_counter() - start
    return row(f"waiting in a step, {what} (left: the step)", total/steps, waited[0]/steps, None,
               note=f"{waited[0]/total:.1%} of the step")


def rows(n=640, files=50_000):
    warnings.simplefilter("ignore")
    yield order()
    with tempfile.TemporaryDirectory() as where:
        for side in (64, 256):
            folder = folder_of(Path(where)/str(side), side, n)
            for workers in (0, 1, 2): yield decoding(folder, side, workers)
        many = folder_of(Path(where)/"many", 64, files)
        start = time.perf_counter()
        ImageFolder(many, 64)
        took = time.perf_counter() - start
        yield row(f"start-up on {files:,} files (left: 10 s)", 10., took, 1.)
        five = folder_of(Path(where)/"five", 64, 5000)
        for workers in (0, 1):
            data = ImageFolder(five, 64, 3, cache_bytes=0)
            yield waiting(data, f"5,000 JPEG of 64x64, {workers} workers", workers, 16, 15)
        yield waiting(load_fashion_mnist("train", download=False), "the bundled recipe", 0)


if __name__ == "__main__": show(rows())
