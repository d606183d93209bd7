"The command that evaluates: a line for the model, a line for real images."
import json
import sys
import types
import urllib.error

import numpy as np
import pytest
import torch
from PIL import Image

from ddpm_edu import DDPMPipeline, DDPMScheduler, UNet, evaluation
from ddpm_edu.cli import main
from ddpm_edu.unet import unet_config


def test_the_table_and_json(tmp_path, capsys):
    "The same numbers twice; the second time the samples are there."
    options = ["evaluate", "--n", "8", "--steps", "1", "--out", str(tmp_path/"samples")]
    assert main([*options, "--bits", "2"]) == 0
    head, model, real = capsys.readouterr().out.splitlines()
    assert head.split() == ["n", "distance", "precision", "recall", "bits", "per", "pixel"]
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path/"samples").iterdir()}
    assert main([*options, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert before == {p.name: p.stat().st_mtime_ns for p in (tmp_path/"samples").iterdir()}
    assert len(before) == 9 and said["model"]["bits"] is None
    for name, line in (("model", model), ("real", real)):
        row, words = said[name], line.split()
        expected = [name, "8", f"{row['distance']:.2f}", "+-", f"{row['error']:.2f}",
                    f"{row['precision']:.2f}", f"{row['recall']:.2f}"]
        assert words[:7] == expected
    assert said["real"]["distance"] < said["model"]["distance"]
    assert 1 < float(model.split()[7]) < 8 and len(real.split()) == 7


@pytest.mark.parametrize("options,words", [
    (["--n", "1"], "--n must be between 4 and 10000"), (["--bits", "1"], "--bits must be 0 or at"),
    (["--seed", "-1"], "--seed must be between 0"),
    (["--steps", "1001"], "--steps must be between 1 and 1000"),
    (["--model", "fashion-mnits"], "Did you mean 'fashion-mnist'")])
def test_refused(options, words, capsys):
    assert main(["evaluate", *options]) == 1
    assert words in capsys.readouterr().err


def test_only_what_the_classifier_knows(tmp_path, capsys):
    DDPMPipeline(UNet(**unet_config("tiny")), DDPMScheduler()).save_pretrained(tmp_path/"m")
    assert main(["evaluate", "--model", str(tmp_path/"m")]) == 1
    assert "gray ones of 28x28" in capsys.readouterr().err


class Network(torch.nn.Module):
    "In the place of InceptionV3: the means of three channels, each weighed."
    def __init__(self, name, features, weights=None):
        super().__init__()
        self.scale = 2. if weights else 1.

    def forward(self, x):
        assert x.dtype == torch.uint8 and x.shape[1] == 3
        return self.scale*x.float().flatten(2).mean(2)*torch.tensor([1., 2, 3])


@pytest.fixture
def inception(monkeypatch):
    "Let `InceptionFeatures` find another network, or an error."
    def put(network):
        module = types.ModuleType("torchmetrics.image.fid")
        module.NoTrainInceptionV3 = network
        monkeypatch.setitem(sys.modules, "torchmetrics.image.fid", module)
    return put


def pictures(folder, n, seed):
    "Colored noise, a file each; and its bytes."
    x = np.random.default_rng(seed).integers(256, size=(n, 8, 8, 3), dtype=np.uint8)
    folder.mkdir(parents=True)
    for i, pixels in enumerate(x): Image.fromarray(pixels).save(folder/f"{i}.png")
    return x


def coloured(folder):
    "A tiny pipeline for colored pictures, saved."
    torch.manual_seed(0)
    config = dict(unet_config("tiny"), sample_size=8, in_channels=3, out_channels=3)
    DDPMPipeline(UNet(**config), DDPMScheduler()).save_pretrained(folder)
    return folder


def hand(x): return torch.tensor(np.asarray(x)).float().mean((1, 2))*torch.tensor([1., 2, 3])


@pytest.mark.filterwarnings("ignore:12 images are too few")
@pytest.mark.parametrize("reference", ["train", "test"])
def test_inception_and_a_folder_of_pictures(tmp_path, capsys, inception, reference):
    "The FID is that of the means by hand, from the part that was asked for."
    inception(Network)
    model, data = coloured(tmp_path/"model"), tmp_path/"data"
    parts = {"train": pictures(data/"train", 30, 0), "test": pictures(data/"test", 20, 1)//2}
    for i, x in enumerate(parts["test"]): Image.fromarray(x).save(data/"test"/f"{i}.png")
    options = ["evaluate", "--model", str(model), "--n", "12", "--steps", "2", "--features",
               "inception", "--data", str(data), "--out", str(tmp_path/"drawn"), "--json",
               "--reference", reference, "--bits", "3"]
    assert main(options) == 0
    said = json.loads(capsys.readouterr().out)
    drawn = [np.asarray(Image.open(p)) for p in sorted((tmp_path/"drawn").glob("*.png"))]
    far = {k: evaluation.frechet_distance(hand(drawn), hand(x)) for k, x in parts.items()}
    assert abs(said["model"]["fid"]/far[reference] - 1) < 1e-4 and "distance" not in said["model"]
    other, = set(parts) - {reference}
    assert abs(said["model"]["fid"]/far[other] - 1) > 0.1                # negative control
    assert said["model"]["n"] == said["real"]["n"] == 12 == len(drawn)
    between = evaluation.frechet_distance(*map(hand, parts.values()))
    assert 0.2 < said["real"]["fid"]/between < 5 and said["model"]["bits"] > 1
    options.remove("--json")
    assert main(options) == 0
    assert capsys.readouterr().out.split()[:3] == ["n", "FID", "precision"]


def test_weights_of_ones_own(tmp_path, capsys, inception):
    "The file is passed on; a folder without parts is the reference, and there is no real line."
    inception(Network)
    model, x = coloured(tmp_path/"model"), pictures(tmp_path/"data", 30, 0)
    (tmp_path/"w.pth").write_bytes(b"weights")
    found = {}
    for weights in ("", str(tmp_path/"w.pth")):
        assert main(["evaluate", "--model", str(model), "--n", "4", "--steps", "1", "--json",
            "--features", "inception", "--data", str(tmp_path/"data"), "--weights", weights,
            "--out", str(tmp_path/"drawn")]) == 0
        said = json.loads(capsys.readouterr().out)
        assert list(said) == ["model"]
        found[bool(weights)] = said["model"]["fid"]
    drawn = [np.asarray(Image.open(p)) for p in sorted((tmp_path/"drawn").glob("*.png"))]
    assert abs(found[False]/evaluation.frechet_distance(hand(drawn), hand(x)) - 1) < 1e-4
    assert abs(found[True]/found[False] - 4) < 1e-3                      # features twice as large


def test_missing_weights_are_said_before_anything_is_drawn(tmp_path, capsys, inception):
    def offline(*args): raise urllib.error.URLError("no route to host")
    def absent(*args): raise ModuleNotFoundError("Torch-fidelity is not installed")
    model = coloured(tmp_path/"model")
    pictures(tmp_path/"data", 3, 0)
    options = ["evaluate", "--model", str(model), "--n", "4", "--features", "inception",
               "--data", str(tmp_path/"data"), "--out", str(tmp_path/"drawn")]
    for network, words in ((offline, ("weights of InceptionV3 were not found", "no route to host",
                                      "https://github.com/", "--weights PATH")),
                           (absent, ("torchmetrics and torch-fidelity", "ddpm-edu[evaluate]"))):
        inception(network)
        assert main(options) == 1
        said = capsys.readouterr().err
        assert all(word in said for word in words) and len(said.strip().splitlines()) == 1
        assert not (tmp_path/"drawn").exists()


@pytest.mark.parametrize("options,words", [
    (["--features", "inceptoin"], "--features must be one of"),
    (["--reference", "valid"], "--reference must be one of"),
    (["--data", "{tmp}/x"], "needs --features 'inception'"),
    (["--weights", "w.pth"], "needs --features 'inception'"),
    (["--features", "inception", "--weights", "{tmp}/w.pth"], "is no file; get it from https://"),
    (["--features", "inception", "--model", "{tmp}/m"], "is gray and of 28x28 pixels"),
    (["--features", "inception", "--model", "{tmp}/m", "--data", "{tmp}/flat", "--reference",
      "test"], "has no folder 'test' for"),
    (["--features", "inception", "--model", "{tmp}/m", "--data", "{tmp}/flat", "--bits", "2"],
     "needs images that are not the reference"),
    (["--features", "inception", "--model", "{tmp}/m", "--data", "{tmp}/flat/one"],
     "has 1 images in its part 'train'"),
    (["--features", "inception", "--model", "{tmp}/m", "--data", "{tmp}/nowhere"], "nowhere")])
def test_words_that_do_not_fit(tmp_path, capsys, inception, options, words):
    inception(Network)
    coloured(tmp_path/"m")
    pictures(tmp_path/"flat", 3, 0)
    pictures(tmp_path/"flat"/"one", 1, 1)
    assert main(["evaluate", *(o.format(tmp=tmp_path) for o in options)]) == 1
    assert words in capsys.readouterr().err
