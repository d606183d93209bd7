r"""one step back, if the image is known

Equations (6) and (7): $q(x_{t-1}|x_t,x_0)=\mathcal N(\tilde\mu_t,\tilde\beta_t)$ with

$$\tilde\mu_t=\frac{\sqrt{\bar\alpha_{t-1}}\,\beta_t}{1-\bar\alpha_t}x_0+\frac{\sqrt{\alpha_t}(1-\bar\alpha_{t-1})}{1-\bar\alpha_t}x_t,\qquad\tilde\beta_t=\frac{1-\bar\alpha_{t-1}}{1-\bar\alpha_t}\beta_t.$$

At `t = 0` the step before is the image itself: there $\bar\alpha_{t-1}$ is 1.
"""
import torch
from draws import step_of, tensor_of

POINTS = 3


def posterior(x0, x_t, t, betas):
    "x0, x_t of one shape, t a whole number, betas (T,) -> mean like x0, variance a number"
    abar = torch.cumprod(1-betas, 0)
    ab, before = abar[t], abar[t-1] if t > 0 else torch.ones_like(abar[0])
    mean = before.sqrt()*betas[t]/(1-ab)*x0 + (1-betas[t]).sqrt()*(1-before)/(1-ab)*x_t
    return mean, (1-before)/(1-ab)*betas[t]


def visible():
    x0, x_t = torch.tensor([1., -0.5]), torch.tensor([0.3, 2.])
    yield x0, x_t, 2, torch.tensor([0.1, 0.2, 0.4, 0.3])
    yield x0, x_t, 0, torch.tensor([0.1, 0.2, 0.4, 0.3])


def draw(seed):
    t, betas = step_of(seed)
    x0 = tensor_of(seed).to(betas.dtype)
    return x0, 0.7*x0.flip(-1) + torch.linspace(-2, 2, x0.shape[-1]).to(x0.dtype), t, betas


