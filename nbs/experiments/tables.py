"""Tables 1 and 2 of the paper on Fashion-MNIST: eight ways to train one network, at equal compute.

    python nbs/experiments/tables.py OUT            # all runs, about four minutes each on one core
    python nbs/experiments/tables.py OUT --short    # a tiny version, less than a minute

A cell says what the network predicts (the mean of the reverse step, mu, or the noise), what it is
trained on, and whether its variance is learned. Every run has a folder in OUT and goes on where it
was stopped; the cells of table 1 come first, and the first seed of all before the second. Results:
tables.json beside this file, or in OUT for `--short`; what it holds of the same options is not run
again, on any machine, unless a number is missing: then the whole run is made anew, since another
processor rounds otherwise. The whole of Fashion-MNIST is used where it is found."""
import argparse
import json
import math
import time
from pathlib import Path

import torch
from PIL import Image

from ddpm_edu import DDPMPipeline, DDPMScheduler, UNet
from ddpm_edu.bits import bits_per_dim
from ddpm_edu.data import load_fashion_mnist
from ddpm_edu.evaluation import fashion_classifier, fashion_distance, inception_score
from ddpm_edu.images import to_model, to_uint8
from ddpm_edu.plots import make_grid
from ddpm_edu.store import whole_file
from ddpm_edu.training import TrainConfig, draw_batch, ema_weights
from ddpm_edu.unet import unet_config
from ddpm_edu.variational_bound import training_loss

HERE, T, LEARNED = Path(__file__).parent, 1000, "learned_range"
CELLS = {                        # what is predicted, the loss, the variance
    "mu, L, learned": ("mu", "vlb", LEARNED),
    "mu, L, fixed": ("mu", "vlb", "fixed_large"),
    "mu, plain": ("mu", "mu", "fixed_large"),
    "epsilon, L, learned": ("epsilon", "vlb", LEARNED),
    "epsilon, L, fixed": ("epsilon", "vlb", "fixed_large"),
    "epsilon, L_simple": ("epsilon", "simple", "fixed_large"),
    "epsilon, hybrid": ("epsilon", "hybrid", LEARNED),
    "mu - x_t, L, fixed": ("mu", "vlb", "fixed_large")}        # the network says mu - x_t
TABLE_1 = ("epsilon, L, fixed", "epsilon, L_simple")
LONG = dict(steps=1250, batch_size=32, widths=(8, 24, 32), samples=250, sample_steps=100,
    bits_images=128, groups=25, draw_batch=50, seeds=3)
SHORT = dict(LONG, steps=20, batch_size=16, widths=(8, 8, 8), samples=70, sample_steps=3,
    bits_images=4, groups=5, draw_batch=35, seeds=1)


def asked(net, name):
    "What the network says about x_t: the prediction, then, if it is learned, v of the variance."
    def model(x_t, t): return net(x_t, t).sample
    def changed(x_t, t): return x_t + net(x_t, t).sample
    return changed if name.startswith("mu - x_t") else model


class Noise(torch.nn.Module):
    "What a cell's network says, as noise, followed, if it is learned, by v of the variance."
    def __init__(self, net, name):
        super().__init__()
        self.net, self.config, self.schedule = net, net.config, DDPMScheduler().schedule
        self.model, (self.predicts, _, self.variance) = asked(net, name), CELLS[name]

    def forward(self, x_t, t):
        said, *v = self.model(x_t, t).chunk(1 + (self.variance == LEARNED), 1)
        return torch.cat([self.schedule.convert(x_t, t, said, self.predicts, "epsilon"), *v], 1)


