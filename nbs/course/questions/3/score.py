r"""the score of a mixture

A mixture of $K$ round Gaussians with centres $\mu_k$, one standard deviation $s$, and weights $w_k$ that add up to 1. Its score is $\nabla\log q(x)=\sum_k r_k(x)\,\frac{\mu_k-x}{s^2}$ with the responsibilities $r_k(x)\propto w_k\,e^{-\|x-\mu_k\|^2/2s^2}$. Take care far away from all centres, where every exponential is 0 (`torch.softmax` and `torch.logsumexp` help).
"""
import torch
from draws import start

POINTS = 3


def score(x, mu, std, w):
    "x (N, D), mu (K, D), std a number, w (K,) -> (N, D)"
    diff = mu[None] - x[:, None]                               # (N, K, D)
    r = torch.softmax(w.log() - (diff**2).sum(2)/(2*std**2), 1)
    return (r[..., None]*diff).sum(1)/std**2


def visible():
    yield (torch.tensor([[0.5, 0.3], [-1., 2.], [0., 0.1], [1.3, -0.9]]),
           torch.tensor([[1., 0.], [-1., 1.], [0.4, -0.8]]), 0.8, torch.tensor([0.2, 0.5, 0.3]))
    yield (torch.tensor([[-70., 40.], [0.4, -1.2]]), torch.tensor([[1., 0.], [-1., 1.5]]),
           1.7, torch.tensor([0.2, 0.8]))


def draw(seed):
    "One point or many, on the line, in the plane, in space; one centre or many; near and far."
    g, r = start(seed)
    n, k, d = r.choice([1, 2, 5]), r.choice([1, 2, 3]), r.choice([1, 2, 3])
    x, mu = torch.randn(n, d, generator=g).double(), torch.randn(k, d, generator=g).double()
    w = torch.softmax(torch.randn(k, generator=g).double(), 0)
    std = r.choice([0.3, 0.8, 2., 10.]) if seed % 3 else 1.2
    if seed % 3 == 1: x, mu = r.choice([30, 300])*x, r.choice([1, 5])*mu
    return (x.float(), mu.float(), std, w.float()) if seed % 3 == 0 else (x, mu, std, w)


A = """
diff = mu[None] - x[:, None]
logits = w.log() - (diff**2).sum(2)/(2*std**2)
r = torch.softmax(logits, 1)
return """
S = "(r[..., None]*diff).sum(1)/std**2"


def share(r): return A.replace("torch.softmax(logits, 1)", r) + S


def exponent(new): return A.replace("w.log() - (diff**2).sum(2)/(2*std**2)", new) + S


