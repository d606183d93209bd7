"""Networks that are told the class: do they listen, and do other runs stay as they were?

The classes of the toy differ in nothing but their brightness, so one number says which was drawn."""
import json
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from test_training import TWO, equal, finish, history, weights
from torch.utils.data import Subset, TensorDataset

from ddpm_edu import DDPMPipeline, DDPMScheduler, UNet
from ddpm_edu.feeding import Feed, Steps, generator_of
from ddpm_edu.folders import ImageFolder
from ddpm_edu.images import ImageDataset, MapDataset, as_dataset
from ddpm_edu.labels import DroppedLabels
from ddpm_edu.runs import hold_out
from ddpm_edu.training import TrainConfig, Trainer, draw_batch, eval_loss, training_loss
from ddpm_edu.unet import unet_config

TIMES = [492, 976, 545, 13, 775, 555, 89, 55]        # of step 3, before there were labels
GRAYS = (30, 128, 225)                   # brightness of class 0, 1, 2, in bytes


def g(seed=0): return torch.Generator().manual_seed(seed)


def shades(n=90):
    "Images of one gray with a little noise on it; their class is that gray."
    labels = torch.arange(n) % 3
    gray = torch.tensor(GRAYS)[labels].view(-1, 1, 1, 1)
    noise = torch.randint(-20, 21, (n, 1, 8, 8), generator=g())
    return ImageDataset((gray + noise).to(torch.uint8), labels, ("dark", "gray", "bright"))


def network(seed=0, **options):
    torch.manual_seed(seed)
    return UNet(**{**unet_config("tiny"), "num_class_embeds": 4, **options})


def trainer(out, unet=None, data=None, T=1000, **options):
    "A run of four steps."
    given = dict(steps=4, batch_size=8, log_every=1, checkpoint_every=2, warmup_steps=0)
    config = TrainConfig(**{**given, "labels": True, **options})
    data = shades() if data is None else data
    return Trainer(unet or network(), DDPMScheduler(T), data, out, config, cpu=True,
        progress_bar=False)


def same(a, b): return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b))


# ---- does the network listen?

def brightness(pipe, k, n=24):
    "Mean of the images that are drawn when class k is asked for, as bytes."
    options = dict(generator=g(), num_inference_steps=25, output_type="pt")
    return 255*pipe(n, class_labels=k, **options).images.flatten(1).mean(1)


def drawn(out, data):
    "What a short training draws for each class, and for none: the brightness of each image."
    scheduler = dict(num_train_timesteps=100, beta_start=1e-3, beta_end=0.2,
        prediction_type="sample")
    config = TrainConfig(300, 24, lr=4e-3, warmup_steps=20, ema_decay=0.97, log_every=300,
        labels=True, label_dropout=0.3, checkpoint_every=300)
    Trainer(network(), DDPMScheduler(**scheduler), data, out, config, cpu=True,
        progress_bar=False).train()
    pipe = DDPMPipeline.from_pretrained(out)
    pipe.set_progress_bar_config(disable=True)
    return [brightness(pipe, k) for k in (0, 1, 2, None)]


def test_a_class_that_is_asked_for_is_drawn(tmp_path):
    *classes, none = drawn(tmp_path/"told", shades())
    for want, found in zip(GRAYS, classes): assert (found - want).abs().max() < 40, (want, found)
    near = (none[:, None] - torch.tensor(GRAYS)).abs().argmin(1).bincount(minlength=3)
    assert (near > 0).sum() > 1, near                              # "none": not one of them
    data = shades()                                                # negative control: labels that
    data.labels = torch.arange(90)//3 % 3                          # say nothing of the gray
    found = torch.stack([v.mean() for v in drawn(tmp_path/"shuffled", data)[:3]])
    assert found.max() - found.min() < 60, found                   # 195 where they do


def test_the_grid_shows_the_classes_in_turn(tmp_path, monkeypatch):
    run, asked = trainer(tmp_path, sample_every=2, sample_steps=1), []
    usual = DDPMPipeline.__call__
    def noting(self, *args, **options):
        asked.append(options["class_labels"])
        return usual(self, *args, **options)
    monkeypatch.setattr(DDPMPipeline, "__call__", noting)
    run.train()
    assert asked == [[i % 3 for i in range(16)]]*2 and (tmp_path/"samples").is_dir()


