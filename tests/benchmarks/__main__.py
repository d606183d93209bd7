"""Every benchmark, one table: `python -m tests.benchmarks`. About ten minutes on two cores.

`python -m tests.benchmarks gpu` has a table of its own, in less time."""
import os
import platform
import sys
import warnings
from importlib.metadata import version

import torch

from . import gpu, imports, memory, sampling, scheduler, training
from .common import peak, show

warnings.simplefilter("ignore")
if sys.argv[1:] == ["gpu"]: sys.exit(gpu.main())
rows = [r for part in (imports, scheduler, training, sampling, memory) for r in part.rows()]
show(rows)
machine = f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}"
versions = f"torch {version('torch')}, diffusers {version('diffusers')}"
fp32, bf16 = peak()/1e9, peak(torch.bfloat16)/1e9
print(f"\n{torch.get_num_threads()} threads on {os.cpu_count()} cores ({machine}), {versions}; "
      f"matrix products at {fp32:.0f} GFLOP/s in fp32 and {bf16:.0f} in bf16. "
      "Ratios are diffusers' median over ours.")
