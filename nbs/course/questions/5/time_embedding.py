r"""waves that tell the time

The sinusoidal embedding of the Transformer: with $d$ = `dim`, even, and frequencies $\omega_i=10000^{-i/(d/2)}$ for $i=0,\dots,d/2-1$, the embedding of $t$ is $[\sin\omega_0t,\dots,\sin\omega_{d/2-1}t,\;\cos\omega_0t,\dots,\cos\omega_{d/2-1}t]$.
"""
import math

import torch
from draws import start

POINTS = 2


def time_embedding(t, dim):
    "t (N,), whole numbers or not -> (N, dim)"
    half = dim//2
    freq = torch.exp(-math.log(10000)*torch.arange(half)/half)
    phase = t.float()[:, None]*freq
    return torch.cat([phase.sin(), phase.cos()], 1)


def visible():
    yield torch.tensor([3, 0, 2]), 8


def draw(seed):
    g, r = start(seed)
    dim = r.choice([2, 4, 6, 10, 12, 40])
    last = {2: 3000, 4: 1000}.get(dim, 60)
    t = torch.randint(last, (r.randint(1, 6),), generator=g)
    if seed % 4 == 1: t = t + torch.rand(len(t), generator=g)
    if seed % 4 == 2: t = t.double()
    return t, dim


def waves(freq="10000.0**(-i/half)", time="t.double()", phase="time[:, None]*freq",
          end="torch.cat([phase.sin(), phase.cos()], 1)"):
    "The solution with one part changed."
    return f"""
    half = dim//2
    i = torch.arange(half)
    freq, time = {freq}, {time}
    phase = {phase}
    return {end}"""


OWN = """
f = 10000.0**(-torch.arange(dim)/dim)
phase = t.double()[:, None]*f
return {0}"""
FEW = ("the frequencies after the first are as good as 0: is something rounded to a whole number, "
       "or the exponent not divided by d/2?")
FALL = "the frequencies fall in equal steps; they must fall by equal factors"
BASE = "the base of the frequencies is 10000; here it is another"
SCALED = "the time is scaled: it enters as it is"

MISTAKES = [
    ("cosines and sines have changed places",
     waves(end="torch.cat([phase.cos(), phase.sin()], 1)")),
    ("sine and cosine alternate here: all sines come first",
     waves(end="torch.stack([phase.sin(), phase.cos()], 2).flatten(1)")),
    ("cosine and sine alternate here: all sines come first",
     waves(end="torch.stack([phase.cos(), phase.sin()], 2).flatten(1)")),
    ("there are only sines: cosines belong beside them",
     waves(end="torch.cat([phase.sin(), phase.sin()], 1)")),
    ("the cosines are missing: half of the columns", waves(end="phase.sin()")),
    ("the cosines stand below the sines, not beside them: they are joined along the wrong axis",
     waves(end="torch.cat([phase.sin(), phase.cos()], 0)")),
    ("sines and cosines are added; they stand side by side",
     waves(end="torch.cat([phase.sin() + phase.cos()]*2, 1)")),
    ("sin and cos are missing: these are the phases", waves(end="torch.cat([phase, phase], 1)")),
    ("the frequency multiplies the wave; it belongs inside of sin and cos",
     waves(end="torch.cat([time.sin()[:, None]*freq, time.cos()[:, None]*freq], 1)")),
    ("the frequencies rise: is the sign in the exponent turned, or is t divided by the frequency?",
     waves("10000.0**(i/half)")),
    ("the frequencies come in the reverse order: the fastest wave is the first",
     waves("10000.0**(-i/half).flip(0)")),
    ("the exponent is divided by d, not by d/2", waves("10000.0**(-i/dim)")),
    ("the last frequency is 1/10000 here: i is divided by d/2, not by d/2 - 1",
     waves("10000.0**(-i/max(half-1, 1))")),
    ("the exponent is twice too large: is a factor 2 counted twice?",
     waves("10000.0**(-2*i/half)")),
    ("off by one: i starts at 0", waves("10000.0**(-(i+1)/half)")),
    ("i runs over half numbers or odd ones; it is 0, 1, 2, ...", waves("10000.0**(-(i+0.5)/half)")),
    ("the exponent is rounded to a whole number: `/` divides, `//` rounds",
     waves("10000.0**(-(i//half))")),
    (FEW, waves("10000.0**(-i//half)")),
    (FEW, waves("10000.0**(-i.double())")),
    (FEW, waves(phase="(time[:, None]*freq).long()")),
    (FALL, waves("torch.linspace(1, 1e-4, half)")),
    (FALL, waves("1 - i/half")),
    ("the base is 10000; this is 1000", waves("1000.0**(-i/half)")),
    (BASE, waves("torch.exp(-i/half)")),
    (BASE, waves("2.0**-i")),
    ("log10 stands where the natural logarithm belongs with `exp`",
     waves("torch.exp(-math.log10(10000)*i/half)")),
    ("`exp` is missing: the exponent itself is taken for the frequency",
     waves("-math.log(10000)*i/half")),
    ("2 pi does not belong here", waves(time="2*math.pi*t.double()")),
    ("there are d sines and d cosines: d/2 of each make d numbers",
     OWN.format("torch.cat([phase.sin(), phase.cos()], 1)")),
    ("every column has a frequency of its own here: a sine and a cosine share each",
     OWN.format("torch.where(torch.arange(dim) % 2 == 0, phase.sin(), phase.cos())")),
    ("the time is scaled to [0, 1]: it enters as it is", waves(time="t.double()/1000")),
    (SCALED, waves(time="t.double()*1000")),
    ("the time is off by one: t enters as it is", waves(time="t.double() + 1")),
    ("t is not used: its place in the list is taken for it",
     waves(time="torch.arange(len(t)).double()")),
    ("the first t of the list is used for all", waves(time="t[:1].double().expand(len(t))")),
    ("the time is rounded: fractions of a step come too", waves(time="t.long().double()")),
    ("the result is scaled at the end: nothing follows the waves",
     waves(end="torch.cat([phase.sin(), phase.cos()], 1)*2**0.5")),
]

RIGHT = [
    """
    f = 10000**(-torch.arange(dim//2)/(dim//2))
    p = torch.outer(t.float(), f)
    return torch.cat([torch.sin(p), torch.cos(p)], dim=-1)""",
    """
    rows = []
    for s in t.tolist():
        w = [s*10000**(-i/(dim/2)) for i in range(dim//2)]
        rows.append([math.sin(v) for v in w] + [math.cos(v) for v in w])
    return torch.tensor(rows)""",
    """
    import numpy as np
    w = 10000.0**(-np.arange(dim//2)/(dim//2))
    p = np.asarray(t, dtype='float64')[:, None]*w[None]
    return np.concatenate([np.sin(p), np.cos(p)], axis=1)""",
    """
    out = torch.empty(len(t), dim)
    for i in range(dim//2):
        out[:, i] = torch.sin(t/10000**(2*i/dim))
        out[:, dim//2 + i] = torch.cos(t/10000**(2*i/dim))
    return out""",
]
