r"""derive: how wrong is a finite step?

Let $q=\mathcal N(0,1)$, so that the score is $-x$. One Langevin step maps the variance $v$ to $(1-\frac\delta2)^2v+\delta$. At which variance does the walk settle? Derive it below, then write it as a function; where the walk does not settle at all, return infinity.
"""
import math

from draws import start

POINTS = 2
WRITTEN = (
    r"Derive the variance at which the walk settles. (Check: for $\delta\to0$ it must be 1.) "
    r"For which $\delta$ does it not settle, and how does the map show it? What do you "
    "conclude for the step size?")
WRITTEN_POINTS = 1


def settled_variance(delta):
    "step size, a number above 0 -> the variance that stays, a number; infinity if there is none"
    return 1/(1-delta/4) if delta < 4 else math.inf


def visible():
    yield 0.3,
    yield 3.2,


def draw(seed):
    "Small steps, long ones, just below the limit, the limit itself, beyond it."
    _, r = start(seed)
    fixed = [0.01, 3.9, 1., 4., 10., 2., 1e-3, 3.99, 4.01, 6., 8., 1000.]
    at = seed % 1000                                 # the same in every term
    return fixed[at] if at < len(fixed) else round(r.uniform(0.05, 5), 3),


G = "{} if delta < 4 else math.inf"
K = "(1-delta/2)**2"
ON = "1/(1-delta/4)"
STEPS = """
v = {}
for _ in range({}): v = (1-delta/2)**2*v + delta
return v if delta < 4 else math.inf"""
MISTAKES = [
    ("1 is the limit for small steps; a finite step settles elsewhere", G.format("1.")),
    ("the variance after one step from 1 is not yet the one at which it settles",
     G.format(K + " + delta")),
    ("the variance after one step from 0 is not yet the one at which it settles",
     G.format("delta")),
    ("the walk is not yet settled after so few steps: derive where it stays", STEPS.format(1, 2)),
    ("the walk is not yet settled after so few steps: derive where it stays", STEPS.format(0, 10)),
    ("the standard deviation where the variance is asked for", G.format(f"({ON})**0.5")),
    ("is the 1/2 on the score squared too, when (1 - delta/2) is? Or is it lost?",
     "1/(1-delta/2) if delta < 2 else math.inf"),
    ("the sign is turned: larger steps give a larger variance", G.format("1/(1+delta/4)")),
    ("(1 - delta/2) enters squared: it scales x, and a variance goes with the square",
     G.format("delta/(1-(1-delta/2))")),
    ("one over the right result", G.format("1-delta/4")),
    ("the noise's variance is delta, not its square", G.format(f"delta**2/(1-{K})")),
    ("the standard deviation of the noise where its variance belongs",
     G.format(f"delta**0.5/(1-{K})")),
    ("the noise's variance is missing in the equation", G.format(f"1/(1-{K})")),
    ("twice the right result: compare small steps, which must give 1", G.format("2*" + ON)),
    ("half of the right result: compare small steps, which must give 1", G.format("0.5*" + ON)),
    ("a wrong number in the numerator: compare small steps, which must give 1",
     G.format("1/(4-delta)")),
    ("this is only the beginning of a series in delta: the variance asked for is exact",
     G.format("1 + delta/4")),
    ("this is only the beginning of a series in delta: the variance asked for is exact",
     G.format("1 + delta/4 + delta**2/16")),
    ("the middle term of the square is missing: (a - b) squared has three terms",
     G.format("delta/(1-(1-delta**2/4))")),
    ("the middle term of the square is halved: it holds twice the product",
     G.format("delta/(1-(1-delta/2+delta**2/4+1e-9))")),
    ("the middle term of the square has the wrong sign",
     G.format("delta/(1-(1+delta+delta**2/4))")),
    ("the number beside delta in the denominator is not right: multiply out the square once more",
     G.format("1/(1-delta/8)")),
    ("the number beside delta in the denominator is not right: multiply out the square once more",
     G.format("1/(1-delta/3+1e-9)")),
    ("a square too many: the map is one of variances already", G.format(f"({ON})**2")),
    ("the map's factor is not the variance that stays", G.format(K)),
    ("delta is missing: this is the denominator of the equation alone", G.format(f"1-{K}")),
    ("a sign is lost when the equation is solved: the part with v is subtracted",
     G.format(f"delta/(1+{K})")),
    ("a sign is lost when the equation is solved: the variance would be negative",
     G.format("-" + ON)),
    ("v is divided by the factor where it must be subtracted", G.format(f"delta/({K}+1e-9)")),
    ("this is the variance's distance from 1", G.format(ON + " - 1")),
    ("an exponential: this is the variance in continuous time",
     G.format("delta/(1-math.exp(-delta))")),
    ("the walk does settle at this step: for which is there no variance that stays?", "math.inf"),
    ("the walk does settle at this step too: the limit lies farther out",
     f"{ON} if delta < 2 else math.inf"),
    ("a variance is never negative: for such steps there is none that stays, return infinity",
     f"{ON} if delta != 4 else math.inf"),
    ("just at the limit the walk does not settle either: return infinity",
     "math.inf if delta > 4 else 1/(1-delta/4+1e-12)"),
    ("just at the limit the walk does not settle either: return infinity",
     "1/(1-delta/4) if delta <= 4 else math.inf"),
    ("infinity has no minus here: a variance is not negative",
     "-math.inf if delta >= 4 else 4/(4-delta)"),
    ("the walk settles up to the limit, however large the variance",
     f"{ON} if delta < 3.95 else math.inf"),
]

RIGHT = [
    "float('inf') if delta >= 4 else 4/(4-delta)",
    f"k = {K}\nreturn delta/(1-k) if k < 1 else math.inf",
    """
    import numpy as np
    if abs(1-delta/2) >= 1: return np.inf
    return np.float64(delta)/(1-np.square(1-delta/2))""",
]
