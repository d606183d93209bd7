"The paper's experiments: the short version of the tables, and the commands of the headline."
import importlib.util
import json
import re
import shlex
import sys
import types
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ddpm_edu import DDPMPipeline, DDPMScheduler, UNet, cli, evaluation
from ddpm_edu.bits import bits_per_dim
from ddpm_edu.many import sample_many
from ddpm_edu.unet import unet_config

script = Path(__file__).parent.parent/"nbs"/"experiments"/"tables.py"
chapter = script.parent.parent/"10_paper.ipynb"


def commands():
    "The lines of the chapter that would reproduce FID 3.17: Python, and the command after it."
    text = "\n".join("".join(c["source"]) for c in json.loads(chapter.read_text())["cells"]
                     if c["cell_type"] == "markdown")
    found = [re.findall(rf"```{kind}\n(.*?)```", text, flags=re.S) for kind in ("python", "sh")]
    (python,), (shell,) = found
    return python, shlex.split(shell)


def tables():
    spec = importlib.util.spec_from_file_location("tables", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Items(list):
    "A data set of the hub, as `datasets` gives it."
    column_names, features = ["img", "label"], {"label": types.SimpleNamespace(names=["cat"])}
    def __getitem__(self, i):
        if i == "label": return [0]*len(self)
        return dict(img=Image.fromarray(list.__getitem__(self, i)), label=0)


class Means(torch.nn.Module):
    "In the place of InceptionV3: three features."
    def __init__(self, *args): super().__init__()
    def forward(self, x): return x.float().mean((2, 3))


def test_the_headlines_commands(tmp_path, monkeypatch, capsys):
    "With a hub that has a tiny network of that name and a few images, and small features."
    import huggingface_hub
    tiny = dict(unet_config("tiny"), sample_size=32, in_channels=3, out_channels=3)
    torch.manual_seed(0)
    DDPMPipeline(UNet(**tiny), DDPMScheduler()).save_pretrained(tmp_path/"hub")
    asked, rng = [], np.random.default_rng(0)
    parts = {"train": rng.integers(256, size=(12, 32, 32, 3), dtype=np.uint8),
             "test": rng.integers(128, size=(9, 32, 32, 3), dtype=np.uint8)}
    def download(name, **options):
        asked.append(name)
        return tmp_path/"hub"
    def load(name, split):
        asked.append((name, split))
        return Items(parts[split])
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load))
    fake = types.SimpleNamespace(NoTrainInceptionV3=Means)
    monkeypatch.setitem(sys.modules, "torchmetrics.image.fid", fake)
    monkeypatch.chdir(tmp_path)
    python, shell = commands()
    assert "50_000" in python and shell[0] == "ddpm-edu" and "50000" in shell
    exec(python.replace("50_000", "6"), dict(DDPMPipeline=DDPMPipeline, sample_many=sample_many))
    before = {p: p.read_bytes() for p in (tmp_path/"cifar10").iterdir()}
    few = [word.replace("50000", "6") for word in shell[1:]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")                        # six images for three features
        assert cli.main([*few, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert before == {p: p.read_bytes() for p in (tmp_path/"cifar10").iterdir()}
    assert asked.count("google/ddpm-cifar10-32") == 2
    assert [a for a in asked if a[1] in parts] == [("uoft-cs/cifar10", p) for p in parts]
    drawn = np.stack([np.asarray(Image.open(tmp_path/"cifar10"/f"{i:06}.png")) for i in range(6)])
    means = {k: torch.tensor(x).float().mean((1, 2)) for k, x in dict(parts, drawn=drawn).items()}
    right = evaluation.frechet_distance(means["drawn"], means["train"])
    assert drawn.shape == (6, 32, 32, 3) and abs(said["model"]["fid"]/right - 1) < 1e-4
    wrong = evaluation.frechet_distance(means["drawn"], means["test"])           # other reference
    assert abs(said["model"]["fid"]/wrong - 1) > 0.1
    assert said["real"]["n"] == 6


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
        assert written["runs"] == json.loads(json.dumps(first))
        assert trained == [some[1], some[0], some[2]]          # the cell of table 1 comes first
        assert t.main([str(here), "--short"]) == written["runs"] and len(trained) == 3
        elsewhere.mkdir()
        part = dict(written, runs=written["runs"][::2])        # the one in the middle is missing
        (elsewhere/"tables.json").write_text(json.dumps(part))
        again = t.main([str(elsewhere), "--short"])
        assert not (elsewhere/"tables.png").exists()           # of one row, where none was before
        del part["runs"][1]["score"]                           # a record of an earlier version
        (elsewhere/"tables.json").write_text(json.dumps(dict(written, runs=[*again[:2],
            part["runs"][1]])))
        (elsewhere/"tables.png").write_bytes((here/"tables.png").read_bytes())
        last = t.main([str(elsewhere), "--short"])
    assert trained[4:] == [some[2]] and [r["score"] for r in last] == [r["score"] for r in first]
    assert all(1 <= r["score"] <= 10 for r in last)
    same = [Image.open(place/"tables.png").tobytes() for place in (here, elsewhere)]
    assert same[0] == same[1]                                  # an old row and two new ones
    assert [r["cell"] for r in first] == list(some) and (here/"tables.png").exists()
    assert trained[3] == some[1]
    assert again[0] == written["runs"][0] and again[1]["bits_test"] == first[1]["bits_test"]
    assert json.loads((elsewhere/"tables.json").read_text())["runs"] == json.loads(
        json.dumps(last))
    assert t.finished(here/"tables.json", dict(t.SHORT, steps=5)) == {}     # other options


def test_a_run_that_falls_apart_is_called_unstable():
    t = tables()
    steady, worse = ([[i, f(i), 1.] for i in range(1, 20)] for f in (lambda i: 1/i, float))
    assert t.unstable(steady) is None and "5.67 times" in t.unstable(worse)
    assert "not finite" in t.unstable([*steady, [20, float("nan"), 1.]])
