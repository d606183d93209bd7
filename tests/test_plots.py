"Plots: nothing global changes, nothing heavy is imported, and no display is needed."
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

chapters = sorted((Path(__file__).parent.parent/"nbs").glob("[0-9]*.ipynb"))


def run(code, env=None):
    "What a fresh Python prints."
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)


def test_works_without_a_display_and_leaves_matplotlib_alone():
    code = """
import io, torch, matplotlib
from ddpm_edu.plots import make_grid, plot_points, plot_trajectory, show_images
before = dict(matplotlib.rcParams)
ax = show_images(torch.rand(4, 3, 8, 8), titles=list('abcd'))
plot_points(torch.randn(9, 2))
plot_trajectory(torch.rand(3, 2, 1, 8, 8), [0, 1, 2])
ax.figure.savefig(io.BytesIO())
after = dict(matplotlib.rcParams)
print({k for k in before if before[k] != after[k]} <= {'backend'})
"""
    screens = ("DISPLAY", "WAYLAND_DISPLAY", "MPLBACKEND")
    env = {k: v for k, v in os.environ.items() if k not in screens}
    done = run(code, env)
    assert done.stdout.strip() == "True", done.stderr


def test_a_grid_needs_no_matplotlib():
    done = run("""
import sys, torch
from ddpm_edu.plots import make_grid
make_grid(torch.rand(4, 3, 8, 8))
print('matplotlib' in sys.modules)
""")
    assert done.stdout.strip() == "False", done.stderr


def test_a_large_grid_is_fast_and_exact():
    import numpy as np
    from ddpm_edu.plots import make_grid
    x = torch.rand(400, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    grid = np.asarray(make_grid(x, ncols=20, pad=0))
    tiles = (x*255).round().byte().view(20, 20, 3, 32, 32)               # row, column, C, H, W
    want = tiles.permute(0, 3, 1, 4, 2).reshape(640, 640, 3)
    assert (grid == want.numpy()).all()


def test_points_that_are_none_or_all_zero_are_drawn():
    code = """
import torch, warnings
from ddpm_edu.plots import plot_points, plot_trajectory
warnings.simplefilter('error')
for n in (0, 3): print(*map(float, plot_points(torch.zeros(n, 2)).get_xlim()))
print(len(plot_trajectory(torch.zeros(2, 3, 2), [1, 0])))
"""
    done = run(code)
    assert done.stdout.splitlines() == ["-1.0 1.0", "-1.0 1.0", "2"], done.stderr


def test_defaults_of_torch():
    "Whatever the default device and dtype: the same grids, points and schedules."
    import numpy as np
    from ddpm_edu.forward_process import NoiseSchedule, make_betas
    from ddpm_edu.plots import as_pixels, make_grid, plot_points, plot_schedules
    images, schedule = torch.rand(2, 3, 8, 8), NoiseSchedule(make_betas(T=10))
    array, points = images.movedim(1, -1).numpy(), torch.rand(5, 2)
    def pictures():
        offsets = plot_points(points.numpy()).collections[0].get_offsets()
        line = plot_schedules({"a": schedule})[1].lines[0].get_ydata()
        return [as_pixels(array), np.asarray(make_grid(images)), np.asarray(offsets), line]
    before, dtype = pictures(), torch.get_default_dtype()
    try:
        torch.set_default_device("meta")
        torch.set_default_dtype(torch.float64)
        after = pictures()
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(dtype)
    for a, b in zip(before, after): assert np.array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.parametrize("path", chapters, ids=lambda p: p.stem)
def test_committed_chapters_show_their_figures(path):
    "A kernel that was started with MPLBACKEND=Agg draws in silence: the figures would be missing."
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    source = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
    outputs = [o.get("data", {}) for c in cells for o in c.get("outputs", [])]
    drawn = re.findall(r"\b(?:plt\.subplots|plot_\w+|show_images)\(", source)
    assert not drawn or any("image/png" in data for data in outputs), "execute without MPLBACKEND"


def test_pictures_of_every_mode():
    "As a folder of them is read: 16 bits scaled, transparency laid on white, gray stays gray."
    import numpy as np
    from PIL import Image
    from ddpm_edu.plots import as_pixels
    gray = np.arange(64, dtype=np.uint8).reshape(8, 8)
    clear = Image.fromarray(np.dstack([gray, gray, gray, gray*0]), "RGBA")
    deep = [Image.fromarray(gray.astype(t)*257) for t in (np.uint16, np.int32)]
    assert all((as_pixels([im])[0, ..., 0] == gray).all() for im in [Image.fromarray(gray), *deep])
    assert (as_pixels([clear]) == 255).all() and as_pixels([clear.convert("LA")]).shape[-1] == 1
