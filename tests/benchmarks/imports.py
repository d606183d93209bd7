"How long the three classes take to import, against torch alone; fresh processes in turn."
import statistics
import subprocess
import sys
import time

from .common import row, show


def rows(rounds=5):
    lines = {"torch": "import torch",
             "ours": "from ddpm_edu import DDPMPipeline, DDPMScheduler, UNet",
             "diffusers": "from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel"}
    times = {name: [] for name in lines}
    for i in range(rounds + 1):
        for name, line in lines.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", line], check=True, stderr=subprocess.DEVNULL)
            # the first round fills the disk's cache
            if i: times[name].append(time.perf_counter() - start)
    t = {name: statistics.median(v) for name, v in times.items()}
    ours, theirs = t["ours"]/t["torch"], t["diffusers"]/t["torch"]
    note = f"{ours:.2f} x torch alone (at most 1.05), diffusers {theirs:.2f} x"
    yield row("import", t["diffusers"], t["ours"], None, note=note)


if __name__ == "__main__": show(rows())
