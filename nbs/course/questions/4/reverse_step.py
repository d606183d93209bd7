r"""one step of Algorithm 2

$x_{t-1}=\mu_\theta(x_t,t)+\sigma_t z$. For `variance="large"` is $\sigma_t^2=\beta_t$, for `"small"` $\sigma_t^2=\tilde\beta_t=\frac{1-\bar\alpha_{t-1}}{1-\bar\alpha_t}\beta_t$. The last step adds no noise, with either variance.
"""
import torch
from draws import noise_like, reverse_of, variance_of

POINTS = 3


def reverse_step(x_t, t, eps, z, betas, variance):
    "x_t, eps, z alike; t a whole number; betas (T,); variance 'large' or 'small' -> like x_t"
    abar = torch.cumprod(1-betas, 0)
    mean = (x_t - betas[t]/(1-abar[t]).sqrt()*eps)/(1-betas[t]).sqrt()
    if t == 0: return mean
    var = betas[t] if variance == "large" else betas[t]*(1-abar[t-1])/(1-abar[t])
    return mean + var.sqrt()*z


def visible():
    for t, variance in (2, "large"), (2, "small"), (1, "large"), (0, "large"), (0, "small"):
        yield (torch.tensor([1.0, -2.0]), t, torch.tensor([0.5, 1.1]), torch.tensor([2.0, -1.3]),
               torch.tensor([0.1, 0.4, 0.23, 0.3]), variance)


def draw(seed):
    x_t, t, eps, betas = reverse_of(seed)
    return x_t, t, eps, noise_like(x_t, seed + 43), betas, variance_of(seed)


def step(noise="var.sqrt()*z", large="betas[t]", small="betas[t]*(1-abar[t-1])/(1-abar[t])",
         mean="(x_t - betas[t]/(1-abar[t]).sqrt()*eps)/(1-betas[t]).sqrt()", when="t == 0",
         last="mean", end="mean + noise"):
    "The solution with one part changed; `later` is t + 1, or t at the end."
    return f"""
    abar, later = torch.cumprod(1-betas, 0), min(t+1, len(betas)-1)
    mean = {mean}
    if {when}: return {last}
    var = {large} if variance == 'large' else {small}
    noise = {noise}
    return {end}"""


def guess(end):
    "Made from the clean guess x0; `before` is abar of the step before."
    return f"""
    abar = torch.cumprod(1-betas, 0)
    before = abar[t-1] if t else 1 + 0*abar[0]
    x0 = (x_t - (1-abar[t]).sqrt()*eps)/abar[t].sqrt()
    var = (betas[t] if variance == 'large' else betas[t]*(1-before)/(1-abar[t]))*(t > 0)
    return {end}"""


TILDE = "betas[t]*(1-abar[t-1])/(1-abar[t])"
IGNORED = "'large' and 'small' give the same: is the argument used?"
AGAIN = "beta-tilde's ratio is that of t - 1 and t: here other steps stand in it"
CLIPPED = "the result is clipped: nothing is clipped here"
POSTERIOR = ("(before.sqrt()*betas[t]*x0.clamp(-1, 1)"
             " + (1-betas[t]).sqrt()*(1-before)*x_t)/(1-abar[t]) + var.sqrt()*z")

