"""What averaged weights are worth: bits and distance of a network and of its moving average.

    python nbs/experiments/ema.py OUT      # six short trainings, about three minutes each

The model of this package ships averaged weights alone. So the cell "epsilon, L_simple" of tables.py
is trained with each of its seeds, once as there, where the learning rate falls to 0, and once with
a constant one, as in the paper. Both sets of weights stand in the checkpoints. The same images are
noised by the same noise, and samples begin with the same noise, so that the weights are all that
differs. For the explorer of chapter 8, the runs with the constant rate also have the distances of
some choices of n of 500 samples. Results: ema.json beside this file; what it holds is not computed
again."""
import json
import runpy
import sys
from pathlib import Path

import torch

from ddpm_edu import DDPMPipeline, DDPMScheduler, UNet
from ddpm_edu.bits import bits_per_dim
from ddpm_edu.data import SLICE, load_fashion_mnist
from ddpm_edu.evaluation import fashion_distance, frechet_distance, image_features
from ddpm_edu.images import to_model
from ddpm_edu.store import whole_file
from ddpm_edu.training import ema_weights

HERE, CELL = Path(__file__).parent, "epsilon, L_simple"
SIZES, ROUNDS = [50, 70, 100, 140, 200, 280, 380, 450], 3      # as the explorer has them
tables = runpy.run_path(str(HERE/"tables.py"))


def networks(folder, seed, o, data):
    "The network as the last step left it, and its average."
    tell = lambda what: print(f"seed {seed}: {what}", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    averaged, *_ = tables["train"](folder, CELL, seed, o, data, tell)
    state = torch.load(folder/"checkpoint.pt", weights_only=True)
    raw = UNet.from_config(averaged.config)
    raw.load_state_dict(state["net"])
    again = ema_weights(raw, 0.99)
    again.load_state_dict(state["ema"])
    same = zip(again.module.parameters(), averaged.parameters())
    assert all(torch.equal(a, b) for a, b in same)
    return {"raw": raw.eval(), "averaged": averaged}


def choices(drawn):
    "Distances of some choices of n images from either split, in both kinds of numbers."
    train, test = (load_fashion_mnist(split, root=SLICE).images for split in ("train", "test"))
    test = test[torch.randperm(len(test), generator=torch.Generator().manual_seed(0))]
    kinds = dict(features=lambda x: image_features(x).double(),
                 pixels=lambda x: to_model(x).flatten(1).double())
    found = {}
    for by, numbers in kinds.items():
        f = numbers(drawn)
        picks = [[f[torch.randperm(len(f), generator=torch.Generator().manual_seed(k))[:n]]
                  for k in range(ROUNDS)] for n in SIZES]
        for to, goal in (("train", train), ("test", test[500:])):
            far = [[frechet_distance(some, numbers(goal)) for some in row] for row in picks]
            found[f"{by}, {to}"] = [[float(f"{d:.4g}") for d in row] for row in far]
    return found


def measured(net, images, o):
    "Bits of each image, the distance of the samples, and of some choices of more of them."
    pipe = DDPMPipeline(net, DDPMScheduler(variance_type=tables["CELLS"][CELL][2]))
    pipe.set_progress_bar_config(disable=True)
    g = torch.Generator().manual_seed(0)
    options = dict(batch_size=len(images), clip=False, generator=g)
    bits = bits_per_dim(pipe, images, o["groups"], **options).draws[0]
    constant = o["decay"] == "constant"
    drawn = tables["draw"](net, CELL, dict(o, samples=500) if constant else o)
    return bits, fashion_distance(drawn[:o["samples"]]), choices(drawn) if constant else None


def row(folder, o, seed, data, images):
    "One training, measured twice."
    nets = networks(folder, seed, o, data)
    found = {what: measured(net, images, o) for what, net in nets.items()}
    gain = found["averaged"][0] - found["raw"][0]
    told = dict(learning_rate=o["decay"], seed=seed, error=(gain.std()/len(gain)**0.5).item(),
                bits={what: b.mean().item() for what, (b, *_) in found.items()},
                distance={what: d for what, (_, d, _) in found.items()})
    some = {what: c for what, (*_, c) in found.items() if c}
    return dict(told, choices=some) if some else told


def main(out):
    "A row for each seed and learning rate."
    data, test = load_fashion_mnist("train"), load_fashion_mnist("test").images
    test = test[torch.randperm(len(test), generator=torch.Generator().manual_seed(0))]
    path, o = HERE/"ema.json", tables["LONG"]
    record = dict(cell=CELL, decay=0.99, steps=o["steps"], n=o["bits_images"],
                  samples=o["samples"], rows=[])
    if path.exists(): record = json.loads(path.read_text())
    record["sizes"] = SIZES
    done = {(r["learning_rate"], r["seed"]): r for r in record["rows"]
            if r["learning_rate"] == "cosine" or "choices" in r}
    for decay, seed in [(d, s) for d in ("cosine", "constant") for s in range(o["seeds"])]:
        if (decay, seed) in done: continue
        folder = tables["place"](out/decay, CELL, seed)
        own = row(folder, dict(o, decay=decay), seed, data, test[:o["bits_images"]])
        same = lambda r: (r["learning_rate"], r["seed"]) == (decay, seed)
        record["rows"] = [r for r in record["rows"] if not same(r)] + [own]
        record["rows"].sort(key=lambda r: (r["learning_rate"] != "cosine", r["seed"]))
        print(own, flush=True)
        with whole_file(path, alone=True) as part:
            part.write_text(json.dumps(record) + "\n")


if __name__ == "__main__": main(Path(sys.argv[1]))
