"Many images: whoever draws them, in whatever batches, they are the same."
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import torch
from PIL import Image

from ddpm_edu import DDPMPipeline, DDPMScheduler, UNet
from ddpm_edu.many import image_seed, sample_many
from ddpm_edu.unet import unet_config

steps = dict(num_inference_steps=2)


def pipeline(seed=0):
    "A small network that has learnt nothing."
    torch.manual_seed(seed)
    pipe = DDPMPipeline(UNet(**unet_config("tiny")), DDPMScheduler())
    pipe.set_progress_bar_config(disable=True)
    return pipe


def near(a, b): return a.shape == b.shape and np.abs(a.astype(int) - b).max() <= 1
def images(folder):
    "In the order of their names."
    return np.stack([np.asarray(Image.open(p)) for p in sorted(folder.glob("*.png"))])


@pytest.fixture(scope="module")
def six(tmp_path_factory):
    "Six images, drawn at once."
    return images(sample_many(pipeline(), 6, tmp_path_factory.mktemp("six")/"x", 3, **steps))


def test_the_batch_does_not_matter(tmp_path, six):
    pipe = pipeline()
    assert near(images(sample_many(pipe, 6, tmp_path/"x", 3, batch_size=4, **steps)), six)
    other = images(sample_many(pipe, 6, tmp_path/"y", 4, **steps))
    assert not near(other, six) and len(np.unique(six.reshape(6, -1), axis=0)) == 6


def test_it_goes_on(tmp_path, six):
    "After a stop only what is missing is drawn, and no half of a file is left."
    pipe, calls = pipeline(), []
    sample_many(pipe, 4, tmp_path/"x", 3, **steps)
    (tmp_path/"x"/"000001.png").unlink()
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path/"x").iterdir()}
    pipe.unet.register_forward_hook(lambda m, args, said: calls.append(len(args[0])))
    assert near(images(sample_many(pipe, 6, tmp_path/"x", 3, **steps)), six)
    assert calls == [3, 3]                                           # images 1, 4 and 5, two steps
    after = {p.name: p.stat().st_mtime_ns for p in (tmp_path/"x").iterdir()}
    assert before.items() <= after.items()
    assert sorted(after) == [f"{i:06}.png" for i in range(6)] + ["sampling.json"]


def test_one_file(tmp_path, six):
    for rank in (1, 0):
        assert not (tmp_path/"x.npz").exists()
        sample_many(pipeline(), 6, tmp_path/"x.npz", 3, rank=rank, world_size=2, **steps)
    assert [p.name for p in tmp_path.iterdir()] == ["x.npz"]
    made = np.load(tmp_path/"x.npz")["arr_0"]
    assert made.shape == (6, *six.shape[1:], 1) and made.dtype == np.uint8
    assert near(made[..., 0], six)
    assert sample_many(pipeline(), 6, tmp_path/"x.npz", 3, **steps) == tmp_path/"x.npz"


def test_two_processes(tmp_path, six):
    "As torchrun starts them."
    script = textwrap.dedent(f"""
        import sys
        sys.path.insert(0, {os.path.dirname(__file__)!r})
        from test_many import pipeline, sample_many
        sample_many(pipeline(), 6, "x.npz", 3, num_inference_steps=2, batch_size=2)
    """)
    def start(rank):
        env = {**os.environ, "RANK": str(rank), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
        return subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, env=env)
    both = [start(rank) for rank in (0, 1)]
    assert [p.wait() for p in both] == [0, 0]
    assert near(np.load(tmp_path/"x.npz")["arr_0"][..., 0], six)
    assert [p.name for p in tmp_path.iterdir()] == ["x.npz"]


