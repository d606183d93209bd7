"What the plots refuse."
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ddpm_edu.plots import make_grid, plot_history, plot_points, plot_schedules
from ddpm_edu.plots import plot_trajectory, show_images

gray = torch.full((7, 1, 3, 5), 0.5)
rgb = torch.full((4, 3, 6, 6), 0.5)
model_range = rgb*3 - 1.5
levels = torch.tensor([0., 0.5, 1.]).view(1, 1, 1, 3)
small, large = Image.new("L", (3, 3)), Image.new("L", (6, 6))
inf = float("inf")
points = torch.tensor([[0., 1.], [float("nan"), 2.]])


def empty(path):
    "An empty file."
    Path(path).touch()
    return path


def text(path, words):
    "A file with these words."
    Path(path).write_text(words)
    return path


ROWS = [
    # values and shapes
    ("make_grid(model_range - 0.2)", ValueError, ("lie in [-0.2, -0.2]", "value_range=(-1, 1)")),
    ("make_grid(levels + 0.01)", ValueError, "[0.01, 1.01], not in [0, 1]"),
    ("make_grid(levels - 0.01)", ValueError, "not in [0, 1]"),
    ("make_grid(levels/0)", ValueError, "not finite"),
    ("make_grid(levels.long())", TypeError, "torch.int64"),
    ("make_grid(rgb[:, 0])", ValueError, "images[None]"),
    ("make_grid(rgb[:0])", ValueError, "empty"),
    ("make_grid(torch.randn(9, 2))", ValueError, "plot_points"),
    ("make_grid(torch.rand(2, 2, 5, 5))", ValueError,
     ("C = 1 (gray) or 3 (color)", "got 2", "(2, 2, 5, 5)", "images[:, :1]")),
    ("make_grid(torch.rand(2, 4, 5, 5))", ValueError, ("C = 1 (gray) or 3", "got 4")),
    ("make_grid(torch.rand(2, 6, 5, 5).byte())", ValueError, "got 6"),
    ("make_grid(torch.rand(2, 0, 5, 5))", ValueError, "got 0"),
    ("make_grid(np.zeros((2, 5, 5, 2)))", ValueError, ("got 2", "images[..., :1]")),
    ("make_grid(np.zeros((2, 3, 5, 5)))", ValueError, ("got 5", "read as (B, H, W, C)")),
    ("show_images(torch.rand(2, 2, 5, 5))", ValueError, "got 2"),
    ("plot_trajectory(torch.rand(2, 3, 2, 5, 5), [0, 1])", ValueError, "got 2"),
    ("make_grid([])", TypeError, "not empty"),
    ("make_grid([levels])", TypeError, ("list of Pillow images", "torch.stack")),
    ("make_grid([small, large])", ValueError, "one size"),
    # histories that are none
    ("plot_history('{tmp}/run')", FileNotFoundError, ("run'", "name the log.jsonl")),
    ("plot_history('{tmp}')", FileNotFoundError, ("no file", "log.jsonl")),
    ("plot_history(empty('{tmp}/log.jsonl'))", ValueError,
     ("log.jsonl' holds no entry with a step and a loss", "log_every")),
    ("plot_history([])", ValueError, "history: it has no entry"),
    ("plot_history([dict(step=1)])", ValueError, "no entry with a step and a loss"),
    ("plot_history(text('{tmp}/history.json', '[{'))", ValueError,
     ("history.json' is damaged", "name the log.jsonl")),
    ("plot_history(text('{tmp}/history.json', '7'))", ValueError, "no entry with a step and a"),
    ("plot_history([dict(step='one', loss=1)])", ValueError, "no entry with a step and a loss"),
    ("plot_history([dict(step=1, loss='low')])", ValueError,
     ("loss of step 1 must be a number", "got 'low'", "leave out")),
    ("plot_history([dict(step=1, loss=1, lr=[2])])", ValueError, "lr of step 1 must be a number"),
    ("plot_history([dict(step=1, loss=1, held_out='x')])", ValueError, "held_out of step 1"),
    ("plot_history([dict(step=1, loss=1, bands=3)])", ValueError, ("bands of step 1", "got 3")),
    ("plot_history([dict(step=1, loss=1, bands=[])])", ValueError, ("bands of step 1", "got []")),
    ("plot_history([dict(step=1, loss=1, bands=['x'])])", ValueError, "bands of step 1 must be a"),
    ("plot_history([dict(step=k, loss=1, bands=[1]*k) for k in (1, 2)])", ValueError,
     ("bands of step 2", "as many numbers", "[1, 1]")),
    ("plot_history(7)", TypeError, "a list of entries, got int"),
    # what a grid is asked for, before anything is made of the images
    ("make_grid(gray, value_range=(1, -1))", ValueError, "value_range[1] must be"),
    ("make_grid(gray, value_range=(1, 1))", ValueError, "value_range[1] must be"),
    ("make_grid(gray, value_range=(0, float('nan')))", ValueError, "value_range[1] must be"),
    ("make_grid(gray, value_range=(-inf, 1))", ValueError, "value_range[0] must be"),
    ("make_grid(gray, value_range=255)", ValueError,
     ("value_range must be a pair", "(-1, 1)", "got 255")),
    ("make_grid(gray.byte(), value_range=255)", ValueError, "value_range must be a pair"),
    ("make_grid(gray, value_range=0)", ValueError, ("value_range must be a pair", "got 0")),
    ("make_grid(gray, value_range=())", ValueError, ("value_range must be a pair", "got ()")),
    ("make_grid(gray, value_range=(0, 1, 2))", ValueError, "value_range must be a pair"),
    ("make_grid(gray, value_range='01')", ValueError, "value_range must be a pair"),
    ("make_grid(gray, value_range=(0, '1'))", TypeError, "value_range[1] must be a number"),
    ("show_images(rgb, value_range=1)", ValueError, "value_range must be a pair"),
    ("make_grid(gray, ncols=0)", ValueError, "ncols must be at least 1"),
    ("make_grid(gray, scale=0)", ValueError, "scale must be at least 1"),
    ("make_grid(gray, pad=-1)", ValueError, "pad must be at least 0"),
    ("make_grid(gray, pad=(0, -1))", ValueError, "pad must be at least 0"),
    ("make_grid(gray, pad=(-1, 0))", ValueError, "pad must be at least 0"),
    ("make_grid(None, scale=0)", ValueError, "scale must be at least 1"),
    ("show_images(rgb, titles=['one'])", ValueError, "each of the 4 images, got 1"),
    ("show_images(rgb, ncols=0)", ValueError, "ncols must be at least 1"),
    # schedules, points, trajectories
    ("plot_schedules([1])", TypeError, ("dictionary", "got list")),
    ("plot_points(rgb)", ValueError, "(N, 2), got (4, 3, 6, 6)"),
    ("plot_points(points)", ValueError,
     ("x holds NaN or infinite coordinates", "x[x.isfinite().all(-1)]")),
    ("plot_points(points*inf)", ValueError, "x holds NaN or infinite"),
    ("plot_points(points.nan_to_num()*1j)", TypeError, ("x must hold real numbers", "complex")),
    ("plot_points('points.csv')", TypeError, ("x must hold points", "got 'points.csv'")),
    ("plot_points(None)", TypeError, ("x must hold points", "got None")),
    ("plot_points(points.nan_to_num(), lim=-1)", ValueError, "lim must be a finite number in (0,"),
    ("plot_trajectory([points.nan_to_num(), points], [1, 0])", ValueError, "xs holds NaN"),
    ("plot_points(torch.zeros(4, 3))", ValueError, "(N, 2), got (4, 3)"),
    ("plot_trajectory([torch.zeros(4, 2)]*4, [0, 1])", ValueError, "each of the 4 states"),
    ("plot_trajectory(rgb, range(4))", ValueError, "(K, N, 2)"),
]
