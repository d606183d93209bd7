r"""averaged weights

The moving average that is kept beside the weights: after each update, `average` becomes decay times itself plus (1 - decay) times the new weights. Return the average after a list of updates; it starts as the first of them. Leave the list as it is.
"""
import torch
from draws import start, tensor_of

POINTS = 1


def ema(weights, decay):
    "weights: list of tensors, one after each update; decay in [0, 1) -> the average, like one"
    average = weights[0]
    for w in weights[1:]: average = decay*average + (1-decay)*w
    return average


def visible():
    yield [torch.tensor([1.0, -2.0]), torch.tensor([3.0, 0.5]), torch.tensor([-0.5, 1.0]),
           torch.tensor([2.0, 4.0])], 0.8


def draw(seed):
    g, r = start(seed)
    n, first = r.choice([1, 2, 2, 3, 5, 9, 30]), tensor_of(seed)
    if seed % 3 == 0: first = first.double()
    scale = first.abs().mean()
    weights = [first] + [first + scale*torch.randn(first.shape, generator=g).to(first)
                         for _ in range(n-1)]
    return weights, r.choice([0.0, 0.5, 0.9, 0.99, r.random()])


def observe(f, weights, decay):
    "The average, and what has become of the first weights."
    return f(weights, decay), weights[0]


def loop(step="decay*average + (1-decay)*w", first="weights[0]", rest="weights[1:]",
         end="average"):
    "The solution with one part changed; `n` counts the updates."
    return f"""
    average, kept = {first}, []
    for n, w in enumerate({rest}, 1):
        average = {step}
        kept.append(average)
    return {end}"""


ZERO = "0*weights[0]"
CHANGES = "the decay changes from step to step; here it is constant"
BACK = "the list is walked backwards: the last update must count most"
ALL = "all averages are returned: the last one alone is asked for"
LAST = "it starts as the last of the list"
WARM = "(lambda d: d*average + (1-d)*w)(min(decay, (1+n)/(10+n)))"

MISTAKES = [
    ("decay and one minus decay have changed places", loop("(1-decay)*average + decay*w")),
    ("it starts from 0: start as the first weights", loop(first=ZERO, rest="weights")),
    ("it starts from 0 and leaves out the first weights", loop(first=ZERO)),
    ("the start from 0 is corrected afterwards (as Adam does); it starts as the first weights",
     loop(first=ZERO, rest="weights", end="average/(1-decay**len(weights))")),
    ("the plain mean", "torch.stack(weights).mean(0)"),
    ("the last weights, not averaged", "weights[-1]"),
    ("the first weights are kept", "weights[0]"),
    ("the factor (1 - decay) is missing", loop("decay*average + w")),
    ("the factor decay is missing: the average keeps growing", loop("average + (1-decay)*w")),
    ("both factors are decay: they must add up to 1", loop("decay*average + decay*w")),
    ("both factors are 1 - decay: they must add up to 1",
     loop("(1-decay)*average + (1-decay)*w")),
    ("half and half: decay is not used", loop("(average + w)/2")),
    ("a minus where a plus belongs", loop("decay*average - (1-decay)*w")),
    ("decay - 1 is added beside the weights: a bracket is missing",
     loop("decay*average + 1-decay*w")),
    ("the difference is added with the factor 1: the average follows it slowly",
     loop("decay*average + (1-decay)*(w-average)")),
    ("the last update is missing", loop(rest="weights[1:-1]")),
    ("the second of the list is left out", loop(rest="weights[2:]")),
    ("the last update is counted twice", loop(rest="weights[1:] + weights[-1:]")),
    ("it stops after the first update: is `return` inside the loop?", loop(rest="weights[1:2]")),
    ("only the last update is averaged in: it is the average that is carried on",
     "decay*weights[0] + (1-decay)*weights[-1]"),
    ("the new weights are mixed with the ones before: it is the average that is carried on",
     loop("decay*weights[n-1] + (1-decay)*w")),
    (BACK, loop(first="weights[-1]", rest="weights[-2::-1] if len(weights) > 1 else []")),
    (BACK, "sum((1-decay)*decay**i*w for i, w in enumerate(weights))"),
    (LAST, loop(first="weights[-1]")),
    ("it starts as the mean of all", loop(first="torch.stack(weights).mean(0)")),
    ("it starts from 1; start as the first weights",
     loop(first="torch.ones_like(weights[0])", rest="weights")),
    (CHANGES, loop(WARM)),
    (CHANGES, loop("decay**n*average + (1-decay**n)*w")),
    (ALL, loop(end="torch.stack([weights[0], *kept])")),
    ("all averages are averaged: the last one alone is asked for",
     loop(end="torch.stack([weights[0], *kept]).mean(0)")),
    ("the squares of the weights are averaged (Adam's second moment)",
     loop("decay*average + (1-decay)*w**2")),
    ("the result is divided by the number of updates: the factors add up to 1 already",
     loop(end="average/len(weights)")),
    ("the first weights are overwritten: what works in place changes the list too", """
    average = weights[0]
    for w in weights[1:]: average.mul_(decay).add_(w, alpha=1-decay)
    return average"""),
    ("large weights are cut off: nothing is cut off here", loop(end="average.clamp(-5, 5)")),
]

RIGHT = [
    """
    n = len(weights)
    out = decay**(n-1)*weights[0]
    for i in range(1, n): out = out + (1-decay)*decay**(n-1-i)*weights[i]
    return out""",
    """
    avg = weights[0].clone().double()
    for w in weights[1:]: avg.mul_(decay).add_(w.double(), alpha=1-decay)
    return avg""",
    """
    import functools
    return functools.reduce(lambda a, w: a + (1-decay)*(w-a), weights)""",
    """
    import numpy as np
    avg = weights[0].numpy().astype(np.float64)
    for w in weights[1:]: avg += (1-decay)*(w.numpy() - avg)
    return avg""",
]