def test_another_run_is_refused(tmp_path):
    pipe, x = pipeline(), tmp_path/"x"
    sample_many(pipe, 2, x, 3, **steps)
    with pytest.raises(ValueError, match="out=.*another seed; choose another name"):
        sample_many(pipe, 2, x, 4, **steps)
    with pytest.raises(ValueError, match="another steps"):
        sample_many(pipe, 2, x, 3, num_inference_steps=3)
    with pytest.raises(ValueError, match="another weights"):
        sample_many(pipeline(1), 2, x, 3, **steps)
    pipe.scheduler = DDPMScheduler(variance_type="fixed_large")
    with pytest.raises(ValueError, match="another scheduler"): sample_many(pipe, 2, x, 3, **steps)
    assert json.loads((x/"sampling.json").read_text())["seed"] == 3
    (tmp_path/"y").mkdir()
    (tmp_path/"y"/"thesis.txt").write_text("precious")
    with pytest.raises(FileExistsError, match="holds other files"):
        sample_many(pipe, 2, tmp_path/"y", 3, **steps)


def test_a_folder_is_not_named_like_a_file(tmp_path):
    for name in ("x.png", "x.JPG", "x.npy", "x.zip"):
        with pytest.raises(ValueError, match=f"a file that ends in .npz, got '.*{name}'; for exam"):
            sample_many(pipeline(), 2, tmp_path/name, **steps)
        assert not (tmp_path/name).exists()
    assert sample_many(pipeline(), 2, tmp_path/"run.2", **steps).is_dir()
    (tmp_path/"old.png").mkdir()                 # somebody's run of before
    assert len(images(sample_many(pipeline(), 2, tmp_path/"old.png", **steps))) == 2
    assert sample_many(pipeline(), 2, tmp_path/"x.NPZ", **steps).is_file()


def test_another_file_is_refused(tmp_path):
    sample_many(pipeline(), 2, tmp_path/"x.npz", 3, **steps)
    with pytest.raises(ValueError, match="another n; choose"):
        sample_many(pipeline(), 3, tmp_path/"x.npz", 3, **steps)
    np.savez(tmp_path/"y.npz", np.zeros(3))
    with pytest.raises(FileExistsError, match="of another kind"):
        sample_many(pipeline(), 3, tmp_path/"y.npz", 3, **steps)


def test_seeds():
    assert image_seed(0, 17) == 17 and 0 <= image_seed(2**31, 10**6) < 2**32
    assert len({image_seed(s, i) for s in range(50) for i in range(1000)}) == 50_000


@pytest.mark.parametrize("options,words", [
    (dict(n=0), "n must be between 1 and"), (dict(seed=-1), "seed must be between 0"),
    (dict(batch_size=0), "batch_size must be at least 1"),
    (dict(rank=2, world_size=2), "rank must be between 0 and 1"),
    (dict(world_size=0), "world_size must be at least 1")])
def test_refused(tmp_path, options, words):
    with pytest.raises(ValueError, match=words):
        sample_many(pipeline(), **{**dict(n=2, out=tmp_path/"x"), **steps, **options})
    assert not (tmp_path/"x").exists()


# Draws 24 images one by one; told to, it dies while it writes a picture or the one file.
DRAWS = f"""
import os, signal, sys
sys.path.insert(0, {os.path.dirname(__file__)!r})
import numpy as np
from pathlib import Path
from PIL import Image
from test_many import pipeline, sample_many
where, left, out = sys.argv[1], int(sys.argv[2]), sys.argv[3]
real = Image.Image.save

def half(path):
    Path(path).write_bytes(b"half of a file")
    os.kill(os.getpid(), signal.SIGKILL)

def save(image, path, *args, **more):
    global left
    left -= 1
    if where == "picture" and not left: half(path)
    real(image, path, *args, **more)

Image.Image.save = save
if where == "gather": np.savez = lambda path, *args, **more: half(path)
sample_many(pipeline(), 24, out, 3, num_inference_steps=2, batch_size=1)
"""


def drawing(folder, where="nowhere", after=0, out="x.npz"):
    "The process, started."
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-c", DRAWS, where, str(after), out], cwd=folder,
                            env=env, stderr=subprocess.DEVNULL)


