"""How the two bundled models came to be; each took 19 to 82 minutes on a core or two, and resumes.

    python nbs/experiments/bundled_models.py first second third fourth classes --out RUNS

`first` to `fourth` make the model "fashion-mnist", each from the averaged weights of the one
before; `classes` makes "fashion-mnist-classes" from those of `third`. Half of the timesteps of
`fourth` are drawn where garments get their shape, from 80 to 559. Add `--pack` to write
what a run made in half precision to RUNS/packed. Stopped with Ctrl-C or killed, the same command
goes on. All of Fashion-MNIST is needed."""
import argparse
import json
import shutil
from pathlib import Path

import torch

from ddpm_edu import DDPMPipeline, DDPMScheduler, UNet
from ddpm_edu.data import load_fashion_mnist
from ddpm_edu.labels import CLASSES
from ddpm_edu.progressive_coding import calibrate
from ddpm_edu.training import TrainConfig, Trainer
from ddpm_edu.unet import unet_config

GO_ON = dict(batch_size=64, ema_decay=0.9995, mixed_precision="bf16")
RUNS = {
    "first": (None, dict(steps=7500, lr=2e-3, warmup_steps=300, ema_decay=0.999)),
    "second": ("first", dict(steps=6000, lr=1e-3, warmup_steps=200, seed=1, **GO_ON)),
    "third": ("second", dict(steps=3000, lr=6e-4, warmup_steps=100, seed=2, **GO_ON)),
    "fourth": ("third", dict(steps=6000, lr=1e-3, warmup_steps=100, seed=11, **GO_ON)),
    "classes": ("third", dict(steps=2400, lr=1.5e-3, warmup_steps=100, seed=4, labels=True,
        label_dropout=0.1, **{**GO_ON, "ema_decay": 0.999}))}


class InTheMiddle:
    "What a trainer is fed, but half of the timesteps come from 80 to 559, equally often."
    def __init__(self, feed, seed): self.feed, self.seed = feed, seed
    def __enter__(self): return self.feed.__enter__() and self
    def __exit__(self, *error): return self.feed.__exit__(*error)
    def __getattr__(self, name): return getattr(self.feed, name)

    def __call__(self, step):
        x0, t, *more = self.feed(step)
        g = torch.Generator().manual_seed(7919*(self.seed + 1)*100_003 + step)
        chosen = torch.rand(len(t), generator=g) < 0.5
        return x0, torch.where(chosen, torch.randint(80, 560, t.shape, generator=g), t), *more


def network(name, start, out):
    "New, or the averaged weights of an earlier run; perhaps with a table of classes."
    if start is None: return UNet(**unet_config("fashion-mnist"))
    old = DDPMPipeline.from_pretrained(out/start).unet
    if start in ("first", "third") and name != "classes":
        old = old.half().float()                         # as it lay in the package then
    if name != "classes": return old
    new = UNet.from_config({**old.config, "num_class_embeds": 11})
    g = torch.Generator().manual_seed(0)                 # from zeros it would hardly listen
    torch.nn.init.normal_(new.class_embedding.weight, std=0.5, generator=g)
    new.load_state_dict(old.state_dict(), strict=False)
    return new


def joined(name, out):
    "Histories and recipes of a run and of those that it began from, the first of them first."
    before = RUNS[name][0]
    history, recipes = joined(before, out) if before else ([], [])
    last = history[-1] if history else dict(step=0, images=0, seconds=0.)
    for entry in json.loads((out/name/"history.json").read_text()):
        entry.pop("bands", None)                         # they would take most of the room
        more = {key: round(entry[key] + last[key], 2) for key in ("step", "images", "seconds")}
        history.append({**entry, "run": len(recipes) + 1, **more})
    return history, [*recipes, json.loads((out/name/"training.json").read_text())]


def pack(name, out):
    "The pipeline in half precision, with the histories and recipes of all its runs."
    pipe, to = DDPMPipeline.from_pretrained(out/name), out/"packed"/name
    if name == "fourth": pipe.unet.bfloat16()            # also for whoever computes in bf16
    pipe.unet.half()
    pipe.save_pretrained(to)
    for note, content in zip(("history.json", "training.json"), joined(name, out)):
        (to/note).write_text(json.dumps(content, indent=1) + "\n")
    if (out/name/CLASSES).exists(): shutil.copy(out/name/CLASSES, to/CLASSES)
    if name == "fourth":                                 # for the codec of chapter 9
        images = load_fashion_mnist("train")
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
        calibrate(DDPMPipeline.from_pretrained(to), images.batch(order[:128]), to)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", choices=RUNS)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pack", action="store_true")
    a = parser.parse_args()
    images = load_fashion_mnist("train")
    for name in a.runs:
        start, recipe = RUNS[name]
        config = TrainConfig(checkpoint_every=250, **recipe)
        net = network(name, start, a.out)
        trainer = Trainer(net, DDPMScheduler(), images, a.out/name, config, cpu=True)
        if name == "fourth": trainer.feed = InTheMiddle(trainer.feed, config.seed)
        trainer.train(resume=True)
        if a.pack: pack(name, a.out)


if __name__ == "__main__": main()
