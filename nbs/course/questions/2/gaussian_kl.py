r"""the divergence of two Gaussians

$D_{KL}(\mathcal N(m_1,v_1)\,\|\,\mathcal N(m_2,v_2))$ in nats, for each number by itself; $v$ are variances. Derive it from $\mathbb E[\log\mathcal N(x;m_1,v_1)-\log\mathcal N(x;m_2,v_2)]$, where $x$ is drawn from the first Gaussian.
"""
import math

import torch
from draws import start

POINTS = 2


def gaussian_kl(m1, v1, m2, v2):
    "tensors that broadcast -> nats, elementwise"
    return 0.5*(torch.log(v2/v1) + (v1 + (m1-m2)**2)/v2 - 1)


def visible():
    yield (torch.tensor([0.2, 1.]), torch.tensor([1.5, 0.5]),
           torch.tensor([0.9, -1.]), torch.tensor([2., 0.25]))


def draw(seed):
    "Equal Gaussians, equal means, equal variances; variances from about 1e-5 to 100."
    g, r = start(seed)
    shapes = r.choice([[(3,)]*4, [(2, 1), (2, 1), (1, 3), (1, 3)], [(2, 3), (1,), (2, 3), (1, 3)],
                       [(1,)]*4, [(2, 1, 1, 2)]*4])
    m1, v1, m2, v2 = (torch.randn(s, generator=g, dtype=torch.float64) for s in shapes)
    v1, v2 = [1, 1, 1e-5, 100, 1, 1][seed % 6]*v1.exp(), [1, 1, 1, 1, 100, 1e-5][seed % 6]*v2.exp()
    if seed % 7 == 6: m1 = 30*m1
    if seed % 5 == 1: m2 = m1
    if seed % 5 == 2: v2 = v1
    if seed % 1000 == 11: m2, v2 = m1, v1
    if seed % 4 == 3: m1, v1, m2, v2 = m1.float(), v1.float(), m2.float(), v2.float()
    return m1, v1, m2, v2


