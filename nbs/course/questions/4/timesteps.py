r"""find the bugs

To sample with fewer steps, visit only `n` of the `T` timesteps: with the stride `T//n`, starting at 0, from the noisy end to the clean one. For T = 10, n = 3: 6, 3, 0. Two bugs; correct it.

```python
def timesteps(T, n):
    return list(range(0, T, T//n))
```
"""
from draws import start

POINTS = 1


def timesteps(T, n):
    "whole numbers, 1 <= n <= T -> n timesteps (a list, a tuple, a tensor), falling, ends in 0"
    return [i*(T//n) for i in reversed(range(n))]


def visible():
    yield 23, 6
    yield 12, 4


def draw(seed):
    r = start(seed)[1]
    known = [(1000, 50), (7, 7), (800, 799), (5, 1), (1, 1), (1000, 501), (6, 5)]
    if seed % 1000 < len(known): return known[seed % 1000]       # the same in every term
    T = r.choice([r.randint(2, 30), 100, r.randint(50, 1000), 1000])
    return T, r.randint(1, min(T, 800))             # a recursion must not be too deep


ORDER = "one bug is found; but they rise: sampling goes from noise to the image"
FRACTION = "the stride is a fraction here: it is a whole number, T//n"
LEFT = "0 is missing: it is the clean end"
DOWN = "counted from T-1 down, this never reaches the clean end: start at 0"
EVEN = "evenly spread up to T-1: here the stride is T//n, from 0 on"
STRIDE = "n is taken for the stride: the stride is T//n"
LONG = "the stride is too long: it is T//n, rounded down"
ONES = "off by one: this ends in 1, where 0 is the clean end"

MISTAKES = [
    ("the two bugs are still there", "list(range(0, T, T//n))"),
    ("one bug is found; but they are too many: n are asked for",
     "list(range(0, T, T//n))[::-1]"),
    ("one more than n", "[i*(T//n) for i in range(n, -1, -1)]"),
    ("one more than n, and they rise", "[i*(T//n) for i in range(n+1)]"),
    ("they are too few: n are asked for", "[i*(T//n) for i in reversed(range(n-1))]"),
    (ORDER, "[i*(T//n) for i in range(n)]"),
    (ORDER, "list(range(0, T, T//n))[:n]"),
    ("the largest is put first, but the others still rise",
     "(lambda r: r[-1:] + r[:-1])([i*(T//n) for i in range(n)])"),
    ("the last n of too many are kept, falling: the first n belong here",
     "list(range(0, T, T//n))[::-1][:n]"),
    (LEFT, "[i*(T//n) for i in range(n, 0, -1)]"),
    ("0 is missing: the end of a range is not part of it",
     "list(range((n-1)*(T//n), 0, -(T//n)))"),
    ("0 is missing, and the order is turned", "[i*(T//n) for i in range(1, n+1)]"),
    (DOWN, "[T-1-i*(T//n) for i in range(n)]"),
    (DOWN, "list(range(T-1, -1, -(T//n)))"),
    (DOWN, "[T-i*(T//n) for i in range(n)]"),
    ("the last of each stride is taken: the first of it is asked for, down to 0",
     "[(i+1)*(T//n)-1 for i in reversed(range(n))]"),
    (FRACTION, "[i*T/n for i in reversed(range(n))]"),
    (FRACTION, "[round(i*T/n) for i in reversed(range(n))]"),
    (FRACTION, "[i*T//n for i in reversed(range(n))]"),
    (STRIDE, "list(range(0, T, n))[::-1]"),
    (STRIDE, "[i*n for i in reversed(range(n))]"),
    (STRIDE, "list(range(0, T, n))"),
    (LONG, "[i*-(-T//n) for i in reversed(range(n))]"),
    (LONG, "[i*((T-1)//max(n-1, 1)) for i in reversed(range(n))]"),
    ("the stride is too short: it is T//n", "[i*max(T//n-1, 1) for i in reversed(range(n))]"),
    (EVEN, "[round(i*(T-1)/max(n-1, 1)) for i in reversed(range(n))]"),
    (EVEN, "[int(i*(T-1)/max(n-1, 1)) for i in reversed(range(n))]"),
    (ONES, "[1+i*(T//n) for i in reversed(range(n))]"),
    ("the stride is missing: these are the last n timesteps", "list(range(n))[::-1]"),
    ("only the noisy end: all n are asked for", "[(n-1)*(T//n)]"),
]

RIGHT = [
    """
    stride = T//n
    return [stride*(n-1-i) for i in range(n)]""",
    "list(range((n-1)*(T//n), -1, -(T//n)))",
    """
    def rest(k): return [] if k == n else rest(k+1) + [k*(T//n)]
    return rest(0)""",
    """
    import torch
    return (torch.arange(n)*(T//n)).flip(0)""",
    """
    import numpy as np
    return (np.arange(0, n)*(T//n))[::-1].copy().astype(np.int64)""",
    "list(range(0, n*(T//n), T//n))[::-1]",
]
