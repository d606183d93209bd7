r"""noise and score

Section 3.2: if $\epsilon^*(x_t)$ is the best guess of the noise in $x_t=\sqrt{\bar\alpha_t}x_0+\sqrt{1-\bar\alpha_t}\,\epsilon$, then $\nabla\log q(x_t)=-\epsilon^*/\sqrt{1-\bar\alpha_t}$. Write Tweedie's formula with it: the best guess of $x_0$, from $x_t$ and the *score*.
"""
import torch
from draws import start, tensor_of

POINTS = 2


def tweedie(x_t, score, abar):
    "x_t and score of one shape, abar a number -> E[x_0|x_t], same shape"
    return (x_t + (1-abar)*score)/abar**0.5


def visible():
    yield torch.tensor([[1., -2.], [0.5, 3.]]), torch.tensor([[-0.5, 1.], [2., 0.3]]), 0.7
    yield torch.tensor([[[0.4, -1.3, 2.2]]]), torch.tensor([[[1.7, 0.6, -0.9]]]), 0.15


def draw(seed):
    "Numbers, rows and images, small and large ones; abar from almost only noise to none at all."
    (g, r), x_t = start(seed), tensor_of(seed)
    score = r.choice([1, 1, 50])*torch.randn(x_t.shape, generator=g)
    if seed % 2: x_t, score = x_t.double(), score.double()
    return x_t, score, [0.7, 0.15, 1e-4, 0.04, 0.9999, 1.0][seed % 6]


G = "(x_t + (1-abar)*score)/abar**0.5"
MISTAKES = [
    ("the sign of the score is turned", "(x_t - (1-abar)*score)/abar**0.5"),
    ("the score is scaled by the standard deviation: it needs the variance",
     G.replace("(1-abar)", "(1-abar)**0.5")),
    ("the score is taken for the noise", "(x_t - (1-abar)**0.5*score)/abar**0.5"),
    ("the score is not scaled", G.replace("(1-abar)*", "")),
    ("the sign of the score is turned, and it is not scaled", "(x_t - score)/abar**0.5"),
    ("the score is divided by the variance where it must be multiplied",
     "(x_t + score/(1-abar+1e-9))/abar**0.5"),
    ("the score is divided by the standard deviation where it must be multiplied by the variance",
     "(x_t + score/(1-abar+1e-9)**0.5)/abar**0.5"),
    ("the noise is off by a root: what must the score be multiplied by to give the noise?",
     G.replace("(1-abar)", "(1-abar)**1.5")),
    ("the variance is squared: the score needs the variance itself",
     G.replace("(1-abar)", "(1-abar)**2")),
    ("abar scales the score: its factor is the variance of the noise",
     G.replace("(1-abar)", "abar")),
    ("one minus the root of abar is not the variance", G.replace("(1-abar)", "(1-abar**0.5)")),
    ("abar is squared in the variance: it is no standard deviation",
     G.replace("(1-abar)", "(1-abar**2)")),
    ("abar is taken for a root: it is the square of what x_0 is multiplied by",
     "(x_t + (1-abar**2)*score)/abar"),
    ("a plus in the variance where a minus belongs", G.replace("1-abar", "1+abar")),
    ("the division by the root of abar is missing", "x_t + (1-abar)*score"),
    ("a square root is missing on abar in the denominator", G.replace("**0.5", "")),
    ("this multiplies by the root of abar where it must divide", G.replace("/abar", "*abar")),
    ("only x_t is divided: the whole sum must be", "x_t/abar**0.5 + (1-abar)*score"),
    ("only the score is divided: the whole sum must be", "x_t + (1-abar)*score/abar**0.5"),
    ("the score's part is divided by abar: a root is missing there",
     "x_t/abar**0.5 + (1-abar)/abar*score"),
    ("x_t is divided by abar: a root is missing there", "x_t/abar + (1-abar)/abar**0.5*score"),
    ("abar and one minus abar have changed places", "(x_t + abar*score)/(1-abar+1e-9)**0.5"),
    ("this divides by the noise's standard deviation: the share of x_0 must be divided away",
     "(x_t + (1-abar)*score)/(1-abar+1e-9)**0.5"),
    ("this divides by the root of abar and by abar: divide once", G.replace("0.5", "1.5")),
    ("the division is missing, and the score is taken for the noise",
     "x_t - (1-abar)**0.5*score"),
    ("neither the score is scaled nor the sum divided", "x_t + score"),
    ("this is the noise, not the clean image", "-(1-abar)**0.5*score"),
    ("this puts noise on x_t again: the way leads back to x_0",
     "abar**0.5*x_t + (1-abar)**0.5*score"),
    ("half of the score: the 1/2 belongs to a Langevin step", G.replace("(1-abar)", "(1-abar)/2")),
    ("x_t and the score have changed places", "(score + (1-abar)*x_t)/abar**0.5"),
    ("the score is not used: this is x_t, made larger", "x_t/abar**0.5"),
    ("this would be right if the data were standard normal; the score is not used",
     "x_t*abar**0.5"),
    ("x_t is missing: this is the score's part alone", "(1-abar)*score/abar**0.5"),
    ("the guess is cut off at -1 and 1: the formula holds for any data", f"({G}).clamp(-1, 1)"),
    ("the guess is cut off: the formula holds for any data", f"({G}).clamp(-5, 5)"),
    ("abar is cut off from below: with almost only noise it is small",
     "a = max(abar, 0.01)\nreturn (x_t + (1-abar)*score)/a**0.5"),
    ("without noise x_t is x_0; with a little it is not yet", f"x_t if abar > 0.99 else {G}"),
]

RIGHT = [
    "x_t/abar**0.5 + (1-abar)/abar**0.5*score",
    """
    import math
    eps = -(1-abar)**0.5*score
    return (x_t - math.sqrt(1-abar)*eps)/math.sqrt(abar)""",
    "import numpy as np\nreturn (x_t.numpy() + (1-abar)*score.numpy())/np.sqrt(abar)",
    "[(a + (1-abar)*s)/abar**0.5 for a, s in zip(x_t, score)]",
]
