"""What bf16 does to the images: the same seeds in fp32 and bf16, compared by the features of a
small classifier (Fréchet distance).

The distance between two sets of fp32 images from different seeds is the scale: that much is chance.
About three minutes."""
import sys

import torch
from torch import nn

from ddpm_edu import DDPMPipeline
from ddpm_edu.data import load_fashion_mnist


class Classifier(nn.Module):
    "Two convolutions and 32 features; enough to tell garments apart."
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU(),
            nn.Flatten(), nn.Linear(64*49, 32), nn.ReLU())
        self.last = nn.Linear(32, 10)

    def forward(self, x): return self.last(self.features(x))


def train(steps=600):
    "A classifier, and its accuracy on test images."
    torch.manual_seed(0)
    data, test, net = load_fashion_mnist("train"), load_fashion_mnist("test"), Classifier()
    adam = torch.optim.Adam(net.parameters(), 2e-3)
    for _ in range(steps):
        i = torch.randint(len(data), (128,))
        labels = torch.as_tensor(data.labels)[i].long()
        loss = nn.functional.cross_entropy(net(data.batch(i)), labels)
        adam.zero_grad()
        loss.backward()
        adam.step()
    with torch.no_grad(): found = net(test.batch(range(1000))).argmax(1)
    right = found == torch.as_tensor(test.labels)[:1000].long()
    return net.eval(), right.float().mean().item()


def frechet(a, b):
    "Squared distance of the means plus that of the covariances, of two sets of features (N, d)."
    (ma, ca), (mb, cb) = ((f.mean(0), f.T.cov()) for f in (a.double(), b.double()))
    root = torch.linalg.eigvals(ca@cb).real.clamp(min=0).sqrt().sum()
    return ((ma - mb)**2).sum().item() + (ca.trace() + cb.trace() - 2*root).item()


def main(n=256, steps=50):
    net, right = train()
    pipe, images = DDPMPipeline.from_pretrained("fashion-mnist"), {}
    pipe.set_progress_bar_config(disable=True)
    def draw(seed):
        g = torch.Generator().manual_seed(seed)
        return pipe(n, generator=g, num_inference_steps=steps, output_type="pt").images*2 - 1
    images["fp32"], images["other seeds"] = draw(0), draw(1)
    pipe.to(torch.bfloat16)
    images["bf16"] = draw(0)
    images["real"] = load_fashion_mnist("test").batch(range(n))
    with torch.no_grad():
        features = {k: net.features(v) for k, v in images.items()}
        classes = {k: net(v).argmax(1) for k, v in images.items()}
    for k in ("bf16", "other seeds", "real"):
        print(f"distance of fp32 to {k:12} {frechet(features['fp32'], features[k]):8.3f}")
    same = (classes["fp32"] == classes["bf16"]).float().mean()
    apart = (images["fp32"] - images["bf16"]).abs().mean()/2
    print(f"{n} images, {steps} steps; classifier right on {right:.1%} of test images; the same "
          f"class in fp32 and bf16: {same:.1%}; mean difference of a pixel {apart:.4f} of 1")


if __name__ == "__main__": main(*map(int, sys.argv[1:]))
