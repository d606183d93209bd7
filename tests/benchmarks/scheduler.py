"One reverse step and one forward jump, against diffusers and against the bare calls of torch."
import time
from functools import partial

import torch

from .common import both_schedulers, interleaved, row, show


def bare_step(s, x, eps, k, g):
    "The arithmetic of a step alone, with its scalars at hand: nothing is checked or looked up."
    p = s.steps
    a, b = p.sqrt_alphas_cumprod[k], p.sqrt_one_minus_alphas_cumprod[k]
    c, d = p.posterior_mean_coef1[k], p.posterior_mean_coef2[k]
    sigma = s.sigmas["fixed_small"][k]
    def step():
        x0 = ((x - b*eps)/a).clamp(-1, 1)
        return c*x0 + d*x + sigma*torch.randn(x.shape, generator=g)
    return step


def rows(clock=time.perf_counter):
    ours, theirs = both_schedulers()
    for shape, target in (((1, 3, 32, 32), 3.5), ((16, 1, 32, 32), 2)):
        x, eps, g = torch.randn(shape), torch.randn(shape), torch.Generator()
        bare = bare_step(ours, x, eps, 500, g)
        def step(s, seed=None):
            if seed is not None: g.manual_seed(seed)
            return s.step(eps, 500, x, generator=g).prev_sample
        images = step(ours, 0), step(theirs, 0), g.manual_seed(0) and bare()
        same = all(torch.equal(images[0], other) for other in images)
        t = interleaved({"theirs": lambda: step(theirs), "ours": lambda: step(ours), "bare": bare,
                         "noise": lambda: torch.randn(shape, generator=g)}, 40, 50, clock)
        alone = (t["theirs"] - t["noise"])/(t["ours"] - t["noise"])
        note = (f"{'bit-identical' if same else 'NOT IDENTICAL'}; the random numbers alone "
                f"{t['noise']*1e6:.0f} us; without them {alone:.1f} x; "
                f"{t['ours']/t['bare']:.2f} x the bare calls of torch (at most 1.15)")
        yield row(f"`step`, {shape}", t["theirs"], t["ours"], target, note=note)
    x, eps = torch.randn(2, 16, 3, 32, 32)
    when = torch.randint(0, 1000, (16,))
    add = {k: partial(s.add_noise, x, eps, when) for k, s in (("theirs", theirs), ("ours", ours))}
    roots = ours.schedule.sqrt_alphas_cumprod, ours.schedule.sqrt_one_minus_alphas_cumprod
    def bare():
        a, s = (r.index_select(0, when).view(-1, 1, 1, 1) for r in roots)
        return a*x + s*eps
    t = interleaved({**add, "bare": bare}, 40, 50, clock)
    worst = (add["theirs"]() - add["ours"]()).abs().max().item()
    yield row("`add_noise`, (16, 3, 32, 32)", t["theirs"], t["ours"], 1.6,
              note=f"largest difference {worst:.0e}; {t['ours']/t['bare']:.2f} x the bare calls")


if __name__ == "__main__":
    # one thread on a machine that is not quiet: the processor's own time
    show(rows(time.process_time if torch.get_num_threads() == 1 else time.perf_counter))
