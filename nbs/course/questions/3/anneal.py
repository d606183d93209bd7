r"""find the bugs

Annealed Langevin dynamics: first at a high noise level, then at lower and lower ones, with steps $\delta$ = `step` $\cdot(1-\bar\alpha)$ that shrink with the level's variance. `levels` are values of $\bar\alpha$, rising: 0.1 is very noisy, 0.99 nearly clean. This code lands in the wrong shares. Two bugs; correct it.

```python
def anneal(score, x, levels, step, noises):
    for a, zs in zip(reversed(levels), noises):
        delta = step*a
        for z in zs: x = x + delta/2*score(x, a) + delta**0.5*z
    return x
```
"""
import torch
from draws import Given, start

POINTS = 2


def anneal(score, x, levels, step, noises):
    "score(x, abar) like x (N, D); levels: abars, rising; noises (levels, steps, N, D) -> (N, D)"
    for a, zs in zip(levels, noises):
        delta = step*(1-a)
        for z in zs: x = x + delta/2*score(x, a) + delta**0.5*z
    return x


def visible():
    yield (Given("lambda x, a: 1 - x/(a + 0.3)"), torch.tensor([[1., 2.]]), [0.2, 0.6, 0.9], 0.7,
           torch.tensor([[[[1., -1.3]], [[0.5, 0.1]]], [[[0.2, 0.3]], [[-1., 1.8]]],
                         [[[-0.7, 0.6]], [[1.1, -0.4]]]]))


def draw(seed):
    "One level or many, almost clean and almost noise; one walker or many; starts near and far."
    g, r = start(seed)
    n, d, steps = r.choice([1, 2, 4]), r.choice([1, 2, 3]), r.choice([1, 2, 5])
    levels = r.choice([[0.1, 0.5, 0.99], [0.5], [1e-4, 0.9999], [0.05, 0.3, 0.6, 0.8, 0.95]])
    scores = ["1 - x/(a + 0.3)", "(2*a**0.5 - x)/(1 - 0.7*a)", "torch.sin(x) - a*x.flip(-1)"]
    x = r.choice([1, 1, 30])*torch.randn(n, d, generator=g)
    noises = r.choice([1, 1, 8])*torch.randn(len(levels), steps, n, d, generator=g)
    if seed % 2: x, noises = x.double(), noises.double()
    score, step = Given("lambda x, a: " + scores[seed % 3]), [0.7, 0.3, 1., 0.05][seed % 4]
    return score, x, levels, step, noises


