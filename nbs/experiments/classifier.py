"""Train the classifier whose features measure distances between sets of garments (chapter 8).

`python nbs/experiments/classifier.py` writes the weights in half precision to the package's assets
and what it took to classifier.json beside this file. It needs the whole of Fashion-MNIST. The recorded
time is of one thread while other work ran on the same two cores."""
import json
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from ddpm_edu.data import load_fashion_mnist
from ddpm_edu.evaluation import CLASSIFIER, FashionClassifier, feature_stats, image_features
from ddpm_edu.images import to_model

EPOCHS, BATCH, RATE, SMOOTHING = 9, 128, 3e-3, 0.05


def moved(x):
    "A batch, mirrored or not, and moved by up to two pixels; the same for all its images."
    if torch.rand(()) < 0.5: x = x.flip(-1)
    dy, dx = torch.randint(0, 5, (2,)).tolist()
    H, W = x.shape[2:]
    return F.pad(x, (2, 2, 2, 2), value=-1.)[..., dy:dy+H, dx:dx+W]


def accuracy(model, images, labels):
    "The share of images that are named rightly."
    model.eval()
    with torch.inference_mode():
        said = torch.cat([model(x).argmax(1) for x in images.split(500)])
    return said.eq(labels).float().mean().item()


def train(epochs=EPOCHS):
    "A trained classifier, its accuracy on the test images, and the seconds that the training took."
    torch.manual_seed(0)
    train, test = load_fashion_mnist("train"), load_fashion_mnist("test")
    x, y = to_model(train.images), train.labels
    model = FashionClassifier().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, epochs*(len(x)//BATCH))
    start = time.monotonic()
    for epoch in range(epochs):
        model.train()
        for b in torch.randperm(len(x))[:len(x)//BATCH*BATCH].split(BATCH):
            batch = moved(x[b]).contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16):
                loss = F.cross_entropy(model(batch), y[b], label_smoothing=SMOOTHING)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rate.step()
        right = accuracy(model, to_model(test.images), test.labels)
        print(f"epoch {epoch + 1}: {right:.2%} of the test images", flush=True)
    return model, right, time.monotonic() - start


def write_statistics():
    "Mean and covariance of the features of both splits, with the weights as they are saved."
    found = {}
    for split in ("train", "test"):
        stats = feature_stats(image_features(load_fashion_mnist(split).images))
        found |= {f"{split}.mean": stats.mean, f"{split}.cov": stats.cov,
                  f"{split}.n": torch.tensor(stats.n)}
    save_file(found, CLASSIFIER.with_name("statistics.safetensors"))


def half(v): return (v.half() if v.is_floating_point() else v).contiguous()


if __name__ == "__main__":
    model, right, seconds = train()
    save_file({k: half(v) for k, v in model.state_dict().items()}, CLASSIFIER)
    record = dict(test_accuracy=right, epochs=EPOCHS, seconds=round(seconds),
                  threads=torch.get_num_threads())
    Path(__file__).with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
    write_statistics()
