r"""Langevin dynamics

$x\leftarrow x+\frac\delta2\nabla\log q(x)+\sqrt\delta\,z$, once for each $z$ in `noises`. The noise is given, so that everybody gets the same numbers. Return the last $x$.
"""
import torch
from draws import Given, start

POINTS = 3


def langevin(score, x, delta, noises):
    "score: function (N, D) -> (N, D); x (N, D); delta a number; noises (steps, N, D) -> (N, D)"
    for z in noises: x = x + delta/2*score(x) + delta**0.5*z
    return x


def visible():
    yield (Given("lambda x: 1 - x - x**3/4"), torch.tensor([[1., 2.], [-1., 0.5]]), 0.3,
           torch.tensor([[[1., -1.3], [0.5, 0.1]], [[0.2, 0.3], [-1., 1.8]],
                         [[-0.7, 0.6], [1.1, -0.4]]]))


def draw(seed):
    "One walker or many, one step or many, short and long ones; starts near and far away."
    g, r = start(seed)
    n, d, steps = r.choice([1, 2, 4]), r.choice([1, 2, 3]), r.choice([1, 2, 3, 6])
    score = ["1 - x", "torch.sin(3*x) - x", "-x - 0.5*x.flip(-1)", "-(x - 2)/4"][seed % 4]
    x = r.choice([1, 1, 30])*torch.randn(n, d, generator=g)
    noises = r.choice([1, 1, 8])*torch.randn(steps, n, d, generator=g)
    if seed % 2: x, noises = x.double(), noises.double()
    return Given("lambda x: " + score), x, [0.3, 0.04, 1., 1e-4, 2.5][seed % 5], noises


W = "for z in noises: x = x + delta/2*score(x) + delta**0.5*z\nreturn x"
D, N = "delta/2*score(x)", "delta**0.5*z"
MISTAKES = [
    ("the factor 1/2 on the score is missing", W.replace("delta/2", "delta")),
    ("a square root is missing on the noise's step: its variance is delta",
     W.replace("delta**0.5", "delta")),
    ("the factor 1/2 on the score is missing, and the noise lacks its root",
     W.replace("delta/2", "delta").replace("delta**0.5", "delta")),
    ("the sign of the score is turned: this walks downhill", W.replace("x + d", "x - d")),
    ("the noise is missing: this only climbs", W.replace(" + " + N, "")),
    ("the noise is not scaled", W.replace(N, "z")),
    ("the noise is subtracted: the step adds it", W.replace("+ " + N, "- " + N)),
    ("the noise's variance is twice delta: this belongs to steps of delta on the score",
     W.replace("delta**0.5", "(2*delta)**0.5")),
    ("both factors belong to a step twice as long",
     W.replace("delta**0.5", "(2*delta)**0.5").replace("delta/2", "delta")),
    ("the 1/2 belongs to the score alone: the noise's variance is delta",
     W.replace("delta**0.5", "(delta/2)**0.5")),
    ("the noise has the factor of the score", W.replace("delta**0.5", "delta/2")),
    ("the score is multiplied by the root of delta", W.replace("delta/2", "delta**0.5")),
    ("a square root too many on the score's step", W.replace("delta/2", "delta**0.5/2")),
    ("a square root too many on the score's step: delta/2 itself",
     W.replace("delta/2", "(delta/2)**0.5")),
    ("the step on the score is squared", W.replace("delta/2", "delta**2/2")),
    ("delta is missing on the score", W.replace("delta/2", "0.5")),
    ("the score is not scaled at all", W.replace("delta/2*", "")),
    ("neither delta nor its root is there", W.replace("delta/2", "0.5").replace(N, "z")),
    ("the score is taken where the walk began, not where it is",
     "start = x\n" + W.replace("score(x)", "score(start)")),
    ("the score is taken after the noise was added",
     "for z in noises:\n    x = x + delta**0.5*z\n    x = x + delta/2*score(x)\nreturn x"),
    ("the score is asked half a step ahead: it must be asked where the walk is",
     W.replace("score(x)", "score(x + delta/2*score(x))")),
    ("the score is asked at the noise: it must be asked where the walk is",
     W.replace("score(x)", "score(z)")),
    ("the score that is given is not used: this is the one of a standard normal",
     W.replace("score(x)", "-x")),
    ("the score is not used: this only adds noise", W.replace(D + " + ", "")),
    ("only the first step is taken: is `return` inside the loop?",
     W.replace("noises:", "noises[:1]:")),
    ("the last step is missing", W.replace("noises:", "noises[:-1]:")),
    ("the first step is skipped", W.replace("noises:", "noises[1:]:")),
    ("one step too many, without noise, at the end", W + " + " + D),
    ("the last step adds no noise: here every step does", W + " - delta**0.5*noises[-1]"),
    ("the noises are used from the last to the first", W.replace("noises:", "reversed(noises):")),
    ("the same noise in every step", W.replace("*z", "*noises[0]")),
    ("the same noise in every step", W.replace("*z", "*noises[-1]")),
    ("the noise is drawn anew: use the noise that is given, so that everybody gets the same",
     W.replace("*z", "*torch.randn_like(x)")),
    ("all noises are added at once: each step has one, and a score of its own",
     f"return x + {D} + delta**0.5*noises.sum(0)"),
    ("all noises are added at the end: the score must see where they led",
     W.replace(" + " + N, "") + " + delta**0.5*noises.sum(0)"),
    ("the noises are not walked through: one step for each, from where the last one led",
     f"return x + {D} + delta**0.5*noises"),
    ("each step starts where the walk began", "start = x\n" + W.replace("x + d", "start + d")),
    ("the step does not start from x: x + ... is missing", W.replace("x + d", "d")),
    ("x is scaled as in the forward process: here it is kept",
     W.replace("x + d", "(1-delta)*x + d")),
    ("the whole walk is returned: the last x is asked for",
     f"path = [x]\nfor z in noises: path.append(path[-1] + {D} + {N})\nreturn torch.stack(path)"
     .replace("score(x)", "score(path[-1])")),
    ("this is a mean over the walk: the last x is asked for",
     f"path = []\nfor z in noises:\n    x = x + {D} + {N}\n    path.append(x)\n"
     "return torch.stack(path).mean(0)"),
    ("x is cut off: a walk may begin and lead anywhere", W + ".clamp(-5, 5)"),
]

RIGHT = [
    """
    x = x.double()
    for z in noises.double(): x = x + 0.5*delta*score(x) + delta**0.5*z
    return x""",
    """
    def walk(x, k):
        if k == len(noises): return x
        return walk(x + delta/2*score(x) + delta**0.5*noises[k], k+1)
    return walk(x, 0)""",
    """
    x = x.clone()
    for i in range(noises.shape[0]):
        x += 0.5*delta*score(x).clone() + (delta**0.5)*noises[i]
    return x""",
]
