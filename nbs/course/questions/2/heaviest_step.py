r"""predict, then run

Which timestep has the largest weight in the bound (12), if $\sigma_t^2=\beta_t$: one at the clean end, in the middle, at the noisy end? Predict it below. Then write the function that finds it, and try the linear schedule of a thousand steps.
"""
import torch
from draws import start

POINTS = 1
WRITTEN = (
    "Before you run anything: where does the largest weight lie under the linear schedule of "
    "a thousand steps, and why there? Afterwards add what came out, and say which timesteps "
    "the simple loss favours, compared with the bound.")
WRITTEN_POINTS = 1


def heaviest_step(betas):
    "betas (T,) -> the t whose weight in (12) is largest, with sigma_t^2 = beta_t"
    abar = torch.cumprod(1-betas, 0)
    return int((betas/(2*(1-betas)*(1-abar))).argmax())


def visible():
    yield torch.tensor([0.03, 0.25, 0.05, 0.46, 0.45, 0.53, 0.45, 0.54, 0.53, 0.02, 0.38, 0.06]),
    yield torch.tensor([0.4, 0.1, 0.35, 0.2]),
    yield torch.tensor([0.1, 0.05, 0.2, 0.3, 0.7]),


def draw(seed):
    "The usual schedule, one step, random ones; the heaviest first, last, inside, never a near tie."
    g, r = start(seed)
    if seed % 10 == 0: return torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64),
    if seed % 10 == 1: return torch.tensor([r.choice([0.3, 0.9])]),
    while True:
        betas = 0.02 + 0.9*torch.rand(r.randint(2, 9), generator=g)
        weights = (betas/(1-betas)/(1-torch.cumprod(1-betas, 0))).tolist()
        place = weights.index(max(weights))
        if sorted(weights)[-2] > 0.98*max(weights): continue
        if place == [0, len(betas)-1, len(betas)//2, place][seed % 4]: return betas,


A = "abar = torch.cumprod(1-betas, 0)\nreturn "
W = "betas/(2*(1-betas)*(1-abar))"
OLD = "old = torch.cat([torch.zeros(1), abar[:-1]])\nreturn "
MISTAKES = [
    ("this is the lightest step", A + f"int(({W}).argmin())"),
    ("off by one in t: timesteps are 0-based", A + f"int(({W}).argmax()) + 1"),
    ("off by one in t: one too early", A + f"int(({W}).argmax()) - 1"),
    ("this is the weight itself; the timestep is asked for", A + f"({W}).max()"),
    ("this is the beta at that timestep: the timestep itself is asked for",
     A + f"betas[({W}).argmax()]"),
    ("t is given as a share of the table: a whole number is asked for",
     A + f"int(({W}).argmax())/len(betas)"),
    ("t = 0 comes out here if alpha or beta is missing in the weight, if abar is one step off, or "
     "if it is only guessed", "0"),
    ("t = 0 comes out here if alpha or beta is missing in the weight, if abar is one step off, or "
     "if it is only guessed", A + "int((1/(2*(1-abar))).argmax())"),
    ("the last t comes out here if only the noise is looked at, or if it is only guessed",
     "len(betas)-1"),
    ("nothing is computed: the guess itself is returned", "len(betas)//2"),
    ("the largest beta wins if one minus abar is missing in the weight, stands on the wrong side, "
     "or is that of a single step", "int((betas/(2*(1-betas))).argmax())"),
    ("the largest beta wins if one minus abar is missing in the weight, stands on the wrong side, "
     "or is that of a single step", "int(betas.argmax())"),
    ("a square too many in the weight: with sigma^2 = beta one of the two factors of beta cancels",
     A + f"int((betas*{W}).argmax())"),
    ("abar of the step before, or beta-tilde for sigma^2: here sigma^2 = beta",
     A.replace("return ", OLD) + "int((betas/(1-betas)/(1-old)).argmax())"),
    ("abar stands in the weight where alpha of the step belongs",
     A + "int((betas/(2*abar*(1-abar))).argmax())"),
    ("t = 0 is left out", A + f"1 + int(({W})[1:].argmax()) if len(betas) > 1 else 1"),
    ("the last t is left out", A + f"int(({W})[:-1].argmax()) if len(betas) > 1 else 1"),
]

RIGHT = [
    """
    w = [float(b/(2*(1-b)*(1-torch.prod(1-betas[:t+1])))) for t, b in enumerate(betas)]
    return w.index(max(w))""",
    """
    import numpy as np
    b = betas.double().numpy()
    return np.argmax(b/(1-b)/(1-np.cumprod(1-b)))""",
]
