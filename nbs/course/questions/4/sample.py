r"""Algorithm 2

The whole loop, with $\sigma_t^2=\beta_t$. The noise is given, so that everybody gets the same numbers: `noises[T-1]` is $x_T$, from which the sampler starts, and `noises[t-1]` is the $z$ that the step at `t` adds (so the step at 0 adds none). `model(x, t)` takes a whole number `t` and predicts the noise. It is the expensive part: ask it once in each step.
"""
import torch
from draws import Given, betas_of, start

POINTS = 3


def sample(model, betas, noises):
    "model(x, t) -> like x; betas (T,); noises (T, B, ...) -> x_0, (B, ...)"
    abar = torch.cumprod(1-betas, 0)
    x = noises[-1]
    for t in reversed(range(len(betas))):
        x = (x - betas[t]/(1-abar[t]).sqrt()*model(x, t))/(1-betas[t]).sqrt()
        if t > 0: x = x + betas[t].sqrt()*noises[t-1]
    return x


def visible():
    yield (Given("lambda x, t: x/(t + 2) - 0.2*t"), torch.tensor([0.1, 0.25, 0.4, 0.3]),
           torch.tensor([[[0.6, -1.7]], [[0.5, 0.3]], [[-0.9, 1.4]], [[2.0, -1.0]]]))


MODELS = ["x/(t + 2) - 0.2*t", "0*x + t", "0.1*x", "torch.sin(x*(t + 1))", "0.5*x/(1 + x.abs())",
          "x.flip(0) - t/(t + 3)"]


