r"""a decoder for bytes

Equation (13): the byte $u\in\{0,\dots,255\}$ stands for $x=u/127.5-1$, and its probability is the mass that $\mathcal N(\mu,\sigma^2)$ puts on the interval of width $2/255$ around it. The intervals of 0 and of 255 reach to $\mp\infty$. Return the logarithm of the probability, in nats. (`torch.special.ndtr` is the distribution function of the standard normal. The tests stay where float64 is exact enough.)
"""
import math

import torch
from draws import start

POINTS = 3


def log_prob_byte(u, mean, std):
    "bytes u, whole numbers, and means of one shape, float64; std a number -> nats, same shape"
    x = u.double()/127.5 - 1
    cdf = lambda x: torch.special.ndtr((x-mean)/std)
    up = torch.where(u == 255, torch.ones_like(x), cdf(x + 1/255))
    down = torch.where(u == 0, torch.zeros_like(x), cdf(x - 1/255))
    return torch.log(up - down)


def visible():
    yield (torch.tensor([0, 100, 254, 255]),
           torch.tensor([-0.9, 0.1, 0.8, 1.1], dtype=torch.float64), 0.2)
    yield torch.tensor([250, 246]), torch.tensor([0.957, 0.933], dtype=torch.float64), 0.02


def draw(seed):
    "All bytes and the ends, narrow and wide Gaussians, means out to 4.5 standard deviations, or 7."
    g, r = start(seed)
    shape = r.choice([(4,), (1,), (2, 3), (2, 1, 2, 2)])
    u = torch.randint(0, 256, shape, generator=g)
    ends = torch.tensor([0, 255, 1, 254])[torch.randint(4, shape, generator=g)]
    if seed % 3: u = torch.where(torch.rand(shape, generator=g) < 0.5, u, ends)
    std = [0.2, 0.02, 1., 0.005, 3.][seed % 5]
    away = 9*torch.rand(shape, generator=g, dtype=torch.float64) - 4.5
    # further out than 7 torch's own ndtr is no longer exact
    if seed % 6 == 4: away = 6 + away.abs()/4.5
    return u, u/127.5 - 1 + std*away, std


