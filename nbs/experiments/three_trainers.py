"""Ours, diffusers' and denoising-diffusion-pytorch's training at equal processor time.

    python nbs/experiments/three_trainers.py OUT --steps 500

All three learn the 60,000 training images of Fashion-MNIST with one thread, in bfloat16 where
autocast finds it fit, with networks of 1.1 million parameters, each with the recipe that its own
documentation gives. They take turns, `SLICE` steps of ours at a time; the others go on until they
have used as much processor time as ours. The samples go to OUT, and the result, with the distances
of chapter 8, to three_trainers.json beside this file. Takes half an hour, and needs
`pip install diffusers denoising-diffusion-pytorch`."""
import argparse
import json
import sys
import time
import types
from pathlib import Path

import torch

from ddpm_edu import DDPMScheduler, UNet
from ddpm_edu.data import load_fashion_mnist
from ddpm_edu.evaluation import (bootstrap_error, frechet_distance, image_features,
    reference_stats)
from ddpm_edu.training import TrainConfig, Trainer
from ddpm_edu.unet import unet_config

HERE, SLICE, T = Path(__file__).parent, 20, 1000


class Ours:
    "The trainer of chapter 7 with its default recipe, and the bundled network."
    name = "ddpm-edu"

    def __init__(self, out, steps):
        self.config = TrainConfig(steps=steps, mixed_precision="bf16", warmup_steps=steps//20)
        torch.manual_seed(0)
        self.net = UNet(**unet_config("fashion-mnist"))
        self.trainer = Trainer(self.net, DDPMScheduler(), load_fashion_mnist("train"), out/"ours",
            self.config, cpu=True, progress_bar=False)
        self.batch_size = self.config.batch_size

    def step(self): self.trainer.train_step()

    def sampler(self):
        pipe = self.trainer.pipeline()
        pipe.set_progress_bar_config(disable=True)
        return lambda n, steps: pipe(n, num_inference_steps=steps, output_type="pt").images


class Pictures:
    "Batches in an order drawn anew in every epoch, in [-1, 1] or [0, 1]."
    def __init__(self, batch_size, low):
        self.images, self.batch_size = load_fashion_mnist("train").images, batch_size
        self.low, self.order = low, torch.empty(0, dtype=torch.long)

    def __call__(self):
        if len(self.order) < self.batch_size: self.order = torch.randperm(len(self.images))
        now, self.order = self.order[:self.batch_size], self.order[self.batch_size:]
        return self.images[now].float()/255*(1 - self.low) + self.low


class Diffusers:
    "examples/unconditional_image_generation/train_unconditional.py, with its README's options."
    name, batch_size = "diffusers", 16

    def __init__(self, out, steps):
        from diffusers import DDPMScheduler, UNet2DModel
        from diffusers.optimization import get_scheduler
        from diffusers.training_utils import EMAModel
        torch.manual_seed(0)
        self.net = UNet2DModel(**UNet(**unet_config("fashion-mnist")).config)
        self.schedule = DDPMScheduler(num_train_timesteps=T, beta_schedule="linear")
        self.ema = EMAModel(self.net.parameters(), decay=0.9999, use_ema_warmup=True, inv_gamma=1.,
            power=0.75, model_cls=UNet2DModel, model_config=self.net.config)
        self.optimizer = torch.optim.AdamW(self.net.parameters(), lr=1e-4, betas=(0.95, 0.999),
            weight_decay=1e-6, eps=1e-8)
        self.rate = get_scheduler("cosine", optimizer=self.optimizer, num_warmup_steps=500,
            num_training_steps=100*60_000//16)
        self.pictures = Pictures(self.batch_size, -1.)

    def step(self):
        clean = self.pictures()
        noise = torch.randn_like(clean)
        t = torch.randint(0, T, (len(clean),))
        noisy = self.schedule.add_noise(clean, noise, t)
        with torch.autocast("cpu", torch.bfloat16): predicted = self.net(noisy, t).sample
        torch.nn.functional.mse_loss(predicted.float(), noise).backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.)
        self.optimizer.step()
        self.rate.step()
        self.optimizer.zero_grad()
        self.ema.step(self.net.parameters())

    def sampler(self):
        from diffusers import DDPMPipeline as Theirs
        self.ema.copy_to(self.net.parameters())
        pipe = Theirs(self.net.eval(), self.schedule)
        pipe.set_progress_bar_config(disable=True)

        def draw(n, steps):
            images = pipe(n, num_inference_steps=steps, output_type="np").images
            return torch.from_numpy(images).movedim(-1, 1)
        return draw


class Lucidrains:
    "denoising-diffusion-pytorch with its README's options and its defaults (v, sigmoid schedule)."
    name, batch_size = "denoising-diffusion-pytorch", 64        # 32 images, twice

    def __init__(self, out, steps):
        without_torchvision()
        from denoising_diffusion_pytorch import GaussianDiffusion, Unet
        from ema_pytorch import EMA
        torch.manual_seed(0)
        self.net = Unet(dim=28, dim_mults=(1, 2, 2), channels=1)
        self.diffusion = GaussianDiffusion(self.net, image_size=28, timesteps=T)
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=8e-5, betas=(0.9, 0.99))
        self.ema = EMA(self.diffusion, beta=0.995, update_every=10)
        self.pictures = Pictures(32, 0.)

    def step(self):
        for _ in range(2):
            with torch.autocast("cpu", torch.bfloat16): loss = self.diffusion(self.pictures())
            (loss/2).backward()
        torch.nn.utils.clip_grad_norm_(self.diffusion.parameters(), 1.)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.ema.update()

    def sampler(self):
        model = self.ema.ema_model.eval()

        def draw(n, steps):        # its own sampler for fewer steps is DDIM
            model.sampling_timesteps = steps
            return model.ddim_sample((n, 1, 28, 28))
        return draw