def ready(folder): return sorted((folder/"x.npz.parts").glob("[0-9]*.png"))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    "The 24 images of a process that nobody kills."
    folder = tmp_path_factory.mktemp("undisturbed")
    assert drawing(folder).wait() == 0
    return np.load(folder/"x.npz")["arr_0"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_moment(tmp_path, undisturbed, seed):
    "SIGKILL from outside, twice; what is there then is whole, is kept, and the rest follows."
    rng, killed = random.Random(seed), 0
    for _ in range(2):
        p, goal = drawing(tmp_path), len(ready(tmp_path)) + rng.randint(2, 8)
        while p.poll() is None and len(ready(tmp_path)) < goal: time.sleep(0.001)
        time.sleep(rng.random()*0.01)
        p.kill()
        killed += p.wait() == -signal.SIGKILL
        before = {q: (q.read_bytes(), q.stat().st_mtime_ns) for q in ready(tmp_path)}
        for q in before: assert np.array_equal(Image.open(q), undisturbed[int(q.stem), ..., 0])
    assert killed == 2 and 4 <= len(before) < 24 and not (tmp_path/"x.npz").exists()
    p = drawing(tmp_path, "gather")                        # draws the rest, and is killed, too
    assert p.wait() == -signal.SIGKILL and len(ready(tmp_path)) == 24
    assert before.items() <= {q: (q.read_bytes(), q.stat().st_mtime_ns)
                              for q in ready(tmp_path)}.items()
    assert drawing(tmp_path).wait() == 0
    assert np.array_equal(np.load(tmp_path/"x.npz")["arr_0"], undisturbed)
    assert [q.name for q in tmp_path.iterdir()] == ["x.npz"]


@pytest.mark.slow
@pytest.mark.parametrize("where,after,there", [("picture", 1, 0), ("picture", 5, 4),
                                               ("picture", 24, 23), ("gather", 0, 24)])
def test_killed_while_it_writes(tmp_path, undisturbed, where, after, there):
    "Half of a file never has the name of a whole one, and nothing of it stays."
    assert drawing(tmp_path, where, after).wait() == -signal.SIGKILL
    assert len(ready(tmp_path)) == there and not (tmp_path/"x.npz").exists()
    halves = [q for q in tmp_path.rglob("*") if q.is_file() and b"half of" in q.read_bytes()]
    assert len(halves) == 1                                # it did die in the middle
    assert drawing(tmp_path).wait() == 0
    assert np.array_equal(np.load(tmp_path/"x.npz")["arr_0"], undisturbed)
    assert [q.name for q in tmp_path.iterdir()] == ["x.npz"]


@pytest.mark.slow
def test_killed_in_a_folder(tmp_path, undisturbed):
    "Numbered pictures: the half that is left is replaced by the whole."
    assert drawing(tmp_path, "picture", 5, "x").wait() == -signal.SIGKILL
    left = sorted(q.name for q in (tmp_path/"x").iterdir())
    assert len(left) == 6 and left[0].startswith(".000004")        # four, a half, and the note
    assert drawing(tmp_path, out="x").wait() == 0
    assert np.array_equal(images(tmp_path/"x"), undisturbed[..., 0])
    assert len(list((tmp_path/"x").iterdir())) == 25


@pytest.mark.slow
def test_torchrun(tmp_path, undisturbed):
    "The program itself starts two processes; each draws its share, and there is one file."
    (tmp_path/"draw.py").write_text(textwrap.dedent(f"""
        import os, sys
        sys.path.insert(0, {os.path.dirname(__file__)!r})
        from test_many import pipeline, sample_many
        pipe, rank = pipeline(), os.environ["RANK"]
        drawn = []
        pipe.unet.register_forward_hook(lambda m, args, said: drawn.append(len(args[0])))
        sample_many(pipe, 24, "x.npz", 3, num_inference_steps=2, batch_size=1)
        said = f"{{rank}} {{os.environ['WORLD_SIZE']}} {{sum(drawn)}};"
        with open("said", "a") as f: f.write(said)
    """))
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    start.append("draw.py")
    done = subprocess.run(start, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = sorted((tmp_path/"said").read_text().split(";")[:-1])
    assert said == ["0 2 24", "1 2 24"]                     # twelve images each, two steps
    assert np.array_equal(np.load(tmp_path/"x.npz")["arr_0"], undisturbed)
    assert sorted(q.name for q in tmp_path.iterdir()) == ["draw.py", "said", "x.npz"]


def test_numbers_of_numpy(tmp_path, six):
    "Whoever loops over an array; the same run goes on with plain numbers."
    some = dict(num_inference_steps=np.int64(2), batch_size=np.int32(4))
    sample_many(pipeline(), np.int64(2), tmp_path/"x", np.int64(3), **some)
    assert near(images(sample_many(pipeline(), 6, tmp_path/"x", 3, **steps)), six)


@pytest.mark.parametrize("left", [b"", b"half of a file"])
def test_a_picture_without_its_end_is_drawn_again(tmp_path, six, left):
    "A power cut may leave the name without the bytes."
    sample_many(pipeline(), 6, tmp_path/"x.npz.parts", 3, **steps)
    (tmp_path/"x.npz.parts"/"000001.png").write_bytes(left)
    sample_many(pipeline(), 6, tmp_path/"x.npz", 3, **steps)
    assert near(np.load(tmp_path/"x.npz")["arr_0"][..., 0], six)


def test_places_that_hold_something_else(tmp_path):
    (tmp_path/"text.npz").write_text("thesis")
    (tmp_path/"empty.npz").touch()
    (tmp_path/"folder.npz").mkdir()
    for name in ("text", "empty", "folder"):
        with pytest.raises(FileExistsError, match=f"out=.*{name}.npz' is of another kind, or dam"):
            sample_many(pipeline(), 2, tmp_path/f"{name}.npz", **steps)
    with pytest.raises(NotADirectoryError, match="is a file; name a folder"):
        (tmp_path/"file").touch()
        sample_many(pipeline(), 2, tmp_path/"file", **steps)
    sample_many(pipeline(), 2, tmp_path/"x", **steps)
    (tmp_path/"x"/"sampling.json").write_text('{"seed": 0')
    with pytest.raises(ValueError, match="out=.*does not say any more whose"):
        sample_many(pipeline(), 2, tmp_path/"x", **steps)


def test_what_could_not_be_drawn_is_refused_before(tmp_path, monkeypatch):
    "No hour of drawing, and no folder, for pictures of two channels or too many steps."
    pipe, calls = pipeline(), []
    two = DDPMPipeline(UNet(**{**unet_config("tiny"), "in_channels": 2, "out_channels": 2}),
                       DDPMScheduler())
    two.unet.register_forward_hook(lambda *args: calls.append(1))
    with pytest.raises(ValueError, match="pipe draws images with 2 channels"):
        sample_many(two, 2, tmp_path/"x", **steps)
    with pytest.raises(ValueError, match="num_inference_steps must be between 1 and 1000"):
        sample_many(pipe, 2, tmp_path/"x", num_inference_steps=1001)
    with pytest.raises(TypeError, match="pipe must be a DDPMPipeline.*got UNet"):
        sample_many(pipe.unet, 2, tmp_path/"x", **steps)
    monkeypatch.setenv("RANK", "first")
    with pytest.raises(ValueError, match="variable RANK must be a whole number, got 'first'"):
        sample_many(pipe, 2, tmp_path/"x", **steps)
    assert not calls and not (tmp_path/"x").exists()
    monkeypatch.setenv("RANK", "")                             # as some systems set it
    monkeypatch.setenv("WORLD_SIZE", "")
    sample_many(pipe, 1, tmp_path/"x", **steps)