KL = "0.5*(torch.log(v2/v1) + (v1 + (m1-m2)**2)/v2 - 1)"
MISTAKES = [
    ("the two Gaussians have changed places: the divergence is not symmetric",
     "0.5*(torch.log(v1/v2) + (v2 + (m1-m2)**2)/v1 - 1)"),
    ("the factor 1/2 is missing", KL.replace("0.5*", "")),
    ("the 1/2 is squared: the factor is 1/2 on every term", KL.replace("0.5", "0.25")),
    ("the 1/2 does not reach all terms: a bracket is missing",
     "0.5*torch.log(v2/v1) + (v1 + (m1-m2)**2)/v2 - 1"),
    ("the -1 is missing: a divergence of equal Gaussians is 0", KL.replace(" - 1", "")),
    ("1/2 is added where it is taken off: a divergence of equal Gaussians is 0",
     KL.replace("- 1", "+ 1")),
    ("1 is taken off behind the factor 1/2: a divergence of equal Gaussians is 0", KL + " - 0.5"),
    ("the -1 is divided by v2 too", "0.5*(torch.log(v2/v1) + (v1 + (m1-m2)**2 - 1)/v2)"),
    ("the variances are taken for standard deviations",
     "torch.log(v2/v1) + (v1**2 + (m1-m2)**2)/(2*v2**2) - 0.5"),
    ("a standard deviation stands where a variance belongs",
     KL.replace("(v1 + (m1-m2)**2)/v2", "v1/v2 + (m1-m2)**2/v2**0.5")),
    ("a standard deviation stands where a variance belongs",
     KL.replace("(v1 + (m1-m2)**2)/v2", "(v1/v2)**0.5 + (m1-m2)**2/v2")),
    ("the ratio in the logarithm is upside down", KL.replace("v2/v1", "v1/v2")),
    ("the ratio of the variances behind the logarithm is upside down",
     KL.replace("(v1 + (m1-m2)**2)/v2", "v2/v1 + (m1-m2)**2/v2")),
    ("the distance of the means is not squared", KL.replace("**2", "")),
    ("the distance of the means is not squared", KL.replace("(m1-m2)**2", "m2 - m1")),
    ("the distance of the means is not squared, only its size is taken",
     KL.replace("(m1-m2)**2", "(m1-m2).abs()")),
    ("the distance of the means is divided by the first variance",
     KL.replace("(v1 + (m1-m2)**2)/v2", "v1/v2 + (m1-m2)**2/v1")),
    ("divided by v1: the distance is measured in the second Gaussian's variance",
     KL.replace("/v2 - 1", "/v1 - 1")),
    ("the distance of the means is divided by the sum of the variances",
     KL.replace("(v1 + (m1-m2)**2)/v2", "v1/v2 + (m1-m2)**2/(v1+v2)")),
    ("the logarithm is missing half: the log of standard deviations has no 1/2, that of variances "
     "does", KL.replace("log(v2/v1)", "log((v2/v1)**0.5)")),
    ("the logarithm is twice too large: the 1/2 belongs to it too",
     KL.replace("torch.log", "2*torch.log")),
    ("in bits; nats are asked for", KL + f"/{math.log(2)}"),
    ("a logarithm to base 2 among terms in nats", KL.replace("log(", "log2(")),
    ("a logarithm to base 10: nats have the natural one", KL.replace("log(", "log10(")),
    ("the term v1/v2 is missing", KL.replace("(v1 + (m1-m2)**2)", "(m1-m2)**2")),
    ("the term with the logarithm is missing", KL.replace("torch.log(v2/v1) + ", "")),
    ("the distance of the means is missing", KL.replace(" + (m1-m2)**2", "")),
    ("only the distance of the means: the variances differ too", "(m1-m2)**2/(2*v2)"),
    ("the sign is turned: the first Gaussian's logarithm comes first, and a divergence is never "
     "negative", "-" + KL),
    ("this is the cross entropy: the entropy of the first Gaussian must be taken off",
     "0.5*torch.log(2*math.pi*v2) + (v1 + (m1-m2)**2)/(2*v2)"),
    ("this is an entropy: the divergence compares two Gaussians",
     "0.5*torch.log(2*math.pi*math.e*v1) + 0*(m1+m2+v2)"),
    ("the constants with 2 pi are in both densities: they cancel",
     KL.replace("v2/v1", "2*math.pi*v2/v1")),
    ("the cross term stays: in expectation x is m1, and the variance of x is v1",
     KL.replace("(m1-m2)**2", "m1**2 + m2**2")),
    ("the means are added: their difference counts", KL.replace("m1-m2", "m1+m2")),
    ("the standard normal is the second Gaussian here: m2 and v2 are given",
     "0.5*(v1 + m1**2 - 1 - torch.log(v1)) + 0*(m2+v2)"),
    ("both directions are averaged: the divergence is not symmetric",
     "0.25*(v1/v2 + v2/v1 + (m1-m2)**2*(1/v1+1/v2)) - 0.5"),
    ("summed: one number for each pair is asked for", f"({KL}).sum()"),
    ("averaged: one number for each pair is asked for", f"({KL}).mean()"),
    ("v is taken for the logarithm of a variance",
     "0.5*(v2 - v1 + (v1.exp() + (m1-m2)**2)/v2.exp() - 1)"),
    ("the variances are cut off from below: they may be small",
     KL.replace("v1", "v1.clamp(min=1e-4)")),
    ("the variances are cut off from below: they may be small",
     KL.replace("v2", "v2.clamp(min=1e-4)")),
    ("the result is cut off: a divergence may be large", f"({KL}).clamp(max=10)"),
]

RIGHT = [
    "(torch.log(v2) - torch.log(v1) - 1 + v1/v2 + (m2-m1)**2/v2)/2",
    """
    from torch.distributions import Normal, kl_divergence
    return kl_divergence(Normal(m1, v1.sqrt()), Normal(m2, v2.sqrt()))""",
    """
    import numpy as np
    m1, v1, m2, v2 = (np.asarray(z, dtype='float64') for z in (m1, v1, m2, v2))
    return 0.5*(np.log(v2/v1) + v1/v2 + np.square(m1-m2)/v2 - 1)""",
    "s1, s2 = v1**0.5, v2**0.5\nreturn torch.log(s2/s1) + (v1 + (m1-m2).pow(2))/(2*v2) - 0.5",
]
