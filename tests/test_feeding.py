"""What feeds a run: the same bits whoever reads, no process left behind, folders opened by header.

The definition that everything is compared with is `draw_batch` of chapter 7."""
import os
import pickle
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_training import equal, history, root, small, trainer, wait_for, weights

from ddpm_edu import folders
from ddpm_edu.data import ImageDataset, ImageFolder
from ddpm_edu.feeding import Attempts, Feed, Steps, helpful_workers
from ddpm_edu.images import MapDataset, as_dataset
from ddpm_edu.runs import hold_out
from ddpm_edu.training import draw_batch


def noise(side, seed=0, mode="RGB"):
    shape = (side, side, 3) if mode == "RGB" else (side, side)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def pictures(path, n=22, side=8, ending="png"):
    "A folder of different pictures in color."
    path.mkdir(parents=True, exist_ok=True)
    for i in range(n): noise(side, i).save(path/f"{i:03}.{ending}")
    return path


class Jitter:
    "Items that change at random, by three generators."
    def __len__(self): return 22
    def __getitem__(self, i):
        import random
        off = torch.rand(()).item() + random.random() + np.random.random()
        return torch.full((1, 2, 2), (i/22 + off)/4)


class Own(ImageDataset):
    "Somebody's own `batch`, which is asked for the whole batch."
    def batch(self, indices, generator=None):
        return super().batch(indices, generator) + torch.rand((), generator=generator)/9


def data_set(kind, path):
    raw = torch.randint(256, (22, 1, 4, 4), dtype=torch.uint8,
                        generator=torch.Generator().manual_seed(0))
    if kind == "bytes": return ImageDataset(raw, flip=True)
    if kind == "own": return Own(raw, flip=True)
    if kind == "part": return hold_out(ImageDataset(raw, flip=True), 2)[0]
    if kind == "items": return MapDataset(Jitter())
    return ImageFolder(pictures(path), 8, cache_bytes=10**6 if kind == "kept" else 0)


KINDS = ("bytes", "kept", "folder", "items", "own", "part")


def same(a, b): return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b))


@pytest.mark.parametrize("kind", KINDS)
def test_whoever_reads_the_bits_are_those_of_the_definition(tmp_path, kind):
    "No worker, one, two; little and much read ahead; from the start, the middle, and again."
    data = data_set(kind, tmp_path)
    want = [draw_batch(data, 1000, k, 8, 3) for k in range(7)]
    assert not same(want[0], draw_batch(data, 1000, 0, 8, 4))
    for workers, ahead, order in ((0, 2, (0, 1, 2, 5, 3)), (1, 1, (3, 4, 5, 6, 0, 1)),
                                  (2, 4, (0, 1, 2, 3, 4, 6, 6))):
        fresh, before = data_set(kind, tmp_path), torch.get_rng_state()
        with Feed(Steps(fresh, 1000, 8, 3), 7, workers, ahead=ahead) as feed:
            for k in order: assert same(feed(k), want[k]), (workers, k)
        assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("workers", [0, 2])
def test_the_shares_of_processes_make_the_batch(tmp_path, kind, workers):
    data = data_set(kind, tmp_path)
    feeds = [Feed(Steps(data, 1000, 8, 3, p, 4), 5, workers) for p in range(4)]
    try:
        for k in range(5):
            parts = [feed(k) for feed in feeds]
            assert all(len(v) == 2 for part in parts for v in part)
            assert same([torch.cat(v) for v in zip(*parts)], draw_batch(data, 1000, k, 8, 3))
    finally:
        for feed in feeds: feed.close()


@pytest.mark.parametrize("kind", KINDS)
def test_where_processes_are_not_forked_they_get_a_copy(tmp_path, kind):
    "macOS, Windows: what is sent to a worker reads the same bits, without the shared memory."
    steps = Steps(data_set(kind, tmp_path), 1000, 8, 3)
    steps[0]
    sent = pickle.dumps(Attempts(steps))
    said, item = pickle.loads(sent)[1]
    assert said == [] and same(item, draw_batch(steps.dataset, 1000, 1, 8, 3))
    if kind == "kept": assert pickle.loads(sent).steps.dataset.cache is None


