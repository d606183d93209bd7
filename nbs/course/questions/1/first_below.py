r"""predict, then run

The signal-to-noise ratio is $\mathrm{SNR}(t)=\bar\alpha_t/(1-\bar\alpha_t)$. Write the function that finds the first $t$ at which it is *below* a limit; if it never is, return the length of the table. Predict first, below; then run `first_below(abar, 1.)` for the linear schedule of a thousand steps, and compare.
"""
import torch
from draws import abar_of, start

POINTS = 2
WRITTEN = (
    "Before you run anything: under the linear schedule of a thousand steps, at which $t$ is "
    "there for the first time more noise than signal? Give a number and your reason. "
    "Afterwards add what came out, and what you had not thought of.")
WRITTEN_POINTS = 1


def first_below(abar, limit):
    "abar (T,), limit a number -> first t with SNR(t) < limit, a whole number; T if there is none"
    below = (abar/(1-abar) < limit).tolist()
    return below.index(True) if True in below else len(below)


def visible():
    yield torch.linspace(0.79, 0.02, 57), 0.52
    yield torch.tensor([0.9, 0.8, 0.7, 0.64, 0.4, 0.1]), 2.2
    yield torch.tensor([0.9, 0.7, 0.5, 0.2, 0.1]), 1.


def draw(seed):
    "Limits above all of the table, between two of its entries, below all, and on an entry."
    abar, (_, r) = abar_of(seed), start(seed)
    if seed % 7 == 6: return torch.tensor([0.95, 0.8, 0.5, 0.3]), 1.
    snr = (abar/(1-abar)).double().tolist()
    snr, k = [4*snr[0], *snr, snr[-1]/4], r.choice([0, len(snr), r.randrange(len(snr))])
    return abar, (snr[k]*snr[k+1])**0.5


HIT = "hit = ({}).tolist()\nreturn hit.index(True) if True in hit else len(hit)"
S = "snr = abar/(1-abar)\nreturn "
MISTAKES = [
    ("a t above the limit: the comparison is turned, or the ratio is upside down",
     HIT.format("abar/(1-abar) > limit")),
    ("a t above the limit: the comparison is turned, or the ratio is upside down",
     HIT.format("(1-abar)/abar < limit")),
    ("the ratio is upside down: signal over noise", HIT.format("(1-abar)/abar > limit")),
    ("off by one in t: timesteps are 0-based",
     "below = (abar/(1-abar) < limit).tolist()\n"
     "return below.index(True) + 1 if True in below else len(below)"),
    ("off by one in t: this is the last t at which the SNR is not below",
     "return max(int((abar/(1-abar) >= limit).sum()) - 1, 0)"),
    ("SNR(t) = limit is not yet below", HIT.format("abar/(1-abar) <= limit")),
    ("the t whose SNR is nearest to the limit: the first one below it is asked for",
     S + "int(torch.argmin((snr-limit).abs()))"),
    ("this counts the times below the limit, and does not say which is the first",
     S + "int((snr < limit).sum())"),
    ("the last t below the limit: the first is asked for",
     "return len(abar)-1 if abar[-1]/(1-abar[-1]) < limit else len(abar)"),
    ("abar itself is compared, not the SNR", HIT.format("abar < limit")),
    ("the noise's variance is compared, not the SNR", HIT.format("1-abar > limit")),
    ("a ratio of standard deviations, the root of the SNR: the SNR is a ratio of variances",
     HIT.format("(abar/(1-abar)).sqrt() < limit")),
    ("one root too many in the SNR: it is a ratio of variances",
     HIT.format("abar.sqrt()/(1-abar) < limit")),
    ("one root too many in the SNR: it is a ratio of variances",
     HIT.format("abar/(1-abar).sqrt() < limit")),
    ("the SNR is squared: it is a ratio of variances already",
     HIT.format("(abar/(1-abar))**2 < limit")),
    ("the logarithm of the SNR is compared with a limit that has none",
     HIT.format("(abar/(1-abar)).log() < limit")),
    ("the logarithm of the SNR is compared with a limit that has none",
     HIT.format("10*(abar/(1-abar)).log10() < limit")),
    ("the difference of signal and noise is compared: the ratio is asked for",
     HIT.format("abar-(1-abar) < limit")),
    ("abar is multiplied up once more: it is a finished table already",
     HIT.format("1/(1/torch.cumprod(abar, 0)-1) < limit")),
    ("where there is more noise than signal: the limit is not used", HIT.format("abar < 0.5")),
    ("the SNR at that t is returned: the t itself is asked for",
     S + "snr[snr < limit][0] if (snr < limit).any() else len(snr)"),
    ("abar at that t is returned: the t itself is asked for",
     S + "abar[snr < limit][0] if (snr < limit).any() else len(snr)"),
    ("the length of the table, though there is a t below the limit", "len(abar)"),
    ("t is given as a share of the table: a whole number is asked for",
     S + "int((snr >= limit).sum())/len(abar)"),
    ("a truth value is returned: a whole number is asked for", S + "bool((snr < limit).any())"),
    ("no t is below the limit: then the length of the table is asked for, not -1",
     HIT.replace("len(hit)", "-1").format("abar/(1-abar) < limit")),
    ("no t is below the limit: then the length of the table is asked for, not its last t",
     HIT.replace("len(hit)", "len(hit)-1").format("abar/(1-abar) < limit")),
    ("no t is below the limit: then the length of the table is asked for",
     S + "int((snr < limit).int().argmax())"),
    ("no t is below the limit: then the length of the table is asked for",
     S + "(snr < limit).tolist().index(True)"),
    ("the first entry is not looked at: it may be below the limit already",
     S + "1 + int((snr[1:] >= limit).sum())"),
    ("the last entry is not looked at: it may be the first below the limit",
     S + "int((snr[:-1] >= limit).sum()) if (snr < limit).sum() != 1 else len(snr)"),
    ("a number known from the usual schedule is returned: the table and the limit that are given "
     "count",
     "if len(abar) == 1000: return 258\n" + HIT.format("abar/(1-abar) < limit")),
]

RIGHT = [
    "for t, a in enumerate(abar):\n    if a/(1-a) < limit: return t\nreturn len(abar)",
    "int((abar/(1-abar) >= limit).sum())",
    """
    import numpy as np
    hit = np.nonzero((abar/(1-abar)).numpy() < limit)[0]
    return hit[0] if len(hit) else len(abar)""",
    "below = abar/(1-abar) < limit\nreturn below.int().argmax() if below.any() else len(abar)",
    """
    t = 0
    while t < len(abar) and abar[t] >= limit*(1-abar[t]): t += 1
    return torch.tensor(t)""",
]
