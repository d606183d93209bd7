r"""derive: what becomes of a variance

Let the pixels of the clean images have variance $v_0$. What is the variance of $x_t$, for every $t$? A step makes $x_t=\sqrt{1-\beta_t}\,x_{t-1}+\sqrt{\beta_t}\,\epsilon_t$, with noise of variance 1 that knows nothing of $x_{t-1}$. Derive it below, then write the formula as a function.
"""
import torch
from draws import betas_of

POINTS = 2
WRITTEN = (
    "Derive the variance of $x_t$ from that of $x_{t-1}$, step by step, and solve for all $t$ "
    "at once. For which $v_0$ does it never change, and what does it come to after many "
    "steps?")
WRITTEN_POINTS = 1


def variance_after(v0, betas):
    "variance v0 of x_0, a number; betas (T,) -> variance of x_t for each t, (T,)"
    abar = torch.cumprod(1-betas, 0)
    return abar*v0 + 1-abar


def visible():
    yield 2.5, torch.tensor([0.1, 0.2, 0.5, 0.3])


def draw(seed):
    "Images of every variance, of none at all; steps of all sizes, and tiny ones."
    betas = betas_of(seed)
    if seed % 14 == 3: betas = 1e-5*betas.double()
    return [2.5, 0.25, 1., 0., 40., 0.003, 1000.][seed % 7], betas


A = "abar = torch.cumprod(1-betas, 0)\nreturn "
STEP = "out = []\nfor b in betas:\n    v0 = {}\n    out.append(v0)\nreturn torch.stack(out)"
LATE = "abar, one = torch.cumprod(1-betas, 0), torch.ones(1)\nold = torch.cat([one, abar[:-1]])\n"
MISTAKES = [
    ("a square root too many: variances are scaled by the square of a coefficient",
     A + "abar.sqrt()*v0 + (1-abar).sqrt()"),
    ("a square root is left on the signal's share", A + "abar.sqrt()*v0 + 1-abar"),
    ("a square root is left on the noise's share", A + "abar*v0 + (1-abar).sqrt()"),
    ("roots in every step: a coefficient is squared when a variance passes through it",
     STEP.format("(1-b)**0.5*v0 + b**0.5")),
    ("the root is left on the signal's coefficient: its square scales the variance",
     STEP.format("(1-b)**0.5*v0 + b")),
    ("the root of beta enters with the noise: its variance is beta itself",
     STEP.format("(1-b)*v0 + b**0.5")),
    ("a square too many in every step: the squares of the coefficients are one minus beta and beta",
     STEP.format("(1-b)**2*v0 + b**2")),
    ("a square too many: the squares of the coefficients are abar and one minus abar",
     A + "abar**2*v0 + (1-abar)**2"),
    ("a square too many: the squares of the coefficients are abar and one minus abar",
     A + "abar**2*v0 + 1-abar**2"),
    ("the standard deviation is followed through the steps: of independent parts the variances add",
     "s, out = torch.tensor(v0)**0.5, []\nfor b in betas:\n    s = (1-b)**0.5*s + b**0.5\n"
     "    out.append(s**2)\nreturn torch.stack(out)"),
    ("standard deviations are added: of independent parts the variances add",
     A + "((abar*v0).sqrt() + (1-abar).sqrt())**2"),
    ("only one step is applied: the variance passes through all steps up to t",
     "(1-betas)*v0 + betas"),
    ("the noise of the last step only: earlier noise is shrunk, but it is still there",
     A + "abar*v0 + betas"),
    ("the variance of the noise is missing", A + "abar*v0"),
    ("the variance of the signal is missing", A + "1-abar"),
    ("the betas simply add up here: each step shrinks the noise of the steps before",
     A + "abar*v0 + torch.cumsum(betas, 0)"),
    ("noise is added, but nothing shrinks: each step scales what was there before",
     "v0 + torch.cumsum(betas, 0)"),
    ("noise is added, but the signal's variance does not shrink", A + "v0 + 1-abar"),
    ("all of the noise is there from the first step on", A + "abar*v0 + 1"),
    ("the sign of the noise's variance is turned: variances add", A + "abar*v0 - (1-abar)"),
    ("the sign of the distance from 1 is turned", A + "1 - abar*(v0-1)"),
    ("only the distance from 1: what does the variance come to in the end?", A + "abar*(v0-1)"),
    ("v0 enters squared: it is a variance already", A + "abar*v0**2 + 1-abar"),
    ("the root of v0 enters: v0 is a variance already", A + "abar*v0**0.5 + 1-abar"),
    ("v0 scales the noise too: the noise has variance 1, whatever the image has",
     A + "abar*v0 + (1-abar)*v0**0.5"),
    ("signal and noise have changed places", A + "(1-abar)*v0 + abar"),
    ("the two variances are multiplied: of independent parts the variances add",
     A + "abar*v0*(1-abar)"),
    ("1 at every t: that is where it leads, but how does it get there from v0?",
     "torch.ones_like(betas)"),
    ("v0 at every t: for which v0 alone is that so?", "v0*torch.ones_like(betas)"),
    ("this is the standard deviation; the variance is asked for", A + "(abar*v0 + 1-abar).sqrt()"),
    ("only the last variance: one for each t is asked for", A + "(abar*v0 + 1-abar)[-1]"),
    ("one entry too many: the first entry is the variance after the first step, not v0",
     A + "torch.cat([v0*torch.ones(1), abar*v0 + 1-abar])"),
    ("off by one in t: entry t is the variance after its own step, and v0 is none of them",
     A + "torch.cat([v0*torch.ones(1), (abar*v0 + 1-abar)[:-1]])"),
    ("off by one in t between the signal and the noise", LATE + "return old*v0 + 1-abar"),
    ("off by one in t between the signal and the noise", LATE + "return abar*v0 + 1-old"),
    ("this is the product of the betas: how much does one step keep?",
     "b = torch.cumprod(betas, 0)\nreturn (1-b)*v0 + b"),
    ("each step keeps 1 - beta, not e to the power -beta",
     "a = torch.exp(-torch.cumsum(betas, 0))\nreturn a*v0 + 1-a"),
    ("the result is cut off: a variance may be small or large",
     A + "(abar*v0 + 1-abar).clamp(0, 5)"),
    ("the result is cut off: a variance may be small or large",
     A + "(abar*v0 + 1-abar).clamp(min=1e-4)"),
]

RIGHT = [
    "v, out = v0, []\nfor b in betas:\n    v = (1-b)*v + b\n    out.append(float(v))\nreturn out",
    "1 + torch.cumprod(1-betas, 0)*(v0-1)",
    "a = torch.cumprod(1-betas, 0)\nreturn v0*a + (1-a)",
]
