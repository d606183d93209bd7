"""What chapter 8 reads: samples of the model of this package, their distances, their bits.

`python nbs/experiments/evaluation.py` writes samples.png and evaluation.json beside this file, in
some minutes on two cores; run it again whenever the model changes. A part is named to run it
alone: `evaluation.py samples`, `distances` or `bits`. The whole of Fashion-MNIST is needed."""
import json
import sys
from pathlib import Path
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import nn

from ddpm_edu import DDPMPipeline, DDPMScheduler
from ddpm_edu.bits import bits_per_dim
from ddpm_edu.data import load_fashion_mnist
from ddpm_edu.evaluation import (feature_stats, frechet_distance, image_features,
    nearest_images, reference_stats)
from ddpm_edu.images import to_model, to_uint8
from ddpm_edu.plots import as_pixels, make_grid

HERE = Path(__file__).parent
N, STEPS, COLUMNS = 500, 200, 25                      # samples
BITS_N, FEW, GROUPS = 100, 32, 40                      # images of each split; for a convention


def samples():
    "Draw them, each from its own generator, and write them as one picture without gaps."
    pipe, images = DDPMPipeline.from_pretrained("fashion-mnist"), []
    for batch in torch.arange(N).split(50):
        generators = [torch.Generator().manual_seed(i) for i in batch.tolist()]
        pipe.set_progress_bar_config(desc=f"images from {batch[0]}", mininterval=20)
        options = dict(generator=generators, num_inference_steps=STEPS, output_type="pt")
        with torch.autocast("cpu", torch.bfloat16):           # twice as fast where there are units
            images.append(pipe(len(batch), **options).images)
    make_grid(torch.cat(images), COLUMNS, pad=0).save(HERE/"samples.png", optimize=True)
    return dict(n_samples=N, steps=STEPS)


def read_samples():
    "The images of the picture, (N, 1, 28, 28)."
    from PIL import Image
    pixels = torch.from_numpy(as_pixels([Image.open(HERE/"samples.png")]).copy())[0, ..., 0]
    return pixels.unfold(0, 28, 28).unfold(1, 28, 28).reshape(-1, 1, 28, 28)


def distances():
    "Of real, drawn and blurred images and of noise from either split, also for all test images."
    test, drawn = load_fashion_mnist("test").images, read_samples()
    some = test[torch.randperm(len(test), generator=torch.Generator().manual_seed(0))]
    soft = F.avg_pool2d(to_model(some[:N]), 3, 1, 1, count_include_pad=False)
    noise = torch.randint(0, 256, drawn.shape, generator=torch.Generator().manual_seed(1)).byte()
    sets = {"real": some[:N], "drawn": drawn, "blurred": to_uint8(soft), "noise": noise,
            "all real": test}
    stats = {name: feature_stats(image_features(images)) for name, images in sets.items()}
    rows = []
    for name, reference in [(n, r) for r in ("train", "test") for n in sets]:
        if (name, reference) in (("real", "test"), ("all real", "test")): continue   # themselves
        distance = frechet_distance(stats[name], reference_stats(reference))
        rows.append(dict(images=name.removeprefix("all "), n=stats[name].n, reference=reference,
                         distance=round(distance, 4)))
    return dict(distances=rows, n_train=reference_stats("train").n)


class Respaced(nn.Module):
    "The network for a chain that visits some of the timesteps."
    def __init__(self, unet, timesteps):
        super().__init__()
        self.unet, self.timesteps, self.config = unet, timesteps, unet.config

    def forward(self, x, t): return self.unet(x, self.timesteps[t])


def shorter(pipe, K):
    "The pipeline whose chain has K timesteps, evenly spread, with the same signal-to-noise ratios."
    timesteps = torch.linspace(0, len(pipe.scheduler.schedule) - 1, K).round().long()
    betas = pipe.scheduler.schedule.double().respace(timesteps).betas
    own = dict(num_train_timesteps=K, trained_betas=betas.tolist())
    return DDPMPipeline(Respaced(pipe.unet, timesteps),
                        DDPMScheduler.from_config(pipe.scheduler.config, **own))


