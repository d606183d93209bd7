r"""group norm

The channels of an image are dealt into `groups` of neighbours. In each group of each image subtract the mean of all its numbers and divide by $\sqrt{\mathrm{var}+\texttt{eps}}$, where the variance is the mean squared deviation (not divided by $n-1$). No learned scale or shift. Please without `nn.GroupNorm` and `F.group_norm`.
"""
import torch
from draws import start, tensor_of

POINTS = 2
# a number near the mean of its group keeps few digits in float32
TOL = 1e-3
WITHOUT = ("group_norm",)


def group_norm(x, groups, eps):
    "x (B, C, H, W), C a multiple of groups -> the same shape"
    g = x.reshape(len(x), groups, -1)
    g = (g - g.mean(2, keepdim=True))/(g.var(2, unbiased=False, keepdim=True) + eps).sqrt()
    return g.reshape(x.shape)


def visible():
    yield (torch.arange(24.0)**1.3 % 7 - 2).view(2, 6, 2, 1), 3, 0.5


def draw(seed):
    r = start(seed)[1]
    groups, size = r.choice([(3, 2), (1, 2), (4, 8), (4, 1), (2, 3), (1, 1)])
    shape = (r.choice([1, 2, 3]), groups*size, *r.choice([(2, 2), (1, 3), (4, 1), (16, 16)]))
    x = tensor_of(seed, shape)
    x = x + r.choice([0, 0, 3])*x.std()
    if seed % 3 == 2: x[0, 0, 0, 0] += 100*x.std()               # one number far from the others
    return x.double() if seed % 3 == 0 else x, groups, r.choice([0.5, 1e-5, 1e-3])


def group(line="(g-m)/(v+eps).sqrt()", m="g.mean(2, keepdim=True)",
          v="g.var(2, unbiased=False, keepdim=True)", g="x.reshape(len(x), groups, -1)"):
    "The solution with one part changed."
    return f"""
    g = {g}
    m = {m}
    v = {v}
    return ({line}).reshape(x.shape)"""


def over(axes):
    "One mean and one variance over some of the axes."
    return f"""
    m, v = x.mean({axes}, keepdim=True), x.var({axes}, unbiased=False, keepdim=True)
    return (x-m)/(v+eps).sqrt()"""


N1 = "g.var(2, keepdim=True)"
BATCH = "this normalises over the batch (batch norm): each image has its own mean and variance"
MANY = "this normalises over the batch: each image has its own mean and variance"
EPS = "eps is missing, or it is not the one that is given"

