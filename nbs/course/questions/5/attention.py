r"""attention

$\mathrm{softmax}\big(qk^\top/\sqrt d\big)\,v$: every row of $q$ looks at all rows of $k$, and takes the weighted mean of the rows of $v$. Please without `F.scaled_dot_product_attention`.
"""
import torch
from draws import start

POINTS = 2
WITHOUT = ("scaled_dot_product",)


def attention(q, k, v):
    "q (B, N, d), k (B, M, d), v (B, M, e) -> (B, N, e)"
    return torch.softmax(q@k.transpose(1, 2)/q.shape[2]**0.5, 2)@v


def visible():
    yield (torch.tensor([[[1.0, 0.0, 2.0, -1.0, 0.5], [0.0, 1.5, -1.0, 1.0, -2.0]]]),
           torch.tensor([[[2.0, 0.5, 1.0, 1.0, -1.0], [0.5, -2.0, 0.0, 0.0, 1.0]]]),
           torch.tensor([[[1.0, -1.0, 0.5, 2.0, -3.0], [3.0, 5.0, -2.0, 0.3, 1.0]]]))
    yield (torch.arange(30.0).sin().view(2, 3, 5)*2, torch.arange(20.0).cos().view(2, 2, 5),
           torch.tensor([[[1.0], [-2.0]], [[4.0], [0.5]]]))


def draw(seed):
    g, r = start(seed)
    # products of some hundreds overflow in a naive exp
    if seed % 10 == 0:
        q = [[300.0, 0.0], [0.0, -300.0], [300.0, 299.0]][:1 + seed//10 % 3]
        return torch.tensor([q]), torch.eye(2)[None], torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    if seed % 10 == 5: return (torch.tensor([[[100.0, 99.0], [1.0, 0.5]]]), torch.eye(2)[None],
                               torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]))
    B, N, M, d, e = (r.choice(sizes) for sizes in ([1, 2, 3], [1, 2, 4], [1, 3, 4], [1, 2, 5, 9],
                                                   [1, 2, 4]))
    dtype = torch.float64 if seed % 3 == 1 else torch.float32
    random = lambda *shape: torch.randn(shape, generator=g).to(dtype)
    return (r.choice([0.3, 1, 1, 4])*random(B, N, d), r.choice([1, 1, 3])*random(B, M, d),
            r.choice([0.01, 1, 1, 100])*random(B, M, e))


def looks(scores="q@k.transpose(1, 2)/q.shape[2]**0.5", weights="s.softmax(2)", end="w@v"):
    "The solution with one part changed."
    return f"""
    s = {scores}
    w = {weights}
    return {end}"""


def divided(by): return looks(f"q@k.transpose(1, 2)/{by}")
def sums(row): return looks(weights=f"{row}/({row}).sum(2, keepdim=True)")


OTHER = "divided by the root of another number: d is the length of a row of q"
EACH = "the images of a batch look at each other: each has its own k and v"
EXP = "the products are divided by their sum; where is `exp`?"

