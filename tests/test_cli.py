"The commands as a user types them, in processes of their own."
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

program = Path(sys.executable).parent/"ddpm-edu"


def run(*args, cwd, **env):
    return subprocess.run([str(program), *map(str, args)], cwd=cwd, capture_output=True, text=True, timeout=600, env={**os.environ, **env})


def test_sample(tmp_path):
    done = run("sample", "--n", 3, "--steps", 4, "--seed", 5, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path/"samples.png").exists() and str(tmp_path/"samples.png") in done.stdout and "4/4" in done.stderr       # says where; a progress bar
    assert Image.open(tmp_path/"samples.png").mode == "L" and sorted(p.name for p in tmp_path.iterdir()) == ["samples.png"]


def test_help_and_version(tmp_path):
    for args in (("--help",), ("sample", "--help"), ("train", "--help"), ("notebooks", "--help"), ("--version",)):
        done = run(*args, cwd=tmp_path)
        assert done.returncode == 0 and done.stdout, args
    assert run(cwd=tmp_path).returncode == 2


def test_output_is_checked_before_anything_is_loaded(tmp_path):
    start = time.monotonic()
    done = run("sample", "--steps", 1000, "--out", tmp_path/"missing"/"x.png", "--model", tmp_path/"nothing", cwd=tmp_path)
    assert done.returncode == 1 and "there is no folder" in done.stderr and "Traceback" not in done.stderr
    assert time.monotonic() - start < 60


@pytest.mark.parametrize("args, message", [
    (("sample", "--n", "0"), "n must be at least 1"), (("sample", "--steps", "0"), "steps must be"), (("sample", "--steps", "1001"), "between 1 and 1000"), (("sample", "--model", "fashion-mnits"), "Did you mean 'fashion-mnist'"),
    (("sample", "--out", "x.xyz"), "out must end in"), (("train",), "--out DIR"), (("train", "--out", "o", "--data", "nowhere"), "is not a folder"), (("train", "--out", "o", "--data", "."), "holds no .png"),
    (("train", "--out", "o", "--steps", "0"), "steps must be at least 1")], ids=str)
def test_mistakes_are_one_line(tmp_path, args, message):
    done = run(*args, cwd=tmp_path)
    assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr and len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert not list(tmp_path.iterdir())


def test_unknown_option_is_a_usage_error(tmp_path):
    done = run("sample", "--stepps", "5", cwd=tmp_path)
    assert done.returncode == 2 and "usage: ddpm-edu sample" in done.stderr
    assert run("paint", cwd=tmp_path).returncode == 2


def pictures(folder, n=8):
    folder.mkdir()
    for i in range(n): Image.effect_noise((20, 16), 40 + 10*i).save(folder/f"{i}.png")
    return folder


def test_train_interrupt_resume_sample(tmp_path):
    "Ctrl-C leaves a checkpoint, --resume goes on from it, and sample draws with the result."
    pictures(tmp_path/"pictures")
    args = ["train", "--data", "pictures", "--out", "model", "--steps", "40", "--batch-size", "4", "--size", "16", "--sample-every", "0", "--checkpoint-every", "5"]
    process = subprocess.Popen([str(program), *args], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 120
    while not list((tmp_path/"model").glob("checkpoint-*")) and time.monotonic() < end: time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130 and "interrupted. stopped after step" in err and "Traceback" not in err, err
    again = run(*args, cwd=tmp_path)
    assert again.returncode == 1 and "resume" in again.stderr
    done = run(*args, "--resume", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = run("sample", "--model", "model", "--n", 2, "--steps", 3, cwd=tmp_path)
    assert done.returncode == 0 and Image.open(tmp_path/"samples.png").mode == "RGB", done.stderr


def test_notebooks_never_overwrite_what_you_changed(tmp_path):
    assert run("notebooks", "book", cwd=tmp_path).returncode == 0
    names = {p.relative_to(tmp_path/"book").as_posix() for p in (tmp_path/"book").rglob("*.ipynb")}
    assert {"index.ipynb", "01_forward_process.ipynb", "appendix/A_data.ipynb"} <= names
    mine = tmp_path/"book"/"01_forward_process.ipynb"
    mine.write_text("my work")
    done = run("notebooks", "book", cwd=tmp_path)
    assert done.returncode == 0 and mine.read_text() == "my work" and "left alone" in done.stdout and "01_forward_process.ipynb" in done.stdout
