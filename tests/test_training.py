"The trainer where a notebook is the wrong place: crashes, signals, full disks, two processes."
import copy
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.utils.data import Subset, TensorDataset

from ddpm_edu import DDPMPipeline, DDPMScheduler, UNet, checkpoints
from ddpm_edu.data import ImageDataset, ImageFolder
from ddpm_edu.runs import read_log
from ddpm_edu.training import TrainConfig, Trainer, draw_batch, eval_loss, training_loss
from ddpm_edu.unet import unet_config

root = Path(__file__).parent.parent
script = """
import sys, time, torch
from ddpm_edu import DDPMScheduler, UNet
from ddpm_edu.data import ImageDataset
from ddpm_edu.training import TrainConfig, Trainer
from ddpm_edu.unet import unet_config
out, steps, every, log = sys.argv[1], *map(int, sys.argv[2:5])
pause, dropout = map(float, sys.argv[5:])
torch.manual_seed(0)
g = torch.Generator().manual_seed(0)
images = torch.randint(256, (40, 1, 8, 8), dtype=torch.uint8, generator=g)
class Slow(ImageDataset):
    def batch(self, *args):
        time.sleep(pause)
        return super().batch(*args)
unet = UNet(**{**unet_config("tiny"), "dropout": dropout})
config = TrainConfig(steps, 8, checkpoint_every=every, log_every=log, warmup_steps=2, held_out=8)
run = Trainer(unet, DDPMScheduler(), Slow(images), out, config, cpu=True, progress_bar=False)
# one write, since two processes share the channel
sys.stdout.write(f"processes {run.accelerator.num_processes}\\n")
sys.stdout.flush()
run.train(resume=True)
"""
TWO = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")


@pytest.fixture
def program(tmp_path):
    path = tmp_path/"program.py"
    path.write_text(script)
    return path


def launch(program, out, steps=8, every=3, log=1, pause=0., dropout=0., launcher=(sys.executable,)):
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    numbers = map(str, (steps, every, log, pause, dropout))
    return subprocess.Popen([*launcher, str(program), str(out), *numbers], env=env, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finish(process, code=0):
    out, err = process.communicate(timeout=300)
    assert process.returncode == code, f"{process.returncode}\n{out}\n{err}"
    return out + err


def weights(out): return load_file(Path(out)/"unet"/"diffusion_pytorch_model.safetensors")


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.02)


def equal(a, b): return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def plain(entries):
    "Without the seconds, which are never the same, and what the log adds to an entry."
    return [{k: v for k, v in h.items() if k not in ("seconds", "event", "time")} for h in entries]


def history(out): return plain(json.loads((Path(out)/"history.json").read_text()))


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL],
    ids=lambda s: s.name)
def test_stopped_anywhere_ends_with_the_same_bits(program, tmp_path, how):
    "Ctrl-C, SIGTERM, the power cut: a resumed run ends as an uninterrupted one, with dropout too."
    finish(launch(program, tmp_path/"straight", log=4, dropout=0.3))
    stopped = launch(program, tmp_path/"out", log=4, pause=0.15, dropout=0.3)
    wait_for(lambda: list((tmp_path/"out").glob("checkpoint-*")))
    stopped.send_signal(how)
    out, err = stopped.communicate(timeout=120)
    assert stopped.returncode != 0 and not (tmp_path/"out"/"model_index.json").exists()
    if how != signal.SIGKILL: assert "resumes" in err
    finish(launch(program, tmp_path/"out", log=4, dropout=0.3))
    assert equal(weights(tmp_path/"straight"), weights(tmp_path/"out"))
    assert history(tmp_path/"straight") == history(tmp_path/"out")    # entries of four steps each
    assert plain(read_log(tmp_path/"out", "history")) == history(tmp_path/"out")
    events = [line["event"] for line in read_log(tmp_path/"out")]
    assert events.count("start") == events.count("resume") == 1
    assert ("stop" in events) == (how != signal.SIGKILL)


def test_a_half_written_checkpoint_is_passed_over(program, tmp_path):
    finish(launch(program, tmp_path/"straight"))
    stopped = launch(program, tmp_path/"out", pause=0.15)
    wait_for(lambda: list((tmp_path/"out").glob("checkpoint-*")))
    stopped.kill()
    stopped.communicate()
    good = max((tmp_path/"out").glob("checkpoint-*"))
    torn = tmp_path/"out"/".saving-checkpoint-00000099"           # what a crash while saving leaves
    shutil.copytree(good, torn)
    (torn/"model.safetensors").write_bytes(b"half")
    finish(launch(program, tmp_path/"out"))
    assert equal(weights(tmp_path/"straight"), weights(tmp_path/"out")) and not torn.exists()


