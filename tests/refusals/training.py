"What the trainer refuses: recipes, images and networks that do not go together, folders."
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from ddpm_edu import DDPMScheduler, UNet
from ddpm_edu.images import ImageDataset
from ddpm_edu.training import TrainConfig, Trainer, ema_weights, eval_loss, training_loss
from ddpm_edu.unet import unet_config

data = ImageDataset(torch.zeros(8, 1, 8, 8, dtype=torch.uint8))
color = ImageDataset(torch.zeros(8, 3, 8, 8, dtype=torch.uint8))
pairs = ImageDataset(torch.zeros(8, 2, 8, 8, dtype=torch.uint8))
three = ImageDataset(torch.zeros(8, 1, 8, 8, dtype=torch.uint8), torch.arange(8) % 3)
x0, t = data.batch(range(8)), torch.arange(8)


def net(**options): return UNet(**{**unet_config("tiny"), **options})


def run(out, unet=None, scheduler=None, dataset=data, cpu=True, progress_bar=False, **options):
    "A trainer of four steps."
    config = TrainConfig(**{**dict(steps=4, batch_size=4, warmup_steps=0), **options})
    return Trainer(unet or net(), scheduler or DDPMScheduler(), dataset, out, config, cpu=cpu,
        progress_bar=progress_bar)


def named(labels, *names):
    "Black images with these labels."
    return ImageDataset(torch.zeros(len(labels), 1, 8, 8, dtype=torch.uint8), labels, names)


def told(out, unet=None, dataset=three, **options):
    "A trainer whose network is told the class."
    return run(out, unet or net(num_class_embeds=4), dataset=dataset, labels=True, **options)


def file(path):
    "A file where a folder should be."
    Path(path).write_text("precious")
    return path


def begun(out):
    "A folder with the checkpoint of a run."
    run(out).train(until=2)
    return out