MISTAKES = [
    ("the sign is turned: the score leads uphill, to the centres", A + "-" + S),
    ("the division by the variance is missing", A + S.replace("/std**2", "")),
    ("the standard deviation where the variance belongs", A + S.replace("std**2", "std")),
    ("the result is divided by the variance twice", A + S.replace("std**2", "std**4")),
    ("the 2 belongs to the exponent alone: the slope of a square brings it down",
     A + S.replace("std**2", "(2*std**2)")),
    ("the weights of the components are missing in the responsibilities",
     exponent("-(diff**2).sum(2)/(2*std**2)")),
    ("the logarithm of the weights belongs into the softmax, not the weights",
     exponent("w - (diff**2).sum(2)/(2*std**2)")),
    ("the logarithm of the weights has the wrong base",
     exponent("w.log2() - (diff**2).sum(2)/(2*std**2)")),
    ("the logarithm of the weights is divided by the variance too: only the distance is",
     exponent("(w.log() - (diff**2).sum(2))/(2*std**2)")),
    ("the weights are multiplied on after the softmax: the responsibilities no longer add up to 1",
     exponent("-(diff**2).sum(2)/(2*std**2)").replace("r = ", "r = w*")),
    ("the weights enter twice", exponent("2*w.log() - (diff**2).sum(2)/(2*std**2)")),
    ("the responsibilities are missing: this is the mean over the components, by their weights",
     A + "(w[:, None]*diff).sum(1)/std**2"),
    ("all components count the same: where are the responsibilities?", A + "diff.mean(1)/std**2"),
    ("all components count the same: where are the responsibilities?", A + "diff.sum(1)/std**2"),
    ("the mean over the components where their sum belongs: the responsibilities are weights "
     "already", A + S.replace("sum", "mean")),
    ("only one centre counts for each point: all do, each with its responsibility",
     "return (mu[torch.cdist(x, mu).argmin(1)] - x)/std**2"),
    ("the softmax runs over the points: it must run over the components",
     share("torch.softmax(logits, 0)")),
    ("the responsibilities are divided by their sum over all points: each point has its own",
     share("torch.softmax(logits.flatten(), 0).view_as(logits)")),
    ("the responsibilities are not normalised: this is the slope of q, not of log q",
     share("torch.exp(logits)")),
    ("this is the slope of q, not of log q: a division by q is missing",
     share("torch.exp(logits)/(2*3.14159265*std**2)**(x.shape[1]/2)")),
    ("a sigmoid where a softmax belongs: the responsibilities add up to 1",
     share("torch.sigmoid(logits)")),
    ("these are logarithms of the responsibilities, where they themselves belong",
     share("torch.log_softmax(logits, 1)")),
    ("far from all centres every exponential is 0, and so is their sum: 0/0 is not a number",
     share("torch.exp(logits)/torch.exp(logits).sum(1, keepdim=True)")),
    ("far from all centres every exponential is 0, and so is every share: a bound or a small "
     "number added does not help, they must still add up to 1",
     share("torch.exp(logits)/(torch.exp(logits).sum(1, keepdim=True) + 1e-8)")),
    ("far from all centres the responsibilities are not equal: the nearest centre outweighs the "
     "others", share("torch.softmax(logits.clamp(min=-60), 1)")),
    ("the 2 in the exponent is missing", exponent("w.log() - (diff**2).sum(2)/std**2")),
    ("the exponent lacks the variance", exponent("w.log() - (diff**2).sum(2)/2")),
    ("the exponent lacks both the 2 and the variance", exponent("w.log() - (diff**2).sum(2)")),
    ("the exponent has the standard deviation where the variance belongs",
     exponent("w.log() - (diff**2).sum(2)/(2*std)")),
    ("the exponent is multiplied by the variance where it must be divided: brackets around "
     "2*std**2?", exponent("w.log() - (diff**2).sum(2)/2*std**2")),
    ("the exponent is half of what it must be: is the squared distance a mean over the "
     "coordinates, or the 2 squared too?", exponent("w.log() - (diff**2).sum(2)/(2*std)**2")),
    ("the distance in the exponent is not squared",
     exponent("w.log() - (diff**2).sum(2).sqrt()/(2*std**2)")),
    ("the distance is a sum of absolute differences: it must be the sum of their squares",
     exponent("w.log() - diff.abs().sum(2)**2/(2*std**2)")),
    ("the minus in the exponent is missing: near centres count more, not less",
     exponent("w.log() + (diff**2).sum(2)/(2*std**2)")),
    ("x is not subtracted: the slope leads from x to the centres", A + "r@mu/std**2"),
    ("x is not divided by the variance: brackets around the difference?", A + "r@mu/std**2 - x"),
    ("this is the mean of the centres by their responsibilities, not the slope", A + "r@mu"),
    ("these are the responsibilities, not yet the slope", A + "r"),
    ("this is log q itself, not its slope", A + "torch.logsumexp(logits, 1)"),
    ("this is the slope of the mean over the points: each point's own is divided by their number",
     A + S + "/len(x)"),
    ("the slopes are cut off: far from the centres they are long", A + f"({S}).clamp(-5, 5)"),
]

RIGHT = [
    """
    logits = w.log() - torch.cdist(x, mu)**2/(2*std**2)
    r = torch.softmax(logits, 1)
    return (r@mu - x)/std**2""",
    """
    x = x.detach().clone().requires_grad_(True)
    e = w.log() - ((x[:, None]-mu[None])**2).sum(2)/(2*std**2)
    return torch.autograd.grad(torch.logsumexp(e, 1).sum(), x)[0]""",
    """
    out = []
    for p in x:
        e = torch.stack([wk.log() - ((p-m)**2).sum()/(2*std**2) for m, wk in zip(mu, w)])
        r = torch.exp(e - e.max())
        r = r/r.sum()
        out.append(sum(rk*(m-p) for rk, m in zip(r, mu))/std**2)
    return torch.stack(out)""",
    """
    import numpy as np
    d = mu.double().numpy()[None] - x.double().numpy()[:, None]
    e = np.log(w.double().numpy()) - (d**2).sum(2)/(2*std**2)
    e = np.exp(e - e.max(1, keepdims=True))
    r = e/e.sum(1, keepdims=True)
    return np.einsum('nk,nkd->nd', r, d)/std**2""",
]