def test_the_names_are_beside_the_pipeline(tmp_path):
    trainer(tmp_path).train()
    assert json.loads((tmp_path/"classes.json").read_text()) == ["dark", "gray", "bright", "none"]
    trainer(tmp_path/"all", network(num_class_embeds=3), label_dropout=0.).train()
    assert json.loads((tmp_path/"all"/"classes.json").read_text()) == ["dark", "gray", "bright"]


def test_diffusers_loads_it_and_draws_the_same(tmp_path):
    diffusers = pytest.importorskip("diffusers")
    trainer(tmp_path).train()
    theirs = diffusers.UNet2DModel.from_pretrained(tmp_path, subfolder="unet")
    scheduler = diffusers.DDPMScheduler.from_pretrained(tmp_path, subfolder="scheduler")
    options = dict(num_inference_steps=5, class_labels=[2, 0], output_type="pt")
    found = []
    for pipe in (DDPMPipeline.from_pretrained(tmp_path), DDPMPipeline(theirs, scheduler)):
        pipe.set_progress_bar_config(disable=True)
        found.append(pipe(2, generator=g(), **options).images)
    assert (found[0] - found[1]).abs().max() < 1e-5
    with pytest.raises(ValueError, match="between 0 and 3"): pipe(class_labels=4)


# ---- what a step sees

def told(data, p=0, n=1, dropout=0.5):
    return Steps(data, 1000, 8, 3, p, n, DroppedLabels(data.labels, dropout, 3))


def test_without_labels_nothing_has_changed(tmp_path):
    "Three tensors, those of the definition; the times of a step as they were before labels came."
    data = shades()
    run = trainer(tmp_path, network(num_class_embeds=None), data, labels=False)
    for k in (0, 7): assert same(run.feed(k), draw_batch(data, 1000, k, 8, 0))
    assert run.feed(3)[1].tolist() == TIMES
    plain = ImageDataset(data.images)
    other = trainer(tmp_path/"x", network(num_class_embeds=None), plain, labels=False)
    run.train()
    other.train()
    assert equal(weights(tmp_path), weights(tmp_path/"x"))
    assert not (tmp_path/"classes.json").exists()


@pytest.mark.parametrize("workers", [0, 2])
def test_labels_belong_to_their_images_whoever_reads(workers):
    "One process, two, four; the others' bits are the definition's; a third of the labels is right."
    data = hold_out(shades(), 6)[0]
    feeds = [Feed(told(data, p, n), 9, workers) for n in (1, 2, 4) for p in range(n)]
    try:
        for k in range(9):
            whole, *parts = [feed(k) for feed in feeds]
            for share in (parts[:2], parts[2:]):
                assert same([torch.cat(v) for v in zip(*share)], whole), k
            *others, labels = whole
            assert same(others, draw_batch(data, 1000, k, 8, 3)) and labels.dtype == torch.int64
            gray = torch.tensor(GRAYS)/127.5 - 1
            seen = (whole[0].mean((1, 2, 3))[:, None] - gray).abs().argmin(1)      # by the image
            assert torch.equal(labels[labels < 3], seen[labels < 3]) and (labels == 3).any()
            kept = torch.rand(8, generator=generator_of(3, 2, k)) >= 0.5
            assert torch.equal(labels < 3, kept)
    finally:
        for feed in feeds: feed.close()


