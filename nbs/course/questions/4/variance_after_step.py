r"""derive, predict, then run: which variance is right?

Let the world be $\mathcal N(0,1)$: then every $x_t$ is $\mathcal N(0,1)$ too, and the best noise predictor is $\epsilon^*(x_t,t)=\sqrt{1-\bar\alpha_t}\,x_t$. Put it into the step at $t\ge1$: which variance has $x_{t-1}$? Write the formula, for both choices of $\sigma_t^2$.
"""
import torch
from draws import reverse_of, variance_of

POINTS = 2

WRITTEN = (
    r"Guess before you calculate: which of the two choices of $\sigma_t^2$ keeps the "
    r"variance at 1? Then derive it, from equation (11) with $\epsilon^*$ put in to the "
    "variance of $x_{t-1}$, one step a line. Was your guess right? What happens with the "
    "other choice?")
WRITTEN_POINTS = 1


def variance_after_step(t, betas, variance):
    "t at least 1; betas (T,); variance 'large' or 'small' -> variance of x_(t-1), a number"
    abar = torch.cumprod(1-betas, 0)
    sigma2 = betas[t] if variance == "large" else betas[t]*(1-abar[t-1])/(1-abar[t])
    return 1-betas[t] + sigma2


def visible():
    for variance in "small", "large":
        yield 2, torch.tensor([0.1, 0.25, 0.4, 0.3, 0.15]), variance


def draw(seed):
    _, t, _, betas = reverse_of(seed, least=2)
    return t, betas, variance_of(seed)


def var(signal="1-betas[t]", noise="var", small="betas[t]*(1-abar[t-1])/(1-abar[t])",
        large="betas[t]", end="signal + noise"):
    "The solution with one part changed."
    return f"""
    abar = torch.cumprod(1-betas, 0)
    var = {large} if variance == 'large' else {small}
    signal, noise = {signal}, {noise}
    return {end}"""


TILDE = "betas[t]*(1-abar[t-1])/(1-abar[t])"
ONE = ("x_t and its noise prediction are not independent: one is the other, scaled. "
       "Add them first, then take the variance")
ADD = "standard deviations are added: independent variances add up"
AGAIN = "beta-tilde's ratio is that of t - 1 and t: here other steps stand in it"

MISTAKES = [
    ("'large' and 'small' give the same: is the argument used?", "1.0"),
    ("'large' and 'small' give the same: is the argument used?", var(large=TILDE)),
    ("'large' and 'small' have changed places", var(large=TILDE, small="betas[t]")),
    ("the noise's variance is missing", var(noise="0")),
    ("the signal's part is missing", var("0")),
    ("the signal's part is 1: the step shrinks it", var("1")),
    ("sigma enters without its square", var(noise="var**0.5")),
    ("the noise's variance is squared: it is a square already", var(noise="var**2")),
    ("the noise's variance is subtracted: variances add up", var(end="signal - noise")),
    ("the noise's variance is scaled by alpha: it is added after the mean",
     var(noise="var*(1-betas[t])")),
    ("all is divided by alpha: the noise is added after the mean",
     var(end="(signal + noise)/(1-betas[t])")),
    ("a square root too many on the signal's part: variances are scaled by the square of a "
     "coefficient", var("(1-betas[t]).sqrt()")),
    ("one over alpha: is the noise prediction left out, or the factor inverted?",
     var("1/(1-betas[t])")),
    ("the mean's coefficient is squared twice, or its outer factor is missing",
     var("(1-betas[t])**2")),
    (ONE, var("(1+betas[t]**2/(1-abar[t]))/(1-betas[t])")),
    (ONE, var("(1+betas[t]**2)/(1-betas[t])")),
    (ONE, var("(1-betas[t]**2/(1-abar[t]))/(1-betas[t])")),
    ("the predicted noise has variance one minus abar, not 1",
     var("(1-betas[t]/(1-abar[t]).sqrt())**2/(1-betas[t])")),
    ("the best predictor has the root of one minus abar: it cancels the root in the step",
     var("(1-betas[t]*(1-abar[t]).sqrt())**2/(1-betas[t])")),
    ("a sign is turned: the predicted noise is subtracted", var("(1+betas[t])**2/(1-betas[t])")),
    ("abar where alpha of the step belongs", var("abar[t]")),
    ("abar of the step before stands where alpha belongs", var("abar[t-1]")),
    ("off by one in t: beta of the step before in the signal's part", var("1-betas[t-1]")),
    ("beta is squared in the signal's part", var("1-betas[t]**2")),
    ("a plus where a minus belongs in the signal's part", var("1+betas[t]")),
    ("the ratio in beta-tilde is upside down", var(small="betas[t]*(1-abar[t])/(1-abar[t-1])")),
    (AGAIN, var(small="betas[t]*(1-abar[t])/(1-abar[min(t+1, len(betas)-1)])")),
    (AGAIN, var(small="betas[t]*(1-abar[t-2])/(1-abar[t-1])")),
    ("beta-tilde has beta of the step before", var(small="betas[t-1]*(1-abar[t-1])/(1-abar[t])")),
    ("beta-tilde has alphas of single steps where abar belongs", var(small="betas[t-1]")),
    ("beta-tilde lacks beta: this is the ratio alone", var(small="(1-abar[t-1])/(1-abar[t])")),
    ("beta-tilde lacks its division by one minus abar", var(small="betas[t]*(1-abar[t-1])")),
    ("the ratio in beta-tilde lacks a `1 -`, above and below",
     var(small="betas[t]*abar[t-1]/abar[t]")),
    ("one minus abar stands where beta-tilde belongs", var(small="1-abar[t]")),
    (ADD, var(end="signal**0.5 + noise**0.5")),
    (ADD, var(end="(signal**0.5 + noise**0.5)**2")),
    ("a standard deviation where a variance is asked for", var(end="(signal + noise)**0.5")),
    ("this is how far the variance is from 1", var(end="signal + noise - 1")),
    ("this is right for one schedule only: `betas` is given",
     var().replace("    abar", "    betas = torch.linspace(1e-4, 0.02, len(betas))\n    abar", 1)),
]

RIGHT = [
    """
    b = betas.tolist()
    a = [1.0]
    for x in b: a.append(a[-1]*(1-x))
    return 1.0 if variance == 'large' else 1 - b[t] + b[t]*(1-a[t])/(1-a[t+1])""",
    """
    abar = torch.cumprod(1-betas, 0)
    k = (1 - betas[t])/(1-betas[t]).sqrt()
    s = betas[t] if variance == 'large' else (1-abar[t-1])/(1-abar[t])*betas[t]
    return k**2 + s""",
    """
    import numpy as np
    b = betas.numpy()
    a = np.cumprod(1-b)
    return 1 if variance != 'small' else (1-b[t]) + b[t]*(1-a[t-1])/(1-a[t])""",
]
