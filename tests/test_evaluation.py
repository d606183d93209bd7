"Distances between sets of images, against closed forms and other libraries."
import sys
import types
import urllib.error

import pytest
import torch
from scipy.linalg import sqrtm
from torch import nn

from ddpm_edu import evaluation
from ddpm_edu.data import SLICE, load_fashion_mnist
from ddpm_edu.evaluation import (FashionFeatures, FeatureStats, InceptionFeatures, bootstrap_error,
    fashion_classifier, fashion_distance, feature_stats, fid, frechet_distance, image_features,
    inception_score, kernel_distance, nearest_images, precision_recall, reference_stats)
from ddpm_edu.images import to_model

test = load_fashion_mnist("test", root=SLICE)
some = test.images[:60]


def draw(n, D, seed):
    "Features with correlations, (n, D)."
    g = torch.Generator().manual_seed(seed)
    mix = torch.randn(D, D, generator=g, dtype=torch.float64)
    return torch.randn(n, D, generator=g, dtype=torch.float64) @ mix + seed


def by_scipy(a, b):
    "The formula of Heusel et al., with scipy's root of a product."
    Ca, Cb = a.T.cov().numpy(), b.T.cov().numpy()
    shift = (a.mean(0) - b.mean(0)).square().sum().item()
    return shift + Ca.trace() + Cb.trace() - 2*sqrtm(Ca @ Cb).trace().real


def test_frechet_distance_of_gaussians():
    "Diagonal covariances: the square of the difference of the deviations."
    x = torch.randn(500, 3, generator=torch.Generator().manual_seed(0))
    x = x.double() - x.double().mean(0)
    x = x @ torch.linalg.inv(torch.linalg.cholesky(x.T.cov())).T           # exactly white
    a, b = x*torch.tensor([1., 2., 3.]), x*torch.tensor([2., 2., 1.]) + 1
    assert abs(frechet_distance(a, b) - (1 + 0 + 4 + 3)) < 1e-9
    assert abs(frechet_distance(a, a)) < 1e-9


def test_frechet_distance_is_scipys():
    a, b = draw(50, 6, 1), draw(40, 6, 2)
    assert abs(frechet_distance(a, b) - by_scipy(a, b)) < 1e-6*by_scipy(a, b)
    assert abs(frechet_distance(a, b) - frechet_distance(b, a)) < 1e-8*by_scipy(a, b)
    assert abs(frechet_distance(a, b) - by_scipy(a, b + 0.1)) > 1e-3          # negative control


def test_frechet_distance_is_torchmetrics():
    fid_module = pytest.importorskip("torchmetrics.image.fid")
    a, b = draw(50, 6, 1), draw(40, 6, 2)
    theirs = fid_module._compute_fid(a.mean(0), a.T.cov(), b.mean(0), b.T.cov()).item()
    assert abs(frechet_distance(a, b) - theirs) < 1e-6*theirs


@pytest.mark.parametrize("n", [2, 5])
def test_fewer_images_than_features(n):
    "Singular covariances: by the singular values of the centred data, without any root."
    a, b = draw(n, 8, 1), draw(7, 8, 2)
    ca, cb = ((x - x.mean(0))/(len(x) - 1)**0.5 for x in (a, b))
    overlap = torch.linalg.svdvals(cb @ ca.T).sum()
    right = (a.mean(0) - b.mean(0)).square().sum() + ca.square().sum() + cb.square().sum()
    assert abs(frechet_distance(a, b) - (right - 2*overlap).item()) < 1e-5*right


def test_one_feature():
    a, b = draw(30, 1, 1), draw(20, 1, 2)
    right = (a.mean() - b.mean())**2 + (a.std() - b.std())**2
    assert abs(frechet_distance(a, b) - right.item()) < 1e-9*right


def test_the_classifier_names_garments():
    with torch.no_grad(): said = fashion_classifier()(to_model(test.images)).argmax(1)
    assert said.eq(test.labels).float().mean() > 0.9


def test_features_do_not_depend_on_the_batch_or_the_mode():
    whole = image_features(some, batch_size=60)
    for size in (1, 7, 59): assert torch.allclose(image_features(some, batch_size=size), whole,
                                                  atol=1e-4)
    loud = FashionFeatures().train()
    assert torch.allclose(image_features(some, loud, batch_size=7), whole, atol=1e-4)
    assert all(m.training for m in loud.modules() if m is not loud.classifier)
    with torch.no_grad(): assert not torch.allclose(loud(some), whole, atol=1e-2)