@pytest.mark.slow
def test_two_processes_are_one(program, tmp_path):
    "A batch split over two processes gives the weights of one, up to the order of summation."
    finish(launch(program, tmp_path/"one"))
    said = finish(launch(program, tmp_path/"two", launcher=TWO))
    assert said.count("processes 2") == 2
    a, b = weights(tmp_path/"one"), weights(tmp_path/"two")
    torch.manual_seed(0)
    start = UNet(**unet_config("tiny")).state_dict()
    moved = max((a[k] - start[k]).abs().max().item() for k in a)
    assert max((a[k] - b[k]).abs().max().item() for k in a) < 0.02*moved
    losses = [[h["loss"] for h in history(tmp_path/name)] for name in ("one", "two")]
    assert torch.allclose(*map(torch.tensor, losses), atol=1e-3)
    assert [h["step"] for h in read_log(tmp_path/"two", "history")] == list(range(1, 9))
    measured = [[h["held_out"] for h in history(tmp_path/name) if "held_out" in h]
        for name in ("one", "two")]
    assert len(measured[0]) == 3
    assert torch.allclose(*map(torch.tensor, measured), atol=1e-3)


@pytest.mark.slow
def test_two_processes_stop_together(program, tmp_path):
    run = launch(program, tmp_path/"two", steps=400, every=1000, pause=0.05, launcher=TWO)
    assert "processes 2" in run.stdout.readline()
    time.sleep(8)
    run.send_signal(signal.SIGTERM)
    run.communicate(timeout=120)
    assert run.returncode != 0
    checkpoint, = (tmp_path/"two").glob("checkpoint-*")
    assert len(list(checkpoint.glob("random_states_*.pkl"))) == 2


def images(n=40, size=8, channels=1):
    g = torch.Generator().manual_seed(0)
    shape = (n, channels, size, size)
    return ImageDataset(torch.randint(256, shape, dtype=torch.uint8, generator=g))


def small(**options):
    torch.manual_seed(0)
    return UNet(**{**unet_config("tiny"), **options})


def trainer(out, unet=None, scheduler=None, data=None, cpu=True, **options):
    config = TrainConfig(**{**dict(steps=4, batch_size=4, warmup_steps=0), **options})
    data = images() if data is None else data
    return Trainer(unet or small(), scheduler or DDPMScheduler(), data, out, config, cpu=cpu,
        progress_bar=False)


def numbers(folder):
    return sorted(int(p.name.rpartition("-")[2]) for p in Path(folder).glob("checkpoint-*"))


def test_the_pipeline_that_is_written_holds_the_average(tmp_path):
    run = trainer(tmp_path/"out", scheduler=DDPMScheduler(prediction_type="v_prediction"), steps=6,
        batch_size=8, sample_every=3, sample_steps=2)
    run.train()
    pipe = DDPMPipeline.from_pretrained(tmp_path/"out")
    average, last = dict(run.ema.module.named_parameters()), dict(run.unet.named_parameters())
    written = dict(pipe.unet.named_parameters())
    assert equal(written, average) and not equal(written, last)
    assert pipe.scheduler.config.prediction_type == "v_prediction"
    grids = sorted(p.name for p in (tmp_path/"out"/"samples").iterdir())
    assert grids == ["step-00000003.png", "step-00000006.png"]
    assert run.unet.training                   # sampling on the way has not left it in eval mode


def test_a_finished_run_can_be_continued_with_more_steps(tmp_path):
    def make(steps):
        return trainer(tmp_path/"out", steps=steps, batch_size=8, log_every=1, decay="constant")
    make(3).train()
    with pytest.warns(UserWarning, match="steps is 5, was 3") as said:
        entries = make(5).train(resume=True)
    assert "learning rate" not in str(said[0].message)                # it is constant
    assert [h["step"] for h in entries] == [1, 2, 3, 4, 5]
    assert len(make(5).train(resume=True)) == 5                       # nothing left to do
    with pytest.raises(ValueError, match="steps=4 is less than the 5 steps that .* has made"):
        make(4).train(resume=True)


def test_more_steps_take_the_rate_of_the_longer_run_and_say_so(tmp_path):
    "From where it goes on; what is done keeps the rate that it had."
    def make(steps):
        return trainer(tmp_path/"out", steps=steps, log_every=1, warmup_steps=1)
    make(4).train()
    short, long = make(4).config, make(8).config
    with pytest.warns(UserWarning, match="learning rate is that of a run of 8 steps") as said:
        entries = make(8).train(resume=True)
    assert f"{long.lr_at(4):.3g} where it was going to be 0" in str(said[0].message)
    wanted = [short.lr_at(i) for i in range(4)] + [long.lr_at(i) for i in range(4, 8)]
    assert [h["lr"] for h in entries] == wanted
    assert long.lr_at(4) > 100*short.lr_at(4)                         # a jump, and not a small one


@pytest.mark.parametrize("kind", ["epsilon", "sample", "v_prediction"])
def test_overfits_one_image(tmp_path, kind):
    "The whole loop learns: in a world with one image all three predictions can be perfect."
    data = ImageDataset(images(1).images.expand(4, 1, 8, 8).clone())
    run = trainer(tmp_path/"out", scheduler=DDPMScheduler(prediction_type=kind), data=data,
        steps=150, lr=3e-3, warmup_steps=10, ema_decay=0.9)
    x0 = data.batch([0, 1, 2, 3]*16)
    before = eval_loss(run.unet, run.scheduler, x0)
    run.train()
    after = eval_loss(run.ema.module, run.scheduler, x0)
    assert after < 0.5*before, (before, after)


