r"""find the bugs

This function runs, gives numbers of the right shape, and a network trained with it draws grey mud. It should bring bytes 0..255 to $[-1, 1]$ and noise them. There are two bugs. Correct it.

```python
def noisy_batch(pixels, t, abar, noise):
    x0 = pixels/255
    a = abar[t].view(-1, 1, 1, 1)
    return a.sqrt()*x0 + (1-a)*noise
```
"""
import torch
from draws import noising_of, start

POINTS = 2


def noisy_batch(pixels, t, abar, noise):
    "bytes (B, C, H, W), uint8; t (B,); abar (T,); noise (B, C, H, W) -> noisy images (B, C, H, W)"
    x0 = pixels/127.5 - 1
    a = abar[t].view(-1, 1, 1, 1)
    return a.sqrt()*x0 + (1-a).sqrt()*noise


def visible():
    yield (torch.tensor([20, 200, 140, 250, 90, 60], dtype=torch.uint8).view(2, 1, 1, 3),
           torch.tensor([1, 0]), torch.tensor([0.64, 0.25, 0.09]),
           torch.tensor([1., -1., 0.3, 2., 0.5, -0.7]).view(2, 1, 1, 3))


def draw(seed):
    "Bytes of all sizes; only dark, only bright, only black and white ones."
    g, r = start(seed)
    shape = r.choice([(1, 1, 2, 2), (2, 3, 1, 4), (4, 1, 3, 3), (3, 1, 1, 1)])
    _, t, abar, noise = noising_of(seed, shape)
    low, high = [(0, 256), (0, 256), (0, 2), (250, 256), (127, 129), (0, 2)][seed % 6]
    pixels = torch.randint(low, high, shape, generator=g)
    return (255*(pixels % 2) if seed % 6 == 2 else pixels).byte(), t, abar, noise


