"Plots: nothing global changes, nothing heavy is imported, and no display is needed."
import os
import subprocess
import sys

import torch


def test_works_without_a_display_and_leaves_matplotlib_alone():
    code = """
import torch, matplotlib
from ddpm_edu.plots import make_grid, plot_points, plot_trajectory, show_images
before = dict(matplotlib.rcParams)
ax = show_images(torch.rand(4, 3, 8, 8), titles=list('abcd'))
plot_points(torch.randn(9, 2)); plot_trajectory(torch.rand(3, 2, 1, 8, 8), [0, 1, 2])
ax.figure.savefig('x.png')
after = dict(matplotlib.rcParams)
print({k for k in before if before[k] != after[k]} <= {'backend'})
"""
    env = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY", "MPLBACKEND")}
    done = subprocess.run([sys.executable, "-c", code.replace("'x.png'", "__import__('io').BytesIO()")], env=env, capture_output=True, text=True)
    assert done.stdout.strip() == "True", done.stderr


def test_a_grid_needs_no_matplotlib():
    code = "import sys, torch; from ddpm_edu.plots import make_grid; make_grid(torch.rand(4, 3, 8, 8)); print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


def test_a_large_grid_is_fast_and_exact():
    import numpy as np
    from ddpm_edu.plots import make_grid
    x = torch.rand(400, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    grid = np.asarray(make_grid(x, ncols=20, pad=0))
    want = (x*255).round().byte().view(20, 20, 3, 32, 32).permute(0, 3, 1, 4, 2).reshape(640, 640, 3)
    assert (grid == want.numpy()).all()