def test_batches_do_not_depend_on_what_was_drawn_before():
    data = images()
    torch.manual_seed(1)
    a = draw_batch(data, 1000, 7, 8, 3)
    torch.manual_seed(2)
    for i in range(7): draw_batch(data, 1000, i, 8, 3)
    b = draw_batch(data, 1000, 7, 8, 3)
    assert all(torch.equal(x, y) for x, y in zip(a, b))


def test_loss_is_the_same_for_any_network_interface():
    x0, noise = images().batch(range(4)), torch.randn(4, 1, 8, 8)
    t = torch.tensor([1, 10, 100, 999])
    unet, scheduler = small().eval(), DDPMScheduler()
    def plain(x, t): return unet(x, t).sample
    ours, theirs = (training_loss(net, scheduler, x0, t, noise) for net in (unet, plain))
    assert ours == theirs


# ---- accelerate's settings belong to one trainer

@pytest.mark.parametrize("order", [("no", "bf16", "no"), ("bf16", "no", "bf16")], ids="-".join)
def test_trainers_of_several_precisions_in_one_process(tmp_path, order):
    "Each has its own precision, and the first still works when the others are done."
    runs = [trainer(tmp_path/str(i), small(in_channels=3, out_channels=3), data=images(channels=3),
        mixed_precision=p, steps=2) for i, p in enumerate(order)]
    first = runs[0].train(until=1)
    for run in runs[1:]: run.train()
    runs[0].train(resume=True)
    assert [run.accelerator.mixed_precision for run in runs] == list(order)
    assert equal(weights(tmp_path/"0"), weights(tmp_path/"2"))         # as if nothing had been
    assert not equal(weights(tmp_path/"0"), weights(tmp_path/"1"))     # the precisions do differ
    for run in runs: assert all(p.dtype == torch.float32 for p in run.unet.parameters())
    assert first == []                                                 # log_every is 50


USERS_OWN = """
import sys, torch
from accelerate import Accelerator
from test_training import DDPMScheduler, equal, images, small, trainer
mine = Accelerator(mixed_precision="bf16", gradient_accumulation_steps=3, cpu=True)
net = torch.nn.Linear(4, 4)
net, optimizer = mine.prepare(net, torch.optim.SGD(net.parameters(), 0.1))
steps = []
for i in range(6):
    with mine.accumulate(net):
        before = net.weight.detach().clone()
        loss = net(torch.ones(2, 4)).square().mean()
        mine.backward(loss)
        if i == 1: trainer(sys.argv[1], steps=2).train()       # a run in between, in full precision
        optimizer.step()
        optimizer.zero_grad()
        steps.append(not torch.equal(before, net.weight))
assert steps == [False, False, True]*2, steps
assert mine.mixed_precision == "bf16" and mine.gradient_accumulation_steps == 3
assert Accelerator(mixed_precision="bf16").mixed_precision == "bf16"
"""


def test_an_accelerator_of_the_users_own_notices_nothing(tmp_path):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(root/"tests")])}
    finish(subprocess.Popen([sys.executable, "-c", USERS_OWN, str(tmp_path/"out")], text=True,
        env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE))


def test_defaults_of_torch_change_nothing(tmp_path):
    "A default device or type that somebody has set for other work: the same run, bit for bit."
    trainer(tmp_path/"a", small(), log_every=1, sample_every=2, sample_steps=2).train()
    unet, data = small(), images()
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    try:
        run = trainer(tmp_path/"b", unet, data=data, log_every=1, sample_every=2, sample_steps=2)
        run.train()
        assert torch.get_default_device().type == "meta"
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
    assert equal(weights(tmp_path/"a"), weights(tmp_path/"b"))


def test_a_network_in_double_precision(tmp_path):
    run = trainer(tmp_path/"out", small().double())
    run.train()
    assert all(p.dtype == torch.float64 for p in run.unet.parameters())
    assert math.isfinite(eval_loss(run.unet, run.scheduler, images().batch(range(8))))


def test_eval_loss_draws_on_the_cpu_and_restores_every_part():
    "Images of any type; parts that were in eval mode stay so; the same number whatever defaults."
    unet, scheduler, x0 = small(dropout=0.5), DDPMScheduler(), images().batch(range(12))
    unet.down_blocks[0].eval()
    modes = [m.training for m in unet.modules()]
    loss = eval_loss(unet, scheduler, x0, batch_size=5)
    assert [m.training for m in unet.modules()] == modes and len(set(modes)) == 2
    assert loss == eval_loss(unet, scheduler, x0.double(), batch_size=5)
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    try: again = eval_loss(unet, scheduler, x0, batch_size=5)
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
    assert again == loss


# ---- only what is ours, and only when it is sound

def poisoned(run, step, how):
    "Let a step spoil the run: its loss, a weight, or one of Adam's moments."
    usual = run.train_step

    def spoilt():
        loss, length = usual()
        if run.state.step == step:
            with torch.no_grad():
                first = next(run.unet.parameters())
                if how == "loss": loss = loss*math.nan
                if how == "weight": first.view(-1)[3] = math.nan
                if how == "average": next(run.ema.module.parameters()).view(-1)[0] = math.inf
                if how == "moment": run.optimizer.state[first]["exp_avg_sq"].view(-1)[0] = math.inf
        return loss, length

    run.train_step = spoilt
    return run