def test_an_image_is_its_bytes():
    "However it comes; floating point is rounded."
    whole, unit = image_features(some), some.float()/255
    for same in (unit, unit.double(), unit + 0.4/255*torch.rand(unit.shape).sub(0.5),
                 unit.movedim(1, -1).numpy(), some.movedim(1, -1).numpy()):
        value_range = (0, 1) if not isinstance(same, torch.Tensor) or same.min() < 0 else None
        if getattr(same, "dtype", None) == "uint8": value_range = None
        assert torch.equal(image_features(same, value_range=value_range), whole)
    assert torch.equal(image_features(2*unit - 1, value_range=(-1, 1)), whole)
    assert not torch.allclose(image_features(unit, value_range=(-1, 1)), whole, atol=0.1)


def test_statistics_of_the_package():
    "Those of the slice are near; they count all images."
    stats = reference_stats("test")
    assert stats.n == 10_000 and reference_stats("train").n == 60_000
    assert frechet_distance(stats, image_features(test.images)) < 0.2
    assert fashion_distance(test.images, "test") == fashion_distance(test.images, stats)
    assert frechet_distance(stats, reference_stats()) < 0.1


def test_few_images_are_noticed():
    with pytest.warns(UserWarning, match="60 images are too few for 64 features"):
        fashion_distance(some, test.images)


def test_an_extractor_of_ones_own():
    features = image_features(some, lambda x: x.flatten(1)[:, ::50].float())
    assert features.shape == (60, 16) and features.max() > 100


def test_bootstrap_error_of_a_mean():
    "It is the standard error that everybody knows."
    x = torch.randn(400, 1, generator=torch.Generator().manual_seed(0))
    found = bootstrap_error(lambda f: f.mean().item(), x, rounds=400,
                            generator=torch.Generator().manual_seed(1))
    assert abs(found - x.std().item()/20) < 0.15*x.std().item()/20


class Network(nn.Module):
    "In the place of torchmetrics' InceptionV3: wants three channels of bytes."
    def __init__(self, name, features, weights=None):
        super().__init__()
        self.asked = name, features, weights

    def forward(self, x):
        assert x.dtype == torch.uint8 and x.shape[1] == 3
        return x.float().flatten(2).mean(2)*torch.tensor([1., 2, 3])


@pytest.fixture
def inception(monkeypatch):
    "Let `InceptionFeatures` find another network, or an error."
    def put(network):
        module = types.ModuleType("torchmetrics.image.fid")
        module.NoTrainInceptionV3 = network
        monkeypatch.setitem(sys.modules, "torchmetrics.image.fid", module)
        evaluation._extractor.cache_clear()
    yield put
    evaluation._extractor.cache_clear()


def test_fid_of_gray_images(inception):
    inception(Network)
    found = fid(test.images[:200], test.images[200:500])
    own = [draw.float().mean((1, 2, 3))[:, None]*torch.tensor([1., 2, 3])
           for draw in (test.images[:200], test.images[200:500])]
    assert abs(found - frechet_distance(*own)) < 1e-3
    stats = feature_stats(own[1])
    assert abs(fid(test.images[:200], stats, batch_size=33) - found) < 1e-3


def test_what_fid_is_missing(inception):
    def offline(*args): raise urllib.error.URLError("no route to host")
    inception(offline)
    with pytest.raises(FileNotFoundError, match="(?s)weights of InceptionV3.*no route.*https://"):
        fid(some, some)
    def absent(*args): raise ModuleNotFoundError("Torch-fidelity is not installed")
    inception(absent)
    with pytest.raises(ImportError, match=r"torchmetrics and torch-fidelity.*ddpm-edu\[evaluate\]"):
        InceptionFeatures()


def test_stats_are_an_output():
    stats = feature_stats(draw(5, 3, 0))
    assert isinstance(stats, FeatureStats) and stats["n"] == 5 and stats.cov.dtype == torch.float64


def test_kernel_distance_is_torchmetrics():
    kid = pytest.importorskip("torchmetrics.image.kid")
    a, b = draw(40, 5, 1), draw(40, 5, 2)
    theirs = kid.poly_mmd(a, b).item()
    assert abs(kernel_distance(a, b) - theirs) < 1e-9*abs(theirs)
    assert abs(kernel_distance(a, b + 0.1) - theirs) > 1e-3*abs(theirs)       # negative control


def test_kernel_distance_pair_by_pair():
    "Sets of different sizes, and no point with itself."
    a, b = draw(4, 3, 1), draw(6, 3, 2)
    k = lambda x, y: ((x @ y).item()/3 + 1)**3
    def pairs(x): return [k(p, q) for i, p in enumerate(x) for j, q in enumerate(x) if i != j]
    mean = lambda values: sum(values)/len(values)
    right = mean(pairs(a)) + mean(pairs(b)) - 2*mean([k(p, q) for p in a for q in b])
    assert abs(kernel_distance(a, b) - right) < 1e-9*abs(right)


def test_subsets_of_the_kernel_distance():
    "On the average they say the same."
    a, b = draw(60, 4, 1), draw(50, 4, 3)
    few = kernel_distance(a, b, 20, subsets=400, generator=torch.Generator().manual_seed(0))
    assert abs(few - kernel_distance(a, b)) < 0.25*abs(kernel_distance(a, b))


