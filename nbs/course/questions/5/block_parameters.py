r"""derive: how many numbers?

A residual block from $c$ to $c'$ channels has: group norm (a scale and a shift for each of $c$ channels), a 3x3 convolution $c\to c'$ with bias, a linear map with bias from the time embedding ($d$ numbers) to $c'$, group norm on $c'$ channels, a 3x3 convolution $c'\to c'$ with bias, and, only if $c\ne c'$, a 1x1 convolution $c\to c'$ with bias as a shortcut. How many parameters?
"""
from draws import start

POINTS = 1
TOL = 1e-6

WRITTEN = (
    "Derive the number before you program it: one line a part, with the reason for each of "
    "its factors. Then: which parts hold most of the parameters at $c=c'=256$, $d=512$, and "
    "by how much do they grow when the width doubles?")
WRITTEN_POINTS = 1


def block_parameters(c_in, c_out, d):
    "whole numbers -> number of parameters"
    n = 2*c_in + 9*c_in*c_out + c_out + d*c_out + c_out + 2*c_out + 9*c_out**2 + c_out
    return n + (c_in*c_out + c_out if c_in != c_out else 0)


def visible():
    yield 5, 8, 11
    yield 4, 4, 10
    yield 7, 3, 6


def draw(seed):
    r = start(seed)[1]
    known = [(128, 256, 512), (256, 256, 512), (256, 128, 512), (1, 1, 1), (1, 2, 1), (2, 1, 3)]
    if seed % 1000 < len(known): return known[seed % 1000]       # the same in every term
    c = r.choice([r.randint(1, 20), r.randint(20, 400)])
    return c, c if seed % 3 == 0 else r.randint(1, 2*c), r.randint(1, 600)


def count(norm1="2*c_in", conv1="9*c_in*c_out + c_out", time="d*c_out + c_out", norm2="2*c_out",
          conv2="9*c_out**2 + c_out", short="c_in*c_out + c_out", when="c_in != c_out"):
    "The solution with one part counted in another way."
    return f"""
    n = {norm1} + {conv1} + {time} + {norm2} + {conv2}
    return n + ({short} if {when} else 0)"""


TURNED = "the shortcut is there whenever c and c' differ, also where the channels get {0}"
NINE = "a 3x3 convolution has 9 numbers for each pair of channels"
PAIR = "a convolution has a kernel for each pair of channels, one from and one to"
MAKES = "a convolution has one bias for each channel that it makes, not for each that it takes"
ONE = "one of the two convolutions is missing"
SMALL = "one of the convolutions is taken for a 1x1 one"
FIRST = "the first convolution goes from c to c'"
SECOND = "the second convolution goes from c' to c'"
BIAS = "a bias or a shift is missing somewhere: go through the parts one by one"
LINEAR = "the linear map goes from d numbers to c', not to c"
PLAIN = dict(conv1="9*c_in*c_out", conv2="9*c_out**2", short="c_in*c_out")

MISTAKES = [
    ("the shortcut is counted also where there is none, or not where there is one",
     count(when="True")),
    ("the shortcut is counted also where there is none, or not where there is one",
     count(when="c_in == c_out")),
    ("the shortcut is never counted", count(when="False")),
    (TURNED.format("fewer"), count(when="c_out > c_in")),
    (TURNED.format("more"), count(when="c_out < c_in")),
    ("the biases are missing", count(time="d*c_out", **PLAIN)),
    (BIAS, count(time="d*c_out")),
    (BIAS, count(short="c_in*c_out")),
    ("the norms are missing", count(norm1="0", norm2="0")),
    ("the first norm is missing", count(norm1="0")),
    ("no biases and no norms are counted", count("0", time="d*c_out", norm2="0", **PLAIN)),
    ("a norm has a scale and a shift: two numbers for each channel",
     count(norm1="c_in", norm2="c_out")),
    ("a norm has a scale and a shift for each channel, not one of each in all",
     count(norm1="2", norm2="2")),
    ("the first norm stands before the first convolution: it has c channels",
     count(norm1="2*c_out")),
    ("two numbers for each of c channels stand where c' belongs: in the second norm, or in biases",
     count(norm2="2*c_in")),
    ("two numbers for each of c channels stand where c' belongs: in the second norm, or in biases",
     count(conv1="9*c_in*c_out + c_in", short="c_in*c_out + c_in")),
    (NINE, count(conv1="c_in*c_out + c_out", conv2="c_out**2 + c_out")),
    (NINE, count(conv1="3*c_in*c_out + c_out", conv2="3*c_out**2 + c_out")),
    (SMALL, count(conv1="c_in*c_out + c_out")),
    (SMALL, count(conv2="c_out**2 + c_out")),
    (PAIR, count(conv1="9*c_out + c_out", conv2="9*c_out + c_out", short="c_out + c_out")),
    (PAIR, count(conv1="9*c_in + c_out", conv2="9*c_out + c_out")),
    (MAKES, count(conv1="9*c_in*c_out + c_in")),
    ("a convolution has one bias for each channel that it makes, not one in all",
     count(conv1="9*c_in*c_out + 1", conv2="9*c_out**2 + 1", short="c_in*c_out + 1")),
    (FIRST, count(conv1="9*c_in**2 + c_in")),
    (FIRST, count(conv1="9*c_out**2 + c_out")),
    (SECOND, count(conv2="9*c_in*c_out + c_out")),
    (SECOND, count(conv2="9*c_in**2 + c_in")),
    (ONE, count(conv1="0")),
    (ONE, count(conv2="0")),
    ("the linear map of the time is missing", count(time="0")),
    (LINEAR, count(time="d*c_in + c_in")),
    ("the linear map has one bias for each number that it makes, not for each that it takes",
     count(time="d*c_out + d")),
    ("the shortcut is a 1x1 convolution", count(short="9*c_in*c_out + c_out")),
    ("the shortcut goes from c to c'", count(short="c_in**2 + c_in")),
    ("c and c' have changed places",
     "c_in, c_out = c_out, c_in\n" + count().replace("\n    ", "\n").strip()),
]

RIGHT = [
    """
    conv = lambda a, b, k: a*b*k*k + b
    n = 2*c_in + conv(c_in, c_out, 3) + (d+1)*c_out + 2*c_out + conv(c_out, c_out, 3)
    return n + (c_in != c_out)*conv(c_in, c_out, 1)""",
    """
    from torch import nn
    parts = [nn.GroupNorm(1, c_in), nn.Conv2d(c_in, c_out, 3), nn.Linear(d, c_out),
             nn.GroupNorm(1, c_out), nn.Conv2d(c_out, c_out, 3)]
    if c_in != c_out: parts.append(nn.Conv2d(c_in, c_out, 1))
    return sum(p.numel() for m in parts for p in m.parameters())""",
    """
    if c_in == c_out: return 18*c_in**2 + (d+7)*c_in
    return 2*c_in + c_out*(10*c_in + 9*c_out + d + 6)""",
]