def test_the_loss_and_the_held_out_loss_hear_the_label(tmp_path):
    class Listens(torch.nn.Module):
        heard = []
        def forward(self, x, t, class_labels=None):
            self.heard.append(class_labels)
            return x + class_labels.view(-1, 1, 1, 1)
    net, x0, y = Listens(), shades().batch(range(6)), torch.arange(6) % 3
    t, noise = torch.zeros(6, dtype=torch.long), torch.zeros(6, 1, 8, 8)
    quiet, loud = (training_loss(net, DDPMScheduler(), x0, t, noise, class_labels=v) for v in
        (0*y, 100*y))
    assert loud > 100*quiet
    eval_loss(net, DDPMScheduler(), x0, batch_size=4, class_labels=y)
    assert [v.tolist() for v in net.heard[2:]] == [[0, 1, 2, 0], [1, 2]]
    run = trainer(tmp_path, held_out=6, label_dropout=0.9)
    x0, labels = run.held.batch(range(6)), shades().labels[run.held.numbers]
    assert run.train()[-1]["held_out"] == eval_loss(run.ema.module, run.scheduler, x0,
        class_labels=labels)                                       # none of them dropped
    assert run.held_out_loss() != eval_loss(run.ema.module, run.scheduler, x0,
        class_labels=torch.full((6,), 3))


# ---- resuming, and two processes

def test_a_resumed_run_ends_with_the_same_bits(tmp_path):
    trainer(tmp_path/"straight").train()
    trainer(tmp_path/"parts").train(until=2)
    trainer(tmp_path/"parts", network(7)).train(resume=True)
    assert equal(weights(tmp_path/"straight"), weights(tmp_path/"parts"))
    trainer(tmp_path/"other", label_dropout=0.5).train()           # negative control
    assert not equal(weights(tmp_path/"straight"), weights(tmp_path/"other"))


def test_a_run_with_other_labels_is_not_resumed(tmp_path):
    trainer(tmp_path).train(until=2)
    swapped, renamed = shades(), shades()
    swapped.labels = 2 - swapped.labels
    renamed.classes = ("a", "b", "c")
    plain = network(num_class_embeds=None)
    for words, options in (("label_dropout was 0.1 .* is 0.2 now", dict(label_dropout=0.2)),
            ("labels was True .* is False", dict(labels=False, unet=plain)),
            ("the data's labels was", dict(data=swapped)),
            ("the data's classes was .*'dark'.* is .*'a'", dict(data=renamed))):
        with pytest.raises(ValueError, match=words): trainer(tmp_path, **options).train(resume=True)
    trainer(tmp_path).train(resume=True)


def test_a_checkpoint_from_before_there_were_labels_goes_on(tmp_path):
    old = trainer(tmp_path, network(num_class_embeds=None), labels=False)
    old.train(until=2)
    note = tmp_path/"checkpoint-00000002"/"training.json"
    recipe = json.loads(note.read_text())
    for name in ("labels", "label_dropout"): del recipe[name]
    note.write_text(json.dumps(recipe))
    about = note.with_name("run.json")
    facts = json.loads(about.read_text())
    facts["files"].pop("training.json")
    about.write_text(json.dumps(facts))
    with pytest.raises(ValueError, match="labels was False"): trainer(tmp_path).train(resume=True)
    trainer(tmp_path, network(num_class_embeds=None), labels=False).train(resume=True)
    assert (tmp_path/"model_index.json").is_file()


SCRIPT = """
import sys
from test_labels import trainer
trainer(sys.argv[1], label_dropout=0.4).train()
"""


