"The switches that save memory, use more devices, and let a run be watched: what they change."
import json
import math
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_training import equal, finish, small, trainer, weights
from torch.utils.checkpoint import checkpoint

from ddpm_edu.runs import Progress, apart, as_facts, as_line, read_log
from ddpm_edu.scaling import no_bands, saved_for_gradient
from ddpm_edu.training import TrainConfig


def gradients(run, step=0):
    "The gradient of a step, and the losses of its images."
    with apart(run.settings): losses = run.gradient(*run.feed(step))
    found = [p.grad.clone() for p in run.unet.parameters()]
    run.optimizer.zero_grad()
    return found, losses


def off(a, b):
    "The largest difference of two gradients, in parts of the largest number."
    largest = max(x.abs().max() for x in a)
    return (max((x - y).abs().max() for x, y in zip(a, b, strict=True))/largest).item()


@pytest.mark.parametrize("parts", [2, 4, 8])
def test_a_batch_in_parts_has_the_same_gradient(tmp_path, parts):
    whole = trainer(tmp_path/"whole", batch_size=8)
    run = trainer(tmp_path/"parts", batch_size=8, accumulate=parts)
    (a, each), (b, same) = gradients(whole), gradients(run)
    assert torch.allclose(each, same, rtol=1e-5) and each.shape == (8,)
    assert off(a, b) < 1e-5
    usual = run.accelerator.backward
    run.accelerator.backward = lambda loss: usual(loss*parts)        # the mean of each part, whole
    assert off(a, gradients(run)[0]) > 0.5                           # negative control


def test_a_run_in_parts_is_the_same_run(tmp_path):
    runs = [trainer(tmp_path/str(n), batch_size=8, accumulate=n, log_every=1) for n in (1, 4)]
    losses = [[h["loss"] for h in run.train()] for run in runs]
    assert losses[0] != [losses[0][0]]*4
    assert torch.allclose(*map(torch.tensor, losses), rtol=1e-4)
    lengths = [[h["grad_norm"] for h in run.state.history] for run in runs]
    assert torch.allclose(*map(torch.tensor, lengths), rtol=1e-3)


def test_one_part_changes_no_bit(tmp_path):
    "The loss that was taken as a mean of the whole batch is still that number."
    from ddpm_edu.training import training_loss
    run = trainer(tmp_path, batch_size=8)
    x0, t, noise = run.feed(0)
    expected = training_loss(run.unet, run.scheduler, x0, t, noise)
    expected.backward()
    by_hand = [p.grad.clone() for p in run.unet.parameters()]
    run.optimizer.zero_grad()
    found, losses = gradients(run)
    assert losses.mean() == expected
    assert all(torch.equal(a, b) for a, b in zip(by_hand, found, strict=True))


def test_parts_with_labels_keep_image_and_label_together(tmp_path):
    from test_training import images

    from ddpm_edu.data import ImageDataset
    data = ImageDataset(images().images, torch.arange(40) % 3)
    runs = [trainer(tmp_path/str(n), small(num_class_embeds=4), data=data, batch_size=8,
        accumulate=n, labels=True) for n in (1, 2)]
    (a, _), (b, _) = map(gradients, runs)
    assert off(a, b) < 1e-5


def test_a_run_may_go_on_in_other_parts(tmp_path):
    trainer(tmp_path, batch_size=8).train(until=2)
    with pytest.warns(UserWarning, match="accumulate is 2, was 1"):
        trainer(tmp_path, batch_size=8, accumulate=2).train(resume=True)
    assert TrainConfig().accumulate == 1


def test_recomputing_changes_no_bit(tmp_path):
    "Dropout included: the masks are drawn again from the state that they were drawn from."
    plain, again = (trainer(tmp_path/str(on), small(dropout=0.5), batch_size=8,
        gradient_checkpointing=on) for on in (False, True))
    kept = []
    for run in (plain, again):
        torch.manual_seed(5)
        with saved_for_gradient() as found: kept.append((gradients(run), found))
    ((a, each), much), ((b, same), little) = kept
    assert torch.equal(each, same) and all(map(torch.equal, a, b))
    assert sum(little.values()) < 0.8*sum(much.values())
    assert equal(plain.unet.state_dict(), again.unet.state_dict())
    assert plain.unet.config == again.unet.config
    careless = partial(checkpoint, use_reentrant=False, preserve_rng_state=False)
    again.unet.enable_gradient_checkpointing(careless)               # negative control
    torch.manual_seed(5)
    assert not all(map(torch.equal, a, gradients(again)[0]))