def draw(seed):
    g, r = start(seed)
    betas = betas_of(seed)
    if len(betas) > 10: betas = betas[::len(betas)//10]
    shape = r.choice([(1, 2), (3,), (2, 1, 2, 2), (1, 1, 1, 3), (3, 2), (1,)])
    noises = r.choice([1, 1, 1, 0.05, 30])*torch.randn(len(betas), *shape, generator=g)
    return Given("lambda x, t: " + MODELS[seed % 5 if seed % 7 else 5]), betas, noises.to(betas)


def observe(f, model, betas, noises):
    "What comes out, and how often the model was asked."
    asked = []
    out = f(lambda x, t: (asked.append(t), model(x, t))[1], betas, noises)
    return out, len(asked)


MEAN = "(x - betas[t]/(1-abar[t]).sqrt()*eps)/(1-betas[t]).sqrt()"


def loop(ts="reversed(range(T))", told="t", seen="x", mean=MEAN, start="noises[T-1]", out="x",
         noise="betas[t].sqrt()*noises[t-1]", when="t > 0", end="pass",
         abar="torch.cumprod(1-betas, 0)"):
    "The solution with one part changed; `i` counts the steps, `before` is abar of the step before."
    return f"""
    T, abar, path = len(betas), {abar}, []
    x = {start}
    path.append(x)
    for i, t in enumerate({ts}):
        before = abar[t-1] if t else 1 + 0*abar[0]
        eps = model({seen}, {told})
        x0 = (x - (1-abar[t]).sqrt()*eps)/abar[t].sqrt()
        x = {mean}
        if {when}: x = x + {noise}
        {end}
        path.append(x)
    return {out}"""


DDIM = "before.sqrt()*x0 + (1-before).sqrt()*eps"
POSTERIOR = ("before.sqrt()*betas[t]/(1-abar[t])*x0.clamp(-1, 1)"
             " + (1-betas[t]).sqrt()*(1-before)/(1-abar[t])*x")
AGAIN = "each step starts from x_T: it must start where the last step ended"
CLIPPED = "something is clipped: Algorithm 2 clips nothing"

MISTAKES = [
    ("the loop runs forward: sampling goes from the last t to 0", loop("range(T)")),
    ("the step at t = 0 is missing", loop("range(T-1, 0, -1)")),
    ("the first step, at t = T-1, is missing", loop("reversed(range(T-1))")),
    ("one step only: is `return` inside the loop?", loop("[T-1]")),
    ("noise is added at t = 0, the one of the step before: the last step must not",
     loop(noise="betas[t].sqrt()*noises[max(t-1, 0)]", when="True")),
    ("noise is added at t = 0, where `noises[t-1]` is the last: the last step must not",
     loop(when="True")),
    ("no noise is added at all", loop(when="False")),
    ("no noise at t = 1: only the step at t = 0 goes without", loop(when="t > 1")),
    ("beta-tilde where sigma^2 = beta is asked for",
     loop(noise="(betas[t]*(1-before)/(1-abar[t])).sqrt()*noises[t-1]")),
    ("one minus abar where sigma^2 = beta is asked for",
     loop(noise="(1-abar[t]).sqrt()*noises[t-1]")),
    ("a square root is missing: sigma is the root of beta", loop(noise="betas[t]*noises[t-1]")),
    ("the noise is not scaled", loop(noise="noises[t-1]")),
    ("one over the root of alpha also scales the noise here: it belongs to the mean alone",
     loop(noise="(betas[t]/(1-betas[t])).sqrt()*noises[t-1]")),
    ("the noise of the wrong step is added", loop(noise="betas[t].sqrt()*noises[t]")),
    ("the noises are used from the first on: `noises[t-1]` belongs to the step at t",
     loop(noise="betas[t].sqrt()*noises[i]")),
    ("the same noise in every step", loop(noise="betas[t].sqrt()*noises[0]")),
    ("new noise is drawn: `noises` are given",
     loop(noise="betas[t].sqrt()*torch.randn(x.shape)")),
    ("the sampler starts from zeros, not from noise", loop(start="torch.zeros_like(noises[0])")),
    ("the sampler starts from the wrong noise", loop(start="noises[0]")),
    ("off by one in t: the model is told the next timestep", loop(told="t+1")),
    ("off by one in t: the model is told the step before", loop(told="t-1")),
    ("the model is told the same t in every step", loop(told="T-1")),
    ("the model is told the same t in every step", loop(told="0")),
    ("the model is told how many steps are done, not t", loop(told="i")),
    ("the model sees x_T in every step: it must see what the last step left",
     loop(seen="noises[T-1]")),
    ("the model is asked more than once in a step", loop(end="model(x, t)")),
    ("the model is asked once, before the loop: it must be asked in each step",
     loop().replace("        eps = model(x, t)\n", "").replace(
         "    for", "    eps = model(x, T-1)\n    for")),
    (AGAIN, loop(mean=MEAN.replace("(x ", "(noises[T-1] "))),
    (AGAIN, loop(mean=MEAN.replace("(x ", "(noises[T-1] "), seen="noises[T-1]")),
    ("only the step at t = 0 is taken, from x_T: all T are needed", loop("[0]")),
    ("the sign of the noise prediction is turned", loop(mean=MEAN.replace(" - ", " + ", 1))),
    ("abar where alpha belongs", loop(mean=MEAN.replace("(1-betas[t])", "abar[t]"))),
    ("alpha of the step where abar belongs: one minus alpha is beta",
     loop(mean=MEAN.replace("/(1-abar[t])", "/betas[t]"))),
    ("the mean lacks its outer factor", loop(mean="x - betas[t]/(1-abar[t]).sqrt()*eps")),
    ("this jumps to the clean guess of (15) in each step", loop(mean="x0")),
    ("in each step the clean guess gets new noise: Algorithm 2 goes back by one step",
     loop(mean="before.sqrt()*x0", noise="(1-before).sqrt()*noises[t-1]")),
    ("this is DDIM, without noise: Algorithm 2 adds some", loop(mean=DDIM, when="False")),
    ("abar is turned round: it falls with t", loop(abar="torch.cumprod(1-betas, 0).flip(0)")),
    ("all states are returned: the last one is asked for", loop(out="torch.stack(path)")),
    (CLIPPED, loop(out="x.clamp(-1, 1)")),
    (CLIPPED, loop(mean=POSTERIOR)),
    (CLIPPED, loop(out="x.clamp(-5, 5)")),
]

RIGHT = [
    """
    T = len(betas)
    abar = torch.cumprod(1-betas, 0)
    x = noises[T-1]
    for t in range(T-1, -1, -1):
        z = noises[t-1] if t else torch.zeros_like(x)
        mean = (x - betas[t]/(1-abar[t])**0.5*model(x, t))/(1-betas[t])**0.5
        x = mean + betas[t]**0.5*z
    return x""",
    """
    x, t = noises[-1].clone(), len(betas)-1
    while t >= 0:
        b, a = float(betas[t]), float(torch.prod(1-betas[:t+1].double()))
        x -= b/(1-a)**0.5*model(x, t)
        x /= (1-b)**0.5
        if t: x += b**0.5*noises[t-1]
        t -= 1
    return x""",
    """
    x = noises[-1].double()
    for t in list(range(len(betas)))[::-1]:
        a = torch.prod(1-betas[:t+1].double())
        b = betas[t].double()
        mean = (x - b/(1-a).sqrt()*model(x, t))/(1-b).sqrt()
        x = mean + (b.sqrt()*noises[t-1].double() if t > 0 else 0)
    return x""",
]
