"One reverse step and one forward jump."
from functools import partial

import torch

from .common import both_schedulers, interleaved, row, show


def rows():
    ours, theirs = both_schedulers()
    for shape, target in (((1, 3, 32, 32), 5), ((16, 1, 32, 32), 2)):
        x, eps, g = torch.randn(shape), torch.randn(shape), torch.Generator()
        def step(s, seed=None):
            if seed is not None: g.manual_seed(seed)
            return s.step(eps, 500, x, generator=g).prev_sample
        same = torch.equal(step(ours, 0), step(theirs, 0))
        t = interleaved({"theirs": lambda: step(theirs), "ours": lambda: step(ours),
                         "noise": lambda: torch.randn(shape, generator=g)}, 40, 50)
        alone = (t["theirs"] - t["noise"])/(t["ours"] - t["noise"])
        note = (f"{'bit-identical' if same else 'NOT IDENTICAL'}; the random numbers alone "
                f"{t['noise']*1e6:.0f} us; without them {alone:.1f} x")
        yield row(f"`step`, {shape}", t["theirs"], t["ours"], target, note=note)
    x, eps = torch.randn(2, 16, 3, 32, 32)
    when = torch.randint(0, 1000, (16,))
    add = {k: partial(s.add_noise, x, eps, when) for k, s in (("theirs", theirs), ("ours", ours))}
    t = interleaved(add, 40, 50)
    worst = (add["theirs"]() - add["ours"]()).abs().max().item()
    yield row("`add_noise`, (16, 3, 32, 32)", t["theirs"], t["ours"], 2.5,
              note=f"largest difference {worst:.0e}")


if __name__ == "__main__": show(rows())