def train(folder, name, seed, o, data, told):
    "The averaged network and the history; a checkpoint every 250 steps."
    cell = CELLS[name]
    c = TrainConfig(steps=o["steps"], batch_size=o["batch_size"], warmup_steps=o["steps"]//15,
        ema_decay=0.99, decay=o.get("decay", "cosine"))
    torch.manual_seed(seed)
    net = UNet(**dict(unet_config("fashion-mnist"), block_out_channels=o["widths"],
        norm_num_groups=4, out_channels=1 + (cell[2] == LEARNED)))
    ema, schedule = ema_weights(net, c.ema_decay), DDPMScheduler().schedule
    model = asked(net, name)
    adam, history, step, spent = torch.optim.Adam(net.parameters(), c.lr), [], 0, 0.
    parts = dict(net=net, ema=ema, adam=adam)
    saved = folder/"checkpoint.pt"
    if saved.exists():
        state = torch.load(saved, weights_only=True)
        for name, part in parts.items(): part.load_state_dict(state[name])
        history, step, spent = state["history"], state["step"], state["spent"]
    started, sums = time.process_time() - spent, []
    while step < c.steps:
        for group in adam.param_groups: group["lr"] = c.lr_at(step)
        batch = draw_batch(data, T, step, c.batch_size, seed)
        loss = training_loss(model, schedule, *batch, cell[1], cell[0], cell[2]).mean()
        loss.backward()
        length = torch.nn.utils.clip_grad_norm_(net.parameters(), c.grad_clip)
        adam.step()
        adam.zero_grad()
        ema.update_parameters(net)
        step += 1
        sums.append((loss.item(), length.item()))
        if step % max(1, c.steps//50) == 0:
            losses, lengths = zip(*sums)
            said = sum(losses)/len(losses), max(lengths)
            history.append([step, *(float(f"{v:.5g}") for v in said)])           # for a small file
            sums = []
            if not math.isfinite(history[-1][1]): break
        if step % 250 == 0 or step == c.steps:
            spent = time.process_time() - started
            states = {name: part.state_dict() for name, part in parts.items()}
            with whole_file(saved, alone=True) as part:
                torch.save(dict(states, history=history, step=step, spent=spent), part)
            told(f"{step} steps, {spent:.0f} s, loss {history[-1][1]:.4g}")
    return ema.module.eval(), history, spent


@torch.no_grad()
def draw(net, name, o):
    "Images, bytes, from the same noise in every cell; the estimates of x_0 are clipped."
    scheduler, images = DDPMScheduler(variance_type=CELLS[name][2]), []
    model = Noise(net, name)
    scheduler.set_timesteps(o["sample_steps"])
    for first in range(0, o["samples"], o["draw_batch"]):
        own = [torch.Generator().manual_seed(i) for i in range(first, first + o["draw_batch"])]
        x = torch.cat([torch.randn(1, 1, 28, 28, generator=g) for g in own])
        for t in scheduler.timesteps:
            out = model(x, t.expand(len(x)))
            x = scheduler.step(out, t, x, generator=own).prev_sample
        images.append(to_uint8(x.clamp(-1, 1)))
    return torch.cat(images)


def bits(net, images, name, o):
    "The bound in bits per dimension and its standard error; x_0 is not clipped, as in training."
    pipe = DDPMPipeline(Noise(net, name), DDPMScheduler(variance_type=CELLS[name][2]))
    pipe.set_progress_bar_config(disable=True)
    g = torch.Generator().manual_seed(0)
    found = bits_per_dim(pipe, images, o["groups"], batch_size=len(images), clip=False, generator=g)
    return [found.mean, found.error]


@torch.no_grad()
def score(images):
    "The Inception score with the classifier of garments: 1 if all look alike, 10 at most."
    return inception_score(fashion_classifier()(to_model(images)))


def unstable(history):
    "Why a run is called unstable, or None."
    losses = [loss for _, loss, _ in history]
    if not all(map(math.isfinite, losses)): return "the loss is not finite"
    means = [sum(some)/5 for some in zip(*(losses[i:] for i in range(5)))]
    if not means or means[-1] <= 2*min(means): return None
    return f"the loss ends at {means[-1]/min(means):.3g} times its minimum"


def run(folder, name, seed, o, data, test):
    "One cell with one seed; what is finished is read."
    done = folder/"result.json"
    if done.exists() and "score" in (result := json.loads(done.read_text())): return result
    folder.mkdir(parents=True, exist_ok=True)
    told = lambda what: print(f"{name}, seed {seed}: {what}", flush=True)
    cell = CELLS[name]
    net, history, seconds = train(folder, name, seed, o, data, told)
    result = dict(cell=name, predicts=cell[0], loss=cell[1], variance=cell[2], seed=seed,
        parameters=sum(p.numel() for p in net.parameters()), history=history,
        seconds=round(seconds, 1), unstable=unstable(history))
    for split, images in (("test", test), ("train", data.images)):
        some = images[torch.randperm(len(images), generator=torch.Generator().manual_seed(0))]
        result[f"bits_{split}"] = bits(net, some[:o["bits_images"]], name, o)
    drawn = draw(net, name, o)
    result["distance"], result["score"] = fashion_distance(drawn), score(drawn)
    torch.save(dict(images=drawn, net=net.state_dict()), folder/"drawn.pt")
    done.write_text(json.dumps(result))
    told(f"bits {result['bits_test'][0]:.3f}, distance {result['distance']:.1f}, "
        f"score {result['score']:.2f}")
    return result


def picture(out, old=None, columns=10):
    "What each cell draws with its first seed, a row for each; where there is no run, the old row."
    rows, size = [], 28
    for k, name in enumerate(CELLS):
        found = place(out, name, 0)/"drawn.pt"
        if found.exists():
            images = torch.load(found, weights_only=True)["images"][:columns]
            rows.append(make_grid(images, columns, pad=0))
        elif old: rows.append(old.crop((0, k*size, columns*size, (k + 1)*size)))
        else: return None
    sheet = Image.new("L", (columns*size, len(rows)*size))
    for k, row in enumerate(rows): sheet.paste(row, (0, k*size))
    return sheet


def place(out, name, seed):
    "The folder of a run."
    return out/f"{name.replace(', ', '-')}-{seed}"


def finished(where, o):
    "The results that a file has of these options, by cell and seed; of other options, none."
    record = json.loads(where.read_text()) if where.exists() else {}
    if record.get("options") != json.loads(json.dumps(o)): return {}
    return {(r["cell"], r["seed"]): r for r in record["runs"]}


def main(argv=None):
    "All runs that are missing, and the file, whole, after each of them."
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("out", type=Path, help="folder of the runs")
    p.add_argument("--short", action="store_true", help="a tiny version, in less than a minute")
    a = p.parse_args(argv)
    o = SHORT if a.short else LONG
    data, test = load_fashion_mnist("train"), load_fashion_mnist("test").images
    where = (a.out if a.short else HERE)/"tables.json"
    a.out.mkdir(parents=True, exist_ok=True)
    order = [(name, seed) for seed in range(o["seeds"]) for name in CELLS]
    found, first = finished(where, o), sorted(order, key=lambda key: key[0] not in TABLE_1)
    for name, seed in [key for key in first if "score" not in found.get(key, ())]:
        found[name, seed] = run(place(a.out, name, seed), name, seed, o, data, test)
        runs = [found[key] for key in order if key in found]
        with whole_file(where, alone=True) as part:
            part.write_text(json.dumps(dict(options=o, runs=runs)) + "\n")
        image = where.with_suffix(".png")
        sheet = picture(a.out, Image.open(image) if image.exists() else None)
        if sheet: sheet.save(image, optimize=True)
    return [found[key] for key in order]


if __name__ == "__main__": main()
