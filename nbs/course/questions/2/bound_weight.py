r"""derive: the weights of the bound

For a step from $x_t=\sqrt{\bar\alpha_t}\,x_0+\sqrt{1-\bar\alpha_t}\,\epsilon$ the bound holds, up to a constant, the distance of two means, equation (8):

$$L_{t-1}=\mathbb E\left[\frac{1}{2\sigma_t^2}\left\|\tilde\mu_t(x_t,x_0)-\mu_\theta(x_t,t)\right\|^2\right].$$

The first mean is that of question 1,

$$\tilde\mu_t=\frac{\sqrt{\bar\alpha_{t-1}}\,\beta_t}{1-\bar\alpha_t}x_0+\frac{\sqrt{\alpha_t}(1-\bar\alpha_{t-1})}{1-\bar\alpha_t}x_t,$$

and the network's mean is that of (11), $\mu_\theta=\frac{1}{\sqrt{\alpha_t}}\left(x_t-\frac{\beta_t}{\sqrt{1-\bar\alpha_t}}\,\epsilon_\theta(x_t,t)\right)$. Equation (12) is the same distance, measured in the noise: $L_{t-1}=\mathbb E\left[w_t\left\|\epsilon-\epsilon_\theta(x_t,t)\right\|^2\right]$. Derive its weight $w_t$ below, for $\sigma_t^2=\beta_t$; then write it as a function.
"""
import torch
from draws import step_of

POINTS = 2
WRITTEN = (
    r"Derive $w_t$. First write $\tilde\mu_t$ with $x_t$ and the noise alone: put "
    r"$x_0=(x_t-\sqrt{1-\bar\alpha_t}\,\epsilon)/\sqrt{\bar\alpha_t}$ into it, and use "
    r"$\bar\alpha_t=\alpha_t\bar\alpha_{t-1}$. Then subtract $\mu_\theta$, and put the "
    "difference into (8). Show what cancels.")
WRITTEN_POINTS = 1


def bound_weight(t, betas):
    "t a whole number, betas (T,) -> the weight, a number"
    abar = torch.cumprod(1-betas, 0)
    return betas[t]/(2*(1-betas[t])*(1-abar[t]))


def visible():
    yield 2, torch.tensor([0.2, 0.35, 0.4, 0.7, 0.15])


def draw(seed):
    t, betas = step_of(seed)
    return min(t, 499), betas                       # a recursion must not be too deep


A = """
abar = torch.cumprod(1-betas, 0)
alpha, beta, ab = 1-betas[t], betas[t], abar[t]
old = abar[t-1] if t > 0 else torch.ones_like(ab)
return """
W = "beta/(2*alpha*(1-ab))"
ALL = "abar = torch.cumprod(1-betas, 0)\nw = betas/(2*(1-betas)*(1-abar))\nreturn "
MISTAKES = [
    ("the 2 in the denominator is missing", A + "beta/(alpha*(1-ab))"),
    ("4 stands where 2 belongs", A + W.replace("2*", "4*")),
    ("multiplied by 2 where it is divided", A + "2*beta/(alpha*(1-ab))"),
    ("sigma^2 is missing: with sigma^2 = beta one factor of beta cancels", A + "beta*" + W),
    ("sigma enters, but it is sigma squared: look at (8)", A + "beta**0.5*" + W),
    ("no beta is left: of the two factors of beta, sigma^2 = beta cancels one only",
     A + W.replace("beta/", "1/")),
    ("the root of beta stays: sigma enters squared", A + "beta.sqrt()" + W[4:]),
    ("beta to the third power: two come from the mean, and sigma^2 takes one away",
     A + "beta**2*" + W),
    ("alpha of the step is missing", A + "beta/(2*(1-ab))"),
    ("abar where alpha of the step belongs", A + W.replace("alpha", "ab")),
    ("alpha of the step stands where abar belongs: the running product is missing",
     A + W.replace("1-ab", "1-alpha")),
    ("one minus abar is missing", A + "beta/(2*alpha)"),
    ("abar where one minus abar belongs", A + W.replace("(1-ab)", "ab")),
    ("a square root too many: the weight belongs to a squared error",
     A + W.replace("(1-ab)", "(1-ab).sqrt()")),
    ("a square root is missing or too many in the denominator",
     A + W.replace("alpha", "alpha.sqrt()")),
    ("a square root is missing or too many in the denominator",
     A + "beta/(2*(alpha*(1-ab)).sqrt())"),
    ("a square too many in the denominator", A + W.replace("(1-ab)", "(1-ab)**2")),
    ("a square too many in the denominator", A + W.replace("alpha", "alpha**2")),
    ("the coefficient of the noise in the mean is not squared",
     A + "beta/(alpha*(1-ab)).sqrt()/(2*beta)"),
    ("abar of the step before: off by one in t, or beta-tilde where sigma^2 = beta is asked for",
     A + W.replace("(1-ab)", "(1-old + 1e-9)")),
    ("beta-tilde stands for beta itself", A + "(1-old)/(1-ab)*" + W),
    ("off by one in t: this is the weight of the next timestep",
     "t = min(t+1, len(betas)-1)" + A + W),
    ("off by one in t: this is the weight of the step before", "t = t-1" + A + W),
    ("off by one in t: alpha of the step before", A + W.replace("alpha", "(1-betas[t-1])")),
    ("off by one in t: beta of the step before", A + W.replace("beta/", "betas[t-1]/")),
    ("abar is multiplied up over all timesteps, not up to t", A + W.replace("-ab", "-abar[-1]")),
    ("the betas are multiplied: abar is the product of one minus beta",
     A.replace("(1-betas, 0)", "(betas, 0)") + W),
    ("the betas are added: abar is a product",
     A + W.replace("(1-ab)", "torch.cumsum(betas, 0)[t]")),
    ("the weight of the simple loss is 1; the bound's is asked for", "1."),
    ("this is the weight of an error of the mean, as in (8): the error of the noise is asked for",
     A + "1/(2*beta)"),
    ("this is the weight of an error of x_0: the error of the noise is asked for",
     A + "old*beta/(2*(1-ab)**2)"),
    ("this is the signal-to-noise ratio: the weight is asked for", A + "ab/(1-ab)"),
    ("this is beta-tilde, a variance: the weight is asked for", A + "(1-old)/(1-ab)*beta"),
    ("one over the weight", A + "1/(" + W + ")"),
    ("the sign is turned: a weight is positive", A + "-" + W),
    ("a bracket is missing in the denominator", A + "beta/2*alpha*(1-ab)"),
    ("the weights of all timesteps: the one of t is asked for", ALL + "w"),
    ("the weights are added over the timesteps", ALL + "w.sum()"),
    ("the weights are made to add up to 1", ALL + "w[t]/w.sum()"),
    ("at t = 0 the weight is not 0: the formula holds there too", A + W + " if t else 0*ab"),
    ("the noise's variance is cut off from below: near the clean end it is small",
     A + W.replace("(1-ab)", "(1-ab).clamp(min=0.25)")),
]

RIGHT = [
    "alphas = 1-betas\n"
    "return betas[t]**2/(2*betas[t]*alphas[t]*(1-torch.prod(alphas[:t+1])))",
    """
    import math
    b = betas.tolist()
    abar = math.prod(1-x for x in b[:t+1])
    return 0.5*b[t]/(1-b[t])/(1-abar)""",
    """
    def abar(k): return 1 if k < 0 else (1-betas[k])*abar(k-1)
    return (betas[t]/(2*(1-betas[t])*(1-abar(t)))).reshape(1)""",
]
