r"""find the bugs

The simple loss (14) for each example: the mean, over the numbers of that example, of the squared error of the noise. This code trains, and never learns. Two bugs; correct it. (The network must be able to learn from what you return: its slope in the network's answer is tested too.)

```python
def simple_loss(model, x0, t, noise, abar):
    a = abar[t].view(-1, *[1]*(x0.ndim-1))
    x_t = a.sqrt()*x0 + (1-a).sqrt()*noise
    return ((model(x_t, t) - x0)**2).mean()
```
"""
import torch
from draws import Given, noising_of

POINTS = 2


def simple_loss(model, x0, t, noise, abar):
    "model(x_t, t) gives a tensor like x_t; x0 and noise (B, ...), t (B,), abar (T,) -> (B,)"
    a = abar[t].view(-1, *[1]*(x0.ndim-1))
    x_t = a.sqrt()*x0 + (1-a).sqrt()*noise
    return ((model(x_t, t) - noise)**2).flatten(1).mean(1)


def observe(f, model, x0, t, noise, abar):
    "The loss, and the slope of its sum in a factor inside the model (0: nothing can be learned)."
    factor = torch.ones((), requires_grad=True)
    loss = f(lambda x, s: factor*model(x, s), x0, t, noise, abar)
    loss = torch.stack(list(loss)) if isinstance(loss, (list, tuple)) else torch.as_tensor(loss)
    slope = None
    if loss.requires_grad: slope, = torch.autograd.grad(loss.sum(), factor, allow_unused=True)
    return loss.detach(), torch.zeros(()) if slope is None else slope


def visible():
    yield (Given("lambda x, t: 0.6*x + 0.2*t.view(-1, 1, 1, 1)"),
           torch.arange(18.).cos().view(3, 2, 1, 3), torch.tensor([1, 0, 2]),
           (2*torch.arange(18.)).sin().view(3, 2, 1, 3), torch.tensor([0.81, 0.64, 0.16, 0.04]))
    yield (Given("lambda x, t: x - 0.3*t.view(-1, 1)"),
           torch.tensor([[1., 2.], [3., -4.], [0.5, -0.7]]), torch.tensor([1, 0, 2]),
           torch.tensor([[1., -1.], [2., 0.5], [-0.3, 1.2]]), torch.tensor([0.81, 0.64, 0.16]))


def draw(seed):
    "Networks that look at x, at t, at the neighbours; one example or many; rows and images."
    shapes = [(2, 2), (1, 1, 2, 2), (2, 3, 1, 4), (4, 1, 3, 3), (1, 5), (3, 1)]
    model = ["0.6*x + 0.2*t.view(-1, *[1]*(x.ndim-1))", "x*(t.view(-1, *[1]*(x.ndim-1)) + 1)/3",
             "x.flip(-1) - 0.5*x", "torch.tanh(x) + 0.01*t.view(-1, *[1]*(x.ndim-1))"][seed % 4]
    x0, t, abar, noise = noising_of(seed, shapes[seed % 6])
    return Given("lambda x, t: " + model), x0, t, noise, abar