def test_precision_and_recall():
    "Two heaps, one of which is never drawn; and a point far away."
    g = torch.Generator().manual_seed(0)
    heap = lambda n: torch.randn(n, 2, generator=g)
    real, drawn = torch.cat([heap(200), heap(200) + 20]), heap(100)
    precision, recall = precision_recall(drawn, real)
    assert precision > 0.9 and 0.4 < recall < 0.51
    astray = torch.cat([drawn[:90], torch.full((10, 2), 60.) + heap(10)])
    assert precision_recall(astray, real)[0] < 0.91 and precision_recall(real, real) == (1., 1.)
    assert precision_recall(real, drawn) == (recall, precision)


def test_the_kth_ball():
    "On a line by hand: the balls of 0, 1, 3 reach to 1, 1, 2 or, for k=2, to 3, 2, 3."
    cloud = torch.tensor([[0.], [1.], [3.]])
    points = torch.tensor([[-1.], [-1.5], [5.], [5.5], [-2.9], [6.1]])
    assert precision_recall(points, cloud, 1)[0] == 2/6
    assert precision_recall(points, cloud, 2)[0] == 5/6


def test_inception_score_by_hand():
    p = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]], dtype=torch.float64)
    kl = (p*(p/p.mean(0)).log()).sum(1)
    assert abs(inception_score(p.log() + 5) - kl.mean().exp().item()) < 1e-9


def test_nearest_images():
    a, b = draw(205, 7, 1), draw(90, 7, 2)
    b[17] = a[203]
    distance, which = nearest_images(a, b)
    right = (a[:, None] - b).square().sum(2).sqrt()
    assert nearest_images(a[203:204], b[17:18])[1].tolist() == [0]              # one is enough
    assert torch.equal(which, right.argmin(1)) and which[203] == 17 and distance[203] < 1e-3
    assert torch.allclose(distance.double(), right.min(1).values, rtol=1e-4, atol=1e-3)


def test_bits_are_found_here_too():
    from ddpm_edu import bits
    assert evaluation.bits_per_dim is bits.bits_per_dim


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_defaults_of_torch_change_nothing(dtype):
    "Neither a type, nor a device, nor half precision that somebody has left on."

    images, (a, b) = some[:3], (draw(9, 4, seed).float() for seed in (0, 1))
    def numbers():
        evaluation._extractor.cache_clear()                # the classifier is built here
        g = torch.Generator("cpu").manual_seed(0)
        return (image_features(images), kernel_distance(a, b, 5, 3, g),
                bootstrap_error(kernel_distance, a, b, rounds=3, generator=g),
                precision_recall(a, b), inception_score(a), nearest_images(a, b)[0])
    before = numbers()
    try:
        torch.set_default_dtype(dtype)
        with torch.device("meta"), torch.autocast("cpu", torch.bfloat16): after = numbers()
    finally: torch.set_default_dtype(torch.float32)
    for x, y in zip(before, after):
        assert torch.allclose(torch.as_tensor(x), torch.as_tensor(y), rtol=1e-5, atol=1e-6)
    with torch.autocast("cpu", torch.bfloat16):            # negative control: it would be seen
        rough = evaluation.fashion_classifier().features(to_model(images)).float()
    assert not torch.allclose(before[0], rough.detach(), rtol=1e-5, atol=1e-6)


def test_features_on_an_accelerator_without_float64():
    from pretend_device import accelerator, far, near
    a, b = (draw(9, 4, seed).float() for seed in (0, 1))
    for measure in (frechet_distance, kernel_distance, precision_recall):
        with accelerator(): assert measure(far(a), b) == measure(a, far(b)) == measure(a, b)
    with accelerator(): found = nearest_images(far(a), b)
    assert all(torch.allclose(near(x), y) for x, y in zip(found, nearest_images(a, b)))


def test_a_summary_keeps_no_graph():
    assert not feature_stats(draw(9, 4, 0).requires_grad_()).mean.requires_grad


def test_what_an_extractor_may_return():
    "Arrays, and features that still have sides, as InceptionV3's own output."
    flat = lambda v: v.float().flatten(1)
    for say in (lambda v: flat(v).numpy(), lambda v: flat(v)[..., None, None]):
        assert torch.equal(image_features(some[:3], say), flat(some[:3]))


def test_kernel_distance_needs_no_table_of_all_pairs():
    "Two thousand images and more are compared in parts; the parts change nothing."
    a, b = draw(2100, 3, 0), draw(2300, 3, 1)
    k = lambda x, y: (x @ y.T/3 + 1)**3
    x, y = a.double(), b.double()
    own = lambda v: (k(v, v).sum() - k(v, v).diagonal().sum())/(len(v)*(len(v) - 1))
    assert kernel_distance(a, b) == pytest.approx((own(x) + own(y) - 2*k(x, y).mean()).item())