A = """
first = x
for a, zs in zip(levels, noises):
    delta = step*(1-a)
    for z in zs: x = x + delta/2*score(x, a) + delta**0.5*z
return x"""
Z, BACK = "zip(levels, noises)", "zip(reversed(levels), noises)"
D, GROWS = "step*(1-a)", "step*a"
MISTAKES = [
    ("the two bugs are still there", A.replace(Z, BACK).replace(D, GROWS)),
    ("one bug is found; but the levels run from clean to noisy: begin where all is connected",
     A.replace(Z, BACK)),
    ("one bug is found; but the step grows while the noise shrinks: its variance is one minus abar",
     A.replace(D, GROWS)),
    ("the noises run from the last to the first: only the levels' order was wrong",
     A.replace(Z, "zip(levels, reversed(noises))")),
    ("levels and noises both run backward: begin at the noisy end, with the first noises",
     A.replace(Z, "zip(reversed(levels), reversed(noises))")),
    ("the step does not depend on the level", A.replace(D, "step")),
    ("a root too many in the step size: delta goes with the variance",
     A.replace(D, "step*(1-a)**0.5")),
    ("the level's variance enters squared", A.replace(D, "step*(1-a)**2")),
    ("one minus the root of abar is not the variance", A.replace(D, "step*(1-a**0.5)")),
    ("the square of abar in the step size: the variance is one minus abar itself",
     A.replace(D, "step*(1-a**2)")),
    ("divided by the level's variance: the step size is multiplied by it",
     A.replace(D, "step/(1-a)")),
    ("a ratio in the step size: it goes with one minus abar alone", A.replace(D, "step*(1-a)/a")),
    ("the step size is divided by the variance of the last level: it is `step` times the level's "
     "own", A.replace(D, "step*(1-a)/(1-levels[-1])")),
    ("the step size is that of the first level in all levels",
     A.replace(D, "step*(1-levels[0])")),
    ("the step size is that of the last level in all levels",
     A.replace(D, "step*(1-levels[-1])")),
    ("`step` is missing in the step size", A.replace(D, "1-a")),
    ("`step` enters squared", A.replace(D, "step**2*(1-a)")),
    ("the step size is cut off from below: near the clean end it is small",
     A.replace(D, "max(step*(1-a), 0.01)")),
    ("the 1/2 on the score was right", A.replace("delta/2", "delta")),
    ("the root on the noise's step was right", A.replace("delta**0.5", "delta")),
    ("the 1/2 belongs to the score alone", A.replace("delta**0.5", "(delta/2)**0.5")),
    ("the noise's variance is twice delta", A.replace("delta**0.5", "(2*delta)**0.5")),
    ("the noise is scaled by the level's standard deviation, not by the step's",
     A.replace("delta**0.5", "(1-a)**0.5")),
    ("the noise is missing", A.replace(" + delta**0.5*z", "")),
    ("the sign of the score was right: it leads uphill", A.replace("x + d", "x - d")),
    ("the score is told one minus abar: it takes abar", A.replace("(x, a)", "(x, 1-a)")),
    ("the score is told another level than the one whose step is taken",
     A.replace("(x, a)", "(x, levels[0])")),
    ("the score is told another level than the one whose step is taken",
     A.replace("(x, a)", "(x, levels[-1])")),
    ("the score is asked where the walk began: it must be asked where the walk is",
     A.replace("(x, a)", "(first, a)")),
    ("each level starts from the first x, or only the last one is walked: it must go on where the "
     "level before ended", A.replace("    for z", "    x = first\n    for z")),
    ("the last level is left out", A.replace(Z, "zip(levels[:-1], noises)")),
    ("the first level is left out", A.replace(Z, "zip(levels[1:], noises[1:])")),
    ("this ends after the first level: is `return` inside the loop?",
     A.replace(Z, "zip(levels[:1], noises)")),
    ("only one step in all: is `return` inside the loops?",
     A.replace(Z, "zip(levels[:1], noises[:, :1])")),
    ("only one step is taken at each level", A.replace("in zs:", "in zs[:1]:")),
    ("the same noise in every step of a level", A.replace("*z\n", "*zs[0]\n")),
    ("all levels get the noises of the first level",
     A.replace(Z, "zip(levels, noises[:1].expand_as(noises))")),
    ("the loops have changed places: all steps of a level come before the next level",
     A.replace(Z, "[(a, [noises[k, s]]) for s in range(noises.shape[1])\n"
               "              for k, a in enumerate(levels)]")),
    ("the last step adds no noise: here every step does",
     A + " - (step*(1-levels[-1]))**0.5*noises[-1, -1]"),
    ("the best guess of the clean points is returned: the walk's last x is asked for",
     A.replace("return x", "return (x + (1-a)*score(x, a))/a**0.5")),
    ("x is cut off: a walk may begin and lead anywhere", A + ".clamp(-5, 5)"),
]

RIGHT = [
    """
    def walk(score, x, delta, noises):
        for z in noises: x = x + delta/2*score(x) + delta**0.5*z
        return x
    for k, a in enumerate(levels):
        x = walk(lambda y: score(y, a), x, step*(1-a), noises[k])
    return x""",
    """
    for i in range(len(levels)):
        d = step*(1.0-levels[i])
        for j in range(noises.shape[1]):
            x = x + 0.5*d*score(x, levels[i]) + d**0.5*noises[i, j]
    return x""",
]
