"What every benchmark needs: interleaved timing, both networks, the machine's peak, and rows."
import statistics
import time
import warnings

import torch

SMALL = dict(sample_size=32, in_channels=1, out_channels=1, block_out_channels=(32, 64, 64),
             layers_per_block=2, norm_num_groups=8, attention_head_dim=8,
             down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
             up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"))


def interleaved(functions:dict, rounds:int=15, calls:int=1, clock=time.perf_counter)->dict:
    "Median seconds of a call of each function; they take turns, after one uncounted call each."
    times = {name: [] for name in functions}
    for f in functions.values(): f()
    for _ in range(rounds):
        for name, f in functions.items():
            start = clock()
            for _ in range(calls): f()
            times[name].append((clock() - start)/calls)
    return {name: statistics.median(t) for name, t in times.items()}


def peak(dtype=torch.float32, n:int=1024)->float:
    "FLOP/s of a large matrix product, here and now: the roof of this machine."
    a = torch.randn(n, n).to(dtype)
    return 2*n**3/interleaved({"": lambda: a@a}, 20)[""]


def both(config:dict):
    "Our network and diffusers' with the same weights, in eval mode."
    import diffusers
    from ddpm_edu import UNet
    diffusers.utils.logging.set_verbosity_error()
    torch.manual_seed(0)
    ours, theirs = UNet(**config).eval(), diffusers.UNet2DModel(**config).eval()
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def both_schedulers(**options):
    import diffusers
    from ddpm_edu import DDPMScheduler
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return DDPMScheduler(**options), diffusers.DDPMScheduler(**options)


def high_water(reset:bool=False)->int:
    "The most memory that this process has held, in kB, since the last reset."
    if reset:
        with open("/proc/self/clear_refs", "w") as f: f.write("5")
    with open("/proc/self/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmHWM"))


def row(what:str, theirs:float, ours:float, target=None, unit:str="s", note:str="")->dict:
    return dict(what=what, theirs=theirs, ours=ours, ratio=theirs/ours, target=target, unit=unit,
                note=note)


def seconds(t:float)->str:
    return f"{t*1e6:.0f} us" if t < 1e-3 else f"{t*1e3:.1f} ms" if t < 1 else f"{t:.1f} s"


def show(rows):
    "One line a row, those that miss their target first."
    rows = sorted(rows, key=lambda r: r["target"] is None or r["ratio"] >= r["target"])
    print("| what | diffusers | ours | ratio | target | |\n|---|---|---|---|---|---|")
    for r in rows:
        def form(v):
            if r["unit"] == "s": return seconds(v)
            return f"{v:.0f} {r['unit']}" if v > 20 else f"{v:.2f} {r['unit']}"
        missed = r["target"] is not None and r["ratio"] < r["target"]
        target = "" if r["target"] is None else r["target"]
        print(f"| {r['what']} | {form(r['theirs'])} | {form(r['ours'])} | {r['ratio']:.2f} "
              f"| {target} | {'missed' if missed else ''} {r['note']} |")
