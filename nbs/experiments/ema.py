"""What averaged weights are worth: bits and distance of a network and of its moving average.

    python nbs/experiments/ema.py OUT      # six short trainings, about three minutes each

The model of this package ships averaged weights alone. So the cell "epsilon, L_simple" of tables.py
is trained with each of its seeds, once as there, where the learning rate falls to 0, and once with
a constant one, as in the paper. Both sets of weights stand in the checkpoints. The same images are
noised by the same noise, and samples begin with the same noise, so that the weights are all that
differs. Results: ema.json beside this file; what it holds is not computed again."""
import json
import runpy
import sys
from pathlib import Path

import torch

from ddpm_edu import DDPMPipeline, DDPMScheduler, UNet
from ddpm_edu.bits import bits_per_dim
from ddpm_edu.data import load_fashion_mnist
from ddpm_edu.evaluation import fashion_distance
from ddpm_edu.store import whole_file
from ddpm_edu.training import ema_weights

HERE, CELL = Path(__file__).parent, "epsilon, L_simple"
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


def measured(net, images, o):
    "Bits of each image, and the distance of the samples."
    pipe = DDPMPipeline(net, DDPMScheduler(variance_type=tables["CELLS"][CELL][2]))
    pipe.set_progress_bar_config(disable=True)
    g = torch.Generator().manual_seed(0)
    options = dict(batch_size=len(images), clip=False, generator=g)
    bits = bits_per_dim(pipe, images, o["groups"], **options).draws[0]
    return bits, fashion_distance(tables["draw"](net, CELL, o))


def row(folder, o, seed, data, images):
    "One training, measured twice."
    nets = networks(folder, seed, o, data)
    found = {what: measured(net, images, o) for what, net in nets.items()}
    gain = found["averaged"][0] - found["raw"][0]
    return dict(learning_rate=o["decay"], seed=seed, error=(gain.std()/len(gain)**0.5).item(),
                bits={what: b.mean().item() for what, (b, _) in found.items()},
                distance={what: d for what, (_, d) in found.items()})


def main(out):
    "A row for each seed and learning rate."
    data, test = load_fashion_mnist("train"), load_fashion_mnist("test").images
    test = test[torch.randperm(len(test), generator=torch.Generator().manual_seed(0))]
    path, o = HERE/"ema.json", tables["LONG"]
    record = dict(cell=CELL, decay=0.99, steps=o["steps"], n=o["bits_images"],
                  samples=o["samples"], rows=[])
    if path.exists(): record = json.loads(path.read_text())
    done = {(r["learning_rate"], r["seed"]) for r in record["rows"]}
    for decay, seed in [(d, s) for d in ("cosine", "constant") for s in range(o["seeds"])]:
        if (decay, seed) in done: continue
        folder = tables["place"](out/decay, CELL, seed)
        own = row(folder, dict(o, decay=decay), seed, data, test[:o["bits_images"]])
        record["rows"].append(own)
        print(own, flush=True)
        with whole_file(path, alone=True) as part:
            part.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__": main(Path(sys.argv[1]))
