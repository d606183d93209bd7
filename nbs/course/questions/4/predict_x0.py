r"""whoever knows the noise knows the image

Equation (4) mixes image and noise: $x_t=\sqrt{\bar\alpha_t}\,x_0+\sqrt{1-\bar\alpha_t}\,\epsilon$. Turn it round: which clean image $\hat x_0$ do $x_t$ and the predicted noise imply? The examples of the batch are at different timesteps, as in training: example `i` is at `t[i]`. Points, rows and images come, so count no axes but the first.
"""
import torch
from draws import start, reverse_of

POINTS = 2


def predict_x0(x_t, t, eps, betas):
    "x_t, eps (B, ...); t (B,), whole numbers; betas (T,) -> like x_t"
    abar = torch.cumprod(1-betas, 0)[t].view(-1, *[1]*(x_t.ndim-1))
    return (x_t - (1-abar).sqrt()*eps)/abar.sqrt()


def visible():
    yield (torch.tensor([[0.7, -1.6], [0.2, 1.1]]), torch.tensor([4, 2]),
           torch.tensor([[0.5, 1.2], [-0.8, -0.3]]),
           torch.tensor([0.05, 0.15, 0.3, 0.12, 0.1, 0.2, 0.08]))
    yield (torch.tensor([1.0, -2.0, 0.4, -0.6]).view(2, 1, 2, 1), torch.tensor([0, 3]),
           torch.tensor([0.5, 1.3, -0.8, 0.2]).view(2, 1, 2, 1),
           torch.tensor([0.1, 0.25, 0.4, 0.3]))


def draw(seed):
    x_t, first, eps, betas = reverse_of(seed)
    t = torch.randint(len(betas), (len(x_t),), generator=start(seed + 41)[0])
    t[0] = first
    return x_t, t, eps, betas


def clean(noise="(1-a).sqrt()", share="a.sqrt()", a="torch.cumprod(1-betas, 0)[t]", end="x0"):
    "The solution with one part changed."
    return f"""
    a = {a}
    a = a.view(-1, *[1]*(x_t.ndim-1))
    x0 = (x_t - {noise}*eps)/{share}
    return {end}"""


FLAT = "a = torch.cumprod(1-betas, 0)[t]{0}\nreturn (x_t - (1-a).sqrt()*eps)/a.sqrt()"
AXES = "`abar[t]` is (B,): give it as many axes as x_t has, whatever their number"
CLIPPED = "the guess is clipped: nothing is clipped here"

MISTAKES = [
    ("the timesteps run along the last axis here: they belong to the first, the examples",
     FLAT.format("")),
    (AXES, FLAT.format("[:, None]")),
    (AXES, FLAT.format("[:, None, None, None]")),
    ("one t for the whole batch: each example has its own",
     clean(a="torch.cumprod(1-betas, 0)[t[0]].expand(len(t))")),
    ("a square root is missing on the noise's coefficient", clean("(1-a)")),
    ("a square root is missing in the denominator", clean(share="a")),
    ("square roots are missing on both", clean("(1-a)", "a")),
    ("the roots are in the product already and are taken once more",
     clean(a="torch.cumprod((1-betas).sqrt(), 0)[t]")),
    ("one minus the root of abar is not the root of one minus abar", clean("(1-a.sqrt())")),
    ("the sign of the noise is turned", clean("-(1-a).sqrt()")),
    ("the division is missing", clean(share="1")),
    ("only x_t is divided: brackets around the difference",
     clean(end="x_t/a.sqrt() - (1-a).sqrt()*eps")),
    ("only the noise is divided: brackets around the difference",
     clean(end="x_t - (1-a).sqrt()*eps/a.sqrt()")),
    ("it multiplies where it must divide", clean(share="(1/a.sqrt())")),
    ("the noise is not scaled", clean("1")),
    ("the noise's coefficient and the denominator have changed places",
     clean("a.sqrt()", "(1-a).sqrt()")),
    ("the denominator is the root of one minus abar: divide by what x_0 is multiplied by in x_t",
     clean(share="(1-a).sqrt()")),
    ("this puts more noise on x_t, as the forward process does",
     clean(end="a.sqrt()*x_t + (1-a).sqrt()*eps")),
    ("alpha of one step where abar of all steps belongs", clean(a="(1-betas)[t]")),
    ("beta where abar belongs", clean(a="betas[t]")),
    ("the noise's coefficient is the one of a step's mean, equation (11)",
     clean("betas[t].view(a.shape)/(1-a).sqrt()")),
    ("the betas are added up: abar is a product, of one minus each",
     clean(a="torch.exp(-torch.cumsum(betas, 0)[t])")),
    ("the product runs over the betas: it runs over one minus each",
     clean(a="torch.cumprod(betas, 0)[t]")),
    ("the product runs over all T steps: abar ends at t",
     clean(a="torch.prod(1-betas).expand(len(t))")),
    ("t counts from the wrong end", clean(a="torch.cumprod(1-betas, 0)[len(betas)-1-t]")),
    ("off by one in t: abar of the step before", clean(a="torch.cumprod(1-betas, 0)[t-1]")),
    ("off by one in t: abar of the step before",
     clean(a="torch.cat([torch.ones(1).to(betas), torch.cumprod(1-betas, 0)])[t]")),
    ("off by one in t: abar of the next step",
     clean(a="torch.cumprod(1-betas, 0)[(t+1).clamp(max=len(betas)-1)]")),
    ("at t = 0 x_t comes back as it was: there is noise of one step in it too",
     clean(end="torch.where((t == 0).view(a.shape), x_t, x0)")),
    ("at the largest t 0 comes back: the same formula holds there",
     clean(end="torch.where((t == len(betas)-1).view(a.shape), 0*x0, x0)")),
    (CLIPPED, clean(end="x0.clamp(-1, 1)")),
    (CLIPPED, clean(end="x0.clamp(-5, 5)")),
    ("the guess is brought to mean 0 and variance 1: the image keeps its own",
     clean(end="(x0 - x0.mean())/(x0.var(unbiased=False) + 1e-8).sqrt()")),
    ("a large guess is scaled down: the image keeps its scale",
     clean(end="x0/x0.abs().max().clamp(min=1)")),
    ("a small abar is raised: the formula holds for each",
     clean(a="torch.cumprod(1-betas, 0)[t].clamp(min=1e-4)")),
    ("this is right for one schedule only: `betas` is given",
     clean(a="torch.cumprod(1-torch.linspace(1e-4, 0.02, len(betas)), 0)[t]")),
]

RIGHT = [
    """
    out = []
    for x, e, s in zip(x_t, eps, t.tolist()):
        a = torch.prod(1-betas[:s+1])
        out.append(x/a.sqrt() - (1/a-1).sqrt()*e)
    return torch.stack(out)""",
    """
    import numpy as np
    a = np.cumprod(1-betas.double().numpy())[t.numpy()].reshape((-1,) + (1,)*(x_t.ndim-1))
    return (x_t.numpy() - np.sqrt(1-a)*eps.numpy())/np.sqrt(a)""",
    """
    out = torch.empty_like(x_t).double()
    for i in range(len(t)):
        a = 1.0
        for b in betas[:t[i]+1].tolist(): a *= 1-b
        out[i] = (x_t[i].double() - (1-a)**0.5*eps[i].double())/a**0.5
    return out""",
    """
    a = torch.exp(torch.cumsum(torch.log1p(-betas), 0)).gather(0, t)
    a = a.reshape((len(t),) + (1,)*len(x_t.shape[1:]))
    return (x_t - torch.sqrt(1-a)*eps)*torch.rsqrt(a)""",
]