@pytest.mark.parametrize("how", ["loss", "weight", "average", "moment"])
def test_a_spoilt_run_keeps_its_last_good_checkpoint(tmp_path, how):
    "Whatever becomes NaN or infinite, and whenever it is due to be logged: nothing is replaced."
    run = trainer(tmp_path, steps=9, checkpoint_every=3, sample_every=3, sample_steps=1)
    with pytest.raises(FloatingPointError, match=r"at step [56]; lower lr \(0.001\)") as error:
        poisoned(run, 5, how).train()
    assert str(tmp_path/"checkpoint-00000003") in str(error.value)
    if how == "loss": assert "the loss became nan at step 5" in str(error.value)
    assert numbers(tmp_path) == [3] and not (tmp_path/"model_index.json").exists()
    last = read_log(tmp_path)[-1]
    assert last["event"] == "failed" and last["error"] == " ".join(str(error.value).split())
    assert [p.name for p in (tmp_path/"samples").iterdir()] == ["step-00000003.png"]
    assert trainer(tmp_path, steps=9, checkpoint_every=3).train(resume=True) is not None
    assert all(v.isfinite().all() for v in weights(tmp_path).values())


def test_a_run_that_is_spoilt_at_its_last_step_writes_no_pipeline(tmp_path):
    with pytest.raises(FloatingPointError, match="start again"):
        poisoned(trainer(tmp_path, steps=2), 2, "weight").train()
    assert [p.name for p in tmp_path.iterdir()] == ["log.jsonl"]
    run = trainer(tmp_path/"new")
    next(run.ema.module.parameters()).data.fill_(math.nan)
    with pytest.raises(FloatingPointError): run.save_pipeline()
    assert not (tmp_path/"new").exists()


def test_nothing_of_others_is_deleted_or_read(tmp_path):
    "Folders with nearly our names, files and links with exactly our names, notes in our folders."
    for name in ("checkpoint-notes", "my-checkpoint-notes", "checkpoint-100", "checkpoint-best",
        "checkpoint-00000099", "old.checkpoint-00000001", "checkpoint-000000001"):
        (tmp_path/name).mkdir()
        (tmp_path/name/"thesis.tex").write_text("years of work")
    (tmp_path/"checkpoint-00000098").write_text("a file")
    (tmp_path/"elsewhere").mkdir()
    (tmp_path/"elsewhere"/"model.safetensors").write_text("a good one")
    link = tmp_path/"checkpoint-00000097"
    link.symlink_to(tmp_path/"elsewhere", target_is_directory=True)
    before = {p: p.read_text() for p in tmp_path.rglob("*") if p.is_file()}
    run = trainer(tmp_path, checkpoint_every=1)
    usual = run.save_checkpoint

    def with_notes():
        folder = usual()
        if run.state.step == 2: (folder/"notes.txt").write_text("lr was too high")
        return folder

    run.save_checkpoint = with_notes
    run.train()
    assert {p: p.read_text() for p in before} == before and link.is_symlink()
    assert (tmp_path/"checkpoint-00000002"/"notes.txt").read_text() == "lr was too high"
    assert len(list((tmp_path/"checkpoint-00000002").iterdir())) == 1
    kept = [p.name for p in checkpoints.checkpoints(tmp_path)]
    assert kept == ["checkpoint-00000003", "checkpoint-00000004"]
    again = trainer(tmp_path, checkpoint_every=1)
    assert again.train(resume=True) == run.state.history and again.state.step == 4


@pytest.mark.parametrize("name,change", [
    ("network's dropout", dict(unet=dict(dropout=0.1))),
    ("network's block_out_channels", dict(unet=dict(block_out_channels=(16, 16)))),
    ("scheduler's beta_schedule", dict(scheduler=dict(beta_schedule="squaredcos_cap_v2"))),
    ("scheduler's beta_end", dict(scheduler=dict(beta_end=0.03))),
    ("scheduler's num_train_timesteps", dict(scheduler=dict(num_train_timesteps=900))),
    ("scheduler's prediction_type", dict(scheduler=dict(prediction_type="v_prediction"))),
    ("data's images", dict(data=images(16))),
    ("data's digest", dict(data=ImageDataset(255 - images().images))),
    ("data's flip", dict(data=ImageDataset(images().images, flip=True))),
    ("lr", dict(lr=2e-3)), ("batch_size", dict(batch_size=8)), ("seed", dict(seed=1)),
    ("loss", dict(loss="vlb")), ("ema_decay", dict(ema_decay=0.9)),
    ("held_out", dict(held_out=8))], ids=lambda v: str(v)[:30])
def test_another_run_is_refused_by_name(tmp_path, name, change):
    trainer(tmp_path).train(until=2)
    unet, scheduler = small(**change.pop("unet", {})), DDPMScheduler(**change.pop("scheduler", {}))
    other = trainer(tmp_path, unet, scheduler, **change)
    start = {k: v.clone() for k, v in unet.state_dict().items()}
    with pytest.raises(ValueError, match=f"{name} was .* when .*checkpoint-00000002 was written"):
        other.train(resume=True)
    assert equal(start, unet.state_dict())                     # refused before it was loaded


