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
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast): loss = (net(scheduler.add_noise(x0, noise, t), t).sample.float() - noise).square().mean()
            loss.backward()
            adam.step()
            adam.zero_grad()
        return step
    t = interleaved({"ours": trainer(ours, schedulers[0]), "theirs": trainer(theirs, schedulers[1]), "bf16": trainer(ours, schedulers[0], True)}, rounds)
    yield row("training step fp32", t["theirs"], t["ours"], 1.1, note=f"{64/t['ours']:.0f} images a second")
    yield row("training step bf16 (autocast)", t["theirs"], t["bf16"], 1.35, note=f"{64/t['bf16']:.0f} images a second")
    if (net := lucidrains()) is not None:
        t = interleaved({"ours": trainer(ours, schedulers[0]), "lucidrains": trainer(net, schedulers[0])}, rounds)
        size = sum(p.numel() for p in net.parameters())/ours.num_parameters()
        yield row("training step fp32, against denoising-diffusion-pytorch (left column)", t["lucidrains"], t["ours"], None, note=f"another network, {size:.2f} x as many parameters; {64/t['lucidrains']:.0f} images a second")


def lucidrains():
    "The network of `denoising-diffusion-pytorch` at about our size, or None if it is not installed (`pip install --no-deps denoising-diffusion-pytorch einops ema-pytorch pytorch-fid`)."
    import sys
    import types
    for name in ("torchvision", "torchvision.transforms", "torchvision.utils", "torchvision.transforms.functional"):      # for its loading of images, which is not used here
        sys.modules.setdefault(name, types.ModuleType(name))
    sys.modules["torchvision"].transforms, sys.modules["torchvision"].utils = sys.modules["torchvision.transforms"], sys.modules["torchvision.utils"]
    sys.modules["torchvision.transforms"].functional = sys.modules["torchvision.transforms.functional"]
    try: from denoising_diffusion_pytorch.denoising_diffusion_pytorch import Unet
    except ImportError: return None

    class Wrapped(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = Unet(dim=32, dim_mults=(1, 2, 2), channels=1)

        def forward(self, x, t): return types.SimpleNamespace(sample=self.net(x, t))
    return Wrapped()


if __name__ == "__main__": show(rows())