@pytest.mark.parametrize("held", [0, 3])
def test_each_process_decodes_its_share_only(tmp_path, monkeypatch, held):
    data, _ = hold_out(data_set("folder", tmp_path), held)
    read, seen = folders.read_image, []
    def noting(path, *args):
        seen.append(path)
        return read(path, *args)
    monkeypatch.setattr(folders, "read_image", noting)
    shares = [Steps(data, 1000, 8, 3, p, 2) for p in (0, 1)]
    for steps in shares: steps[1]
    assert len(seen) == len(set(seen)) == 8


def test_the_order_is_drawn_once_an_epoch(monkeypatch):
    steps, drawn, usual = Steps(data_set("bytes", None), 1000, 8, 3), [], torch.randperm
    def noting(*args, **options):
        drawn.append(args)
        return usual(*args, **options)
    monkeypatch.setattr(torch, "randperm", noting)
    for k in range(6): steps[k]                                        # two steps an epoch
    assert len(drawn) == 3


def test_a_training_run_draws_it_once_an_epoch_too(tmp_path, monkeypatch):
    run, drawn, usual = trainer(tmp_path/"out", batch_size=4), [], torch.randperm
    def noting(n, **options):
        drawn.append(n)
        return usual(n, **options)
    monkeypatch.setattr(torch, "randperm", noting)
    steps = len(run.dataset)//4                                        # of an epoch
    assert steps > 1
    for _ in range(2*steps + 1): run.train_step()
    assert drawn == 3*[len(run.dataset)]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_with_workers_has_the_weights_of_one_without(tmp_path, workers):
    "With dropout, which would notice a draw from the global generator; and resumed with others."
    data = ImageFolder(pictures(tmp_path/"data"), 8)
    def run(out, **options):
        unet = small(in_channels=3, out_channels=3, dropout=0.3)
        torch.manual_seed(1)
        return trainer(tmp_path/out, unet, data=data, log_every=1, steps=8, **options)
    run("none").train()
    run("some", workers=workers).train(until=3)
    with pytest.warns(UserWarning, match="workers is 0, was"):
        run("some").train(resume=True, until=5)
    with pytest.warns(UserWarning, match="workers is .*, was 0"):
        run("some", workers=3 - workers).train(resume=True)
    assert equal(weights(tmp_path/"none"), weights(tmp_path/"some"))
    assert history(tmp_path/"none") == history(tmp_path/"some")


def test_how_many_workers_help(tmp_path):
    assert helpful_workers(data_set("bytes", None)) == 0
    assert helpful_workers(data_set("kept", tmp_path)) > 0
    assert helpful_workers(data_set("items", None)) > 0


# ---- no process is left behind

PROGRAM = """
import sys, time, torch
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_feeding import ImageFolder, small, trainer
class Slow(ImageFolder):
    def pixels(self, indices):
        time.sleep(0.05)
        return super().pixels(indices)
out, how = sys.argv[1], sys.argv[2]
run = trainer(out, small(in_channels=3, out_channels=3), data=Slow(Path(out).parent/"data", 8),
    steps=4000, workers=2, checkpoint_every=10**6)
usual = run.train_step
def told():
    said = usual()
    if run.state.step == 3:
        workers = [w.pid for w in run.feed.batches._workers]
        Path(out + ".pids").write_text(" ".join(map(str, workers)))
        if how == "error": raise RuntimeError("on purpose")
    return said
run.train_step = told
run.train()
"""


def alive(pid):
    try: state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError): return False
    return state != "Z"