class Plain(torch.nn.Module):
    "A network that cannot compute anything again."
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 1, 1)
    def forward(self, x, t): return self.conv(x)


def test_a_network_that_cannot_recompute_is_refused(tmp_path):
    with pytest.raises(TypeError, match="enable_gradient_checkpointing, as UNet has, got Plain"):
        trainer(tmp_path, Plain(), gradient_checkpointing=True)
    trainer(tmp_path, Plain()).train_step()


def test_a_compiled_network_shares_its_weights(tmp_path, monkeypatch):
    "torch.compile's own front, with a back end that runs what it is given."
    calls = []
    def backend(graph, inputs):
        def run(*args):
            calls.append(len(args))
            return graph.forward(*args)
        return run
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    torch.manual_seed(0)
    plain, fast = (trainer(tmp_path/str(on), log_every=1, compile=on, checkpoint_every=2)
        for on in (False, True))
    plain.train(until=2)
    assert not calls
    fast.train(until=2)
    assert len(calls) == 2                                  # one graph, once a step
    resumed = trainer(tmp_path/"True", log_every=1, compile=True, checkpoint_every=2)
    resumed.train(resume=True)
    plain.train(resume=True)
    assert equal(weights(tmp_path/"False"), weights(tmp_path/"True"))
    names = load_file(tmp_path/"True"/"checkpoint-00000004"/"model.safetensors")
    assert names.keys() == fast.network.state_dict().keys() == plain.ema.module.state_dict().keys()
    assert all("_orig_mod." in k for k in fast.fast.state_dict())    # negative control