def without_torchvision():
    "Its own `Trainer` reads folders with torchvision; none of that is used here."
    try: import torchvision  # noqa: F401
    except (ImportError, RuntimeError):
        for name in ("torchvision", "torchvision.transforms", "torchvision.utils"):
            sys.modules[name] = types.ModuleType(name)
        top = sys.modules["torchvision"]
        top.transforms = sys.modules["torchvision.transforms"]
        top.utils = sys.modules["torchvision.utils"]


def train(runs, steps, used):
    "In turns; afterwards each has used as much processor time as ours."
    while used[Ours.name]["steps"] < steps:
        for run in runs:
            mine, goal = used[run.name], used[Ours.name]["seconds"]
            done = 0
            while mine["steps"] < steps if run.name == Ours.name else mine["seconds"] < goal:
                before = time.process_time()
                run.step()
                mine["seconds"] += time.process_time() - before
                mine["steps"] += 1
                done += 1
                if run.name == Ours.name and done == SLICE: break
            mine["images"] = mine["steps"]*run.batch_size
        print({k: (v["steps"], round(v["seconds"])) for k, v in used.items()}, flush=True)


def draw(run, n, steps):
    "n images as bytes, (n, 1, H, W)."
    torch.manual_seed(1)
    sample, images = run.sampler(), []
    for _ in range(n//50):
        with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
            images.append(sample(50, steps).float())
    return (torch.cat(images).clamp(0, 1)*255).round().byte()


def judge(out):
    "The distances of what each has drawn, and of as many real images, from the test images."
    record = json.loads((out/"runs.json").read_text())
    distance = lambda features: frechet_distance(features, reference_stats("test"))
    real = load_fashion_mnist("train").images[:record["n"]]
    drawn = {name: torch.load(out/f"{name}.pt") for name in record["runs"]}
    for name, images in {**drawn, "real": real}.items():
        features = image_features(images)
        found = dict(distance=float(distance(features)),
            error=float(bootstrap_error(distance, features, rounds=30)))
        record["runs"].setdefault(name, {}).update(found)
    (HERE/"three_trainers.json").write_text(json.dumps(record, indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder for the samples")
    parser.add_argument("--steps", type=int, default=1000, help="of ours")
    parser.add_argument("--n", type=int, default=250, help="images to draw from each")
    parser.add_argument("--sample-steps", type=int, default=200)
    a = parser.parse_args()
    torch.set_num_threads(1)
    a.out.mkdir(parents=True, exist_ok=True)
    runs = [kind(a.out, a.steps) for kind in (Ours, Diffusers, Lucidrains)]
    used = {r.name: dict(steps=0, images=0, seconds=0.) for r in runs}
    for run in runs: used[run.name]["parameters"] = sum(p.numel() for p in run.net.parameters())
    train(runs, a.steps, used)
    for run in runs:
        torch.save(draw(run, a.n, a.sample_steps), a.out/f"{run.name}.pt")
        print("drawn", run.name, flush=True)
    record = dict(sample_steps=a.sample_steps, n=a.n, runs=used)
    (a.out/"runs.json").write_text(json.dumps(record, indent=1) + "\n")
    judge(a.out)


if __name__ == "__main__": main()
