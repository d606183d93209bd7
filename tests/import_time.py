"""How much longer `import ddpm_edu` takes than `import torch`: medians of interleaved runs in fresh
processes. Printed, never asserted."""
import statistics
import subprocess
import sys
import time

statements = ["import torch", "import ddpm_edu",
              "from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel"]
if "--no-diffusers" in sys.argv: statements.pop()
seconds = {s: [] for s in statements}
for repeat in range(8):
    for s in statements:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", s], check=True)
        # the first one warms the disk cache
        if repeat: seconds[s].append(time.perf_counter() - start)
base = statistics.median(seconds["import torch"])
for s, values in seconds.items():
    print(f"{statistics.median(values)/base:5.2f} x `import torch` ({base:.2f} s): {s}")
