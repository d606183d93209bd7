r"""the table

A step keeps a share $1-\beta_t$ of what the steps before it have left of the signal's variance. The table $\bar\alpha_t$ of equation (4) says which share of the clean image's variance is left after all steps up to $t$, the step $t$ itself among them. Make it, for one schedule, (T,), or for several of one length at once, (S, T), a schedule in each row.
"""
import torch
from draws import betas_of

POINTS = 2


def make_abar(betas):
    "betas (T,) or (S, T) -> abar, of the same shape"
    return torch.cumprod(1-betas, -1)


def visible():
    yield torch.tensor([0.1, 0.2, 0.5, 0.3]),
    yield torch.tensor([[0.3, 0.1, 0.25], [0.4, 0.6, 0.2]]),


def draw(seed):
    betas = betas_of(seed)
    rows = [betas, betas.flip(0), betas/2]
    return betas if seed % 3 == 0 else torch.stack(rows[:1 + seed % 4 % 3]),


A = "a, n = 1-betas, betas.shape[-1]\nreturn "
MISTAKES = [
    ("these are the alphas of the single steps: each entry needs the factors of all steps up to it",
     "1-betas"),
    ("with several schedules in the rows the product must run along each row",
     "torch.cumprod(1-betas, 0)"),
    ("the product runs on from one schedule into the next: each row is a schedule of its own",
     "torch.cumprod((1-betas).flatten(), 0).view_as(betas)"),
    ("this is the product of the betas: how much does one step keep?", "torch.cumprod(betas, -1)"),
    ("the betas are multiplied, and the product is taken from 1: what one step keeps comes first, "
     "then the product", "1 - torch.cumprod(betas, -1)"),
    ("this is a sum where a product belongs", "torch.cumsum(1-betas, -1)"),
    ("this is a sum where a product belongs, taken from 1", "1 - torch.cumsum(betas, -1)"),
    ("the sum of the betas: how much is left of the signal?", "torch.cumsum(betas, -1)"),
    ("off by one in t: entry t must hold its own step too",
     A + "torch.cat([torch.ones_like(a[..., :1]), torch.cumprod(a, -1)[..., :-1]], -1)"),
    ("one entry too many: the table begins with the first step's own entry, not with a 1",
     A + "torch.cat([torch.ones_like(a[..., :1]), torch.cumprod(a, -1)], -1)"),
    ("off by one in t: entry t holds the next step too, or the first step is missing",
     "a = torch.cumprod(1-betas[..., 1:], -1)\nreturn torch.cat([a, a[..., -1:]], -1)"),
    ("entry 0 has stayed 1: the first step takes its share too",
     "a = 1-betas\na[..., 0] = 1\nreturn torch.cumprod(a, -1)"),
    ("the first step's factor is missing in all the entries after it",
     A + "torch.cat([a[..., :1], torch.cumprod(a[..., 1:], -1)], -1)"),
    ("a step's own factor enters twice", A + "torch.cumprod(a, -1)*a"),
    ("only two neighbouring steps are multiplied: the product starts at the first step",
     A + "torch.cat([a[..., :1], a[..., 1:]*a[..., :-1]], -1)"),
    ("the square root of the table: the root comes later", "torch.cumprod((1-betas).sqrt(), -1)"),
    ("a square too many: beta is a variance already", "torch.cumprod(1-betas**2, -1)"),
    ("a square root too many: beta is a variance already", "torch.cumprod(1-betas.sqrt(), -1)"),
    ("each step keeps 1 - beta, not e to the power -beta: they are near for small betas only",
     "torch.exp(-torch.cumsum(betas, -1))"),
    ("the share that a step keeps is another: it is one minus beta",
     "torch.cumprod(1-betas/2, -1)"),
    ("plus beta where a step keeps one minus beta", "torch.cumprod(1+betas, -1)"),
    ("the sign is lost: a step keeps one minus beta, not beta minus one",
     "torch.cumprod(betas-1, -1)"),
    ("this is the variance of the noise, not what is left of the signal",
     "1 - torch.cumprod(1-betas, -1)"),
    ("this is the signal-to-noise ratio: only the signal's share is asked for",
     "1/(1/torch.cumprod(1-betas, -1) - 1)"),
    ("the last entry everywhere: the table needs one entry for each t",
     A + "torch.prod(a, -1, keepdim=True).expand_as(a)"),
    ("the product over all steps is one number: the table needs one entry for each t",
     "torch.prod(1-betas, -1)"),
    ("only the first entry: does a `return` inside the loop end it in the first round?",
     "(1-betas)[..., :1]"),
    ("the logarithms are summed, but exp is missing at the end",
     "torch.cumsum(torch.log(1-betas), -1)"),
    ("log and exp have different bases here", "10**torch.cumsum(torch.log(1-betas), -1)"),
    ("the product runs from the last step backwards: entry t needs the steps up to t",
     "torch.cumprod((1-betas).flip(-1), -1).flip(-1)"),
    ("the product runs from the last step backwards: entry t needs the steps up to t",
     "torch.cumprod((1-betas).flip(-1), -1)"),
    ("the table comes in reverse order: entry 0 belongs to the first step",
     "torch.cumprod(1-betas, -1).flip(-1)"),
    ("one step's beta is used for all: each step has a beta of its own",
     A + "a**torch.arange(1, n+1)"),
    ("one step's beta is used for all: each step has a beta of its own",
     A + "a[..., :1]**torch.arange(1, n+1)"),
    ("the betas are sorted first: their order is the order of the steps",
     "torch.cumprod(1-betas.sort().values, -1)"),
    ("the linear schedule stands here: the betas that are given are not used",
     A + "torch.cumprod(1-torch.linspace(1e-4, 0.02, n), 0).expand_as(a)"),
    ("the table is cut off from below: with many steps less and less of the signal is left",
     "torch.cumprod(1-betas, -1).clamp(min=1e-4)"),
]
# who makes one of these may run along the wrong axis, too: the message is about the first
MISTAKES += [(said, code.replace(", -1)", ", 0)")) for said, code in MISTAKES[3:26]
             if ", -1)" in code and not code.startswith("a")]

RIGHT = [
    "torch.exp(torch.cumsum(torch.log1p(-betas), -1))",
    "import numpy as np\nreturn np.cumprod(1-betas.numpy(), -1)",
    """
    out, left = [], 1
    for b in betas.unbind(-1):
        left = left*(1-b)
        out.append(left)
    return torch.stack(out, -1)""",
    """
    import math
    rows = betas.reshape(-1, betas.shape[-1]).tolist()
    table = [[math.prod(1-b for b in row[:t+1]) for t in range(len(row))] for row in rows]
    return torch.tensor(table).view(betas.shape)""",
    """
    abar = torch.empty_like(betas)
    for t in range(betas.shape[-1]):
        abar[..., t] = (1-betas[..., t])*(abar[..., t-1] if t else 1)
    return abar""",
    """
    upto = torch.ones(betas.shape[-1], betas.shape[-1]).tril() > 0
    return torch.where(upto, (1-betas)[..., None, :], 1).prod(-1)""",
]