def test_compiling_needs_a_compiler(tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(RuntimeError, match="no-such-compiler.*leave compile=False"):
        trainer(tmp_path, compile=True)
    trainer(tmp_path)


@pytest.mark.slow
def test_a_network_is_compiled_for_real(tmp_path):
    runs = [trainer(tmp_path/str(on), compile=on) for on in (False, True)]
    (a, _), (b, _) = map(gradients, runs)
    assert off(a, b) < 1e-4


def bands_by_hand(run, first, last):
    "The mean loss of each quarter of the timesteps over some steps, from the losses of images."
    found = [[] for _ in range(4)]
    for step in range(first, last):
        t = run.feed(step)[1]
        losses = gradients(run, step)[1]
        run.train_step()
        for at, loss in zip(t.tolist(), losses.tolist(), strict=True): found[at//250].append(loss)
    return [sum(f)/len(f) if f else None for f in found]


def test_the_log_has_the_loss_by_timestep(tmp_path):
    run = trainer(tmp_path/"run", batch_size=8, log_every=2)
    entries = run.train()
    by_hand = trainer(tmp_path/"by-hand", batch_size=8)
    expected = [bands_by_hand(by_hand, 0, 2), bands_by_hand(by_hand, 2, 4)]
    assert [h["bands"] for h in entries] == [pytest.approx(e, rel=1e-5) for e in expected]
    assert expected[0] != expected[1] and len({*expected[0]}) == 4
    assert [h["bands"] for h in read_log(tmp_path/"run", "history")] == [
        h["bands"] for h in entries]


def test_a_band_without_images_says_so_and_a_spoilt_one_is_still_a_line(tmp_path):
    run = trainer(tmp_path/"run", batch_size=4, log_every=1, steps=8)
    bands = [h["bands"] for h in run.train()]
    assert any(None in b for b in bands) and all(any(b) for b in bands)
    line = as_line({"event": "history", "step": 1, "bands": [math.nan, 1., None]})
    assert as_facts(line)["bands"] == ["nan", 1., None]
    with pytest.raises(ValueError): json.loads(line.replace(b'"nan"', b"nan"))


def test_bands_survive_a_stop_between_two_lines(tmp_path, monkeypatch):
    def make(name): return trainer(tmp_path/name, steps=6, batch_size=8, log_every=4)
    def bands(entries): return [h["bands"] for h in entries]
    straight = bands(make("straight").train())
    make("run").train(until=3)
    assert bands(make("run").train(resume=True)) == straight
    usual = Progress.state_dict
    def lacking(self): return {k: v for k, v in usual(self).items() if k != "bands"}
    monkeypatch.setattr(Progress, "state_dict", lacking)             # negative control
    make("lacking").train(until=3)
    assert bands(make("lacking").train(resume=True)) != straight


def test_a_checkpoint_from_before_there_were_bands_goes_on(tmp_path):
    state = Progress()
    state.load_state_dict({"step": 3, "seconds": 1., "history": [], "losses": []})
    assert torch.equal(state.bands, no_bands()) and state.step == 3


def events(out):
    "What TensorBoard shows of a run: name -> {step: value}, and the steps with pictures."
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    found = EventAccumulator(str(Path(out)/"trackers"/"ddpm-edu"))
    found.Reload()
    tags = found.Tags()
    scalars = {n: {e.step: e.value for e in found.Scalars(n)} for n in tags["scalars"]}
    return scalars, {e.step for n in tags["images"] for e in found.Images(n)}


def from_log(out, name):
    return {h["step"]: h[name] for h in read_log(out, "history") if name in h}


def same_numbers(out):
    "Do the log and TensorBoard tell the same? Returns how many numbers were compared."
    scalars, n = events(out)[0], 0
    for name in ("loss", "grad_norm", "lr", "held_out", "images", "seconds"):
        expected = from_log(out, name)
        assert scalars[name] == pytest.approx(expected, rel=1e-6), name
        n += len(expected)
    for i in range(4):
        named = {k: v[i] for k, v in from_log(out, "bands").items() if v[i] is not None}
        assert scalars[f"bands/{i + 1}_of_4"] == pytest.approx(named, rel=1e-6)
        n += len(named)
    return n


WATCHED = dict(trackers=("tensorboard",), steps=6, batch_size=8, log_every=1, checkpoint_every=2,
    held_out=8)


def test_tensorboard_has_the_numbers_of_the_log(tmp_path):
    pytest.importorskip("tensorboard")
    run = trainer(tmp_path/"run", sample_every=3, sample_steps=2, **WATCHED)
    assert not (tmp_path/"run").exists()                     # nothing is written before the run
    run.train()
    assert same_numbers(tmp_path/"run") > 50
    assert events(tmp_path/"run")[1] == {3, 6} and not run.accelerator.trackers
    assert equal(weights(tmp_path/"run"), weights_of_an_unwatched_run(tmp_path))
    recipe = json.loads((tmp_path/"run"/"training.json").read_text())
    assert recipe["trackers"] == ["tensorboard"]


def weights_of_an_unwatched_run(tmp_path):
    trainer(tmp_path/"unwatched", sample_every=3, sample_steps=2,
        **{**WATCHED, "trackers": ()}).train()
    assert not (tmp_path/"unwatched"/"trackers").exists()
    return weights(tmp_path/"unwatched")


def test_a_watched_run_that_died_goes_on_as_one(tmp_path, monkeypatch):
    "Steps 5 and 6 are made twice, and told once; the bands are among it."
    pytest.importorskip("tensorboard")
    run = trainer(tmp_path/"run", **WATCHED)
    run.save_checkpoint, usual = lambda: usual() if run.state.step < 6 else 1/0, run.save_checkpoint
    with pytest.raises(ZeroDivisionError): run.train()       # the entry of step 6 was written
    assert events(tmp_path/"run")[0]["loss"].keys() == set(range(1, 7))
    assert not run.accelerator.trackers                      # closed all the same
    again = trainer(tmp_path/"run", **WATCHED)
    again.train(resume=True)
    assert same_numbers(tmp_path/"run") > 50
    straight = trainer(tmp_path/"straight", **WATCHED).train()
    assert from_log(tmp_path/"run", "bands") == {h["step"]: h["bands"] for h in straight}
    told = [v for v in events(tmp_path/"run")[0]["seconds"].values()]
    assert sorted(told) == told                              # the later ones of step 5 and 6


def test_trackers_may_change_on_the_way(tmp_path):
    pytest.importorskip("tensorboard")
    trainer(tmp_path, batch_size=8, log_every=1).train(until=2)
    with pytest.warns(UserWarning, match=r"trackers is \['tensorboard'\]"):
        run = trainer(tmp_path, batch_size=8, log_every=1, trackers=("tensorboard",))
        run.train(resume=True)
    assert events(tmp_path)[0]["loss"].keys() == {3, 4}


def test_a_tracker_that_is_not_installed_is_refused(tmp_path, monkeypatch):
    "accelerate alone would go on without it, and say nothing."
    from accelerate import Accelerator, tracking
    monkeypatch.setattr(tracking, "_available_trackers", [])
    with pytest.raises(ImportError, match="'tensorboard' needs is not installed.*pip install"):
        trainer(tmp_path, trackers=("tensorboard",))
    with apart({}):
        assert Accelerator(cpu=True, log_with="tensorboard").log_with == []


def test_the_command_line_names_trackers(tmp_path, monkeypatch):
    from ddpm_edu import cli, training
    made = []
    def stop(*args, **options):
        made.append(args[4])
        raise ValueError("enough")
    monkeypatch.setattr(training, "Trainer", stop)
    for said, names in (("", ()), ("tensorboard", ("tensorboard",)),
        ("tensorboard, wandb", ("tensorboard", "wandb"))):
        with pytest.raises(ValueError, match="enough"): cli.train(out=str(tmp_path), trackers=said)
        assert made.pop().trackers == names


program = """
import sys, torch
from ddpm_edu import DDPMScheduler, UNet
from ddpm_edu.data import ImageDataset
from ddpm_edu.training import TrainConfig, Trainer
from ddpm_edu.unet import unet_config
torch.manual_seed(0)
g = torch.Generator().manual_seed(0)
images = torch.randint(256, (40, 1, 8, 8), dtype=torch.uint8, generator=g)
config = TrainConfig(4, 8, log_every=1, warmup_steps=2, trackers=("tensorboard",))
data = ImageDataset(images)
run = Trainer(UNet(**unet_config("tiny")), DDPMScheduler(), data, sys.argv[1], config)
if run.is_main: print(run.describe())
run.train()
"""
CONFIG = """
compute_environment: LOCAL_MACHINE
distributed_type: MULTI_GPU
num_processes: 2
use_cpu: true
"""


def test_a_configuration_file_of_accelerate_is_enough(tmp_path):
    "Two processes on a CPU, whose user did not say cpu=True: the history of one, and one of it."
    pytest.importorskip("tensorboard")
    (tmp_path/"program.py").write_text(program)
    (tmp_path/"two.yaml").write_text(CONFIG)
    accelerate = (sys.executable, "-m", "accelerate.commands.launch")
    env = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    for name, launcher in (("one", (sys.executable,)),
        ("two", (*accelerate, "--config_file", str(tmp_path/"two.yaml")))):
        said = finish(subprocess.Popen([*launcher, str(tmp_path/"program.py"), str(tmp_path/name)],
            env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
        assert ("cpu:0 in 2 processes" in said) == (name == "two")
    one, two = (read_log(tmp_path/name, "history") for name in ("one", "two"))
    assert [h["step"] for h in two] == [1, 2, 3, 4]
    assert read_log(tmp_path/"two", "start")[0]["processes"] == 2
    for a, b in zip(one, two, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-3)
        assert a["bands"] == [x if x is None else pytest.approx(x, abs=1e-3) for x in b["bands"]]
    assert len({h["loss"] for h in two}) == 4
    assert events(tmp_path/"two")[0]["loss"] == pytest.approx(from_log(tmp_path/"two", "loss"))
    assert weights(tmp_path/"two").keys() == weights(tmp_path/"one").keys()


@pytest.mark.parametrize("name", ["FSDP", "DEEPSPEED", "MEGATRON_LM"])
def test_divided_weights_are_refused(tmp_path, monkeypatch, name):
    "On a CPU accelerate would pass over it: whoever asked would believe that it was done."
    from accelerate import Accelerator
    monkeypatch.setenv(f"ACCELERATE_USE_{name}", "true")
    with pytest.raises(ValueError, match=f"asks for {name}.*needs whole ones.*MULTI_GPU"):
        trainer(tmp_path)
    if name != "FSDP": return
    with apart({}): assert str(Accelerator(cpu=True).distributed_type) == "DistributedType.NO"


def test_accelerates_own_accumulation_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    with pytest.raises(ValueError, match="gradient_accumulation_steps 4.*use accumulate"):
        trainer(tmp_path)


def test_two_processes_from_a_notebook(tmp_path):
    "As accelerate's notebook_launcher forks them, after torch has used two threads."
    lines = program.replace('"tensorboard",', "").splitlines()
    body = "\n".join(f"    {line}" for line in lines if not line.startswith("import"))
    (tmp_path/"cell.py").write_text(f"""
import sys, torch
torch.set_num_threads(2)
torch.randn(500, 500) @ torch.randn(500, 500)
def work():
    torch.set_num_threads(1)
{body}
from accelerate import notebook_launcher
notebook_launcher(work, num_processes=2)
""")
    said = finish(subprocess.Popen([sys.executable, str(tmp_path/"cell.py"), str(tmp_path/"two")],
        text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
    assert "cpu:0 in 2 processes" in said
    (tmp_path/"program.py").write_text(program.replace('"tensorboard",', ""))
    finish(subprocess.Popen([sys.executable, str(tmp_path/"program.py"), str(tmp_path/"one")],
        text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
    one, two = (read_log(tmp_path/name, "history") for name in ("one", "two"))
    assert [h["step"] for h in two] == [1, 2, 3, 4]
    assert [h["loss"] for h in two] == pytest.approx([h["loss"] for h in one], abs=1e-3)
