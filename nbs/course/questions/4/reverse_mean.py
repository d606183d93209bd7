r"""the mean of a step

Equation (11): $\mu_\theta(x_t,t)=\frac1{\sqrt{\alpha_t}}\Big(x_t-\frac{\beta_t}{\sqrt{1-\bar\alpha_t}}\,\epsilon\Big)$.
"""
import torch
from draws import reverse_of

POINTS = 2


def reverse_mean(x_t, t, eps, betas):
    "x_t, eps of one shape; t a whole number; betas (T,) -> like x_t"
    abar = torch.cumprod(1-betas, 0)[t]
    return (x_t - betas[t]/(1-abar).sqrt()*eps)/(1-betas[t]).sqrt()


def visible():
    yield (torch.tensor([[0.7, -1.6], [0.2, 1.1]]), 4, torch.tensor([[0.5, 1.2], [-0.8, -0.3]]),
           torch.tensor([0.05, 0.15, 0.3, 0.12, 0.1, 0.2, 0.08]))
    yield (torch.tensor([1.0, -2.0]), 0, torch.tensor([0.5, 1.3]),
           torch.tensor([0.1, 0.25, 0.4, 0.3]))


def draw(seed):
    return reverse_of(seed)


def mean(noise="betas[t]/(1-abar[t]).sqrt()", outer="(1-betas[t]).sqrt()", end="m",
         abar="torch.cumprod(1-betas, 0)"):
    "The solution with one part changed."
    return f"""
    abar = {abar}
    m = (x_t - {noise}*eps)/{outer}
    return {end}"""


def guess(end):
    "Made from the clean guess x0; `before` is abar of the step before."
    return f"""
    abar = torch.cumprod(1-betas, 0)
    before = abar[t-1] if t else 1 + 0*abar[0]
    x0 = (x_t - (1-abar[t]).sqrt()*eps)/abar[t].sqrt()
    return {end}"""


CLIPPED = "the mean is clipped: nothing is clipped here"
BEFORE = "off by one in t: abar of the step before"
POSTERIOR = "before.sqrt()*betas[t]/(1-abar[t])*x0 + (1-betas[t]).sqrt()*(1-before)/(1-abar[t])*x_t"