def test_two_processes_do_what_one_does(tmp_path):
    program = tmp_path/"program.py"
    program.write_text(SCRIPT)
    env = {**os.environ, "OMP_NUM_THREADS": "1",
           "PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path])}
    for launcher, name in (((sys.executable,), "one"), (TWO, "two")):
        finish(subprocess.Popen([*launcher, str(program), str(tmp_path/name)], env=env, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE))
    one, two = weights(tmp_path/"one"), weights(tmp_path/"two")
    assert all((one[k] - two[k]).abs().max() < 1e-4 for k in one)
    losses = [[h["loss"] for h in history(tmp_path/name)] for name in ("one", "two")]
    assert max(abs(a - b) for a, b in zip(*losses)) < 1e-4
    other = trainer(tmp_path/"other", label_dropout=0.).train()    # negative control
    assert max(abs(a - h["loss"]) for a, h in zip(losses[0], other)) > 1e-3


# ---- where labels come from

def test_a_folder_of_class_folders(tmp_path):
    from test_feeding import pictures
    for name in ("shirts", "boots"): pictures(tmp_path/"data"/name, 6)
    data = ImageFolder(tmp_path/"data", 8, 1)
    run = trainer(tmp_path/"out", network(num_class_embeds=3), data)
    assert run.classes == ("boots", "shirts") and "classes: 2, 10% of the" in run.describe()
    flat = ImageFolder(tmp_path/"data"/"boots", 8, 1)
    with pytest.raises(ValueError, match="boots have no labels; a folder needs a folder for each"):
        trainer(tmp_path/"flat", network(num_class_embeds=3), flat, batch_size=4)


def test_labels_are_read_only_when_they_are_asked_for(tmp_path):
    class Items(list):
        asked = 0
        def __getitem__(self, i):
            self.asked += 1
            return super().__getitem__(i)
    pairs = Items((image, torch.tensor(i % 3)) for i, image in enumerate(shades().images))
    run = trainer(tmp_path, network(num_class_embeds=None), pairs, labels=False)
    assert pairs.asked == 2                                        # for the shape and the range
    run = trainer(tmp_path, network(), pairs)
    asked = pairs.asked
    assert 90 < asked < 105 and run.dataset.labels.tolist() == [0, 1, 2]*30
    assert pairs.asked == asked                                    # once, then known
    before = torch.get_rng_state()
    class Jitter(list):
        def __getitem__(self, i): return torch.rand(1, 2, 2), super().__getitem__(i)
    jitter = MapDataset(Jitter([0, 1]*5))
    torch.set_rng_state(before)
    assert jitter.labels.tolist() == [0, 1]*5 and torch.equal(before, torch.get_rng_state())


def test_the_data_sets_of_others():
    data, wanted = shades(12), [0, 1, 2]*4
    tensors = TensorDataset(data.images, data.labels)
    for given in (tensors, Subset(tensors, range(12)), Subset(data, range(12)),
            TensorDataset(data.images, data.labels.to(torch.uint8))):
        assert as_dataset(given).labels.tolist() == wanted
    assert as_dataset(Subset(tensors, [1, 5])).labels.tolist() == [1, 2]
    assert as_dataset(TensorDataset(data.images)).labels is None
    assert as_dataset(Subset(data, [0])).classes == data.classes
    part, held = hold_out(as_dataset(tensors), 4)
    assert [v for v in held.labels] == [wanted[i] for i in held.numbers.tolist()]
    assert len(part.labels) == 8


def test_the_data_sets_of_hugging_face():
    from test_feeding import table
    rows = as_dataset(table())
    assert rows.labels.tolist() == [0, 1]*6 and rows.classes == ("cat", "dog")
    gray = table().with_transform(lambda batch: {k: v for k, v in batch.items()})
    assert as_dataset(gray).labels.tolist() == [0, 1]*6
    other = lambda batch: {**batch, "label": [1 - v for v in batch["label"]]}
    turned = table().with_transform(other)
    assert as_dataset(turned).labels.tolist() == [1, 0]*6


def test_no_warning_for_what_is_asked_of_a_network(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trainer(tmp_path).train_step()


@pytest.mark.parametrize("kind", [list, tuple, np.array, lambda v: torch.tensor(v).byte()])
def test_labels_in_any_form(tmp_path, kind):
    images = ImageDataset(shades().images, kind(shades().labels.tolist()))
    run = trainer(tmp_path, data=images)
    assert torch.equal(run.dataset.labels.long(), shades().labels)


def test_what_stands_in_for_a_damaged_picture_is_of_its_class(tmp_path):
    for c, gray in (("cats", 0), ("dogs", 255)):
        (tmp_path/c).mkdir()
        for i in range(3): Image.new("L", (8, 8), gray).save(tmp_path/c/f"{i}.png")
    whole = (tmp_path/"cats"/"2.png").read_bytes()             # the next one is a dog
    (tmp_path/"cats"/"2.png").write_bytes(whole[:-25])
    data = ImageFolder(tmp_path, 8, flip=False, on_error="skip")
    with pytest.warns(UserWarning, match="cats/2.png.* 0.png stands in for it"):
        found = data.batch(range(6)).mean((1, 2, 3))
    assert ((found > 0) == (data.labels == 1)).all()
