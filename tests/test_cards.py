"The cards of the bundled models, and what the front page says of them, against files and records."
import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ddpm_edu import DDPMPipeline
from ddpm_edu.data import find_fashion_mnist, load_fashion_mnist
from ddpm_edu.hub import ASSETS
from ddpm_edu.training import eval_loss

root = Path(__file__).parent.parent
RUNS = ("first", "second", "third", "fourth")


def card(name): return (ASSETS/name/"README.md").read_text(encoding="utf-8")
def note(name, file): return json.loads((ASSETS/name/file).read_text(encoding="utf-8"))
def front(): return (root/"README.md").read_text(encoding="utf-8")


def rows(text, start):
    "The cells of a table of a card, row by row, from the row that begins so to the table's end."
    lines = text[text.index(f"| {start} |"):].split("\n\n")[0].splitlines()
    return [[c.strip() for c in line.strip("|").split("|")] for line in lines if "---" not in line]


def seconds_of(history):
    "How long each run took, in its order."
    ends = [max(h["seconds"] for h in history if h["run"] == r)
            for r in sorted({h["run"] for h in history})]
    return [round(b - a) for a, b in zip([0, *ends], ends)]


def told(recipe):
    "What the card has to say of a run."
    average = f"{recipe['ema_decay']:g}"
    precision = {"no": "float32", "bf16": "bf16"}[recipe["mixed_precision"]]
    return [f"{recipe['steps']:,} steps", f"{recipe['lr']:g}", f"{recipe['warmup_steps']} steps",
            "a cosine to 0", average, precision]


def check_runs(text, recipes):
    table = dict(row[:2] for row in rows(text, "data"))
    for name, recipe in zip(RUNS, recipes):
        for words in told(recipe): assert words in table[f"{name} run"], (name, words)
    images = sum(r["steps"]*r["batch_size"] for r in recipes)
    assert table["in all"] == f"{images:,} images, {images//60_000} epochs"
    assert images % 60_000 == 0


def test_runs():
    "The recipe of each run, its time, and all of them together: card, history and front page."
    text, recipes = card("fashion-mnist"), note("fashion-mnist", "training.json")
    history, table = note("fashion-mnist", "history.json"), dict(r[:2] for r in rows(text, "data"))
    assert len(recipes) == len(RUNS)
    check_runs(text, recipes)
    took = seconds_of(history)
    assert table["wall time"].startswith(" + ".join(f"{s:,} s" for s in took))
    assert [h["step"] for h in history] == list(range(50, 22_501, 50))
    images = history[-1]["images"]
    assert f"{images:,} images in four runs, nearly four and a half hours" in front()
    assert 4.3 < sum(took)/3600 < 4.5
    with pytest.raises(AssertionError):                    # negative control: an older model's card
        check_runs(text, recipes[:3])


def test_files():
    "Sizes, parameters, and which digits the weights have."
    for name in ("fashion-mnist", "fashion-mnist-classes"):
        file = ASSETS/name/"unet"/"diffusion_pytorch_model.safetensors"
        weights = load_file(file)
        count = sum(w.numel() for w in weights.values())
        assert f"{count:,} parameters" in card(name)
        assert f"{file.stat().st_size/1e6:.1f} MB" in card(name)
        assert all(w.dtype == torch.float16 for w in weights.values())
        exact = all(torch.equal(w, w.bfloat16().half()) for w in weights.values())
        assert exact == (name == "fashion-mnist") == ("significant bits of bf16" in card(name))
    size = (ASSETS/"fashion-mnist/unet/diffusion_pytorch_model.safetensors").stat().st_size
    assert f"{size/1e6:.1f} MB on disk" in front()


def test_measured():
    "The last row of the card's table is that of the record, and so is what real images have."
    record = json.loads((root/"nbs/experiments/evaluation.json").read_text())
    last = rows(card("fashion-mnist"), "after the")[-1]
    bits, (real, drawn) = record["bits"]["test"], record["distances"][:2]
    assert last[0] == "fourth run" and last[2] == f"{bits['mean']:.2f} +- {bits['error']:.2f}"
    assert (drawn["n"], drawn["reference"], record["steps"]) == (500, "train", 200)
    assert bits["n"] == 100 and last[3] == f"{drawn['distance']:.2f}"
    assert f"500 real test images is {real['distance']:.2f}" in card("fashion-mnist")


def test_front_page_agrees():
    "Numbers that the front page has of the card."
    last = rows(card("fashion-mnist"), "after the")[-1]
    assert f"on 2,048 test images is {last[1]}" in front()
    sixty = re.search(r"64 samples .*? (\d\d) are", card("fashion-mnist"))[1]
    assert f"; {sixty} of them are garments" in front()


def test_classes():
    "The card of the model with classes: its run, after three of the other's."
    text, recipe = card("fashion-mnist-classes"), note("fashion-mnist-classes", "training.json")[-1]
    run = dict(row[:2] for row in rows(text, "data"))["this run"]
    words = (f"{recipe['steps']:,} steps of {recipe['batch_size']} images",
             f"{recipe['label_dropout']:.0%}".replace("%", " %"), f"rate {recipe['lr']:g}",
             f"{recipe['warmup_steps']} steps", f"weights {recipe['ema_decay']:g}",
             f"{seconds_of(note('fashion-mnist-classes', 'history.json'))[-1]:,} s")
    for part in words: assert part in run, part
    assert len(note("fashion-mnist-classes", "training.json")) == 4 and "first three runs" in text
    assert note("fashion-mnist-classes", "classes.json")[-1] == "none"


@pytest.mark.slow
def test_loss_on_all_test_images():
    "The card's loss, where all of Fashion-MNIST is at hand."
    if "slice" in str(find_fashion_mnist("test", None, False, ())): pytest.skip("the slice alone")
    pipe, test = DDPMPipeline.from_pretrained("fashion-mnist"), load_fashion_mnist("test")
    loss = eval_loss(pipe.unet, pipe.scheduler, test.batch(range(2048)))
    assert f"{loss:.4f}" == rows(card("fashion-mnist"), "after the")[-1][1]