A = "a = abar[t].view(-1, 1, 1, 1)\n"
ON = "\nreturn a.sqrt()*x0 + (1-a).sqrt()*noise"
B = "x0 = pixels/127.5 - 1"
X = A + B + "\nreturn "
P = A + "p = pixels.float()\nx0 = "
MISTAKES = [
    ("the two bugs are still there", A + "return a.sqrt()*(pixels/255) + (1-a)*noise"),
    ("one bug is found; but the pixels are in [0, 1]: the network expects [-1, 1]",
     A + "x0 = pixels/255" + ON),
    ("one bug is found; look at the other coefficient: is a square root missing?",
     X + "a.sqrt()*x0 + (1-a)*noise"),
    ("the pixels are in [-0.5, 0.5]: the middle is right, the width is not",
     A + "x0 = pixels/255 - 0.5" + ON),
    ("the pixels are in [0, 2]: the width is right, the middle is not",
     A + "x0 = pixels/127.5" + ON),
    ("the pixels are in [-2, 0]: is a bracket in the wrong place?",
     A + "x0 = 2*(pixels/255 - 1)" + ON),
    ("the pixels are in [-1, 0]: the width is half of what it should be, and the middle is not 0",
     A + "x0 = pixels/255 - 1" + ON),
    ("the pixels are brought to [-1, 1] the wrong way: what do 0 and 255 become?",
     A + "x0 = pixels/255*2 + 1" + ON),
    ("the pixels are brought to [-1, 1] the wrong way: what do 0 and 255 become?",
     A + "x0 = (pixels/255 + 1)/2" + ON),
    ("black and white have changed places", A + "x0 = 1 - pixels/127.5" + ON),
    ("255 is not 1: 128 is not half of 255", P + "(p - 128)/128" + ON),
    ("255 is not 1: there are 256 bytes, but the step from 0 to 255 has 255 parts",
     P + "(p + 0.5)/128 - 1" + ON),
    ("255 is not 1: there are 256 bytes, but the step from 0 to 255 has 255 parts",
     P + "(p - 127)/128" + ON),
    ("the pixels are still bytes: bring them to [-1, 1] first", A + "x0 = pixels" + ON),
    ("the middle is taken off, but the numbers are not divided", A + "x0 = pixels - 127.5" + ON),
    ("bytes overflow: twice a byte is no byte any more, divide first or use .float()",
     A + "x0 = pixels*2/255 - 1" + ON),
    ("bytes overflow: below 0 they begin again at 255, divide first or use .float()",
     A + "x0 = (pixels - 128)/128" + ON),
    ("bytes overflow: below 0 they begin again at 255, divide first or use .float()",
     A + "x0 = (pixels - 127)/127.5" + ON),
    ("the division rounds to whole numbers: all grey is lost", A + "x0 = pixels//127.5 - 1" + ON),
    ("the division rounds to whole numbers: all grey is lost",
     A + "x0 = 2*(pixels//255).float() - 1" + ON),
    ("the batch's own mean and spread are used: bytes 0 and 255 always become -1 and 1",
     P + "(p - p.mean())/(p.std(correction=0) + 1e-9)" + ON),
    ("the batch's own mean and spread are used: bytes 0 and 255 always become -1 and 1",
     P + "(p - p.mean())/127.5" + ON),
    ("the batch's own smallest and largest numbers are used: bytes 0 and 255 always become -1 and "
     "1", P + "2*(p - p.min())/(p.max() - p.min() + 1e-9) - 1" + ON),
    ("the batch's own smallest and largest numbers are used: bytes 0 and 255 always become -1 and "
     "1", P + "2*p/p.max() - 1" + ON),
    ("pixels that are small already are taken for numbers in [0, 1]: bytes may all be dark",
     A + "x0 = pixels/127.5 - 1 if pixels.max() > 1 else 2.*pixels - 1" + ON),
    ("the pixels are cut off at -1 and 1 rather than scaled", P + "p.clamp(-1, 1)" + ON),
    ("the roots are gone from both coefficients: one was right", X + "a*x0 + (1-a)*noise"),
    ("the signal's coefficient was right: no root is missing there",
     X + "a*x0 + (1-a).sqrt()*noise"),
    ("the noise is scaled by one minus the root: it needs the root of one minus abar",
     X + "a.sqrt()*x0 + (1-a.sqrt())*noise"),
    ("signal and noise have changed places", X + "(1-a).sqrt()*x0 + a.sqrt()*noise"),
    ("the sign of the noise is turned", X + "a.sqrt()*x0 - (1-a).sqrt()*noise"),
    ("the noise is not scaled", X + "a.sqrt()*x0 + noise"),
    ("the noise is rescaled with the pixels: it has the right size already",
     A + "x0 = pixels/255\nreturn 2*(a.sqrt()*x0 + (1-a).sqrt()*noise) - 1"),
    ("the noisy image is cut off: noisy numbers may lie outside of [-1, 1]",
     X + "(a.sqrt()*x0 + (1-a).sqrt()*noise).clamp(-1, 1)"),
    ("the result is brought back to [0, 1]: the network sees it in [-1, 1]",
     X + "(a.sqrt()*x0 + (1-a).sqrt()*noise + 1)/2"),
    ("one t for all: every example has its own", A.replace("[t]", "[t[:1]]") + B + ON),
    ("off by one in t: timesteps are 0-based", A.replace("[t]", "[t-1]") + B + ON),
]

RIGHT = [
    "a = abar[t].view(-1, 1, 1, 1)\n"
    "return a.sqrt()*(2*(pixels.float()/255) - 1) + (1-a).sqrt()*noise",
    """
    x0 = (pixels.double() - 127.5)/127.5
    a = abar[t][:, None, None, None].double()
    return torch.sqrt(a)*x0 + torch.sqrt(1-a)*noise""",
    """
    out = noise.clone()
    for i in range(len(pixels)):
        x = pixels[i]/255*2 - 1
        out[i] = abar[t[i]]**0.5*x + (1-abar[t[i]])**0.5*noise[i]
    return out""",
]
