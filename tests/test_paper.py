"The paper's experiments: the short version of the tables, and the commands of the headline."
import importlib.util
import json
import sys
import types
import warnings
from pathlib import Path

import numpy as np
import torch

import ddpm_edu.evaluation as evaluation
from ddpm_edu import DDPMPipeline, DDPMScheduler, UNet
from ddpm_edu.bits import bits_per_dim
from ddpm_edu.unet import unet_config

script = Path(__file__).parent.parent/"nbs"/"experiments"/"tables.py"
# what would reproduce FID 3.17, where the hub, CIFAR-10 and the weights of InceptionV3 are at hand
HEADLINE = """
from ddpm_edu import DDPMPipeline
from ddpm_edu.evaluation import fid
from ddpm_edu.many import sample_many
from torchvision.datasets import CIFAR10
import numpy as np

pipe = DDPMPipeline.from_pretrained("google/ddpm-cifar10-32")
sample_many(pipe, 50_000, "cifar10.npz")
found = fid(np.load("cifar10.npz")["arr_0"], CIFAR10(".", download=True).data)
"""


def tables():
    spec = importlib.util.spec_from_file_location("tables", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_headlines_commands(tmp_path, monkeypatch):
    "With a hub that has a tiny network of that name, a few images, and small features."
    import huggingface_hub
    tiny = dict(unet_config("tiny"), sample_size=32, in_channels=3, out_channels=3)
    DDPMPipeline(UNet(**tiny), DDPMScheduler(5, beta_end=0.9)).save_pretrained(tmp_path/"hub")
    asked = []
    def download(name, **options):
        asked.append(name)
        return tmp_path/"hub"
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    data = np.random.default_rng(0).integers(256, size=(12, 32, 32, 3), dtype=np.uint8)
    fake = types.ModuleType("torchvision.datasets")
    fake.CIFAR10 = lambda root, download: types.SimpleNamespace(data=data)
    monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.datasets", fake)
    small = lambda x: x.float().mean((2, 3))                              # three features
    monkeypatch.setattr(evaluation, "_extractor", lambda name: {"inception": small}[name])
    monkeypatch.chdir(tmp_path)
    few = HEADLINE.replace("50_000, ", "6, ").replace('.npz")\nfound', '.npz", 0, 5)\nfound')
    assert few.count("6, ") == 1 and "0, 5)" in few
    said = {}
    exec(few, said)
    drawn = np.load(tmp_path/"cifar10.npz")["arr_0"]
    assert asked == ["google/ddpm-cifar10-32"] and drawn.shape == (6, 32, 32, 3)
    points = [torch.tensor(x).float().mean((1, 2)) for x in (drawn, data)]
    assert abs(said["found"] - evaluation.frechet_distance(*points)) < 1e-3*said["found"]
    assert abs(said["found"] - evaluation.frechet_distance(points[0], points[0])) > 1e-3   # control


def test_the_tables_bits_do_not_depend_on_what_is_predicted():
    "The same knowledge said as noise and as mu; not if one is taken for the other."
    t = tables()
    torch.manual_seed(0)
    pipe = DDPMPipeline.from_pretrained("fashion-mnist")
    images, o = torch.randint(256, (3, 1, 28, 28), dtype=torch.uint8), dict(t.SHORT, groups=4)
    schedule = pipe.scheduler.schedule
    ours, error = t.bits(pipe.unet.eval(), images, "epsilon, L, fixed", o)
    options = dict(groups=4, clip=False, variance_type="fixed_large")
    theirs = bits_per_dim(pipe, images, generator=torch.Generator().manual_seed(0), **options)
    assert abs(ours - theirs.mean) < 1e-4*ours and abs(error - theirs.error) < 1e-3*error

    class Mean(torch.nn.Module):
        "The mean of the step and, if that is wanted, v: 0.3 everywhere."
        def __init__(self, learned=False):
            super().__init__()
            self.unet, self.config, self.learned = pipe.unet, pipe.unet.config, learned

        def forward(self, x, at):
            eps = pipe.unet(x, at).sample
            said = [schedule.convert(x, at, eps, "epsilon", "mu"), torch.full_like(x, 0.3)]
            return types.SimpleNamespace(sample=torch.cat(said[:1 + self.learned], 1))
    assert abs(t.bits(Mean(), images, "mu, L, fixed", o)[0] - ours) < 1e-3*ours
    assert abs(t.bits(Mean(), images, "epsilon, L, fixed", o)[0] - ours) > 0.05*ours

    class Both(torch.nn.Module):
        "The noise, and the same v."
        def __init__(self):
            super().__init__()
            self.unet, self.config = pipe.unet, pipe.unet.config

        def forward(self, x, at):
            said = [pipe.unet(x, at).sample, torch.full_like(x, 0.3)]
            return types.SimpleNamespace(sample=torch.cat(said, 1))
    found = t.bits(Both(), images, "epsilon, L, learned", o)[0]
    assert abs(t.bits(Mean(True), images, "mu, L, learned", o)[0] - found) < 1e-3*found
    assert abs(found - ours) > 1e-3*ours                                 # another variance


def test_the_short_tables_go_on_where_they_were_stopped(tmp_path, monkeypatch):
    "In the same folder, and on a machine that has the file of results alone."
    t, trained = tables(), []
    some = ("mu, L, learned", "epsilon, L_simple", "epsilon, hybrid")
    monkeypatch.setattr(t, "CELLS", {name: t.CELLS[name] for name in some})
    monkeypatch.setattr(t, "SHORT", dict(t.SHORT, steps=4, samples=6, draw_batch=3))
    real = t.train
    monkeypatch.setattr(t, "train", lambda folder, name, *a: trained.append(name)
                        or real(folder, name, *a))
    here, elsewhere = tmp_path/"here", tmp_path/"elsewhere"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")                        # few images for the distance
        first = t.main([str(here), "--short"])
        written = json.loads((here/"tables.json").read_text())
        assert written["runs"] == json.loads(json.dumps(first)) and trained == list(some)
        assert t.main([str(here), "--short"]) == written["runs"] and trained == list(some)
        elsewhere.mkdir()
        part = dict(written, runs=written["runs"][::2])        # the one in the middle is missing
        (elsewhere/"tables.json").write_text(json.dumps(part))
        again = t.main([str(elsewhere), "--short"])
    assert [r["cell"] for r in first] == list(some) and (here/"tables.png").exists()
    assert trained[3:] == [some[1]] and not (elsewhere/"tables.png").exists()
    assert again[::2] == written["runs"][::2] and again[1]["bits_test"] == first[1]["bits_test"]
    assert json.loads((elsewhere/"tables.json").read_text())["runs"] == json.loads(
        json.dumps(again))
    assert t.finished(here/"tables.json", dict(t.SHORT, steps=5)) == {}     # other options


def test_a_run_that_falls_apart_is_called_unstable():
    t = tables()
    steady, worse = ([[i, f(i), 1.] for i in range(1, 20)] for f in (lambda i: 1/i, float))
    assert t.unstable(steady) is None and "5.67 times" in t.unstable(worse)
    assert "not finite" in t.unstable([*steady, [20, float("nan"), 1.]])