A = """
abar = torch.cumprod(1-betas, 0)
ab, old = abar[t], abar[t-1] if t > 0 else torch.ones_like(abar[0])
alpha, beta = 1-betas[t], betas[t]
"""
MEAN = "mean = (old.sqrt()*beta*x0 + alpha.sqrt()*(1-old)*x_t)/(1-ab)\n"
VAR = "return mean, (1-old)/(1-ab)*beta"
M, ON = A + MEAN, MEAN + VAR
MISTAKES = [
    ("beta where beta-tilde is asked for: the variance is smaller, because x_0 is known",
     M + "return mean, beta"),
    ("the standard deviation where the variance is asked for",
     M + "return mean, ((1-old)/(1-ab)*beta).sqrt()"),
    ("the logarithm of the variance: the variance itself is asked for",
     M + "return mean, torch.log((1-old)/(1-ab)*beta + 1e-20)"),
    ("a square root is missing on x_0's coefficient", A + ON.replace("old.sqrt()", "old")),
    ("a square root is missing on x_t's coefficient", A + ON.replace("alpha.sqrt()", "alpha")),
    ("square roots are missing on both coefficients", A + ON.replace(".sqrt()", "")),
    ("the root of abar is missing in the coefficient of x_0", A + ON.replace("old.sqrt()*", "")),
    ("the root of alpha is missing in the coefficient of x_t",
     A + ON.replace("alpha.sqrt()*", "")),
    ("abar, not alpha, belongs to the step: look at the root on x_t",
     A + ON.replace("alpha.sqrt()", "ab.sqrt()")),
    ("the coefficient of x_0 has the root of abar at t where the one before is asked for",
     A + ON.replace("old.sqrt()", "ab.sqrt()")),
    ("the two roots have changed places between the coefficients",
     A + "mean = (alpha.sqrt()*beta*x0 + old.sqrt()*(1-old)*x_t)/(1-ab)\n" + VAR),
    ("x_0 and x_t have changed places", "x0, x_t = x_t, x0" + A + ON),
    ("the ratio of the variance is upside down",
     M + "return mean, (1-ab)/(1-old)*beta"),
    ("at t = 0 the step before is the image itself; abar[t-1] reads the last entry of the table",
     A + "old = abar[t-1]\n" + ON),
    ("at t = 0 the step before is the image itself: how much of the signal is left there?",
     A.replace("ones_like", "zeros_like") + ON),
    ("at t = 0 the step before is the image itself: how much of the signal is left there?",
     A.replace("torch.ones_like(abar[0])", "abar[0]") + ON),
    ("off by one in t: abar at t where the equation has the one before", A + "old = ab\n" + ON),
    ("off by one in t: this is the posterior of the next step",
     "t = min(t+1, len(betas)-1)" + A + ON),
    ("off by one in t: this is the posterior of the step before", "t = max(t-1, 0)" + A + ON),
    ("off by one in t: beta of the step before", A + "beta = betas[t-1]\n" + ON),
    ("off by one in t: alpha of the step before", A + "alpha = 1-betas[t-1]\n" + ON),
    ("the alpha of a single step stands where abar of the step before belongs",
     A + "old = 1-betas[t-1] if t > 0 else torch.ones_like(ab)\n" + ON),
    ("the alphas of single steps stand where abar belongs: the running product is missing",
     A.replace("torch.cumprod(1-betas, 0)", "1-betas") + ON),
    ("the betas are multiplied: abar is the product of one minus beta",
     A.replace("(1-betas, 0)", "(betas, 0)") + ON),
    ("a sum of the betas where abar is a product",
     A.replace("torch.cumprod(1-betas, 0)", "torch.exp(-torch.cumsum(betas, 0))") + ON),
    ("only the mean: the variance is asked for too", M + "return mean"),
    ("only the variance: the mean is asked for too", A + "return (1-old)/(1-ab)*beta"),
    ("the two results have changed places: first the mean, then the variance",
     M + "return (1-old)/(1-ab)*beta, mean"),
    ("the denominator one minus abar is missing in the mean",
     A + ON.replace("/(1-ab)\n", "\n")),
    ("the denominator one minus abar is missing in the variance",
     M + "return mean, (1-old)*beta"),
    ("beta is missing in the variance", M + "return mean, (1-old)/(1-ab)"),
    ("beta is missing in the coefficient of x_0", A + ON.replace("*beta*x0", "*x0")),
    ("a minus where the two terms of the mean are added", A + ON.replace("x0 +", "x0 -")),
    ("a step forward: the posterior goes back", A + "return alpha.sqrt()*x_t, beta"),
    ("the mean of the step before as seen from x_0 alone: x_t is known too",
     A + "return old.sqrt()*x0, 1-old"),
    ("this is DDIM's step: the posterior's mean is another",
     A + "e = (x_t - ab.sqrt()*x0)/(1-ab).sqrt()\nmean = old.sqrt()*x0 + (1-old).sqrt()*e\n" + VAR),
    ("x_0 and x_t are used as if x_0 were the noise",
     A + "mean = (x_t - beta/(1-ab).sqrt()*x0)/alpha.sqrt()\n" + VAR),
    ("the variances of all timesteps: the one of t is asked for",
     M + "old = torch.cat([torch.ones(1), abar[:-1]])\nreturn mean, (1-old)/(1-abar)*betas"),
    ("the variance is cut off from below: at t = 0 it is 0",
     M + VAR.replace("(1-old)", "(1-old).clamp(min=1e-4)")),
    ("the mean is cut off at -1 and 1: it may lie outside",
     M + VAR.replace("mean", "mean.clamp(-1, 1)")),
    ("at the last timestep x_t itself is returned as the mean: x_0 has its part there too",
     "if t == len(betas)-1: return x_t, betas[t]" + A + ON),
]

RIGHT = [
    """
    abar = [1.0]
    for b in betas.tolist(): abar.append(abar[-1]*(1-b))
    b, now, before = betas[t].item(), abar[t+1], abar[t]
    mean = before**0.5*b/(1-now)*x0 + (1-b)**0.5*(1-before)/(1-now)*x_t
    return mean, (1-before)/(1-now)*b""",
    """
    if t == 0: return x0, 0.0
    abar = (1-betas.double()).cumprod(0)
    b, p = betas[t].double(), 1/(1-abar[t-1])
    precision = (1-b)/b + p
    mean = ((1-b).sqrt()/b*x_t + abar[t-1].sqrt()*p*x0)/precision
    return mean, 1/precision""",
    """
    import numpy as np
    a, b = np.cumprod(1-betas.numpy()), betas[t].item()
    old = a[t-1] if t else 1.0
    x, y = x0.numpy(), x_t.numpy()
    m = np.sqrt(old)*b/(1-a[t])*x + np.sqrt(1-b)*(1-old)/(1-a[t])*y
    return m, (1-old)/(1-a[t])*b""",
    """
    padded = torch.cat([torch.ones(1), torch.cumprod(1-betas, 0)])
    ab, before = padded[t+1], padded[t]
    mean = (before.sqrt()*betas[t]*x0 + (1-betas[t]).sqrt()*(1-before)*x_t)/(1-ab)
    return dict(mean=mean, variance=betas[t]*(1-before)/(1-ab))""",
]