def nearest():
    "Median distance, in pixels, to the nearest of all training images."
    train, test = (load_fashion_mnist(split).images for split in ("train", "test"))
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(0))
    sets = {"test": test[order[:N]], "drawn": read_samples()}
    pixels = lambda images: to_model(images).flatten(1)
    return dict(nearest={name: nearest_images(pixels(images), pixels(train))[0].median().item()
                         for name, images in sets.items()})


def measured(pipe, images, seed, **options):
    "The bound of images; the same seed gives the same timesteps and noise."
    pipe.set_progress_bar_config(mininterval=20)
    generator = torch.Generator().manual_seed(seed)
    return bits_per_dim(pipe, images, GROUPS, generator=generator, **options)


def by_tanh(x, mean, std):
    "The decoder (13) as the paper's code has it: by tanh instead of the normal distribution."
    cdf = lambda z: (1 + torch.tanh((2/torch.pi)**0.5*(z + 0.044715*z**3)))/2
    upper, lower = (cdf((x + end - mean)/std) for end in (1/255, -1/255))
    upper = upper.where(x < 0.999, torch.ones_like(x))
    lower = lower.where(x > -0.999, torch.zeros_like(x))
    return (upper - lower).clamp(1e-12).log()


def conventions(pipe, images):
    "What some decisions change, on the same images and noise."
    clip, large = pipe.scheduler.config.clip_sample, dict(variance_type="fixed_large")
    small = pipe.scheduler.config.variance_type.startswith("fixed_small")
    other = "fixed_large" if small else "fixed_small"
    black = F.pad(images, (2, 2, 2, 2))
    changes = {"as the pipeline says": (pipe, images, {}),
               f"variance {other}": (pipe, images, dict(variance_type=other)),
               "large variance, also of the last step": (pipe, images, dict(first="own", **large)),
               f"x_0 {'not ' if clip else ''}clipped": (pipe, images, dict(clip=not clip)),
               "padded with black to 32x32": (pipe, black, {}),
               "a chain of 250 timesteps": (shorter(pipe, 250), images, {}),
               "a chain of 100 timesteps": (shorter(pipe, 100), images, {})}
    found = {what: measured(p, x, 2, **more).draws[0] for what, (p, x, more) in changes.items()}
    with patch("ddpm_edu.variational_bound.discretized_gaussian_log_likelihood", by_tanh):
        found["a normal distribution by tanh"] = measured(pipe, images, 2).draws[0]
    base = next(iter(found.values()))
    return [dict(what=what, mean=b.mean().item(), error=((b - base).std()/len(b)**0.5).item())
            for what, b in found.items()]


def bits():
    "Of training and test images: how many, and at which timesteps."
    pipe, found = DDPMPipeline.from_pretrained("fashion-mnist"), {}
    for seed, split in enumerate(("train", "test")):
        images = load_fashion_mnist(split).images
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
        some = images[order[:BITS_N]]
        b = measured(pipe, some, seed)
        found[split] = dict(mean=b.mean, error=b.error, n=BITS_N, ends=b.ends, L_T=b.L_T,
                            terms=b.terms.tolist())
    kind = pipe.scheduler.config.variance_type
    return dict(bits=found | dict(variance_type=kind, conventions=conventions(pipe, some[:FEW])))


PARTS = {"samples": samples, "distances": distances, "nearest": nearest, "bits": bits}

if __name__ == "__main__":
    path = HERE/"evaluation.json"
    for name in sys.argv[1:] or PARTS:
        record = json.loads(path.read_text()) if path.exists() else {}
        record.update(PARTS[name]())
        path.write_text(json.dumps(record, indent=1) + "\n")
        print(f"{name}: done", flush=True)