ROWS = [
    # call, error, words of the message
    ("TrainConfig(steps=0)", ValueError, "steps must be at least 1"),
    ("TrainConfig(steps=1.5)", TypeError, "steps must be a whole number"),
    ("TrainConfig(batch_size=0)", ValueError, "batch_size must be at least 1"),
    ("TrainConfig(lr=0)", ValueError, "lr must be"),
    ("TrainConfig(warmup_steps=-1)", ValueError, "warmup_steps must be at least 0"),
    ("TrainConfig(decay='linear')", ValueError, "decay must be one of 'cosine', 'constant'"),
    ("TrainConfig(decay='cosin')", ValueError, "Did you mean 'cosine'?"),
    ("TrainConfig(loss='l1')", ValueError, "loss must be one of 'simple', 'vlb', 'mu', 'hybrid'"),
    ("TrainConfig(seed=-1)", ValueError, "seed must be at least 0"),
    ("TrainConfig(ema_decay=1)", ValueError, "ema_decay must be"),
    ("TrainConfig(mixed_precision='fp8')", ValueError, "mixed_precision must be one of"),
    ("TrainConfig(grad_clip=0)", ValueError, "grad_clip must be"),
    ("TrainConfig(weight_decay=-1)", ValueError, "weight_decay must be"),
    ("TrainConfig(log_every=0)", ValueError, "log_every must be at least 1"),
    ("TrainConfig(checkpoint_every=0)", ValueError, "checkpoint_every must be at least 1"),
    ("TrainConfig(sample_every=-1)", ValueError, "sample_every must be at least 0"),
    ("TrainConfig(workers=-1)", ValueError, "workers must be at least 0"),
    ("TrainConfig(workers=True)", TypeError, "workers must be a whole number"),
    ("TrainConfig(held_out=-1)", ValueError, "held_out must be at least 0"),
    ("TrainConfig(sample_steps=0)", ValueError, "sample_steps must be at least 1"),
    ("TrainConfig(labels=1)", TypeError, "labels must be True or False"),
    ("TrainConfig(label_dropout=1)", ValueError, "label_dropout must be"),
    ("TrainConfig(label_dropout=-.1)", ValueError, "label_dropout must be"),
    ("TrainConfig(accumulate=0)", ValueError, "accumulate must be at least 1"),
    ("TrainConfig(compile=1)", TypeError, "compile must be True or False"),
    ("TrainConfig(gradient_checkpointing='yes')", TypeError,
        "gradient_checkpointing must be True or False"),
    ("TrainConfig(trackers='tensorboard')", TypeError,
        ("trackers must be a tuple of names", "('tensorboard',), got 'tensorboard'")),
    ("TrainConfig(trackers=('tensorbord',))", ValueError,
        ("trackers must be one of", "got 'tensorbord'. Did you mean 'tensorboard'?")),
    ("TrainConfig(trackers=(7,))", ValueError, "trackers must be one of"),
    ("run('{tmp}/out', mixed_precision='fp16')", ValueError,
        ("mixed_precision='fp16' needs a GPU", "use mixed_precision='bf16'")),
    ("run('{tmp}/out', accumulate=3)", ValueError,
        "accumulate must divide the batch of a process, 4 images"),
    ("training_loss(net(), DDPMScheduler(), x0, t, x0, reduction='sum')", ValueError,
        "reduction must be one of 'mean', 'none'"),
    ("TrainConfig(batchsize=3)", TypeError, ("'batchsize'", "Did you mean 'batch_size'?")),
    # the trainer's arguments
    ("run('{tmp}/out', loss='hybrid')", ValueError,
     ("loss='hybrid'", "'learned_range'", "twice the channels", "got 'fixed_small'")),
    ("run('{tmp}/out', scheduler=DDPMScheduler(variance_type='learned'), loss='vlb')", ValueError,
     ("loss='vlb'", "use 'learned_range'")),
    ("run('{tmp}/out', scheduler=DDPMScheduler(variance_type='learned_range'), loss='hybrid')",
     ValueError, ("out_channels is 1", "need 2", "UNet(out_channels=2")),
    ("run('{tmp}/out', batch_size=9)", ValueError,
        "batch_size must be at most the number of images (8), got 9"),
    ("run('{tmp}/out', held_out=8)", ValueError,
        "held_out must be less than the number of images (8), got 8"),
    ("run('{tmp}/out', held_out=5)", ValueError,
        "batch_size must be at most the number of images (3), got 4"),
    ("run('{tmp}/out').pipeline(best=True)", FileNotFoundError, "train with held_out=500"),
    ("run('{tmp}/out').pipeline(best='yes')", TypeError, "best must be True or False"),
    ("run(file('{tmp}/file'))", NotADirectoryError, ("out=", "is a file; name a folder")),
    ("run(file('{tmp}/file') + '/sub')", NotADirectoryError, ("out=", "is a file; name a folder")),
    ("run('{tmp}/x', cpu='yes')", TypeError, "cpu must be True or False"),
    ("run('{tmp}/x', progress_bar='yes')", TypeError, "progress_bar must be True or False"),
    ("run('{tmp}/x', dataset=color)", ValueError,
        ("the network's in_channels is 1", "images of 3 channels", "UNet(in_channels=3")),
    ("run('{tmp}/x', net(in_channels=3), dataset=color)", ValueError,
        ("the network's out_channels is 1", "need 3")),
    ("run('{tmp}/x', scheduler=DDPMScheduler(variance_type='learned_range'))", ValueError,
        ("the network's out_channels is 1", "need 2")),
    ("run('{tmp}/x', net(sample_size=16))", ValueError,
        ("the network's sample_size is 16", "8 x 8 pixels")),
    ("run('{tmp}/x', dataset=DataLoader(data))", TypeError, ("dataset must be", ".dataset")),
    ("run('{tmp}/x', dataset='pictures')", TypeError,
        ("dataset must be", "ImageFolder('pictures'")),
    ("run('{tmp}/x', dataset=x0*2)", ValueError, ("dataset[0] has values", "[-1, 1]")),
    ("Trainer(net(), DDPMScheduler(), data, '{tmp}/x', dict(steps=3))", TypeError,
        ("config must be a TrainConfig", "dict", "TrainConfig(steps=1000)")),
    ("Trainer(net, DDPMScheduler(), data, '{tmp}/x')", TypeError, "unet must be a network"),
    ("Trainer(net().requires_grad_(False), DDPMScheduler(), data, '{tmp}/x')", TypeError,
        "unet must be a network with weights to train"),
    ("Trainer(net(), net(), data, '{tmp}/x')", TypeError,
        ("scheduler must be a DDPMScheduler", "from_config")),
    # labels
    ("told('{tmp}/x', dataset=data)", ValueError,
        ("labels=True", "the images from memory have no labels", "a folder for each class")),
    ("told('{tmp}/x', dataset=x0)", ValueError, ("have no labels", "(image, label)")),
    ("told('{tmp}/x', dataset=[(x, 0.5) for x in x0])", ValueError,
        ("dataset[0] has the label 0.5", "whole numbers 0, 1, 2")),
    ("told('{tmp}/x', dataset=[(x, 0) for x in x0[1:]] + [(x0[0],)])", ValueError,
        ("dataset[7] has no label", "second in a tuple")),
    ("told('{tmp}/x', dataset=named(torch.arange(8) - 1))", ValueError,
        ("labels of the images from memory must be whole numbers", "got tensor([-1")),
    ("told('{tmp}/x', dataset=named(torch.zeros(8)))", ValueError, "must be whole numbers"),
    ("told('{tmp}/x', dataset=named(torch.arange(8) % 3, 'shoe', 'shirt'))", ValueError,
        ("run to 2", "only 2 classes have names: shoe, shirt")),
    ("told('{tmp}/x', net())", ValueError, ("num_class_embeds is None", "labels=True needs 4",
        "3 classes, and one for dropped labels", "UNet(num_class_embeds=4")),
    ("told('{tmp}/x', net(num_class_embeds=3))", ValueError, ("is 3, but", "needs 4")),
    ("told('{tmp}/x', net(num_class_embeds=5))", ValueError, ("is 5, but", "needs 4")),
    ("told('{tmp}/x', net(num_class_embeds=2), label_dropout=0)", ValueError,
        ("is 2, but", "needs 3 (3 classes)")),
    ("run('{tmp}/x', net(num_class_embeds=4), dataset=three)", ValueError,
        ("labels must be True", "num_class_embeds=4", "TrainConfig(labels=True)",
         "without num_class_embeds")),
    # resuming
    ("run(begun('{tmp}/x')).train()", FileExistsError,
        ("checkpoint-00000002 is a checkpoint of an earlier run", "pass resume=True")),
    ("run(begun('{tmp}/x'), lr=5e-3).train(resume=True)", ValueError,
        ("lr was 0.001 when", "is 0.005 now", "resume with the old one")),
    ("run('{tmp}/x').train(resume=1)", TypeError, "resume must be True or False"),
    ("run('{tmp}/x').train(until=0)", ValueError, "until must be at least 1"),
    # the losses
    ("training_loss(lambda x, t: x0, DDPMScheduler(), x0, t, x0, 'simpel')", ValueError,
        "Did you mean 'simple'?"),
    ("training_loss(lambda x, t: x0[:, :, :1], DDPMScheduler(), x0, t, x0)", ValueError,
        ("(8, 1, 8, 8)", "(8, 1, 1, 8)")),
    ("eval_loss(net(), DDPMScheduler(), x0[:0])", ValueError, "number of images"),
    ("eval_loss(net(), DDPMScheduler(), x0, batch_size=0)", ValueError, "batch_size"),
    # bytes are no images in [-1, 1], in the loss that compares runs, either
    ("eval_loss(net(), DDPMScheduler(), x0.byte())", TypeError, ("x0 must", "uint8", "127.5")),
    ("eval_loss(net(), DDPMScheduler(), x0.numpy())", TypeError, "x0 must be a tensor"),
    ("ema_weights(net(), 1.5)", ValueError, ("decay", "got 1.5")),
    ("training_loss(net(), DDPMScheduler(), x0, t.float(), x0)", TypeError,
     ("t must hold whole numbers", "float32")),
    ("training_loss(net(), DDPMScheduler(), x0, t[:, None], x0)", TypeError,
     ("t must hold whole numbers", "(8,)", "(8, 1)")),
    ("run('{tmp}', net(in_channels=2, out_channels=2), dataset=pairs, sample_every=1)", ValueError,
     ("sample_every must be 0", "2 channels")),
    ("run('')", TypeError, ("out must name a file or a folder", "got ''")),
    ("run('{tmp}/run\\udcff')", ValueError, ("out=", "is not UTF-8", "name another folder")),
]
