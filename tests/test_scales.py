"The switches that save memory, use more devices, and let a run be watched: what they change."
import json
import math
from functools import partial

import pytest
import torch
from safetensors.torch import load_file
from test_training import equal, small, trainer, weights
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
