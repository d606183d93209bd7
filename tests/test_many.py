"Many images: whoever draws them, in whatever batches, they are the same."
import json
import os
import subprocess
import sys
import textwrap

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