MISTAKES = [
    ("a square root is missing: sigma is the root of the variance", step("var*z")),
    ("the noise z is not used: only the step at t = 0 goes without", step("0*z")),
    ("the noise is not scaled", step("z")),
    ("the noise is subtracted: the step adds it", step("-var.sqrt()*z")),
    ("the predicted noise is added again: the step adds z", step("var.sqrt()*eps")),
    ("z stands where the predicted noise belongs",
     step(mean="(x_t - betas[t]/(1-abar[t]).sqrt()*z)/(1-betas[t]).sqrt()")),
    ("new noise is drawn: z is given", step("var.sqrt()*torch.randn_like(z)")),
    ("'large' and 'small' have changed places", step(large=TILDE, small="betas[t]")),
    (IGNORED, step(small="betas[t]")),
    (IGNORED, step(large=TILDE)),
    ("the ratio in beta-tilde is upside down", step(small="betas[t]*(1-abar[t])/(1-abar[t-1])")),
    (AGAIN, step(small="betas[t]*(1-abar[t])/(1-abar[later])")),
    (AGAIN, step(small="betas[t]*(1-abar[t-2])/(1-abar[t-1])")),
    ("beta-tilde has beta of the step before",
     step(small="betas[t-1]*(1-abar[t-1])/(1-abar[t])")),
    ("beta-tilde lacks beta: this is the ratio alone", step(small="(1-abar[t-1])/(1-abar[t])")),
    ("beta-tilde lacks the division by one minus abar", step(small="betas[t]*(1-abar[t-1])")),
    ("beta-tilde lacks its numerator, one minus abar of the step before",
     step(small="betas[t]/(1-abar[t])")),
    ("the ratio in beta-tilde lacks a `1 -`, above and below",
     step(small="betas[t]*abar[t-1]/abar[t]")),
    ("alphas of single steps stand in beta-tilde where abar belongs", step(small="betas[t-1]")),
    ("one minus abar where sigma squared belongs", step(small="1-abar[t]")),
    ("'small' gives no noise here: it has a variance too, beta-tilde", step(small="0*betas[t]")),
    ("the mean lacks its outer factor", step(mean="x_t - betas[t]/(1-abar[t]).sqrt()*eps")),
    ("one over the root of alpha also scales the noise here: it belongs to the mean alone",
     step("var.sqrt()*z/(1-betas[t]).sqrt()")),
    ("the mean: a square root is missing",
     step(mean="(x_t - betas[t]/(1-abar[t])*eps)/(1-betas[t]).sqrt()")),
    ("the mean: a square root is missing",
     step(mean="(x_t - betas[t]/(1-abar[t]).sqrt()*eps)/(1-betas[t])")),
    ("the mean: alpha of the step where abar belongs: one minus alpha is beta",
     step(mean="(x_t - betas[t].sqrt()*eps)/(1-betas[t]).sqrt()")),
    ("the mean: the sign of the noise is turned",
     step(mean="(x_t + betas[t]/(1-abar[t]).sqrt()*eps)/(1-betas[t]).sqrt()")),
    ("the noise is added to x_t: it must be added to the mean", step(end="x_t + noise")),
    ("no noise at t = 1: only the step at t = 0 goes without", step(when="t <= 1")),
    ("no noise in the first step: only the last one, at t = 0, goes without",
     step(when="t in (0, len(betas)-1)")),
    ("noise is added at t = 0: the last step must not",
     step(last="mean + betas[t].sqrt()*z")),
    ("noise is added at t = 0 with 'large': the last step must not",
     step(last="mean + betas[t].sqrt()*z if variance == 'large' else mean")),
    ("noise is added at t = 0 with 'small', whose beta-tilde has [t-1], the last entry: "
     "the last step must not", step(when="t == 0 and variance == 'large'")),
    ("x_t comes back at t = 0: the last step has a mean too", step(last="x_t")),
    ("this is a step of DDIM: here the mean is that of (11)",
     guess("before.sqrt()*x0 + (1-before-var).clamp(min=0).sqrt()*eps + var.sqrt()*z")),
    ("the clean guess gets new noise: the step goes back by one, not from the clean guess",
     guess("before.sqrt()*x0 + (1-before).sqrt()*z")),
    ("the clean guess is clipped on the way: this step clips nothing", guess(POSTERIOR)),
    (CLIPPED, step(end="(mean + noise).clamp(-1, 1)", last="mean.clamp(-1, 1)")),
    (CLIPPED, step(end="(mean + noise).clamp(-5, 5)", last="mean.clamp(-5, 5)")),
    ("a small variance is raised: the formula holds for each",
     step("var.clamp(min=1e-4).sqrt()*z")),
]

RIGHT = [
    """
    abar = torch.cat([torch.ones(1), torch.cumprod(1-betas, 0)])
    var = {'large': betas[t], 'small': betas[t]*(1-abar[t])/(1-abar[t+1])}[variance]
    mean = (x_t - betas[t]/(1-abar[t+1])**0.5*eps)/(1-betas[t])**0.5
    return mean + (t > 0)*var**0.5*z""",
    """
    abar = torch.cumprod(1-betas, 0)
    mean = (x_t - betas[t]/(1-abar[t]).sqrt()*eps)/(1-betas[t]).sqrt()
    noise = torch.zeros_like(z) if t == 0 else z
    sigma2 = betas[t]
    if variance == 'small' and t > 0: sigma2 = sigma2*(1-abar[t-1])/(1-abar[t])
    return mean + torch.sqrt(sigma2)*noise""",
    """
    import numpy as np
    b = betas.double().numpy()
    a = np.cumprod(1-b)
    m = (x_t.numpy() - b[t]/np.sqrt(1-a[t])*eps.numpy())/np.sqrt(1-b[t])
    if t == 0: return m
    s = b[t] if variance == 'large' else b[t]*(1-a[t-1])/(1-a[t])
    return m + np.sqrt(s)*z.numpy()""",
]