def test_sound_changes_are_allowed_and_said(tmp_path):
    trainer(tmp_path).train(until=2)
    sampling = DDPMScheduler(clip_sample=False, timestep_spacing="trailing")
    run = trainer(tmp_path, scheduler=sampling, steps=6, mixed_precision="bf16", log_every=1)
    with pytest.warns(UserWarning, match="with changes") as said: run.train(resume=True)
    text = str(said[0].message)
    for words in ("steps is 6, was 4", "mixed_precision is 'bf16', was 'no'", "log_every is 1",
        "scheduler's clip_sample is False, was True", "scheduler's timestep_spacing"):
        assert words in text
    with warnings.catch_warnings():
        warnings.simplefilter("error")                         # and silence where nothing changed
        same = trainer(tmp_path, None, sampling, steps=6, mixed_precision="bf16", log_every=1)
        same.train(resume=True)


def test_a_folder_of_pictures_may_move_but_not_change(tmp_path):
    from PIL import Image
    (tmp_path/"a").mkdir()
    for i in range(4): Image.new("RGB", (8, 8), (i, 200, 3)).save(tmp_path/"a"/f"{i}.png")
    def make(folder):
        unet = small(in_channels=3, out_channels=3)
        return trainer(tmp_path/"out", unet, data=ImageFolder(folder, 8))
    make(tmp_path/"a").train(until=2)
    (tmp_path/"a").rename(tmp_path/"b")
    make(tmp_path/"b").train(resume=True, until=3)
    (tmp_path/"b"/"3.png").rename(tmp_path/"b"/"4.png")
    with pytest.raises(ValueError, match="data's digest was"): make(tmp_path/"b").train(resume=True)


def test_a_network_without_a_config_is_known_by_its_weights(tmp_path):
    class Net(torch.nn.Module):
        def __init__(self, width):
            super().__init__()
            self.a, self.b = torch.nn.Conv2d(1, width, 3, padding=1), torch.nn.Conv2d(width, 1, 1)
        def forward(self, x, t): return self.b(self.a(x).relu())
    trainer(tmp_path, Net(4)).train(until=2)
    trainer(tmp_path, Net(4)).train(resume=True, until=3)
    with pytest.raises(ValueError, match="network's weights was"):
        trainer(tmp_path, Net(5)).train(resume=True)


NAMES = ("model.safetensors", "optimizer.bin", "custom_checkpoint_0.pkl", "random_states_0.pkl",
    "training.json", "run.json")