MISTAKES = [
    ("the division by the root of d is missing", looks("q@k.transpose(1, 2)")),
    ("divided by d where its root is asked for", divided("q.shape[2]")),
    ("divided by half of d where its root is asked for: is it `d**1/2`?",
     divided("(q.shape[2]/2)")),
    ("multiplied by the root of d where it must be divided", divided("q.shape[2]**-0.5")),
    ("divided by the root of the number of rows; d is the length of a row",
     divided("k.shape[1]**0.5")),
    (OTHER, divided("q.shape[1]**0.5")),
    (OTHER, divided("v.shape[2]**0.5")),
    ("the root of d divides after the softmax: it must divide the products before",
     looks("q@k.transpose(1, 2)", end="w@v/q.shape[2]**0.5")),
    ("the softmax runs over the queries: the weights of each query must add up to 1",
     looks(weights="s.softmax(1)")),
    ("every weight is 1 (a softmax over the batch?): this is the sum of the rows of v",
     looks(weights="1 + 0*s")),
    ("the softmax runs over the batch", looks(weights="s.softmax(0)")),
    ("the softmax is missing", looks(weights="s")),
    ("the softmax runs over the finished result; it makes the weights",
     looks(weights="s", end="(w@v).softmax(2)")),
    ("queries and keys have changed places",
     looks("k@q.transpose(1, 2)/q.shape[2]**0.5", end="w@v")),
    ("the weights are transposed before they meet v", looks(end="w.transpose(1, 2)@v")),
    ("k and v have changed places", looks("q@v.transpose(1, 2)/q.shape[2]**0.5", end="w@k")),
    ("the rows of k are averaged; the mean is that of the rows of v", looks(end="w@k")),
    ("q is compared with itself: where does k come in?",
     looks("q@q.transpose(1, 2)/q.shape[2]**0.5")),
    ("a mean without weights", looks(weights="(0*s).softmax(2)")),
    ("the weights are not normalised: exp without the sum", looks(weights="s.exp()")),
    ("the sum of exp runs over all queries: the weights of each query must add up to 1",
     looks(weights="s.exp()/s.exp().sum((1, 2), keepdim=True)")),
    (EXP, sums("s")),
    (EXP, sums("s.abs()")),
    ("`exp` of a large product is infinite: subtract the largest before", sums("s.exp()")),
    ("a sigmoid stands where the softmax belongs: the weights of a query must add up to 1",
     looks(weights="s.sigmoid()")),
    ("a logarithm too many: log_softmax stands where the softmax belongs",
     looks(weights="s.log_softmax(2)")),
    ("the sign in the softmax is turned: the least similar row gets the largest weight",
     looks(weights="(-s).softmax(2)")),
    ("the softmax is taken twice", looks(weights="s.softmax(2).softmax(2)")),
    ("only the best row of v is taken; softmax weighs all of them",
     looks(weights="(s == s.amax(2, keepdim=True)).to(s)")),
    ("a mask hides rows: here every query looks at all rows of k",
     looks(weights="s.masked_fill(torch.ones_like(s).triu(1) > 0, -1e9).softmax(2)")),
    (EACH, looks("q@k.reshape(-1, k.shape[2]).T/q.shape[2]**0.5",
                 end="w@v.reshape(-1, v.shape[2])")),
    (EACH, looks("q@k[:1].transpose(1, 2)/q.shape[2]**0.5", end="w@v[:1]")),
    ("q and k are brought to length 1 (cosine): the products are those of the rows as they are",
     looks("torch.cosine_similarity(q[:, :, None], k[:, None], 3)")),
    ("k is reshaped where it must be transposed: that mixes its rows",
     looks("q@k.reshape(k.shape[0], k.shape[2], k.shape[1])/q.shape[2]**0.5")),
    ("each query meets only the row of k at its own place: it must look at all rows",
     "w = torch.softmax((q*k).sum(2)/q.shape[2]**0.5, 1)\nreturn w[:, :, None]*v"),
    ("these are the weights: multiply them by v", looks(end="w")),
    ("the queries are added at the end: the weighted mean alone is asked for",
     looks(end="q + w@v")),
    ("large products are cut off: nothing is cut off here",
     looks(weights="s.clamp(-5, 5).softmax(2)")),
]

RIGHT = [
    """
    w = torch.einsum('bnd,bmd->bnm', q, k)/q.shape[-1]**0.5
    return torch.einsum('bnm,bme->bne', w.softmax(-1), v)""",
    """
    s = (q.double()@k.double().mT)*q.shape[-1]**-0.5
    e = torch.exp(s - s.max(-1, keepdim=True).values)
    return (e@v.double())/e.sum(-1, keepdim=True)""",
    """
    out = []
    for qb, kb, vb in zip(q, k, v):
        out.append(torch.stack([torch.softmax(kb@row/len(row)**0.5, 0)@vb for row in qb]))
    return torch.stack(out)""",
    """
    scale = q.shape[2]**-0.25
    s = torch.bmm(q*scale, (k*scale).permute(0, 2, 1))
    return torch.bmm(torch.exp(s - torch.logsumexp(s, 2, keepdim=True)), v)""",
]
