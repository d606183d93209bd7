r"""predict, then run

Two islands: 80 % of the data at $-3$, 20 % at $+3$, both with standard deviation 0.3. A thousand walkers start from the standard normal and take a thousand small Langevin steps with the score of the clean data. Predict below which share ends on the left island. Then write the function that counts it, the share of points left of 0 (a point at 0 counts half), run the walk with your `score` and `langevin`, and compare.
"""
import torch
from draws import start

POINTS = 1
WRITTEN = (
    "Before you run anything: which share of the walkers ends on the left island, and why? "
    "Afterwards add what came out, and what a walk would need to find the shares of the data.")
WRITTEN_POINTS = 1


def share_left(x):
    "points (N, 1) -> share of them with x < 0, a number in [0, 1]; a point at 0 counts half"
    return ((x < 0).double() + 0.5*(x == 0).double()).mean()


def visible():
    yield torch.tensor([-3.2, 0., 0.3, -1.1, -3., 0., 2.4, -1.4, -0.2, 3.2, -2.6, 1.2, -1.2, -3.1,
                        0., -0.4, -1.3, -1.05, 2.9])[:, None],
    yield torch.tensor([[-0.5], [0.], [0.], [2.], [-3.], [-0.1]]),


def draw(seed):
    "One point or many; all at 0, none at 0, all on one side; near 0 and far away."
    g, r = start(seed)
    n = r.choice([1, 2, 3, 20, 41, 300])
    x = r.choice([1e-6, 1, 4, 1000])*torch.randn(n, 1, generator=g)
    if seed % 2: x = torch.where(torch.rand(n, 1, generator=g) < 0.4, 0., x)
    if seed % 5 == 4: x = [0*x, x.abs(), -x.abs()][seed % 3]
    return x.double() if seed % 3 == 0 else x,


S = "((x < 0).double() + 0.5*(x == 0).double())"
MISTAKES = [
    ("this is the share on the right", S.replace("<", ">") + ".mean()"),
    ("a number of points where a share is asked for", S + ".sum()"),
    ("a number of points where a share is asked for", "(x < 0).sum()"),
    ("percent where a share is asked for: a number in [0, 1]", f"100*{S}.mean()"),
    ("a point at 0 counts half; here it counts not at all", "(x < 0).double().mean()"),
    ("a point at 0 counts half; here it counts fully", "(x <= 0).double().mean()"),
    ("points at 0 belong to the total too",
     "(x < 0).sum()/((x < 0).sum() + (x > 0).sum()).clamp(min=1)"),
    ("points at 0 belong to the total too",
     "((x < 0).sum() + 0.5*(x == 0).sum())/(x != 0).sum().clamp(min=1)"),
    ("the half for a point at 0 is subtracted: it must be added", S.replace("+", "-") + ".mean()"),
    ("a point at 0 counts a quarter", S.replace("0.5", "0.25") + ".mean()"),
    ("a point left of 0 counts half too: only one at 0 does", "0.5*(x <= 0).double().mean()"),
    ("half of a point at 0 is added to the share, not to the number of points",
     "(x < 0).double().mean() + 0.5"),
    ("half a point at 0 is added once, however many there are",
     "((x < 0).double().sum() + 0.5)/len(x)"),
    ("the points at 0 are halved in whole numbers: a single one must count half",
     "((x < 0).sum() + (x == 0).sum()//2)/len(x)"),
    ("this is the left share minus the right one: it runs from -1 to 1",
     "-torch.sign(x).double().mean()"),
    ("this is the right share minus the left one: it runs from -1 to 1",
     "torch.sign(x).double().mean()"),
    ("the ratio of left to right: a share is of all points",
     "(x < 0).sum()/(x > 0).sum().clamp(min=1)"),
    ("the border is the mean of the points: it must be 0",
     S.replace("x ", "x-x.mean() ") + ".mean()"),
    ("the border is not at 0: left of 0 counts, however near", "(x < -0.3).double().mean()"),
    ("the border is not at 0: left of 0 counts, however near", "(x < -1.5).double().mean()"),
    ("a point near 0 counts half here: only one at 0 does",
     S.replace("(x < 0)", "(x < -1e-3)").replace("(x == 0)", "(x.abs() <= 1e-3)") + ".mean()"),
    ("a soft border: a point counts fully or not, or half at 0", "torch.sigmoid(-x).mean()"),
    ("this is the share on the right, without the points at 0", "(x > 0).double().mean()"),
    ("this is the share on the right, and the points at 0 count fully",
     "(x >= 0).double().mean()"),
    ("this is the share of the points at 0", "(x == 0).double().mean()"),
    ("this is the share predicted from the data, or a number known before: count the points that "
     "are given", "0.8"),
    ("this is the share predicted from the data, or a number known before: count the points that "
     "are given", "0.5"),
    ("the share is rounded to one digit", f"({S}.mean()*10).round()/10"),
    ("this is the mean of the points", "x.mean()"),
    ("the mean of the points where a share is asked for", "-x.mean()"),
    ("divided by the number of points plus one: a share is of all", S + ".sum()/(len(x)+1)"),
    ("divided by the number of points minus one: a share is of all",
     S + ".sum()/max(len(x)-1, 0.5)"),
    ("only the first point is looked at", S + "[0]"),
    ("the last point is left out", S + "[:-1].sum()/max(len(x)-1, 1)"),
    ("one number for each point: their mean is asked for", S),
]

RIGHT = [
    "points = x.flatten().tolist()\n"
    "return sum(1.0 if v < 0 else 0.5 if v == 0 else 0.0 for v in points)/len(x)",
    "((1 - torch.sign(x))/2).mean()",
    "import numpy as np\nv = x.numpy()\nreturn np.mean(v < 0) + np.mean(v == 0)/2",
]
