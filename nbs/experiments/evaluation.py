"""What chapter 8 reads: samples of the model of this package, their distances, their bits.

`python nbs/experiments/evaluation.py` writes samples.png and evaluation.json beside this file, in
some minutes on two cores; run it again whenever the model changes. A part is named to run it
alone: `evaluation.py samples`, `distances` or `bits`. The whole of Fashion-MNIST is needed."""
import json
import sys
from pathlib import Path

import torch
import torch.nn.functional as F

from ddpm_edu import DDPMPipeline
from ddpm_edu.data import load_fashion_mnist
from ddpm_edu.evaluation import feature_stats, frechet_distance, image_features, reference_stats
from ddpm_edu.images import to_model, to_uint8
from ddpm_edu.plots import as_pixels, make_grid

HERE = Path(__file__).parent
N, STEPS, COLUMNS = 500, 200, 25


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


PARTS = {"samples": samples, "distances": distances}

if __name__ == "__main__":
    path = HERE/"evaluation.json"
    for name in sys.argv[1:] or PARTS:
        record = json.loads(path.read_text()) if path.exists() else {}
        record.update(PARTS[name]())
        path.write_text(json.dumps(record, indent=1) + "\n")
        print(f"{name}: done", flush=True)
