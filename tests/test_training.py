"The trainer where a notebook is the wrong place: crashes, signals to a real process, two processes."
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ddpm_edu import DDPMPipeline, DDPMScheduler, UNet
from ddpm_edu.data import ImageDataset
from ddpm_edu.training import TrainConfig, Trainer, draw_batch, eval_loss, training_loss
from ddpm_edu.unet import unet_config

root = Path(__file__).parent.parent
script = """
import sys, time, torch
from ddpm_edu import DDPMScheduler, UNet
from ddpm_edu.data import ImageDataset
from ddpm_edu.training import TrainConfig, Trainer
from ddpm_edu.unet import unet_config
out, steps, every, pause, dropout = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), float(sys.argv[5])
torch.manual_seed(0)
images = torch.randint(256, (40, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
class Slow(ImageDataset):
    def batch(self, *args): time.sleep(pause); return super().batch(*args)
unet = UNet(**{**unet_config("tiny"), "dropout": dropout})
trainer = Trainer(unet, DDPMScheduler(), Slow(images), out, TrainConfig(steps=steps, batch_size=8, checkpoint_every=every, log_every=1, warmup_steps=2), cpu=True, progress_bar=False)
sys.stdout.write(f"processes {trainer.accelerator.num_processes}\\n"); sys.stdout.flush()      # one write: two processes share the channel
trainer.train(resume=True)
"""


@pytest.fixture
def program(tmp_path):
    path = tmp_path/"program.py"
    path.write_text(script)
    return path


