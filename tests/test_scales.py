"The switches that save memory, use more devices, and let a run be watched: what they change."
import pytest
import torch
from test_training import trainer

from ddpm_edu.runs import apart
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
    from test_training import images, small

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
