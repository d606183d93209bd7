"The commands as a user types them, in processes of their own."
import errno
import json
import os
import pickle
import re
import signal
import struct
import subprocess
import sys
import time
import warnings
import zipfile
from pathlib import Path

import nbformat
import pytest
import torch
from PIL import Image, UnidentifiedImageError
from safetensors import SafetensorError
from safetensors.torch import load_file

from ddpm_edu import DDPMPipeline, DDPMScheduler, UNet, checkpoints, cli
from ddpm_edu.book import without_dead_links
from ddpm_edu.unet import unet_config

program = Path(sys.executable).parent/"ddpm-edu"


def run(*args, cwd, **env):
    command = [str(program), *map(str, args)]
    return subprocess.run(command, cwd=cwd, capture_output=True, encoding="utf-8", errors="replace",
                          timeout=600, env={**os.environ, **env})


def last_line(done): return (done.stderr.strip().splitlines() or [""])[-1]


def is_one_sentence(done, *words):
    "The command failed, and said one line with these words."
    text = done.stderr.strip()
    return (done.returncode == 1 and len(text.splitlines()) == 1 and "Traceback" not in text
            and all(word in text for word in words))


def test_sample(tmp_path):
    done = run("sample", "--n", 16, "--steps", 2, "--seed", 5, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert str(tmp_path/"samples.png") in done.stdout                # says where
    assert "images 1 to 16 of 16" in done.stderr and "2/2" in done.stderr          # shows a bar
    grid = Image.open(tmp_path/"samples.png")
    assert grid.mode == "L" and 800 <= grid.width == grid.height <= 1000
    squares = grid.crop((2, 2, 2+28*8, 2+28*8))          # the first image
    small = squares.resize((28, 28), Image.Resampling.NEAREST)
    assert small.resize(squares.size, Image.Resampling.NEAREST).tobytes() == squares.tobytes()
    assert [p.name for p in tmp_path.iterdir()] == ["samples.png"]


def test_help_and_version(tmp_path):
    commands = ("sample", "train", "evaluate", "compress", "decompress", "notebooks", "assignment")
    for args in (("--help",), ("--version",), *((c, "--help") for c in commands)):
        done = run(*args, cwd=tmp_path)
        assert done.returncode == 0 and done.stdout, args
    assert run(cwd=tmp_path).returncode == 2


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("command", [[], ["train"]])
def test_nobody_reads_what_is_printed(tmp_path, command):
    "A closed pipe, as with `| head`, is no error; a full disk is one, in one sentence."
    program = [sys.executable, "-m", "ddpm_edu.cli", *command, "--help"]
    reads, writes = os.pipe()
    os.close(reads)
    done = subprocess.run(program, stdout=writes, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    os.close(writes)
    assert (done.returncode, done.stderr) == (0, "")
    with open("/dev/full", "w") as full:
        done = subprocess.run(program, stdout=full, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, "ddpm-edu: No space left on device\n")


def test_output_is_checked_before_anything_is_loaded(tmp_path):
    out, model = tmp_path/"missing"/"x.png", tmp_path/"nothing"
    done = run("sample", "--steps", 1000, "--out", out, "--model", model, cwd=tmp_path)
    assert is_one_sentence(done, "there is no folder", "--out"), done.stderr


MISTAKES = [
    (("sample", "--n", "0"), "sample: --n must be between 1 and 4096"),
    (("sample", "--steps", "0"), "--steps must be at least 1"),
    (("sample", "--steps", "1001"), "--steps must be between 1 and 1000"),
    (("sample", "--seed", "-1"), "--seed must be between 0 and"),
    (("sample", "--model", "fashion-mnits"), "Did you mean 'fashion-mnist'"),
    (("sample", "--out", "x.xyz"), "--out must end in one of"),
    (("train",), "--out must name the folder"),
    (("train", "--out", "o", "--data", "nowhere"), "--data 'nowhere' is not a folder"),
    (("train", "--out", "o", "--data", "."), "--data '.' holds no .png"),
    (("train", "--out", "o", "--steps", "0"), "--steps must be at least 1"),
    (("train", "--out", "o", "--batch-size", "0"), "--batch-size must be at least 1"),
    (("train", "--out", "o", "--mixed-precision", "fp8"), "--mixed-precision must be one of"),
    (("train", "--out", "o", "--ema-decay", "2"), "--ema-decay must be"),
    (("train", "--out", "o", "--lr", "-1"), "--lr must be"),
    (("train", "--out", "o", "--label-dropout", "1"), "--label-dropout must be"),
    (("sample", "--label", "Bag"), "--label 'Bag' needs a model that was told the classes"),
    (("train", "--out", "o", "--data", ".", "--size", "30"), "--size must be a multiple of 4"),
    (("train", "--out", "o", "--data", ".", "--channels", "2"), "--channels must be 1 (gray)"),
]


@pytest.mark.parametrize("args, message", MISTAKES, ids=str)
def test_mistakes_are_one_line_about_options(tmp_path, args, message):
    done = run(*args, cwd=tmp_path)
    assert is_one_sentence(done, message), done.stderr
    assert not list(tmp_path.iterdir())


def test_classes_by_their_names(tmp_path):
    "A folder of class folders is trained on; a class is asked for by its name, as its number."
    for i, name in enumerate(("boots", "shirts")):
        (tmp_path/"data"/name).mkdir(parents=True)
        for k in range(4): Image.new("L", (8, 8), 100*i + k).save(tmp_path/"data"/name/f"{k}.png")
    args = ("train", "--data", "data", "--size", 8, "--steps", 2, "--batch-size", 4)
    for more in ((), ("--resume", "--steps", 3)):
        done = run(*args, "--labels", "--sample-every", 1, "--out", "model", *more, cwd=tmp_path)
        assert done.returncode == 0 and "8 gray images of 8x8 in 2 classes" in done.stdout, done
    assert json.loads((tmp_path/"model"/"classes.json").read_text()) == ["boots", "shirts", "none"]
    for label in ("shirts", "1", "none"):
        done = run("sample", "--model", "model", "--n", 2, "--steps", 2, "--label", label,
            "--out", f"{label}.png", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    drawn = [(tmp_path/f"{label}.png").read_bytes() for label in ("shirts", "1", "none")]
    assert drawn[0] == drawn[1] != drawn[2]
    done = run("sample", "--model", "model", "--label", "shrits", cwd=tmp_path)
    assert is_one_sentence(done, "--label must be one of 'boots'", "Did you mean 'shirts'?")
    done = run(*args, "--out", "model", "--resume", cwd=tmp_path)
    assert is_one_sentence(done, "labels was True"), done.stderr
    done = run(*args[:-2], "--labels", "--out", "flat", "--data", "data/boots", cwd=tmp_path)
    assert is_one_sentence(done, "--labels, but", "a folder for each class"), done.stderr


def test_unknown_option_is_a_usage_error(tmp_path):
    done = run("sample", "--stepps", "5", cwd=tmp_path)
    assert done.returncode == 2 and "usage: ddpm-edu sample" in done.stderr
    assert run("paint", cwd=tmp_path).returncode == 2


def test_messages_are_about_options():
    names = ["data", "out", "steps", "batch_size", "lr", "n", "resume", "folder"]
    said = lambda text: cli.as_options(text, names, ["folder"])
    assert said("pass resume=True to go on") == "pass --resume to go on"
    assert said("batch_size must be at most 6, got 7") == "--batch-size must be at most 6, got 7"
    assert said("out='a b' is a folder") == "--out 'a b' is a folder"
    assert said("root='x' holds nothing") == "--data 'x' holds nothing"
    assert said("num_inference_steps must be 1") == "--steps must be 1"
    assert said("folder='x' is a file") == "FOLDER 'x' is a file"
    assert said("lr was 0.1 when it was written") == "--lr was 0.1 when it was written"
    for plain in ("10 steps between pictures", "/out=x", "the data lie in out", "no folder x"):
        assert said(plain) == plain


ERRORS = [SafetensorError("header too large"), zipfile.BadZipFile("File is not a zip file"),
          struct.error("unpack requires 4 bytes"), RuntimeError("size mismatch\nfor a.weight"),
          OSError(errno.ENOSPC, "No space left on device", "model/x"),
          pickle.UnpicklingError("bad"), EOFError(), KeyError("step"),
          UnidentifiedImageError("cannot identify image file 'a.png'"),
          MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")]


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
def test_whatever_is_raised_becomes_one_sentence(monkeypatch, capsys, error):
    def fail(): raise error
    monkeypatch.setattr(cli, "fail", fail, raising=False)
    monkeypatch.setitem(cli.COMMANDS, "fail", ("ddpm_edu.cli:fail", []))
    assert cli.main(["fail"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("ddpm-edu fail: ") and said.count("\n") == 1 and len(said) > 20
    assert "Traceback" not in said
    assert cli.main(["fail", "--debug"]) == 1
    said = capsys.readouterr().err
    assert "Traceback" in said and said.splitlines()[-1].startswith("ddpm-edu fail: ")


def test_a_warning_is_a_line(monkeypatch, capsys):
    def careful():
        warnings.simplefilter("always")
        warnings.warn("batch_size was\nlowered")
    monkeypatch.setattr(cli, "careful", careful, raising=False)
    monkeypatch.setitem(cli.COMMANDS, "careful", ("ddpm_edu.cli:careful", []))
    assert cli.main(["careful"]) == 0
    assert capsys.readouterr().err == "ddpm-edu careful: batch_size was lowered\n"


def test_a_full_disk_leaves_nothing(monkeypatch, tmp_path, capsys):
    "Found by the rehearsal, before the first step."
    drawn = []
    def full(self, path, **options):
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(Image.Image, "save", full)
    monkeypatch.setattr(DDPMPipeline, "__call__", lambda *args, **options: drawn.append(args))
    assert cli.main(["sample", "--out", str(tmp_path/"x.png")]) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert not drawn and not list(tmp_path.iterdir())


def save_model(folder, **options):
    torch.manual_seed(0)
    unet = UNet(**{**unet_config("tiny"), **options})
    DDPMPipeline(unet, DDPMScheduler()).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("channels", [2, 4, 5])
def test_a_model_whose_images_are_no_pictures(tmp_path, channels):
    "Before a step is walked: no bar is shown, nothing is written."
    model = save_model(tmp_path/"model", in_channels=channels, out_channels=channels)
    done = run("sample", "--model", model, "--out", "x.png", cwd=tmp_path)
    assert is_one_sentence(done, f"with {channels} channels", "--model"), done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_damaged_weights(tmp_path):
    weights = save_model(tmp_path/"model")/"unet"/"diffusion_pytorch_model.safetensors"
    whole = weights.read_bytes()
    for part in (whole[:100], whole[:-8], b"", b"{}" + whole):
        weights.write_bytes(part)
        done = run("sample", "--model", "model", "--steps", 2, cwd=tmp_path)
        assert is_one_sentence(done, weights.name), done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_a_console_that_lacks_letters(tmp_path, encoding):
    "What was done is not undone by a name that cannot be printed."
    env = {"PYTHONIOENCODING": encoding}
    for args, made in ((("sample", "--n", 1, "--steps", 1, "--out", "画像.png"), "画像.png"),
                       (("notebooks", "本"), "本/01_forward_process.ipynb")):
        done = run(*args, cwd=tmp_path, **env)
        assert done.returncode == 0 and (tmp_path/made).is_file(), done.stderr
    done = run("sample", "--model", "模型", cwd=tmp_path, **env)
    assert is_one_sentence(done, "is not a folder"), done.stderr
    assert run("sample", "--help", cwd=tmp_path, **env).returncode == 0
    assert run("画", cwd=tmp_path, **env).returncode == 2


NO_HOME = """
import os, pwd, sys
def nobody(uid): raise KeyError(uid)
pwd.getpwuid = nobody
from ddpm_edu.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_without_a_home_folder(tmp_path):
    "In a container with a random user: no folder named ~ appears, and ~ is refused."
    env = {k: v for k, v in os.environ.items() if k not in ("HOME", "XDG_CACHE_HOME")}
    def typed(*args):
        command = [sys.executable, "-c", NO_HOME, *args]
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert typed("sample", "--n", "1", "--steps", "1").returncode == 0
    for args in (("sample", "--out=~/x.png"), ("sample", "--model=~/x"), ("notebooks", "~/book"),
                 ("train", "--out=~/x"), ("train", "--out=o", "--data=~/x")):
        done = typed(*args)
        assert is_one_sentence(done, "HOME is not set"), (args, done.stderr)
    assert [p.name for p in tmp_path.iterdir()] == ["samples.png"]


def test_the_home_folder_is_found_behind_an_option(tmp_path):
    home, here = tmp_path/"home", tmp_path/"here"
    here.mkdir()
    save_model(home/"model")
    pictures(home/"photos")
    env = {"HOME": str(home)}
    few = ("--steps", 1, "--n", 1)
    done = run("sample", "--model=~/model", *few, "--out=~/x.png", cwd=here, **env)
    assert done.returncode == 0 and (home/"x.png").is_file(), done.stderr
    done = run("train", "--data=~/photos", "--out=~/run", "--steps", 1, "--batch-size", 2,
               "--size", 8, "--sample-every", 0, cwd=here, **env)
    assert done.returncode == 0 and (home/"run"/"model_index.json").is_file(), done.stderr
    assert run("notebooks", "~/book", cwd=here, **env).returncode == 0
    assert (home/"book"/"index.ipynb").is_file() and not list(here.iterdir())


def pictures(folder, n=8, mode="L"):
    folder.mkdir()
    for i in range(n): Image.effect_noise((20, 16), 40 + 10*i).convert(mode).save(folder/f"{i}.png")
    return folder


def test_train_interrupt_resume_sample(tmp_path):
    "Ctrl-C leaves a checkpoint, --resume goes on from it, and sample draws with the result."
    pictures(tmp_path/"pictures")
    args = ["train", "--data", "pictures", "--out", "model", "--steps", "40", "--batch-size", "4",
            "--size", "16", "--sample-every", "0", "--checkpoint-every", "5"]
    process = subprocess.Popen([str(program), *args], cwd=tmp_path, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 120
    found = lambda: list((tmp_path/"model").glob("checkpoint-*"))
    while not found() and time.monotonic() < end: time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130 and "interrupted. stopped after step" in err, err
    assert "Traceback" not in err
    again = run(*args, cwd=tmp_path)
    assert again.returncode == 1 and "--resume" in last_line(again)
    assert "=True" not in last_line(again)
    done = run(*args, "--resume", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = run("sample", "--model", "model", "--n", 2, "--steps", 3, cwd=tmp_path)
    assert done.returncode == 0 and Image.open(tmp_path/"samples.png").mode == "L", done.stderr


def test_the_pipeline_of_the_best_checkpoint(tmp_path):
    "Some images are held out; --best writes the averaged weights that did best on them."
    pictures(tmp_path/"pictures")
    args = ["train", "--data", "pictures", "--out", "m", "--steps", 4, "--batch-size", 4,
            "--size", 8, "--sample-every", 0, "--checkpoint-every", 1]
    done = run(*args, "--best", cwd=tmp_path)
    assert is_one_sentence(done, "--best needs images", "--held-out 500"), done.stderr
    done = run(*args, "--best", "--held-out", 2, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = checkpoints.best(checkpoints.checkpoints(tmp_path/"m"))
    state = torch.load(folder/"custom_checkpoint_0.pkl", weights_only=True)
    written = load_file(tmp_path/"m"/"unet"/"diffusion_pytorch_model.safetensors")
    assert all(torch.equal(v, state[f"module.{k}"]) for k, v in written.items())


@pytest.mark.parametrize("mode, options, word, channels", [
    ("L", [], "gray", 1), ("RGB", [], "gray", 1), ("L", ["--channels", "3"], "color", 3),
    ("color", [], "color", 3), ("color", ["--channels", "1"], "gray", 1)])
def test_train_says_what_it_does(tmp_path, mode, options, word, channels):
    "First what, then after some steps how long; gray pictures train gray unless told otherwise."
    pictures(tmp_path/"pictures", mode="L" if mode == "color" else mode)
    if mode == "color":
        for p in (tmp_path/"pictures").iterdir(): Image.new("RGB", (9, 9), (250, 20, 80)).save(p)
    done = run("train", "--data", "pictures", "--out", "m", "--steps", 14, "--batch-size", 2,
               "--size", 16, "--sample-every", 0, *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    config = json.loads((tmp_path/"m"/"unet"/"config.json").read_text())
    unet = UNet.from_config(config)
    n = sum(p.numel() for p in unet.parameters())
    assert config["in_channels"] == config["out_channels"] == channels
    first = done.stdout.splitlines()[0]
    assert first.startswith(f"8 {word} images of 16x16 from ")
    assert f"a network with {n:,} parameters on " in first and "14 steps of 2 images" in first
    assert re.search(r"the remaining 3 steps will take about \d+ \w+", done.stdout), done.stdout


def test_a_loss_by_name(tmp_path):
    "The hybrid makes a network that learns its variance, and `sample` draws with it."
    pictures(tmp_path/"pictures")
    args = ["train", "--data", "pictures", "--out", "m", "--steps", 2, "--batch-size", 2,
            "--size", 8, "--sample-every", 0, "--loss"]
    done = run(*args, "hybird", cwd=tmp_path)
    assert is_one_sentence(done, "--loss must be one of", "Did you mean 'hybrid'?"), done.stderr
    done = run(*args, "hybrid", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    config = json.loads((tmp_path/"m"/"unet"/"config.json").read_text())
    assert (config["in_channels"], config["out_channels"]) == (1, 2)
    done = run("sample", "--model", "m", "--n", 1, "--steps", 2, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_damaged_picture_can_be_skipped(tmp_path):
    pictures(tmp_path/"pictures")
    (tmp_path/"pictures"/"3.png").write_bytes(b"junk")
    args = ["train", "--data", "pictures", "--out", "m", "--steps", 1, "--batch-size", 2,
            "--size", 8, "--sample-every", 0]
    done = run(*args, cwd=tmp_path)
    assert is_one_sentence(done, "3.png", "--on-error 'skip'"), done.stderr
    done = run(*args, "--on-error", "skip", cwd=tmp_path)
    assert done.returncode == 0 and "skipped 1 of 8 files" in done.stderr, done.stderr
    assert done.stdout.startswith("7 gray images")


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    folder = tmp_path_factory.mktemp("book")/"book"
    assert run("notebooks", "book", cwd=folder.parent).returncode == 0
    return folder


def test_notebooks_never_overwrite_what_you_changed(tmp_path):
    assert run("notebooks", "book", cwd=tmp_path).returncode == 0
    names = {p.relative_to(tmp_path/"book").as_posix() for p in (tmp_path/"book").rglob("*.ipynb")}
    assert {"index.ipynb", "01_forward_process.ipynb", "appendix/A_data.ipynb"} <= names
    mine, other = (tmp_path/"book"/name for name in ("01_forward_process.ipynb", "index.ipynb"))
    mine.write_text("my work")
    page = json.loads(other.read_text(encoding="utf-8"))
    page["metadata"]["language_info"]["version"] = "3.99.0"          # opened with another Python
    other.write_text(json.dumps(page), encoding="utf-8")
    done = run("notebooks", "book", cwd=tmp_path)
    assert done.returncode == 0 and mine.read_text() == "my work"
    assert "left alone" in done.stdout
    assert done.stdout.rstrip().endswith(": 01_forward_process.ipynb")


def targets(text):
    "What a page points to, in Markdown or HTML."
    found = re.findall(r"\]\(([^()\s]+)\)|(?:href|src)=[\"']([^\"']+)[\"']", text)
    return [t for pair in found for t in pair if t and not re.match(r"[a-z+]+:|//|#", t)]


def test_every_link_of_the_copied_book_works(book):
    links = 0
    for page in sorted(book.rglob("*.ipynb")):
        for cell in json.loads(page.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] != "markdown": continue
            for target in targets("".join(cell["source"])):
                assert (page.parent/target.split("#")[0]).exists(), f"{page.name}: {target}"
                links += 1
    assert links > 20
    nowhere = "a [card](../../README.md), <a href='../tests/x.py'>a test</a> and ![](no.png)"
    assert len(targets(nowhere)) == 3                                # negative control
    page = Path("01.ipynb")
    assert without_dead_links(nowhere, page, {page}) == "a card, a test and "


def test_a_copied_page_is_as_jupyter_would_save_it(book):
    "Opening a page changes nothing in it: cells have ids, and the kernel's own remarks are there."
    from ipykernel.ipkernel import IPythonKernel
    from jupyter_client.kernelspec import KernelSpecManager
    language = IPythonKernel().language_info
    kernel = KernelSpecManager().get_kernel_spec("python3")
    for path in sorted(book.rglob("*.ipynb")):
        raw = path.read_text(encoding="utf-8")
        page = nbformat.from_dict(json.loads(raw))
        changes, _ = nbformat.validator.normalize(page)
        assert not changes and (page.nbformat, page.nbformat_minor) == (4, 5), path.name
        nbformat.validate(page)
        assert page.metadata.language_info == language
        about = {"display_name": kernel.display_name, "language": "python", "name": "python3"}
        assert page.metadata.kernelspec == about
        assert nbformat.writes(nbformat.reads(raw, 4)) + "\n" == raw, path.name
    assert not [p for p in book.rglob("*") if p.name.startswith(".")]


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-"])
def test_a_closed_channel_is_no_error(tmp_path, closed):
    "Services and `pythonw` start programs without them."
    words = f"'{program}' sample --n 1 --steps 1 --out a.png {closed}"
    assert subprocess.run(["sh", "-c", words], cwd=tmp_path, stderr=subprocess.PIPE).returncode == 0
    assert Image.open(tmp_path/"a.png").width


def test_help_without_docstrings(tmp_path):
    done = run("--help", cwd=tmp_path, PYTHONOPTIMIZE="2")
    assert done.returncode == 0 and "sample" in done.stdout
