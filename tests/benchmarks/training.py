"One optimiser step of Algorithm 1, batch 64, 28x28."
import torch

from .common import both, both_schedulers, interleaved, row, show


def rows(rounds=7):
    from ddpm_edu.unet import unet_config
    (ours, theirs), schedulers = both(unet_config("fashion-mnist")), both_schedulers()
    x0 = torch.rand(64, 1, 28, 28)*2 - 1

    def trainer(net, scheduler, autocast=False):
        net.train()
        adam = torch.optim.AdamW(net.parameters(), 1e-4)
        def step():
            t, noise = torch.randint(0, 1000, (64,)), torch.randn_like(x0)
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                said = net(scheduler.add_noise(x0, noise, t), t).sample
            (said.float() - noise).square().mean().backward()
            adam.step()
            adam.zero_grad()
        return step

    steps = {"ours": trainer(ours, schedulers[0]), "theirs": trainer(theirs, schedulers[1]),
             "bf16": trainer(ours, schedulers[0], True)}
    t = interleaved(steps, rounds)
    for kind, name, target in (("ours", "fp32", 1.1), ("bf16", "bf16 (autocast)", 1.35)):
        yield row(f"training step {name}", t["theirs"], t[kind], target,
                  note=f"{64/t[kind]:.0f} images a second")
    if (net := lucidrains()) is not None:
        t = interleaved({"ours": steps["ours"], "lucidrains": trainer(net, schedulers[0])}, rounds)
        size = sum(p.numel() for p in net.parameters())/ours.num_parameters()
        note = (f"another network, {size:.2f} x as many parameters; "
                f"{64/t['lucidrains']:.0f} images a second")
        what = "training step fp32, against denoising-diffusion-pytorch (left column)"
        yield row(what, t["lucidrains"], t["ours"], None, note=note)


def lucidrains():
    """The network of `denoising-diffusion-pytorch` at about our size, or None if it is not
    installed (`pip install --no-deps denoising-diffusion-pytorch einops ema-pytorch
    pytorch-fid`)."""
    import sys
    import types
    # for its loading of images, which is not used here
    names = [f"torchvision{end}" for end in ("", ".transforms", ".utils", ".transforms.functional")]
    for name in names: sys.modules.setdefault(name, types.ModuleType(name))
    vision, transforms, utils, functional = (sys.modules[name] for name in names)
    vision.transforms, vision.utils, transforms.functional = transforms, utils, functional
    try: from denoising_diffusion_pytorch.denoising_diffusion_pytorch import Unet
    except ImportError: return None

    class Wrapped(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = Unet(dim=32, dim_mults=(1, 2, 2), channels=1)

        def forward(self, x, t): return types.SimpleNamespace(sample=self.net(x, t))
    return Wrapped()


if __name__ == "__main__": show(rows())