def launch(program, out, steps=8, every=3, pause=0., dropout=0., launcher=(sys.executable,)):
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([*launcher, str(program), str(out), str(steps), str(every), str(pause), str(dropout)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


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


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda s: s.name)
def test_stopped_anywhere_ends_with_the_same_bits(program, tmp_path, how):
    "Ctrl-C, a scheduler's SIGTERM, or the power cut: a resumed run ends as an uninterrupted one does, dropout included."
    finish(launch(program, tmp_path/"straight", dropout=0.3))
    stopped = launch(program, tmp_path/"out", pause=0.15, dropout=0.3)
    wait_for(lambda: list((tmp_path/"out").glob("checkpoint-*")))
    stopped.send_signal(how)
    out, err = stopped.communicate(timeout=120)
    assert stopped.returncode != 0 and not (tmp_path/"out"/"model_index.json").exists()
    if how != signal.SIGKILL: assert "resumes" in err
    finish(launch(program, tmp_path/"out", dropout=0.3))
    assert equal(weights(tmp_path/"straight"), weights(tmp_path/"out"))
    strip = lambda folder: [{k: v for k, v in h.items() if k != "seconds"} for h in json.loads((folder/"history.json").read_text())]
    assert strip(tmp_path/"straight") == strip(tmp_path/"out")


def test_a_half_written_checkpoint_is_passed_over(program, tmp_path):
    finish(launch(program, tmp_path/"straight"))
    stopped = launch(program, tmp_path/"out", pause=0.15)
    wait_for(lambda: list((tmp_path/"out").glob("checkpoint-*")))
    stopped.kill(); stopped.communicate()
    good = max((tmp_path/"out").glob("checkpoint-*"))
    torn = tmp_path/"out"/".saving-checkpoint-00000099"                     # what a crash while saving leaves
    shutil.copytree(good, torn)
    (torn/"model.safetensors").write_bytes(b"half")
    finish(launch(program, tmp_path/"out"))
    assert equal(weights(tmp_path/"straight"), weights(tmp_path/"out")) and not torn.exists()


@pytest.mark.slow
def test_two_processes_are_one(program, tmp_path):
    "A batch split over two processes gives the weights that one process gives, up to the order of summation."
    finish(launch(program, tmp_path/"one"))
    port = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    said = finish(launch(program, tmp_path/"two", launcher=(sys.executable, *port)))
    assert said.count("processes 2") == 2
    a, b = weights(tmp_path/"one"), weights(tmp_path/"two")
    torch.manual_seed(0)
    start = UNet(**unet_config("tiny")).state_dict()
    moved = max((a[k] - start[k]).abs().max().item() for k in a)
    assert max((a[k] - b[k]).abs().max().item() for k in a) < 0.02*moved
    losses = [[h["loss"] for h in json.loads((tmp_path/name/"history.json").read_text())] for name in ("one", "two")]
    assert torch.allclose(*map(torch.tensor, losses), atol=1e-3)


@pytest.mark.slow
def test_two_processes_stop_together(program, tmp_path):
    run = launch(program, tmp_path/"two", steps=400, every=1000, pause=0.05, launcher=(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"))
    assert "processes 2" in run.stdout.readline()
    time.sleep(8)
    run.send_signal(signal.SIGTERM)
    run.communicate(timeout=120)
    assert run.returncode != 0
    checkpoint, = (tmp_path/"two").glob("checkpoint-*")
    assert len(list(checkpoint.glob("random_states_*.pkl"))) == 2


def images(n=40, size=8, channels=1): return ImageDataset(torch.randint(256, (n, channels, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)))


def small(**options):
    torch.manual_seed(0)
    return UNet(**{**unet_config("tiny"), **options})


def test_the_pipeline_that_is_written_holds_the_average(tmp_path):
    trainer = Trainer(small(), DDPMScheduler(prediction_type="v_prediction"), images(), tmp_path/"out", TrainConfig(steps=6, batch_size=8, checkpoint_every=6, warmup_steps=0, sample_every=3, sample_steps=2), progress_bar=False)
    trainer.train()
    pipe = DDPMPipeline.from_pretrained(tmp_path/"out")
    average, last = dict(trainer.ema.module.named_parameters()), dict(trainer.unet.named_parameters())
    assert all(torch.equal(p, average[k]) for k, p in pipe.unet.named_parameters()) and not all(torch.equal(p, last[k]) for k, p in pipe.unet.named_parameters())
    assert pipe.scheduler.config.prediction_type == "v_prediction"
    assert sorted(p.name for p in (tmp_path/"out"/"samples").iterdir()) == ["step-00000003.png", "step-00000006.png"]
    assert trainer.unet.training                                                # sampling on the way has not left it in eval mode


def test_a_finished_run_can_be_continued_with_more_steps(tmp_path):
    make = lambda steps: Trainer(small(), DDPMScheduler(), images(), tmp_path/"out", TrainConfig(steps=steps, batch_size=8, log_every=1, warmup_steps=0, decay="constant"), progress_bar=False)
    make(3).train()
    assert [h["step"] for h in make(5).train(resume=True)] == [1, 2, 3, 4, 5]
    assert len(make(5).train(resume=True)) == 5                                 # nothing left to do


@pytest.mark.parametrize("kind", ["epsilon", "sample", "v_prediction"])
def test_overfits_one_image(tmp_path, kind):
    "The whole loop learns: in a world with one image all three predictions can be perfect, and the loss falls far below where it begins."
    plain = ImageDataset(images(1).images.expand(4, 1, 8, 8).clone())
    data, scheduler = plain, DDPMScheduler(prediction_type=kind)
    trainer = Trainer(small(), scheduler, data, tmp_path/"out", TrainConfig(steps=150, batch_size=4, lr=3e-3, warmup_steps=10, checkpoint_every=150, ema_decay=0.9), progress_bar=False)
    x0 = data.batch([0, 1, 2, 3]*16)
    before = eval_loss(trainer.unet, scheduler, x0)
    trainer.train()
    after = eval_loss(trainer.ema.module, scheduler, x0)
    assert after < 0.5*before, (before, after)


def test_color_and_bf16(tmp_path):
    from accelerate.state import AcceleratorState
    AcceleratorState._reset_state(reset_partial_state=True)                     # accelerate wants one precision a process
    try: _color_and_bf16(tmp_path)
    finally: AcceleratorState._reset_state(reset_partial_state=True)


def _color_and_bf16(tmp_path):
    trainer = Trainer(small(in_channels=3, out_channels=3), DDPMScheduler(), images(channels=3), tmp_path/"out", TrainConfig(steps=2, batch_size=4, mixed_precision="bf16", warmup_steps=0), cpu=True, progress_bar=False)
    trainer.train()
    assert all(p.dtype == torch.float32 for p in trainer.unet.parameters()) and trainer.state.step == 2


def test_batches_do_not_depend_on_what_was_drawn_before():
    data = images()
    torch.manual_seed(1); a = draw_batch(data, 1000, 7, 8, 3)
    torch.manual_seed(2); [draw_batch(data, 1000, i, 8, 3) for i in range(7)]; b = draw_batch(data, 1000, 7, 8, 3)
    assert all(torch.equal(x, y) for x, y in zip(a, b))


def test_loss_is_the_same_for_any_network_interface():
    x0, noise, t = images().batch(range(4)), torch.randn(4, 1, 8, 8), torch.tensor([1, 10, 100, 999])
    unet, scheduler = small().eval(), DDPMScheduler()
    plain = lambda x, t: unet(x, t).sample
    assert training_loss(unet, scheduler, x0, t, noise) == training_loss(plain, scheduler, x0, t, noise)
