r"""any t in one step

Draw $x_t=\sqrt{\bar\alpha_t}\,x_0+\sqrt{1-\bar\alpha_t}\,\epsilon$ for a batch in which every example has a timestep of its own. The examples may be numbers, (B,), points, rows of shape (B, 2), or images, (B, C, H, W).
"""
import torch
from draws import noising_of

POINTS = 3


def q_sample(x0, t, abar, noise):
    "x0 (B, ...), t (B,) whole numbers, abar (T,), noise like x0 -> x_t like x0"
    a = abar[t].view(-1, *[1]*(x0.ndim-1))
    return a.sqrt()*x0 + (1-a).sqrt()*noise


def visible():
    yield (torch.tensor([[1., -2.], [0.5, 3.]]), torch.tensor([2, 0]),
           torch.tensor([0.81, 0.64, 0.36, 0.04]), torch.tensor([[0.7, -1.], [2., -0.4]]))
    yield (torch.tensor([1., -0.5, 0.2, 0.8, -1., 0., 0.6, -0.3]).view(2, 1, 2, 2),
           torch.tensor([0, 1]), torch.tensor([0.64, 0.36, 0.04]),
           torch.tensor([0.5, 2., -1., 0.3, 1.5, -0.7, 0., 1.]).view(2, 1, 2, 2))


def draw(seed):
    return noising_of(seed)


