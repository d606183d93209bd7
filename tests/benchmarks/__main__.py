"Every benchmark, one table: `python -m tests.benchmarks`. About three minutes on two cores."
import os
import platform
import warnings
from importlib.metadata import version

import torch

from . import imports, memory, sampling, scheduler, training
from .common import peak, show

warnings.simplefilter("ignore")
rows = [r for part in (imports, scheduler, training, sampling, memory) for r in part.rows()]
show(rows)
print(f"\n{torch.get_num_threads()} threads on {os.cpu_count()} cores ({platform.machine()}, {torch.backends.cpu.get_cpu_capability()}), torch {version('torch')}, diffusers {version('diffusers')}; "
      f"matrix products at {peak()/1e9:.0f} GFLOP/s in fp32 and {peak(torch.bfloat16)/1e9:.0f} in bf16. Ratios are diffusers' median over ours.")