A = """
x = u.double()/127.5 - 1
cdf = lambda x: torch.special.ndtr((x-mean)/std)
"""
UP = "up = torch.where(u == 255, 1., cdf(x + 1/255))\n"
DOWN = "down = torch.where(u == 0, 0., cdf(x - 1/255))\n"
B, LOG = A + UP + DOWN + "return ", "torch.log((up - down).clamp(min=1e-300))"
ON = UP + DOWN + "return " + LOG
DENSITY = "-0.5*((x-mean)/std)**2 - math.log(std*(2*math.pi)**0.5)"
MISTAKES = [
    ("the outermost intervals must reach to infinity: at 0 and 255 mass is missing",
     A + "return torch.log(cdf(x + 1/255) - cdf(x - 1/255))"),
    ("one of the two outermost intervals ends too early: at 0 and at 255 it must reach to infinity",
     A + DOWN + "return torch.log(cdf(x + 1/255) - down)"),
    ("one of the two outermost intervals ends too early: at 0 and at 255 it must reach to infinity",
     A + UP + "return torch.log(up - cdf(x - 1/255))"),
    ("the ends are exchanged: which interval is open downwards, which one upwards?",
     A + UP.replace("== 255", "== 0") + DOWN.replace("== 0", "== 255") + "return " + LOG),
    ("only the outermost bytes themselves are open: their neighbours have closed intervals",
     A + ON.replace("u == 255", "u >= 254").replace("u == 0", "u <= 1")),
    ("at the ends the interval begins at the byte's value: half of its own width is missing",
     A + "new = torch.where(u == 255, 1 - cdf(x), cdf(x))\n" + UP + DOWN
     + "return torch.where((u == 0) | (u == 255), new, up - down).log()"),
    ("at the ends something else is given than the logarithm of the mass out to infinity",
     B + "torch.where((u == 0) | (u == 255), 0., torch.log(up - down))"),
    ("probabilities where their logarithm is asked for", B + "up - down"),
    ("in bits; nats are asked for", B + LOG.replace("log(", "log2(")),
    ("a logarithm to base 10: nats have the natural one", B + LOG.replace("log(", "log10(")),
    ("the sign is turned: a logarithm of a probability is negative", B + "-" + LOG),
    ("one plus the probability stands in the logarithm", B + LOG.replace("log(", "log1p(")),
    ("a difference of logarithms, not the logarithm of a difference",
     B + "torch.log(up) - torch.log(down + 1e-12)"),
    ("the interval is half as wide as it should be: neighbours are 2/255 apart",
     A + ON.replace("1/255", "1/510")),
    ("the interval is twice as wide as it should be: neighbours are 2/255 apart",
     A + ON.replace("1/255", "2/255")),
    ("the interval is measured in bytes: on [-1, 1] neighbours are 2/255 apart",
     A + ON.replace("1/255", "0.5")),
    ("the interval begins at the byte's value instead of being centred on it",
     A + ON.replace("x + 1/255", "x + 2/255").replace("x - 1/255", "x")),
    ("the interval ends at the byte's value instead of being centred on it, or 128 is taken for "
     "the middle of 0 and 255",
     A + ON.replace("x + 1/255", "x").replace("x - 1/255", "x - 2/255")),
    ("the interval begins at the byte's value instead of being centred on it, and it is too narrow",
     A + ON.replace("x - 1/255", "x")),
    ("bytes are mapped to [0, 1]: it must be [-1, 1]", A.replace("/127.5 - 1", "/255") + ON),
    ("bytes are mapped to [0, 1]: it must be [-1, 1]",
     A.replace("/127.5 - 1", "/255") + ON.replace("1/255", "1/510")),
    ("bytes are mapped to [-0.5, 0.5]: it must be [-1, 1]",
     A.replace("/127.5 - 1", "/255 - 0.5") + ON),
    ("the byte is not brought to [-1, 1]", A.replace("/127.5 - 1", "") + ON),
    ("255 steps lie between -1 and 1, not 256 or 254", A.replace("/127.5 - 1", "/128 - 1") + ON),
    ("255 steps lie between -1 and 1, not 256 or 254", A.replace("/127.5 - 1", "/127 - 1") + ON),
    ("std is taken for a variance", A.replace("/std", "/std**0.5") + ON),
    ("the standard deviation enters squared", A.replace("/std", "/std**2") + ON),
    ("the distance is not divided by std", A.replace("/std", "") + ON),
    ("the distance is multiplied by std: it is divided by it", A.replace("/std", "*std") + ON),
    ("the mean is not used", A.replace("x-mean", "x") + ON),
    ("the mean is cut off at -1 and 1: it is used as it comes",
     A + "mean = mean.clamp(-1, 1)\n" + ON),
    ("this is the logarithm of a density: a byte has a probability, the mass on an interval",
     A + "return " + DENSITY),
    ("this is a density: a byte has a probability, the mass on an interval, and its logarithm is "
     "asked for", A + f"return torch.exp({DENSITY})"),
    ("the density times the width is nearly the mass in the middle, and not at the ends",
     A + "return " + DENSITY + f" + {math.log(2/255)}"),
    ("between the ends the density times the width stands for the mass: it is only nearly the same",
     B + f"torch.where((u == 0) | (u == 255), torch.log(up - down), {DENSITY} + math.log(2/255))"),
    ("a sigmoid stands where the Gaussian's distribution function belongs",
     A.replace("torch.special.ndtr(", "torch.sigmoid(1.702*") + ON),
    ("erf is not yet the distribution function: look at its limits and its scale",
     A.replace("torch.special.ndtr(", "torch.erf(") + ON),
    ("erf is not yet the distribution function: look at its limits and its scale",
     A.replace("torch.special.ndtr(", "0.5 + 0.5*torch.erf(") + ON),
    ("all the mass below the byte: where does its interval begin?", B + "torch.log(up)"),
    ("all the mass above the byte: where does its interval end?", B + "torch.log(1 - down)"),
    ("summed: one number for each byte is asked for", B + LOG + ".sum()"),
    ("averaged: one number for each byte is asked for", B + LOG + ".mean()"),
    ("the probabilities are cut off from below too early: they may be small",
     B + "torch.log((up - down).clamp(min=1e-4))"),
    ("the probabilities are cut off from below, or something is added to them: they may be tiny",
     B + "torch.log((up - down).clamp(min=1e-12))"),
    ("the probabilities are cut off from below, or something is added to them: they may be tiny",
     B + "torch.log(up - down + 1e-12)"),
    ("the probabilities are cut off from below, or something is added to them: they may be tiny",
     B + "torch.log((up - down).clamp(min=1e-10))"),
]

RIGHT = [
    """
    out = []
    for k, m in zip(u.flatten().tolist(), mean.flatten().tolist()):
        F = lambda x: 0.5*(1+math.erf((x-m)/std/2**0.5))
        x = k/127.5-1
        out.append(math.log((1 if k == 255 else F(x+1/255)) - (0 if k == 0 else F(x-1/255))))
    return torch.tensor(out).reshape(u.shape)""",
    """
    from torch.distributions import Normal
    d, x = Normal(mean, std), u/127.5 - 1
    up, down = d.cdf(x+1/255), d.cdf(x-1/255)
    return torch.where(u == 0, up, torch.where(u == 255, 1-down, up-down)).log()""",
    A + """
up, down = cdf(x + 1/255), cdf(x - 1/255)
up[u == 255] = 1
down[u == 0] = 0
return (up - down).clamp(min=1e-300).log()""",
    """
    edges = (torch.arange(257).double() - 0.5)/127.5 - 1
    edges[0], edges[-1] = -math.inf, math.inf
    mass = lambda k: torch.special.ndtr((edges[k]-mean)/std)
    return torch.log(mass(u+1) - mass(u))""",
    A + """
high = (x + 1/255 - mean).masked_fill(u == 255, math.inf)/std
low = (x - 1/255 - mean).masked_fill(u == 0, -math.inf)/std
low, high = torch.where(low > 0, -high, low), torch.where(low > 0, -low, high)
return (0.5*torch.erfc(-high/2**0.5) - 0.5*torch.erfc(-low/2**0.5)).log()""",
]