MISTAKES = [
    ("a square root is missing under the noise's coefficient", mean("betas[t]/(1-abar[t])")),
    ("a square root is missing in the outer denominator", mean(outer="(1-betas[t])")),
    ("abar where alpha of the step belongs", mean(outer="abar[t].sqrt()")),
    ("alpha of the step where abar belongs: one minus alpha is beta",
     mean("betas[t]/betas[t].sqrt()")),
    ("the sign of the noise is turned", mean("-betas[t]/(1-abar[t]).sqrt()")),
    ("the outer factor is missing", mean(outer="1")),
    ("only x_t is divided: brackets around the difference",
     mean(end="x_t/(1-betas[t]).sqrt() - betas[t]/(1-abar[t]).sqrt()*eps")),
    ("only the noise is divided: brackets around the difference",
     mean(end="x_t - betas[t]/(1-abar[t]).sqrt()*eps/(1-betas[t]).sqrt()")),
    ("it multiplies where it must divide", mean(outer="(1-betas[t])**-0.5")),
    ("it multiplies by the root of one minus abar where it must divide",
     mean("betas[t]*(1-abar[t]).sqrt()")),
    ("the noise's coefficient is missing beta", mean("1/(1-abar[t]).sqrt()")),
    ("the noise's coefficient is missing: the noise is taken as it is", mean("1")),
    ("the noise is not used", mean("0")),
    ("the root of beta where beta belongs", mean("betas[t].sqrt()/(1-abar[t]).sqrt()")),
    ("one minus abar is missing", mean("betas[t]")),
    ("abar stands where one minus abar belongs", mean("betas[t]/abar[t].sqrt()")),
    ("the noise's coefficient is the one of the clean guess", mean("(1-abar[t]).sqrt()")),
    ("the outer factor is one minus abar's root: it needs alpha of the step",
     mean(outer="(1-abar[t]).sqrt()")),
    ("the outer factor is beta's root: it needs alpha, one minus beta",
     mean(outer="betas[t].sqrt()")),
    (BEFORE, mean("betas[t]/(1-abar[t-1]).sqrt()")),
    (BEFORE, mean("betas[t]/(1-(abar[t-1] if t else 0*abar[0])).clamp(min=1e-9).sqrt()")),
    ("off by one in t: abar of the next step",
     mean("betas[t]/(1-abar[min(t+1, len(betas)-1)]).sqrt()")),
    ("off by one in t: beta of the step before",
     mean("betas[t-1]/(1-abar[t]).sqrt()", "(1-betas[t-1]).sqrt()")),
    ("off by one in t: all entries are those of the step before",
     mean("betas[t-1]/(1-abar[t-1]).sqrt()", "(1-betas[t-1]).sqrt()")),
    ("t counts from the wrong end", mean(abar="torch.cumprod(1-betas, 0).flip(0)")),
    ("the product runs over the betas: abar is one of one minus each",
     mean(abar="torch.cumprod(betas, 0)")),
    ("the betas are added up: abar is a product, of one minus each",
     mean(abar="1-torch.cumsum(betas, 0)")),
    ("this is the clean guess of question 1: the mean of a step is asked for", guess("x0")),
    ("this is the mean of another sampler, DDIM: here a step keeps part of x_t",
     guess("before.sqrt()*x0 + (1-before).sqrt()*eps")),
    ("the clean guess is clipped on the way: equation (11) clips nothing",
     guess(POSTERIOR.replace("x0", "x0.clamp(-1, 1)"))),
    ("this is a step of the reverse SDE, the same only for small beta",
     mean(end="(1 + betas[t]/2)*x_t - betas[t]/(1-abar[t]).sqrt()*eps")),
    ("this is a step of the forward process",
     mean(end="(1-betas[t]).sqrt()*x_t + betas[t].sqrt()*eps")),
    ("at t = 0 x_t comes back unchanged: the last step has a mean too",
     mean(end="x_t if t == 0 else m")),
    ("at the largest t x_t comes back unchanged: the first step has a mean too",
     mean(end="x_t if t == len(betas)-1 else m")),
    (CLIPPED, mean(end="m.clamp(-1, 1)")),
    (CLIPPED, mean(end="m.clamp(-5, 5)")),
    ("a mean over the pixels is taken: it is a mean over the noise",
     mean(end="m.mean().expand_as(x_t)")),
    ("one minus abar is kept away from 0: the formula holds for a small beta too",
     mean("betas[t]/(1-abar[t]).clamp(min=0.01).sqrt()")),
    ("this is right for one schedule only: `betas` is given",
     mean(abar="torch.cumprod(1-torch.linspace(1e-4, 0.02, len(betas)), 0)")),
]

RIGHT = [
    """
    abar = 1.0
    for b in betas.tolist()[:t+1]: abar *= 1-b
    b = float(betas[t])
    return x_t/(1-b)**0.5 - b/((1-b)*(1-abar))**0.5*eps""",
    """
    abar = torch.cumprod(1-betas, 0)
    x0 = (x_t - (1-abar[t]).sqrt()*eps)/abar[t].sqrt()
    if t == 0: return x0
    ab, before = abar[t], abar[t-1]
    return before.sqrt()*betas[t]/(1-ab)*x0 + (1-betas[t]).sqrt()*(1-before)/(1-ab)*x_t""",
    """
    b64 = betas.double()
    a = torch.exp(torch.log1p(-b64[:t+1]).sum())
    return torch.rsqrt(1-b64[t])*(x_t - b64[t]*torch.rsqrt(1-a)*eps)""",
]