@pytest.mark.parametrize("how", ["error", "SIGINT", "SIGTERM", "SIGKILL", "terminal"])
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_workers_end_with_the_training(tmp_path, how):
    "After an error, a signal to the trainer, the Ctrl-C that a terminal sends to all, a power cut."
    pictures(tmp_path/"data")
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
    code = PROGRAM.format(tests=str(root/"tests"))
    run = subprocess.Popen([sys.executable, "-W", "ignore", "-c", code, str(tmp_path/"out"), how],
        env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    note = tmp_path/"out.pids"
    wait_for(lambda: (note.exists() and note.read_text()) or run.poll() is not None)
    pids = [int(v) for v in note.read_text().split()]
    assert len(pids) == 2
    if how == "terminal": os.killpg(run.pid, signal.SIGINT)
    elif how != "error": run.send_signal(getattr(signal, how))
    out, err = run.communicate(timeout=60)
    assert run.returncode != 0, out
    if how == "error": assert "on purpose" in err
    elif how != "SIGKILL": assert "resumes" in err and "exited unexpectedly" not in err, err
    wait_for(lambda: not any(map(alive, pids)), 20)


def test_an_error_in_a_worker_is_the_error_itself(tmp_path):
    "It names the file and comes without the traceback of another process; the workers are gone."
    data = ImageFolder(pictures(tmp_path/"data"), 8)
    (tmp_path/"data"/"007.png").write_bytes((tmp_path/"data"/"007.png").read_bytes()[:-40])
    unet = small(in_channels=3, out_channels=3)
    run = trainer(tmp_path/"out", unet, data=data, steps=50, workers=2)
    said = r"^step \d+ could not be made \(\S*007.png cannot be read as an image"
    with pytest.raises(ValueError, match=said) as error:
        run.train()
    assert "\n" not in str(error.value) and "on_error='skip'" in str(error.value)
    assert run.feed.batches is None


# ---- folders

def cut(path):
    "A picture whose header is sound, and which ends too soon."
    path.write_bytes(path.read_bytes()[:-40])
    return path


@pytest.mark.parametrize("cache_bytes", [0, 10**6])
@pytest.mark.parametrize("workers", [0, 2])
def test_the_next_picture_stands_in_for_a_damaged_one(tmp_path, cache_bytes, workers):
    "One after the last is the first; two in a row; with a warning each, whoever meets them."
    folder = pictures(tmp_path/"data")
    whole = ImageFolder(folder, 8).images.clone()
    for name in ("004.png", "005.png", "021.png"): cut(folder/name)
    data = ImageFolder(folder, 8, flip=False, on_error="skip", cache_bytes=cache_bytes)
    assert len(data) == 22
    expected = whole.clone()
    for i, other in ((4, 6), (5, 6), (21, 0)): expected[i] = whole[other]
    want = ImageDataset(expected)
    with Feed(Steps(data, 1000, 11, 3), 4, workers) as feed:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            for k in range(4): assert same(feed(k), draw_batch(want, 1000, k, 11, 3))
    texts = {str(w.message).rpartition("/")[2] for w in said}
    assert len(texts) == 3 and any("000.png stands in for it" in str(w.message) for w in said)


def test_check_finds_all_at_once_and_changes_nothing(tmp_path):
    folder = pictures(tmp_path/"data")
    for name in ("004.png", "021.png"): cut(folder/name)
    with pytest.raises(ValueError, match="2 of 22 files cannot be read: .*004.*; .*021.*on_error"):
        ImageFolder(folder, 8).check()
    a, b = (ImageFolder(folder, 8, flip=False, on_error="skip") for _ in range(2))
    with pytest.warns(UserWarning, match="2 of 22 files .*the next picture stands in"): a.check()
    with warnings.catch_warnings():
        warnings.simplefilter("error")                                 # all has been said
        a.batch(range(22))
    with pytest.warns(UserWarning): assert torch.equal(a.batch(range(22)), b.batch(range(22)))
    assert a.fingerprint() == b.fingerprint()
    for path in folder.iterdir(): cut(path)
    with pytest.raises(ValueError, match="holds 22 pictures, and none can be read"):
        ImageFolder(folder, 8, on_error="skip").check()
    with pytest.raises(ValueError, match="holds 22 pictures, and none can be read"):
        ImageFolder(folder, 8, on_error="skip").batch([3])


def test_the_start_decodes_no_more_than_it_needs(tmp_path, monkeypatch):
    folder = pictures(tmp_path/"data", 200)
    decoded = []
    usual = folders.read_image
    def noting(path, *args):
        decoded.append(path)
        return usual(path, *args)
    monkeypatch.setattr(folders, "read_image", noting)
    data = ImageFolder(folder, 8, channels=3)
    assert decoded == []
    data.batch([5, 7])
    data.batch([5, 7, 8])
    assert sorted(p.name for p in decoded) == ["005.png", "007.png", "008.png"]
    decoded.clear()
    ImageFolder(folder, 8)                                             # gray or color?
    assert 0 < len(decoded) <= 64


def test_what_workers_decode_is_kept_for_all(tmp_path):
    data = ImageFolder(pictures(tmp_path/"data"), 8, channels=3)
    if torch.multiprocessing.get_start_method() != "fork": pytest.skip("needs fork")
    with Feed(Steps(data, 1000, 11, 3), 2, workers=2) as feed:
        for k in range(2): feed(k)
    assert data.known.all()
    assert torch.equal(data.cache, ImageFolder(tmp_path/"data", 8, channels=3).images)


def test_a_bar_where_there_are_many(tmp_path, capsys):
    folders.in_threads(len, ["x"]*50, "headers", many=50)
    assert "headers" in capsys.readouterr().err
    folders.in_threads(len, ["x"]*49, "headers", many=50)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("side,factor", [(63, 1), (64, 2), (127, 2), (128, 4), (256, 8), (900, 8)])
def test_large_jpeg_files_are_decoded_small(tmp_path, side, factor):
    "At half, a quarter, an eighth, but at least twice as large as wanted; on either side."
    noise(side, mode="L").save(tmp_path/"a.jpg")
    with folders.open_image(tmp_path/"a.jpg") as im:
        folders.draft(im, (16, 16))
        assert im.size == (-(-side//factor),)*2


def test_names_do_not_decide_the_format(tmp_path):
    noise(8).save(tmp_path/"a.png")
    (tmp_path/"a.png").rename(tmp_path/"a.jpg")
    assert ImageFolder(tmp_path, 8).shape == (3, 8, 8)


def test_items_by_number(tmp_path):
    "A random item is the same in any company, and the global generators stay where they are."
    import random
    data = as_dataset(Jitter())
    before = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    draws = data.draws(4, torch.Generator().manual_seed(0))
    whole = data.read(torch.tensor([1, 2, 3, 4]), draws)
    assert torch.equal(data.read(torch.tensor([3]), draws[2:3]), whole[2:3])
    assert not torch.equal(data.read(torch.tensor([3]), draws[:1]), whole[2:3])
    assert before[0] == random.getstate() and (before[1] == np.random.get_state()[1]).all()
    assert torch.equal(before[2], torch.get_rng_state())


# ---- data sets of Hugging Face

def table(n=12):
    "A data set of the real library, of pictures in two sizes, or None if it is not installed."
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image(),
                                  "label": datasets.ClassLabel(names=["cat", "dog"])})
    sides = [8 + 8*(i % 2) for i in range(n)]
    rows = {"image": [noise(side, i) for i, side in enumerate(sides)],
            "label": [i % 2 for i in range(n)]}
    return datasets.Dataset.from_dict(rows, features=features)


def test_pictures_of_the_library_datasets(tmp_path):
    from ddpm_edu.hub_pictures import PictureItems
    data = PictureItems(table(), 8)
    assert data.shape == (3, 8, 8) and data.classes == ("cat", "dog")
    assert data.labels.tolist() == [0, 1]*6 and data.fingerprint()["digest"]
    want = np.asarray(noise(8, 4)).transpose(2, 0, 1)
    assert (data.pixels(torch.tensor([4]))[0].numpy() == want).all()
    with Feed(Steps(data, 1000, 4, 3), 6, workers=2) as feed:
        for k in range(6): assert same(feed(k), draw_batch(data, 1000, k, 4, 3))


def test_the_library_datasets_is_wrapped_as_it_is(tmp_path):
    "Items of one size need no `PictureItems`; a stream and a set of parts are refused by name."
    datasets = pytest.importorskip("datasets")
    rows = table().filter(lambda row: row["label"] == 0)
    run = trainer(tmp_path, small(in_channels=3, out_channels=3), data=rows)
    assert run.dataset.shape == (3, 8, 8) and len(run.dataset) == 6
    run.train()
    with pytest.raises(TypeError, match="IterableDataset.*without streaming"):
        as_dataset(rows.to_iterable_dataset())
    with pytest.raises(TypeError, match=r"a DatasetDict; pass one of its parts, \['train'\]"):
        as_dataset(datasets.DatasetDict(train=rows))


@pytest.mark.parametrize("installed", [False, True])
def test_a_name_on_the_hub(tmp_path, monkeypatch, installed):
    "Without the library, offline, and with what it would give; a stand-in for `datasets`."
    from types import ModuleType, SimpleNamespace

    from ddpm_edu import hub_pictures
    from ddpm_edu.cli import open_data

    class Rows:
        column_names, features = ["img", "label"], {"label": SimpleNamespace(names=["a", "b"])}
        def __len__(self): return 3
        def __getitem__(self, i): return [1, 0, 1] if i == "label" else {"img": noise(20, i, "L")}

    fake = ModuleType("datasets")
    def load_dataset(name, split):
        if name != "owner/name": raise ConnectionError("no route\nto host")
        return Rows()
    fake.load_dataset = load_dataset
    monkeypatch.setitem(sys.modules, "datasets", fake if installed else None)
    monkeypatch.chdir(tmp_path)
    def opened(name): return open_data(name, 8, 0, "raise", tmp_path/"out")
    if not installed:
        with pytest.raises(ValueError, match=r"root='owner/name' is not a folder; .*pip install"):
            opened("owner/name")
        return
    data = opened("owner/name")
    assert data.shape == (1, 8, 8) and data.labels.tolist() == [1, 0, 1]
    words = r"root='cats/dogs' is not a folder.*ConnectionError: no route\)"
    with pytest.raises(OSError, match=words): opened("cats/dogs")
    pictures(tmp_path/"cats"/"dogs", 3)
    assert isinstance(opened("cats/dogs"), ImageFolder)                # a folder wins
    Rows.column_names = ["text"]
    with pytest.raises(ValueError, match="owner/name on the hub has no column of pictures"):
        hub_pictures.load_from_hub("owner/name", 8)


def test_the_command_line_checks_and_reads_ahead(tmp_path):
    "`--check` names all damaged files before the first step; `--workers` changes no bit."
    from test_cli import is_one_sentence, run
    folder = pictures(tmp_path/"data")
    args = ("train", "--data", "data", "--steps", 2, "--batch-size", 4, "--size", 8,
            "--sample-every", 0)
    for n in (0, 2):
        done = run(*args, "--workers", n, "--out", f"m{n}", "--check", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert equal(weights(tmp_path/"m0"), weights(tmp_path/"m2"))
    for name in ("004.png", "009.png"): cut(folder/name)
    done = run(*args, "--check", "--out", "m3", cwd=tmp_path)
    assert is_one_sentence(done, "2 of 22 files", "004.png", "009.png", "--on-error"), done.stderr
    assert is_one_sentence(run(*args, "--workers", -2, "--out", "m4", cwd=tmp_path), "--workers")


class Dead:
    "What torch's loader says when the system has killed a worker for its memory."
    def __next__(self): raise RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly")


def test_a_worker_that_was_killed_is_an_error_of_the_data(tmp_path):
    "What is done is saved, and a sentence says what to do and from where to go on."
    run = trainer(tmp_path, workers=1)
    step = run.train_step
    def killing():
        if run.state.step == 2: run.feed.batches = Dead()
        return step()
    run.train_step = killing
    with pytest.raises(OSError, match="step 3 .*has ended.*fewer workers than 1.*resume from"):
        run.train()
    assert [p.name for p in tmp_path.glob("checkpoint-*")] == ["checkpoint-00000002"]