MISTAKES = [
    ("a square root is missing: divide by the standard deviation", group("(g-m)/(v+eps)")),
    ("the variance is divided by n - 1", group(v=N1)),
    ("the variance is divided by n - 1, and eps stands outside of the root",
     group("(g-m)/(v.sqrt()+eps)", v=N1)),
    ("each channel is normalised by itself (instance norm)", over((2, 3))),
    ("this normalises over all channels (layer norm)", over((1, 2, 3))),
    ("every pixel is normalised by itself: mean and variance run over all numbers of a group",
     group(g="x.reshape(len(x), groups, -1, x[0, 0].numel())")),
    (BATCH, over((0, 2, 3))),
    (MANY, group(m="g.mean((0, 2), keepdim=True)",
                 v="g.var((0, 2), unbiased=False, keepdim=True)")),
    (MANY, group(g="x.reshape(groups, -1)", m="g.mean(1, keepdim=True)",
                 v="g.var(1, unbiased=False, keepdim=True)")),
    ("one mean and one variance for all images and channels", over((0, 1, 2, 3))),
    ("the number of groups is taken for the size of a group",
     group(g="x.reshape(len(x), x.shape[1]//groups, -1)")),
    ("the axes are mixed up: neighbouring numbers are dealt to different groups",
     group(g="x.reshape(len(x), -1, groups)", m="g.mean(1, keepdim=True)",
           v="g.var(1, unbiased=False, keepdim=True)")),
    ("mean and variance run over the groups; they run over the numbers within one",
     group(m="g.mean(1, keepdim=True)", v="g.var(1, unbiased=False, keepdim=True)")),
    ("the channels of a group are neighbours: here every `groups`-th channel makes a group", """
    g = x.reshape(len(x), -1, groups, x[0, 0].numel())
    m, v = g.mean((1, 3), keepdim=True), g.var((1, 3), unbiased=False, keepdim=True)
    return ((g-m)/(v+eps).sqrt()).reshape(x.shape)"""),
    ("the mean is not subtracted", group("g/(v+eps).sqrt()")),
    ("the variance is the mean of the squares here: the mean must be taken out before",
     group(v="(g**2).mean(2, keepdim=True)")),
    ("the mean is not subtracted, neither above nor in the variance (RMS norm)",
     group("g/(v+eps).sqrt()", v="(g**2).mean(2, keepdim=True)")),
    ("only the mean is taken out", group("g-m")),
    ("the sign is turned: the mean is subtracted from the numbers, not the other way round",
     group("(m-g)/(v+eps).sqrt()")),
    ("a bracket is missing: the mean must be subtracted before the division",
     group("g-m/(v+eps).sqrt()")),
    ("multiplied by the standard deviation; divide by it", group("(g-m)*(v+eps).sqrt()")),
    (EPS, group("(g-m)/v.clamp(min=1e-30).sqrt()")),
    (EPS, group("(g-m)/(v+1e-5).sqrt()")),
    ("eps belongs under the root", group("(g-m)/(v.sqrt()+eps)")),
    ("eps is squared", group("(g-m)/(v+eps**2).sqrt()")),
    ("eps is added above the line: it belongs to the variance",
     group("(g-m+eps)/v.clamp(min=1e-30).sqrt()")),
    ("the squared deviations are summed; the variance is their mean",
     group(v="((g-m)**2).sum(2, keepdim=True)")),
    ("the sum stands where the mean belongs",
     group("(g-g.sum(2, keepdim=True))/(v+eps).sqrt()")),
    ("the mean absolute deviation stands where the standard deviation belongs",
     group("(g-m)/(v+eps)", v="(g-m).abs().mean(2, keepdim=True)")),
    ("the numbers are brought into [0, 1]; subtract the mean and divide by the deviation",
     group("(g-m)/(v-m+eps)", "g.amin(2, keepdim=True)", "g.amax(2, keepdim=True)")),
    ("the first image's mean and variance are used for all",
     group("(g-m[:1])/(v[:1]+eps).sqrt()")),
    ("large numbers are cut off: nothing is cut off here",
     group("((g-m)/(v+eps).sqrt()).clamp(-1, 1)")),
    ("large numbers are cut off: nothing is cut off here",
     group(g="x.clamp(-5, 5).reshape(len(x), groups, -1)")),
    ("a small variance is raised: eps alone keeps it from 0",
     group("(g-m)/(v.clamp(min=1e-3)+eps).sqrt()")),
]

RIGHT = [
    """
    B, C, H, W = x.shape
    g = x.double().view(B, groups, C//groups, H, W)
    m = g.mean((2, 3, 4), keepdim=True)
    v = ((g-m)**2).mean((2, 3, 4), keepdim=True)
    return ((g-m)/torch.sqrt(v+eps)).view(B, C, H, W)""",
    """
    out = []
    for p in x.chunk(groups, 1):
        v = p.var((1, 2, 3), unbiased=False, keepdim=True)
        out.append((p - p.mean((1, 2, 3), keepdim=True))*torch.rsqrt(v + eps))
    return torch.cat(out, 1)""",
    """
    import numpy as np
    g = x.numpy().reshape(len(x), groups, -1)
    g = (g - g.mean(-1, keepdims=True))/np.sqrt(g.var(-1, keepdims=True) + eps)
    return g.reshape(tuple(x.shape))""",
    """
    out, size = torch.zeros_like(x), x.shape[1]//groups
    for b in range(len(x)):
        for c in range(0, x.shape[1], size):
            p = x[b, c:c+size]
            d = p - p.sum()/p.numel()
            out[b, c:c+size] = d/((d*d).sum()/p.numel() + eps)**0.5
    return out""",
]
