"""Runs that are killed, at any moment and in the middle of any write, and disks that are full.

A nursery, one process that has imported torch, forks a child for each attempt. What the child is
told to do is a line of JSON: where to train, and when to die. It dies by SIGKILL, either from
outside after so many seconds, or by its own hand at its k-th dealing with the disk: before an
fsync, a rename or a deletion, or when half of a file is written."""
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

import numpy as np
import pytest
import torch

import accelerate.utils.other
import safetensors.torch
from ddpm_edu import DDPMPipeline, DDPMScheduler, UNet, checkpoints, runs
from ddpm_edu.data import ImageDataset
from ddpm_edu.training import TrainConfig, Trainer
from ddpm_edu.unet import unet_config

pytestmark = pytest.mark.slow
EVERY, BATCH, IMAGES, HELD = 3, 8, 38, 6
RECIPE = dict(steps=12, batch_size=BATCH, checkpoint_every=EVERY, log_every=2, held_out=HELD,
    warmup_steps=2, lr=3e-3)


# ---- the child

def die(): os.kill(os.getpid(), signal.SIGKILL)


class Reaper:
    "Counts dealings with the disk, and ends the process at number `at`."
    def __init__(self, at): self.at, self.count, self.kinds = at, 0, []

    def due(self, kind):
        self.count += 1
        self.kinds.append(kind)
        return self.count == self.at

    def before(self, module, name):
        "Die before a call."
        usual = getattr(module, name)

        def call(*args, **kwargs):
            if self.due(name): die()
            return usual(*args, **kwargs)

        setattr(module, name, call)

    def inside(self, module, name, path_at):
        "Die when half of a file is written."
        usual = getattr(module, name)

        def call(*args, **kwargs):
            due = self.due(f"half of {name}")
            result = usual(*args, **kwargs)
            if due:
                os.truncate(args[path_at], os.path.getsize(args[path_at])//2)
                die()
            return result

        setattr(module, name, call)

    def inside_the_log(self):
        "Die in the middle of a line."
        usual, reaper = runs.as_line, self

        class Line(bytes): pass

        def as_line(facts):
            line = usual(facts)
            if "time" not in facts or not reaper.due("half of a line"): return line
            out = Path(reaper.out)
            out.mkdir(parents=True, exist_ok=True)
            with open(out/runs.LOG, "ab") as f: f.write(line[:len(line)//2])
            return die()

        runs.as_line = as_line

    def lie_in_wait(self, out):
        self.out = out
        for name in ("fsync", "replace", "unlink", "rmdir"): self.before(os, name)
        for module, name in ((torch, "save"), (accelerate.utils.other, "safe_save_file"),
            (safetensors.torch, "save_file")):
            self.inside(module, name, 1)
        self.inside(Path, "write_text", 0)
        self.inside_the_log()


class Recorded(ImageDataset):
    "Writes down which images each step draws."
    def batch(self, indices, generator=None):
        wanted = [int(i) for i in indices]
        if len(wanted) == BATCH:                    # not those that are held out
            self.record(dict(step=self.run.state.step, images=wanted))
        return super().batch(indices, generator)


def make(out):
    torch.manual_seed(0)
    random.seed(0)                       # a checkpoint holds these two states as well
    np.random.seed(0)
    g = torch.Generator().manual_seed(0)
    data = Recorded(torch.randint(256, (IMAGES, 1, 8, 8), dtype=torch.uint8, generator=g),
        flip=True)
    data.record = lambda facts: None
    unet = UNet(**{**unet_config("tiny"), "dropout": 0.3})
    run = Trainer(unet, DDPMScheduler(), data, out, TrainConfig(**RECIPE), cpu=True,
        progress_bar=False)
    data.run = run
    return run, data


def attempt(job):
    "What a child does; it returns what is to be reported."
    reaper = Reaper(job.get("at", 0))
    run, data = make(job["out"])
    handle = os.open(job["record"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def record(facts): os.write(handle, (json.dumps({"attempt": job["number"], **facts}) +
        "\n").encode())

    if "limit" not in job: data.record = record
    else:
        resource.setrlimit(resource.RLIMIT_FSIZE, (job["limit"], resource.RLIM_INFINITY))
    reaper.lie_in_wait(job["out"])
    try:
        if job.get("save"): DDPMPipeline(run.unet, run.scheduler).save_pretrained(job["out"])
        else: run.train(resume=True)
    except OSError as e: return dict(error=str(e), kind=type(e).__name__)
    return dict(kinds=reaper.kinds)


def nursery():
    "Read jobs, a line each; answer each with how its child ended."
    torch.set_num_threads(1)
    for line in sys.stdin:
        job = json.loads(line)
        read, write = os.pipe()
        child = os.fork()
        if not child:
            os.close(read)
            code = 1
            try:
                said = attempt(job)
                os.write(write, json.dumps(said).encode())
                code = 0
            except Exception: traceback.print_exc()
            finally: os._exit(code)
        os.close(write)
        if "seconds" in job:
            time.sleep(job["seconds"])
            os.kill(child, signal.SIGKILL)       # one that has ended still waits to be waited for
        with os.fdopen(read) as f: said = f.read()
        status = os.waitpid(child, 0)[1]
        print(json.dumps(dict(status=os.waitstatus_to_exitcode(status),
            said=json.loads(said) if said else {})), flush=True)


# ---- the tests

@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    "A function that has a child do a job; its errors stand in a file."
    folder = tmp_path_factory.mktemp("nursery")
    root = Path(__file__).parent.parent
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore",
        "PYTHONPATH": os.pathsep.join([str(root), str(root/"tests")])}
    with open(folder/"errors.txt", "w") as errors:
        process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, text=True,
            stdout=subprocess.PIPE, stderr=errors, env=env)
        number = 0

        def ask(out, **job):
            nonlocal number
            number += 1
            job = dict(out=str(out), record=f"{out}.record", number=number, **job)
            process.stdin.write(json.dumps(job) + "\n")
            process.stdin.flush()
            answer = json.loads(process.stdout.readline())
            fine = answer["status"] in (0, -signal.SIGKILL)
            assert fine, (folder/"errors.txt").read_text()
            return answer

        yield ask
        process.stdin.close()
        process.wait(60)


@pytest.fixture(scope="module")
def straight(ask, tmp_path_factory):
    "An uninterrupted run: its folder, how often it dealt with the disk, how long it took."
    out = tmp_path_factory.mktemp("straight")/"out"
    started = time.monotonic()
    said = ask(out)["said"]
    return out, said["kinds"], time.monotonic() - started


def records(out): return [json.loads(line) for line in Path(f"{out}.record").open()]


def plain(entries):
    "A history without its seconds, and the log's time."
    return [{k: v for k, v in h.items() if k not in ("seconds", "time", "event")} for h in entries]


def same(a, b):
    "Are two nests of tensors, numbers and containers the same, bit for bit?"
    if isinstance(a, torch.Tensor): return torch.equal(a, b)
    if isinstance(a, dict): return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)): return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and bool((a == b) if not hasattr(a, "dtype") else (a == b).all())


def state_of(out):
    "All that a run has left, apart from the clock."
    found = {p.relative_to(out).as_posix(): p for p in out.rglob("*") if p.is_file()}
    state = {"files": sorted(found)}
    for name, path in found.items():
        if name.endswith(".safetensors"): state[name] = safetensors.torch.load_file(path)
        if name.endswith((".bin", ".pkl")): state[name] = torch.load(path, weights_only=False)
        if name.endswith("checkpoint_1.pkl"):
            state[name]["history"] = plain(state[name]["history"])
            state[name].pop("seconds")
    state["history"] = plain(json.loads((out/"history.json").read_text()))
    state["log"] = plain(runs.read_log(out, "history"))
    return state


def check_draws(out, straight):
    "No image twice or skipped, and nothing lost but what came after the last whole checkpoint."
    wanted = {r["step"]: r["images"] for r in records(straight)}
    last, number, drawn = None, None, {}
    for r in records(out):
        if r["attempt"] != number:                           # it has been taken up again
            if last is not None: assert r["step"] >= last//EVERY*EVERY
            if last is not None: assert r["step"] <= last + 1
        else: assert r["step"] == last + 1
        number, last = r["attempt"], r["step"]
        assert r["images"] == wanted[r["step"]]
        drawn[r["step"]] = r["images"]
    assert sorted(drawn) == list(range(RECIPE["steps"]))
    per_epoch = (IMAGES - HELD)//BATCH
    for first in range(0, RECIPE["steps"], per_epoch):
        epoch = [i for step in range(first, first + per_epoch) for i in drawn[step]]
        assert len(set(epoch)) == len(epoch) == IMAGES - HELD


def test_the_uninterrupted_run_is_what_it_should_be(straight):
    out, kinds, _ = straight
    left = state_of(out)
    assert len(left["history"]) == len(left["log"]) and left["history"] == left["log"]
    assert left["history"][-1]["step"] == RECIPE["steps"]
    dealings = ("half of save", "half of safe_save_file", "half of write_text", "half of a line",
        "half of save_file", "fsync", "replace", "unlink", "rmdir")
    assert set(kinds) == set(dealings)
    check_draws(out, out)


def test_two_runs_differ_in_nothing_and_another_seed_in_much(ask, straight, tmp_path):
    "Negative control of the comparison: it must see a changed bit and a lost file."
    shutil.copytree(straight[0], tmp_path/"copy")
    whole, changed = state_of(straight[0]), state_of(tmp_path/"copy")
    assert same(whole, changed)
    name = next(n for n in changed if n.endswith("unet/diffusion_pytorch_model.safetensors"))
    first = next(iter(changed[name]))
    changed[name][first] = changed[name][first].clone()
    changed[name][first].view(torch.int32).view(-1)[0] ^= 1
    assert not same(whole, changed)
    (tmp_path/"copy"/"training.json").unlink()
    assert not same(whole, state_of(tmp_path/"copy"))


def test_killed_anywhere_ends_with_the_same_bits(ask, straight, tmp_path):
    "Chains of kills; each run is then left to end, and compared with the uninterrupted one."
    (reference, kinds, seconds), rng = straight, random.Random(5)
    wanted, killed, case = state_of(reference), [], 0
    while len(killed) < 20:                  # some attempts end before their time to die has come
        case += 1
        assert case < 15, killed
        out = tmp_path/str(case)
        for _ in range(4):
            # from outside at any time, or from inside at a dealing with the disk
            if rng.random() < 0.3: plan = dict(seconds=rng.uniform(0.05, seconds))
            else: plan = dict(at=rng.randrange(1, len(kinds)//3))
            answer = ask(out, **plan)
            if answer["status"] == -signal.SIGKILL: killed.append((case, plan))
        answer = ask(out)
        assert answer["status"] == 0 and "error" not in answer["said"], answer
        left = state_of(out)
        different = [k for k in wanted if not same(wanted[k], left.get(k))]
        assert not different and wanted.keys() == left.keys(), (case, different, killed)
        check_draws(out, reference)
    from_inside = [kinds[plan["at"] - 1] for _, plan in killed if "at" in plan]
    print(f"\n{len(killed)} kills, {len(from_inside)} from inside: {from_inside}")
    assert len(from_inside) >= 10


@pytest.mark.parametrize("kind", ["half of save", "half of safe_save_file", "half of write_text",
    "half of a line", "half of save_file", "fsync", "replace", "unlink", "rmdir"])
def test_killed_at_each_kind_of_dealing(ask, straight, tmp_path, kind):
    "The last of each kind in a run: inside the last checkpoint, the pipeline, the deletion."
    reference, kinds, _ = straight
    at = len(kinds) - kinds[::-1].index(kind)
    assert ask(tmp_path/"out", at=at)["status"] == -signal.SIGKILL
    assert checkpoints.checkpoints(tmp_path/"out")
    assert ask(tmp_path/"out")["status"] == 0
    assert same(state_of(reference), state_of(tmp_path/"out"))
    check_draws(tmp_path/"out", reference)


# ---- a disk that is full: no file may grow above a limit

def begun(ask, straight, out):
    "A folder with the first checkpoint of a run, and sizes of the files in it."
    kinds = straight[1]
    second = [i for i, kind in enumerate(kinds, 1) if kind == "half of safe_save_file"][1]
    ask(out, at=second)
    folder, = checkpoints.checkpoints(out)
    return folder, sorted({p.stat().st_size for p in folder.iterdir()})


@pytest.mark.parametrize("which", [0, 1, 2, -1])
def test_a_full_disk_is_one_sentence_and_costs_one_checkpoint(ask, straight, tmp_path, which):
    "Whichever file of a checkpoint is the first that does not fit."
    out = tmp_path/"out"
    folder, sizes = begun(ask, straight, out)
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    said = ask(out, limit=sizes[which] - 1)["said"]
    assert said["kind"] == "OSError" and "\n" not in said["error"]
    for words in ("checkpoint-00000006 could not be written", "is there room on the disk?",
        f"{folder} stays; resume from it"):
        assert words in said["error"]
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    assert sorted(p.name for p in out.iterdir()) == [folder.name, "log.jsonl"]
    assert ask(out)["status"] == 0
    assert same(state_of(straight[0]), state_of(out))       # the log, too, is whole again


@pytest.mark.parametrize("size", [10, 300, 5000, 50_000])
def test_a_full_disk_leaves_the_saved_pipeline_as_it_was(ask, straight, tmp_path, size):
    out = tmp_path/"out"
    shutil.copytree(straight[0], out)
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    said = ask(out, save=True, limit=size)["said"]
    assert said["kind"] == "OSError" and "\n" not in said["error"]
    assert said["error"].startswith(f"cannot save to {out}")
    assert "what was there before is unchanged" in said["error"]
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before
    ask(tmp_path/"new", save=True, limit=size)
    assert not (tmp_path/"new").exists()                     # and no folder where there was none


if __name__ == "__main__": nursery()