A = "a = abar[t].view(-1, *[1]*(x0.ndim-1))\n"
X = "x_t = a.sqrt()*x0 + (1-a).sqrt()*noise\n"
L = A + X + "e = model(x_t, t) - noise\nreturn "
ON = "return ((model(x_t, t) - noise)**2).flatten(1).mean(1)"
MEAN = ".flatten(1).mean(1)"
MISTAKES = [
    ("the two bugs are still there", A + X + "return ((model(x_t, t) - x0)**2).mean()"),
    ("one bug is found; but one number for the whole batch: each example has its own loss",
     L + "(e**2).mean()"),
    ("one bug is found; but the network predicts the noise, not the image",
     A + X + ON.replace("- noise", "- x0")),
    ("the network learns nothing from this: is its answer detached, or asked for without slopes?",
     A + X + ON.replace("t)", "t).detach()")),
    ("the network learns nothing from this: is its answer detached, or asked for without slopes?",
     A + X + "with torch.no_grad(): e = model(x_t, t) - noise\nreturn (e**2)" + MEAN),
    ("the network learns nothing from this: is its answer detached, or asked for without slopes?",
     "noise = noise.clone().requires_grad_()\n" + A + X + "p = model(x_t, t).detach()\n"
     "return ((p - noise)**2)" + MEAN),
    ("the network learns nothing from this: is its answer detached, or asked for without slopes?",
     L + "torch.tensor((e**2)" + MEAN + ".tolist())"),
    ("the target is x_t: the network predicts the noise", A + X + ON.replace("- noise", "- x_t")),
    ("the target is the noise itself, not the noise as it was added",
     A + X + ON.replace("- noise", "- (1-a).sqrt()*noise")),
    ("the target is the velocity v: the network predicts the noise",
     A + X + ON.replace("noise)", "(a.sqrt()*noise - (1-a).sqrt()*x0))")),
    ("the target is the score: the network predicts the noise",
     A + X + ON.replace("- noise", "+ noise/(1-a).sqrt()")),
    ("this is the error of x_0, the noise's error with a weight: the simple loss has none",
     A + X + "guess = (x_t - (1-a).sqrt()*model(x_t, t))/a.sqrt()\n"
     "return ((guess - x0)**2)" + MEAN),
    ("a sum where the mean is asked for", L + "(e**2).flatten(1).sum(1)"),
    ("the mean runs over the batch: it must run over the numbers of each example",
     L + "(e**2).mean(0)"),
    ("the mean over the whole batch is repeated: each example has its own loss",
     L + "(e**2).mean().repeat(len(x0))"),
    ("the mean over some axes only: images have three axes behind the first", L + "(e**2).mean(1)"),
    ("the mean over some axes only: images have three axes behind the first",
     L + "(e**2).mean(-1)"),
    ("the examples may be rows or images: the mean runs over all axes behind the first",
     L + "(e**2).mean(tuple(range(1, e.ndim))) if e.ndim == 4 else (e**2).mean()"),
    ("the sum is divided by the size of the batch: it is the mean over an example's own numbers",
     L + "(e**2).flatten(1).sum(1)/len(x0)"),
    ("the mean is divided by the size of the batch as well", L + "(e**2)" + MEAN + "/len(x0)"),
    ("the error is not squared", L + "e.abs()" + MEAN),
    ("the error is not squared, and its sign stays", L + "e" + MEAN),
    ("the mean is taken before the square", L + "e" + MEAN + "**2"),
    ("the root of the mean square: the loss has no root", L + "(e**2)" + MEAN + ".sqrt()"),
    ("half the squared error: the simple loss has no factor", L + "0.5*(e**2)" + MEAN),
    ("the losses are weighted: the simple loss has no weight", L + "((1-a)*e**2)" + MEAN),
    ("the losses are weighted: the simple loss has no weight", L + "(a/(1-a)*e**2)" + MEAN),
    ("the losses are weighted: the simple loss has no weight", L + "(e**2/(1-a))" + MEAN),
    ("the error is bent for large values: it is squared everywhere",
     L + "torch.nn.functional.smooth_l1_loss(e, 0*e, reduction='none')" + MEAN),
    ("the error is cut off for large values: it is squared everywhere",
     L + "(e**2).clamp(max=5)" + MEAN),
    ("the network must see x_t, not x_0", A + X + ON.replace("x_t", "x0")),
    ("the network must see x_t, not x_0, and not the noise alone",
     A + X + ON.replace("x_t", "noise")),
    ("the network sees x_t cut off at -1 and 1: it may lie outside",
     A + X + ON.replace("x_t", "x_t.clamp(-1, 1)")),
    ("the noise's coefficient has lost its root", A + X.replace("(1-a).sqrt()", "(1-a)") + ON),
    ("the signal's coefficient has lost its root", A + X.replace("a.sqrt()*x0", "a*x0") + ON),
    ("signal and noise have changed places in x_t",
     A + "x_t = (1-a).sqrt()*x0 + a.sqrt()*noise\n" + ON),
    ("one t for all in x_t: each example has its own", A.replace("[t]", "[t[:1]]") + X + ON),
    ("off by one in t: timesteps are 0-based", A.replace("[t]", "[t-1]") + X + ON),
    ("the model is told another t: off by one", A + X + ON.replace("t)", "t+1)")),
    ("the model is told another t than the noise has", A + X + ON.replace("t)", "0*t)")),
    ("the model is told abar or a share of the way, not t",
     A + X + ON.replace("t)", "t/len(abar))")),
    ("the network's answer is not used", A + X + ON.replace("model(x_t, t)", "x_t")),
]

RIGHT = [
    A + X + "return torch.stack([((p-z)**2).mean() for p, z in zip(model(x_t, t), noise)])",
    A + X + "e = torch.nn.functional.mse_loss(model(x_t, t), noise, reduction='none')\n"
    "return e.mean(dim=list(range(1, x0.ndim)))",
    A + X + "return (noise - model(x_t, t)).square().reshape(len(x0), -1).sum(1)/x0[0].numel()",
]
