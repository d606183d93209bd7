"""Sampling on a GPU: `python -m tests.benchmarks gpu`. In fp32, in bf16, compiled, and with the whole
step as one CUDA graph; against diffusers on the same card if it is installed, else against our own
fp32. It needs torch alone, and ends after eight minutes at the latest: what is left then is said.

A graph is recorded once and played again for every step, so nothing in it may depend on Python's
numbers: the place in the schedule is a tensor that the step itself moves on."""
import copy
import importlib.util
import time

import torch

from .common import SMALL, row, show

LIMIT = 7*60                     # seconds after which no other case begins
BF16 = dict(dtype=torch.bfloat16, memory_format=torch.channels_last)


class WholeStep:
    "Algorithm 2 for a fixed batch as a step without arguments, which a graph can hold."
    def __init__(self, unet, scheduler, shape, device):
        self.unet, self.scheduler, self.device = unet, scheduler, device
        self.dtype, self.steps = next(unet.parameters()).dtype, scheduler.steps
        self.x = torch.zeros(shape, device=device)
        self.place = torch.zeros(1, dtype=torch.int64, device=device)       # in `scheduler.steps`
        self.visited = torch.tensor(scheduler.visited, device=device)       # rising
        self.sigma = torch.stack(scheduler.sigmas[scheduler.variance_type]).to(device)
        self.sigma[0] = 0                                   # of the last step
        self.graph = None

    def step(self):
        s, k, x = self.steps, self.place, self.x
        said = self.unet(x.to(self.dtype), self.visited[k]).sample.float()
        x0 = s.predict_x0(x, k, said, self.scheduler.prediction_type)
        mean = s.posterior_mean(self.scheduler.clip(x0), x, k)
        x.copy_(mean + self.sigma[k].view(-1, 1, 1, 1)*torch.randn_like(x))
        k.sub_(1).clamp_(min=0)

    def begin(self, x):
        self.x.copy_(x)
        self.place.fill_(len(self.visited) - 1)

    @torch.no_grad()
    def record(self):
        "Warm up, and on a GPU keep the step as a graph."
        self.begin(torch.zeros_like(self.x))
        for _ in range(3): self.step()
        if self.device.type != "cuda": return self
        torch.cuda.synchronize()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph): self.step()
        return self

    @torch.no_grad()
    def draw(self, x=None):
        "Images in about [-1, 1] from noise."
        self.begin(torch.randn_like(self.x) if x is None else x)
        play = self.step if self.graph is None else self.graph.replay
        for _ in self.visited: play()
        return self.x.clone()


def prepared(steps):
    from ddpm_edu import DDPMScheduler
    scheduler = DDPMScheduler()
    scheduler.set_timesteps(steps)
    return scheduler


def usual(unet, batch, steps, kind=None, scheduler=None, **options):
    "A pipeline's call, ours or that of diffusers."
    from ddpm_edu import DDPMPipeline, DDPMScheduler
    pipe = (kind or DDPMPipeline)(unet, scheduler or DDPMScheduler())
    pipe.set_progress_bar_config(disable=True)
    call = dict(batch_size=batch, num_inference_steps=steps, **options)
    return lambda: pipe(**call, output_type="np" if kind else "pt").images


def recorded(unet, batch, steps, network=None):
    config = unet.config
    shape = batch, config.in_channels, config.sample_size, config.sample_size
    device = next(unet.parameters()).device
    whole = WholeStep(unet, prepared(steps), shape, device)
    whole.unet = unet if network is None else network
    return whole.record().draw


def ways(config, batch, steps, device, backend):
    "name -> what makes a function that draws; each is made when its turn comes."
    from ddpm_edu import UNet
    torch.manual_seed(0)
    unet = UNet(**config).eval().to(device)
    half = lambda: copy.deepcopy(unet).to(**BF16)
    def compiled():
        net = half()
        return recorded(net, batch, steps, torch.compile(net, backend=backend))
    found = {"fp32": lambda: usual(unet, batch, steps), "bf16": lambda: usual(half(), batch, steps),
             "graph, fp32": lambda: recorded(unet, batch, steps),
             "graph, bf16": lambda: recorded(half(), batch, steps),
             "graph, bf16, compiled": compiled}
    if importlib.util.find_spec("diffusers"):
        import diffusers
        theirs = diffusers.UNet2DModel(**config).eval().to(device)
        theirs.load_state_dict(unet.state_dict())
        scheduler = diffusers.DDPMScheduler()
        first = lambda: usual(theirs, batch, steps, diffusers.DDPMPipeline, scheduler)
        found = {"diffusers": first, **found}
    return found


def seconds(f, device, rounds=3):
    "Median of some calls after one that is not counted; the device has finished at each look."
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    times = []
    for _ in range(rounds + 1):
        wait()
        start = time.perf_counter()
        f()
        wait()
        times.append(time.perf_counter() - start)
    return sorted(times[1:])[rounds//2]


def cases():
    from ddpm_edu.unet import unet_config
    return [("small network", SMALL, 16, 100), ("small network", SMALL, 256, 50),
            ("`cifar10` network", unet_config("cifar10"), 16, 50),
            ("`cifar10` network", unet_config("cifar10"), 256, 10)]


def rows(device, some=None, backend="inductor", limit=LIMIT, clock=time.monotonic):
    "A row for each network, batch and way; `ratio` is that of a step's seconds."
    began, left = clock(), []
    for name, config, batch, steps in some or cases():
        first = None
        for way, make in ways(config, batch, steps, device, backend).items():
            what = f"{name}, {batch} images, {way}"
            if clock() - began > limit:
                left.append(what)
                continue
            try: t = seconds(make(), device)/steps
            except Exception as e:                 # a compiler that is missing spoils its row alone
                left.append(f"{what} ({type(e).__name__}: {str(e).splitlines()[0][:80]})")
                continue
            first = first or t
            yield row(f"a step, {what}", first, t, note=f"1000 steps {1000*t:.1f} s")
    if left: print("not measured:", "; ".join(left))


def main():
    if not torch.cuda.is_available():
        print("there is no GPU here that torch can use; tests/test_benchmarks.py runs a tiny form")
        return 1
    device = torch.device("cuda")
    against = "diffusers" if importlib.util.find_spec("diffusers") else "our own fp32"
    show(rows(device))
    print(f"\n{torch.cuda.get_device_name()}, torch {torch.__version__}; ratios are those of "
          f"{against} (left) over each way; convolutions may round to TF32: "
          f"{torch.backends.cudnn.allow_tf32}, products of matrices: "
          f"{torch.backends.cuda.matmul.allow_tf32}")
    return 0
