r"""find the bugs

A residual block in small: two layers `f` and `g`, told the time in between, added to its input. With these bugs the network still trains, but deep ones do not. Two bugs; correct it. (A block of a network: gradients go back through it, to `x` and to `temb`.)

```python
def residual(x, temb, f, g):
    h = f(x)
    h = g(h) + temb
    return h
```
"""
import torch
from draws import Given, start, tensor_of

POINTS = 1


def residual(x, temb, f, g):
    "x, temb tensors that broadcast; f, g functions, each of one tensor and like it -> like x"
    return x + g(f(x) + temb)


def observe(f, x, temb, first, second):
    "The result, and the gradients that come back to x and to the time."
    leaves = [part.clone().requires_grad_() for part in (x, temb)]
    given = [1*leaf for leaf in leaves]
    out = f(*given, first, second)
    for part, now in zip((x, temb), given): part.copy_(now.detach())      # is it changed?
    weights = torch.arange(1, out.numel() + 1).view(out.shape).cos()
    # so that there is a gradient, if only 0
    ((weights*out).sum() + sum(0*leaf.sum() for leaf in leaves)).backward()
    return out, *(leaf.grad for leaf in leaves)


def visible():
    yield (torch.tensor([1.0, -2.0, 0.3]), torch.tensor([0.5, 1.0, -0.7]),
           Given("lambda h: 3*h - 1"), Given("lambda h: h**2 - 4*h"))


LAYERS = ["-h", "2*h + 1", "h + 1", "torch.sin(h)", "h", "h.flip(-1)", "torch.tanh(h)/2",
          "h*h.abs()"]


def draw(seed):
    g, r = start(seed)
    x = tensor_of(seed)
    # a time embedding has one number for each channel
    shape = [n if i < 2 else 1 for i, n in enumerate(x.shape)]
    temb = x.abs().mean()*torch.randn(shape, generator=g)
    if seed % 3 == 1: x, temb = x.double(), temb.double()
    first = "h" if seed % 5 == 0 else r.choice(LAYERS)
    return x, temb, Given("lambda h: " + first), Given("lambda h: " + r.choice(LAYERS))


LATE = "the time goes through the second layer on its own: it is added to the first layer's result"
EARLY = "the input is added too early: it comes after the second layer"
THROUGH = "the time goes through the first layer; it is added after that one"
SCALED = "the sum is scaled; it is a plain sum"
INSTEAD = "the time is added instead of the input"
SIDE = "the two layers stand side by side; the second takes what the first has made"
BETWEEN = "a nonlinearity stands between: f and g are all there is"

MISTAKES = [
    ("the two bugs are still there", "g(f(x)) + temb"),
    ("one bug is found; but the input is not added: a residual block changes x a little",
     "g(f(x) + temb)"),
    ("one bug is found; but the time comes too late: it must pass through the second layer",
     "x + g(f(x)) + temb"),
    ("the time is added to the input: it comes between the layers", "x + g(f(x + temb))"),
    ("the time is added before the first layer and also to the input that is kept: `x` itself is "
     "changed", "x + temb + g(f(x + temb))"),
    ("the time is not used", "x + g(f(x))"),
    ("the input is not added, and the time is not used", "g(f(x))"),
    ("the time multiplies; here it adds", "x + g(f(x)*temb)"),
    ("the time multiplies as 1 + time (a scale); here it is added", "x + g(f(x)*(1 + temb))"),
    ("the time is subtracted; it is added", "x + g(f(x) - temb)"),
    ("the time is added in between, but at the end once more", "x + g(f(x) + temb) + temb"),
    ("the time is added in between, but before the first layer too", "x + g(f(x + temb) + temb)"),
    (INSTEAD, "temb + g(f(x) + temb)"),
    (LATE, "x + g(f(x)) + g(temb)"),
    (THROUGH, "x + g(f(x) + f(temb))"),
    (THROUGH, "x + g(f(x)) + f(temb)"),
    (EARLY, "g(x + f(x) + temb)"),
    (EARLY, "g(f(x) + x) + temb"),
    ("the input is added in between and at the end: at the end alone", "x + g(x + f(x) + temb)"),
    ("the input is added twice", "2*x + g(f(x) + temb)"),
    ("the input is subtracted; it is added", "g(f(x) + temb) - x"),
    ("the block is subtracted from the input; it is added", "x - g(f(x) + temb)"),
    ("the result of the first layer is added instead of the input", "f(x) + g(f(x) + temb)"),
    ("what passes between the layers is added instead of the input: has `x` changed on the way?",
     "x = f(x)\nx = x + temb\nreturn x + g(x)"),
    ("the result of the first layer is added as well as the input", "x + f(x) + g(f(x) + temb)"),
    (SCALED, "(x + g(f(x) + temb))/2**0.5"),
    (SCALED, "(x + g(f(x) + temb))/2"),
    ("f and g have changed places", "x + f(g(x) + temb)"),
    ("the first layer is missing", "x + g(x + temb)"),
    ("the second layer is missing", "x + f(x) + temb"),
    (SIDE, "x + f(x) + g(x) + temb"),
    ("`+=` writes into what `f` returned, and that may be `x` itself",
     "h = f(x)\nh += temb\nreturn x + g(h)"),
    (BETWEEN, "x + g(torch.relu(f(x) + temb))"),
    ("the mean of the time's numbers is added; each has its own place",
     "x + g(f(x) + temb.mean())"),
    ("no gradient comes back to `x` through the sum: that is what the sum is there for",
     "x.detach() + g(f(x) + temb)"),
    ("no gradient comes back through the two layers", "x + g(f(x) + temb).detach()"),
    ("no gradient comes back through the first layer", "x + g(f(x).detach() + temb)"),
    ("no gradient comes back through the first layer", "x + g(f(x.detach()) + temb)"),
    ("no gradient comes back to the time: its own weights could not learn",
     "x + g(f(x) + temb.detach())"),
    ("no gradient comes back at all: this part of a network could not learn",
     "(x + g(f(x) + temb)).detach()"),
    ("the result is cut off: nothing is cut off here", "(x + g(f(x) + temb)).clamp(-5, 5)"),
]

RIGHT = [
    "h = f(x)\nh = h + temb\nreturn g(h) + x",
    "torch.add(g(torch.add(temb, f(x))), x)",
    "skip = x.clone()\nh = f(x).clone()\nh += temb\nh = g(h)\nreturn skip + h",
]
