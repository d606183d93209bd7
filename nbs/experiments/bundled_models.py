"""How the two bundled models came to be; each run takes an hour or so on a core, and resumes.

    python nbs/experiments/bundled_models.py first second third classes --out RUNS

`first`, `second` and `third` make the model "fashion-mnist", each from the averaged weights of the
one before; `classes` makes "fashion-mnist-classes" from those of `third`. Add `--pack` to write
what a run made in half precision to RUNS/packed. Stopped with Ctrl-C or killed, the same command
goes on. All of Fashion-MNIST is needed."""
import argparse
import shutil
from pathlib import Path

import torch

from ddpm_edu import DDPMPipeline, DDPMScheduler, UNet
from ddpm_edu.data import load_fashion_mnist
from ddpm_edu.training import TrainConfig, Trainer
from ddpm_edu.unet import unet_config

GO_ON = dict(batch_size=64, ema_decay=0.9995, mixed_precision="bf16")
RUNS = {
    "first": (None, dict(steps=7500, lr=2e-3, warmup_steps=300, ema_decay=0.999)),
    "second": ("first", dict(steps=6000, lr=1e-3, warmup_steps=200, seed=1, **GO_ON)),
    "third": ("second", dict(steps=3000, lr=6e-4, warmup_steps=100, seed=2, **GO_ON)),
    "classes": ("third", dict(steps=2400, lr=1.5e-3, warmup_steps=100, seed=4, labels=True,
        label_dropout=0.1, **{**GO_ON, "ema_decay": 0.999}))}


def network(name, start, out):
    "New, or the averaged weights of an earlier run; perhaps with a table of classes."
    if start is None: return UNet(**unet_config("fashion-mnist"))
    old = DDPMPipeline.from_pretrained(out/start).unet
    if start == "first": old = old.half().float()        # as it lay in the package then
    if name != "classes": return old
    new = UNet.from_config({**old.config, "num_class_embeds": 11})
    g = torch.Generator().manual_seed(0)                 # from zeros it would hardly listen
    torch.nn.init.normal_(new.class_embedding.weight, std=0.5, generator=g)
    new.load_state_dict(old.state_dict(), strict=False)
    return new


def pack(made, to):
    "The pipeline in half precision, with its history and recipe."
    pipe = DDPMPipeline.from_pretrained(made)
    pipe.unet.half()
    pipe.save_pretrained(to)
    for note in ("history.json", "training.json", "classes.json"):
        if (made/note).exists(): shutil.copy(made/note, to/note)


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
        Trainer(net, DDPMScheduler(), images, a.out/name, config, cpu=True).train(resume=True)
        if a.pack: pack(a.out/name, a.out/"packed"/name)


if __name__ == "__main__": main()