A = "a = abar[t].view(-1, *[1]*(x0.ndim-1))\nreturn "
ON = "a.sqrt()*x0 + (1-a).sqrt()*noise"
MISTAKES = [
    ("a square root is missing on both coefficients", A + "a*x0 + (1-a)*noise"),
    ("a square root is missing on the noise's coefficient", A + "a.sqrt()*x0 + (1-a)*noise"),
    ("a square root is missing on the signal's coefficient", A + "a*x0 + (1-a).sqrt()*noise"),
    ("the noise is scaled by one minus the root; it needs the root of one minus abar",
     A + "a.sqrt()*x0 + (1-a.sqrt())*noise"),
    ("abar is taken for the coefficient itself: it is a variance, and the coefficient is its root",
     A + "a*x0 + (1-a**2).sqrt()*noise"),
    ("wrong broadcasting: each example has its own t, so the coefficient needs axes of length 1 "
     "behind the first", A.replace(".view(-1, *[1]*(x0.ndim-1))", "") + ON),
    ("wrong broadcasting: the examples may be numbers, rows or images, so the number of axes to "
     "add depends on x0", A.replace("*[1]*(x0.ndim-1)", "1, 1, 1") + ON),
    ("wrong broadcasting: the examples may be numbers, rows or images, so the number of axes to "
     "add depends on x0", A.replace("*[1]*(x0.ndim-1)", "1") + ON),
    ("wrong broadcasting in the noise's coefficient",
     A + "a.sqrt()*x0 + (1-abar[t]).sqrt()*noise"),
    ("one t for all: every example has its own", "a = abar[t[0]]\nreturn " + ON),
    ("one t for all: every example has its own", "a = abar[t].mean()\nreturn " + ON),
    ("the place in the batch is used as the timestep: t says which it is",
     A.replace("[t]", "[torch.arange(len(x0)).clamp(max=len(abar)-1)]") + ON),
    ("the timesteps are in another order than the examples", A.replace("[t]", "[t.flip(0)]") + ON),
    ("off by one in t: timesteps are 0-based", A.replace("[t]", "[t-1]") + ON),
    ("off by one in t: this is the next timestep",
     A.replace("[t]", "[(t+1).clamp(max=len(abar)-1)]") + ON),
    ("off by one in t: this is the timestep before, and clean at t = 0",
     A.replace("abar[t]", "torch.cat([torch.ones(1), abar])[t]") + ON),
    ("the noise is left out at t = 0: that is a noisy timestep too, the first",
     A.replace("abar[t]", "torch.where(t == 0, 1, abar[t])") + ON),
    ("only noise at the last t: a little of the signal is left there",
     A.replace("abar[t]", "torch.where(t == len(abar)-1, 0, abar[t])") + ON),
    ("abar is taken for the betas: it is a finished table already, nothing is left to multiply",
     A.replace("abar[t]", "torch.cumprod(1-abar, 0)[t]") + ON),
    ("abar is multiplied up once more: it is a finished table already",
     A.replace("abar[t]", "torch.cumprod(abar, 0)[t]") + ON),
    ("the alpha of one step stands where abar belongs: all steps up to t have happened",
     A.replace("abar[t]", "torch.cat([abar[:1], abar[1:]/abar[:-1]])[t]") + ON),
    ("t itself is used as a share of the way: the schedule is in abar",
     A.replace("abar[t]", "(1-t/len(abar))") + ON),
    ("signal and noise have changed places", A + "(1-a).sqrt()*x0 + a.sqrt()*noise"),
    ("the sign of the noise is turned", A + "a.sqrt()*x0 - (1-a).sqrt()*noise"),
    ("the signal is not shrunk", A + "x0 + (1-a).sqrt()*noise"),
    ("the noise is not scaled", A + "a.sqrt()*x0 + noise"),
    ("the noise that you are given is not used", A + "a.sqrt()*x0"),
    ("only the noise: the signal is missing", A + "(1-a).sqrt()*noise"),
    ("the noise is drawn anew: use the noise that is given, so that everybody gets the same",
     A + "a.sqrt()*x0 + (1-a).sqrt()*torch.randn_like(x0)"),
    ("this solves the equation for x_0: here x_t is asked for",
     A + "(x0 - (1-a).sqrt()*noise)/a.sqrt()"),
    ("this is the velocity v, another mixture of signal and noise",
     A + "a.sqrt()*noise - (1-a).sqrt()*x0"),
    ("the noise is normalised: it is used as it comes",
     A + "a.sqrt()*x0 + (1-a).sqrt()*(noise - noise.mean())/noise.std(correction=0)"),
    ("the noise is cut off: it is used as it comes",
     A + "a.sqrt()*x0 + (1-a).sqrt()*noise.clamp(-1, 1)"),
    ("x_t is cut off: noisy numbers may lie anywhere", A + f"({ON}).clamp(-1, 1)"),
    ("x_t is cut off: noisy numbers may lie anywhere", A + f"({ON}).clamp(-5, 5)"),
    ("x_0 is cut off at -1 and 1: the equation holds for any numbers",
     A + ON.replace("x0", "x0.clamp(-1, 1)")),
    ("large numbers are treated in another way: the equation holds for any numbers",
     "if x0.abs().max() > 5: return x0\n" + A + ON),
    ("the noise's variance has a smallest value here: near t = 0 it may be as small as it likes",
     A + ON.replace("(1-a)", "(1-a).clamp(min=1e-3)")),
    ("two results: only x_t is asked for", A + ON + ", noise"),
    ("only one example comes back: does a `return` inside the loop end it too early?",
     A + f"({ON})[0]"),
]

SUM = "return a**0.5*x0{0} + (1-a)**0.5*noise{0}"
RIGHT = [
    "e = 'b,b...->b...'\nreturn torch.einsum(e, abar[t].to(x0.dtype).sqrt(), x0) + "
    "torch.einsum(e, (1-abar[t]).to(x0.dtype).sqrt(), noise)",
    "torch.stack([abar[k]**0.5*x + (1-abar[k])**0.5*z for x, k, z in zip(x0, t, noise)])",
    "(abar[t].sqrt()*x0.movedim(0, -1) + (1-abar[t]).sqrt()*noise.movedim(0, -1)).movedim(-1, 0)",
    "a = abar.double()[t].reshape((len(t),) + (1,)*(x0.dim()-1))\n" + SUM.format(".double()"),
    "a = abar.numpy()[t.numpy()].reshape(-1, *[1]*(x0.ndim-1))\n" + SUM.format(".numpy()"),
    """
    from torch.distributions import Normal
    a = abar[t].reshape([-1]+[1]*(x0.dim()-1))
    q = Normal(a.sqrt()*x0, (1-a).sqrt())
    return q.loc + q.scale*noise""",
    "[abar[k].sqrt()*x + (1-abar[k]).sqrt()*e for x, k, e in zip(x0, t, noise)]",
]
