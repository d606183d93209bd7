"""How long this machine takes for the paper's CIFAR-10 network.

    OMP_NUM_THREADS=1 python nbs/experiments/utilisation.py      # a minute

A training step and a pass without gradients, on one core. Time is the processor's own, not the
clock's, so that other programs on the machine hardly count. torch counts the operations, too, all
but those of fused attention. Results: utilisation.json beside this file, with the name of the
processor; chapter 10 makes rates of them."""
import json
import platform
import time
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from ddpm_edu import DDPMScheduler, UNet
from ddpm_edu.store import whole_file
from ddpm_edu.unet import unet_config
from ddpm_edu.variational_bound import training_loss

HERE, NETWORK, BATCH, REPEATS = Path(__file__).parent, "cifar10", 4, 6


def processor():
    "Its name, as the system says it."
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def timed(work):
    "Operations, and seconds of the processor: the best and the median of some runs."
    with FlopCounterMode(display=False) as counter: work()
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    times.sort()
    flops = counter.get_total_flops()
    return dict(flops=flops, seconds=times[0], median=times[len(times)//2])


def main():
    "Both measurements, and the file."
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net, schedule = UNet(**unet_config(NETWORK)), DDPMScheduler().schedule
    x, t = torch.randn(BATCH, 3, 32, 32), torch.randint(1000, (BATCH,))

    def step():
        training_loss(net.train(), schedule, x, t, torch.randn_like(x)).mean().backward()
        net.zero_grad()

    @torch.no_grad()
    def look(): net.eval()(x, t)

    record = dict(network=NETWORK, batch=BATCH, processor=processor(), cores=1,
                  torch=torch.__version__, precision="float32", train=timed(step), draw=timed(look))
    with whole_file(HERE/"utilisation.json", alone=True) as part:
        part.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__": main()