@pytest.mark.parametrize("how", ["cut", "junk", "bit", "gone"])
@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_checkpoint_is_named(tmp_path, name, how):
    "One sentence that names the folder and says what to do; nothing of it has been loaded."
    trainer(tmp_path).train(until=2)
    path = tmp_path/"checkpoint-00000002"/name
    whole = path.read_bytes()
    if how == "bit" and name == "run.json": pytest.skip("a digest that is wrong blames its file")
    if how == "gone" and name == "run.json": pytest.skip("a checkpoint of an earlier version")
    middle = len(whole)//2
    bit = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle+1:]
    if how == "gone": path.unlink()
    else: path.write_bytes({"cut": whole[:len(whole)//3], "junk": b"\0junk", "bit": bit}[how])
    unet = small()
    start = {k: v.clone() for k, v in unet.state_dict().items()}
    run = trainer(tmp_path, unet)
    with pytest.raises(ValueError, match="checkpoint .*checkpoint-00000002 is damaged") as error:
        run.train(resume=True)
    assert "delete that folder" in str(error.value) and "\n" not in str(error.value)
    assert name in str(error.value)
    assert equal(start, unet.state_dict()) and path.parent.is_dir()


def test_damage_without_digests_is_named_too(tmp_path):
    "Checkpoints of earlier versions, or a digest that is right and a format that is not."
    trainer(tmp_path).train(until=2)
    (tmp_path/"checkpoint-00000002"/"run.json").unlink()
    trainer(tmp_path).train(resume=True, until=3)                      # still taken up
    (tmp_path/"checkpoint-00000003"/"run.json").unlink()
    (tmp_path/"checkpoint-00000003"/"optimizer.bin").write_bytes(b"junk")
    with pytest.warns(UserWarning, match="3 is damaged .*; going on from .*checkpoint-00000002"):
        trainer(tmp_path).train(resume=True)


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_newest_checkpoints_stay(tmp_path, keep):
    trainer(tmp_path, steps=6, checkpoint_every=1, keep_checkpoints=keep).train()
    assert numbers(tmp_path) == list(range(7 - keep, 7))


@pytest.mark.parametrize("how", ["cut", "gone", "bit"])
def test_a_damaged_checkpoint_costs_only_the_steps_since_the_one_before(tmp_path, how):
    "The run goes on from the earlier one, says so, and ends with the bits of an unharmed run."
    trainer(tmp_path/"straight", steps=6, checkpoint_every=2).train()
    trainer(tmp_path/"out", steps=6, checkpoint_every=2).train(until=5)
    path = tmp_path/"out"/"checkpoint-00000005"/"optimizer.bin"
    whole = path.read_bytes()
    spoilt = {"cut": whole[:99], "bit": whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:]}
    if how == "gone": path.unlink()
    else: path.write_bytes(spoilt[how])
    run = trainer(tmp_path/"out", steps=6, checkpoint_every=2)
    with pytest.warns(UserWarning, match="5 is damaged .*optimizer.bin.*going on from .*00000004"):
        run.train(resume=True)
    assert equal(weights(tmp_path/"straight"), weights(tmp_path/"out"))
    assert numbers(tmp_path/"out") == [4, 6]                           # the damaged one is gone


# ---- the best checkpoint

def test_images_that_are_held_out_are_spread_and_never_trained_on(tmp_path):
    data, seen = images(), []
    assert trainer(tmp_path/"none", data=data).dataset is data        # nothing changes without
    usual = data.batch

    def batch(indices, generator=None):
        seen.append({int(i) for i in indices})
        return usual(indices, generator)

    data.batch = batch
    run = trainer(tmp_path/"out", data=data, steps=10, batch_size=8, held_out=8, checkpoint_every=5)
    entries = run.train()
    held = set(range(2, 40, 5))
    assert seen.count(held) == 2 and len(seen) == 12
    assert set().union(*(s for s in seen if s != held)) == set(range(40)) - held
    assert [(h["step"], "held_out" in h) for h in entries] == [(5, True), (10, True)]
    x0 = images().batch(sorted(held))
    assert entries[-1]["held_out"] == eval_loss(run.ema.module, run.scheduler, x0)
    notes = json.loads((tmp_path/"out"/"checkpoint-00000005"/"run.json").read_text())
    assert notes["held_out"] == entries[0]["held_out"]


@pytest.mark.parametrize("losses,keep,stay", [([0.9, 0.3, 0.5, 0.6], 1, [2, 4]),
    ([0.9, 0.3, 0.5, 0.6], 2, [2, 3, 4]), ([0.9, 0.5, 0.4, 0.3], 1, [4]),
    ([0.3, 0.5, 0.3, 0.5], 1, [1, 4]), ([0.3, 0.5, 0.2, 0.5], 1, [3, 4])])
def test_the_best_checkpoint_stays_as_long_as_it_is_the_best(tmp_path, losses, keep, stay):
    run = trainer(tmp_path, held_out=8, checkpoint_every=1, keep_checkpoints=keep)
    run.held_out_loss = lambda: losses[run.state.step - 1]
    run.train()
    assert numbers(tmp_path) == stay
    assert checkpoints.best(checkpoints.checkpoints(tmp_path)).name[-1] == str(
        losses.index(min(losses)) + 1)


def test_the_pipeline_of_the_best_checkpoint(tmp_path):
    "Wanted by name; without a word it is that of the last step, as it always was."
    run, then = trainer(tmp_path, held_out=8, checkpoint_every=1), {}

    def loss():
        then[run.state.step] = copy.deepcopy(run.ema.module.state_dict())
        return {1: 0.5, 2: 0.1, 3: 0.3, 4: 0.2}[run.state.step]

    run.held_out_loss = loss
    run.train()
    assert equal(weights(tmp_path), then[4]) and not equal(then[2], then[4])
    trainer(tmp_path, held_out=8).save_pipeline(best=True)            # of another process, say
    assert equal(weights(tmp_path), then[2])
    assert equal(run.ema.module.state_dict(), then[4])                # the run is as it was
    trainer(tmp_path/"without").train()
    with pytest.raises(FileNotFoundError, match="train with held_out=500"):
        trainer(tmp_path/"without").save_pipeline(best=True)


def test_what_is_measured_does_not_depend_on_interruptions(tmp_path):
    def make(name): return trainer(tmp_path/name, steps=6, checkpoint_every=2, held_out=8)
    make("straight").train()
    make("out").train(until=3)
    notes = json.loads((tmp_path/"out"/"checkpoint-00000003"/"run.json").read_text())
    assert "held_out" not in notes
    make("out").train(resume=True)
    assert history(tmp_path/"straight") == history(tmp_path/"out")
    assert [h["step"] for h in history(tmp_path/"out")] == [2, 4, 6]
    assert numbers(tmp_path/"straight") == numbers(tmp_path/"out")


def test_a_checkpoint_from_before_there_were_held_out_images(tmp_path):
    "It has trained on all of them: it goes on without, and is refused with."
    trainer(tmp_path).train(until=2)
    folder = tmp_path/"checkpoint-00000002"
    recipe = json.loads((folder/"training.json").read_text())
    del recipe["held_out"]
    (folder/"training.json").write_text(json.dumps(recipe))
    (folder/"run.json").unlink()
    with pytest.raises(ValueError, match="held_out was 0"):
        trainer(tmp_path, held_out=8).train(resume=True)
    assert trainer(tmp_path).train(resume=True, until=3) is not None


# ---- pictures that vanish, a log that cannot be written

@pytest.mark.parametrize("what", ["picture", "folder"])
def test_pictures_that_vanish_on_the_way(tmp_path, what):
    "The step has changed nothing: what was done is saved, and goes on when they are back."
    from PIL import Image
    here, away = tmp_path/"data", tmp_path/"away"
    here.mkdir()
    for i in range(8): Image.effect_noise((8, 8), 30 + i).save(here/f"{i}.png")

    def make(name):
        data = ImageFolder(here, 8, channels=1, cache_bytes=0)
        return trainer(tmp_path/name, small(dropout=0.3), data=data, steps=6, batch_size=8,
            checkpoint_every=2, log_every=1)

    make("straight").train()
    run = make("out")
    usual = run.train_step

    def losing():
        if run.state.step == 3:
            if what == "folder": here.rename(away)
            else: (here/"5.png").rename(away)
        return usual()

    run.train_step = losing
    with pytest.raises(ValueError, match="step 4 could not be made .*data.*png") as error:
        run.train()
    assert f"resume from {tmp_path/'out'/'checkpoint-00000003'}" in str(error.value)
    if what == "picture": assert str(here/"5.png") in str(error.value)
    assert numbers(tmp_path/"out") == [2, 3]
    assert read_log(tmp_path/"out")[-1]["event"] == "failed"
    away.rename(here if what == "folder" else here/"5.png")
    make("out").train(resume=True)
    assert equal(weights(tmp_path/"straight"), weights(tmp_path/"out"))
    assert history(tmp_path/"straight") == history(tmp_path/"out")


def test_pictures_that_are_gone_before_the_first_step(tmp_path):
    data = images()

    def gone(*args): raise FileNotFoundError(2, "No such file or directory", "/media/a.png")

    data.batch = gone
    run = trainer(tmp_path, data=data)
    with pytest.raises(OSError, match="step 1 .*/media/a.png.*, and start again"): run.train()
    assert numbers(tmp_path) == []


def test_a_log_that_cannot_be_written_ends_nothing(tmp_path):
    (tmp_path/"out"/"log.jsonl").mkdir(parents=True)
    with pytest.warns(UserWarning, match="log.jsonl could not be written .*the run goes on"):
        trainer(tmp_path/"out", log_every=1).train()
    trainer(tmp_path/"straight", log_every=1).train()
    assert history(tmp_path/"straight") == history(tmp_path/"out")
    (tmp_path/"out"/"log.jsonl").rmdir()
    trainer(tmp_path/"out", log_every=1).train(resume=True)           # and is made good later
    assert plain(read_log(tmp_path/"out", "history")) == history(tmp_path/"out")


def test_the_log_keeps_what_is_not_ours(tmp_path):
    run = trainer(tmp_path, log_every=1)
    run.train(until=3)
    log = tmp_path/"log.jsonl"
    log.write_text(log.read_text() + 'my own note\n{"event": "history", "step": 9}\n{"half')
    trainer(tmp_path, log_every=1).train(resume=True)
    lines = log.read_text().splitlines()
    assert "my own note" in lines and '{"half' in lines
    assert plain(read_log(tmp_path, "history")) == plain(run.state.history) + history(tmp_path)[3:]


# ---- looked at before the work, and nothing half-written

def limited(code, limit):
    "What a child process says that may not write files above a size, as on a disk that is full."
    head = f"""
import resource, sys
sys.path.insert(0, {str(root/'tests')!r})
from pathlib import Path
from test_training import trainer
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, resource.RLIM_INFINITY))
"""
    env = {**os.environ, "PYTHONPATH": str(root)}
    return subprocess.run([sys.executable, "-W", "ignore", "-c", head + code], capture_output=True,
        text=True, env=env, timeout=300)


def test_a_full_disk_leaves_the_earlier_checkpoint_and_nothing_else(tmp_path):
    trainer(tmp_path, steps=6, checkpoint_every=2).train(until=2)
    done = limited(f"""
try: trainer({str(tmp_path)!r}, steps=6, checkpoint_every=2).train(resume=True)
except OSError as e: print(e)
""", 5000)
    assert done.returncode == 0, done.stderr
    last = done.stdout.strip().splitlines()[-1]
    assert "checkpoint-00000004 could not be written" in last and "room on the disk" in last
    assert "checkpoint-00000002 stays; resume from it" in last
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint-00000002", "log.jsonl"]
    trainer(tmp_path, steps=6, checkpoint_every=2).train(resume=True)


def test_a_disk_that_is_too_small_is_refused_before_the_first_step(tmp_path, monkeypatch):
    free = shutil.disk_usage(tmp_path)._replace(free=20_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: free)
    with pytest.raises(OSError, match="make room, or choose another disk"): trainer(tmp_path/"out")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    def refuse(*args, **kwargs): raise PermissionError(13, "Permission denied")
    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(PermissionError, match="out=.*cannot be written .Permission denied."):
        trainer(tmp_path/"a"/"b")
    assert list(tmp_path.iterdir()) == []


def test_making_a_trainer_writes_nothing(tmp_path):
    run = trainer(tmp_path/"new"/"run")
    assert list(tmp_path.iterdir()) == []
    said = run.describe()
    for words in ("UNet with", "parameters", "40 gray images of 8 x 8 pixels", "4 of 4 images",
        "cpu", str(tmp_path/"new"/"run")):
        assert words in said, said


def test_a_program_that_moves_leaves_the_run_where_it_began(tmp_path, monkeypatch):
    for name in ("here", "there"): (tmp_path/name).mkdir()
    monkeypatch.chdir(tmp_path/"here")
    run = trainer("run", checkpoint_every=2)
    run.train(until=2)
    monkeypatch.chdir(tmp_path/"there")
    run.train(resume=True)
    found = {p.name for p in (tmp_path/"here"/"run").iterdir()}
    assert {"checkpoint-00000002", "checkpoint-00000004", "log.jsonl", "unet"} <= found
    assert not list((tmp_path/"there").iterdir())


def test_color_is_described(tmp_path):
    run = trainer(tmp_path, small(in_channels=3, out_channels=3), data=images(channels=3))
    assert "40 color images" in run.describe()


def test_a_bar_for_the_steps_and_one_for_the_samples(tmp_path, capsys):
    config = TrainConfig(steps=2, batch_size=4, warmup_steps=0, sample_every=2, sample_steps=3)
    Trainer(small(), DDPMScheduler(), images(), tmp_path, config, cpu=True).train()
    shown = capsys.readouterr().err
    assert "training:" in shown and "2/2" in shown and "samples:" in shown and "0/3" in shown


@pytest.mark.parametrize("wrap", [lambda d: Subset(d, range(20)), lambda d: d.batch(range(40)),
    lambda d: d.images, lambda d: TensorDataset(d.batch(range(40)), torch.arange(40)),
    lambda d: [{"image": x} for x in d]],
    ids=["Subset", "floats", "bytes", "TensorDataset", "dicts"])
def test_data_sets_of_torch_train_and_resume(tmp_path, wrap):
    data = wrap(images())
    trainer(tmp_path/"a", data=data, log_every=1).train()
    trainer(tmp_path/"b", data=data, log_every=1).train(until=2)
    trainer(tmp_path/"b", data=data, log_every=1).train(resume=True)
    assert equal(weights(tmp_path/"a"), weights(tmp_path/"b"))
    assert history(tmp_path/"a") == history(tmp_path/"b")


@pytest.mark.parametrize("loss", ["vlb", "hybrid"])
def test_a_learned_variance_trains_and_draws(tmp_path, loss):
    "Both halves of the last layer move; with `simple`, the negative control, the second stays."
    def moved(loss):
        scheduler = DDPMScheduler(variance_type="learned_range")
        run = trainer(tmp_path/loss, small(out_channels=2), scheduler, loss=loss)
        before = run.network.conv_out.weight.detach().clone()
        run.train()
        change = (run.network.conv_out.weight - before).abs().amax((1, 2, 3))
        return run.pipeline(), change > 0
    pipe, change = moved(loss)
    assert change.tolist() == [True, True] and moved("simple")[1].tolist() == [True, False]
    assert pipe(2, num_inference_steps=3, output_type="pt").images.isfinite().all()
    again = DDPMPipeline.from_pretrained(tmp_path/loss)
    assert again.scheduler.config.variance_type == "learned_range"
    assert again.unet.config.out_channels == 2


def test_a_recipe_with_numbers_of_numpy(tmp_path):
    "It is written down with the checkpoint, and read again."
    import numpy as np
    with warnings.catch_warnings():
        warnings.simplefilter("error")                         # as with python -W error
        odd = TrainConfig(np.int64(4), np.int32(4), lr=np.float32(0.5), seed=np.int64(1))
    assert {type(v) for v in vars(odd).values()} == {int, float, bool, str, tuple}
    assert json.loads(json.dumps(vars(odd)))["lr"] == 0.5
    x0, net = torch.zeros(2, 1, 8, 8), small()
    same = [eval_loss(net, DDPMScheduler(), x0, seed=seed) for seed in (3, np.int64(3))]
    assert same[0] == same[1]


def test_images_in_0_1_are_noticed(tmp_path):
    "What torchvision's ToTensor gives; a model that learns from it draws pale pictures."
    shades = torch.rand(12, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    for data, held, expected in ((shades, 0, True), (shades, 4, True), (2*shades - 1, 0, False)):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            trainer(tmp_path, data=data, held_out=held)
        assert any("in [0, 1]" in str(w.message) for w in said) == expected


def test_a_network_that_cannot_be_saved_ends_without_an_error(tmp_path):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a = torch.nn.Conv2d(1, 1, 3, padding=1)
        def forward(self, x, t): return self.a(x)
    run = trainer(tmp_path, Net(), steps=2)
    with pytest.warns(UserWarning, match="Net has no save_pretrained"): run.train()
    assert numbers(tmp_path) == [2] and not (tmp_path/"model_index.json").exists()


@pytest.mark.parametrize("workers", [0, 1])
def test_whatever_a_data_set_raises_the_steps_before_are_saved(tmp_path, workers):
    class Lossy:
        def __len__(self): return 40
        def __getitem__(self, i):
            if i == 33: raise KeyError("no such file")
            return torch.full((1, 8, 8), i/20 - 1)
    run = trainer(tmp_path, data=Lossy(), steps=20, workers=workers)
    with pytest.raises(ValueError, match="raised KeyError: 'no such file'"): run.train()
    assert numbers(tmp_path) == [run.state.step] if run.state.step else not numbers(tmp_path)
