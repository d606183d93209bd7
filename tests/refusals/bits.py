"What bits per dimension refuse: images that are no bytes, variances that are infinite, old files."
import warnings

import torch
from torch import nn

from ddpm_edu import DDPMPipeline, DDPMScheduler
from ddpm_edu.bits import bits_per_dim


class Nothing(nn.Module):
    "Says that there is no noise."
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, x, t): return self.weight*x


def made(**options):
    "A pipeline of five timesteps."
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")                    # five timesteps leave much of an image
        pipe = DDPMPipeline(Nothing(), DDPMScheduler(num_train_timesteps=5, **options))
    pipe.set_progress_bar_config(disable=True)
    return pipe


class Twice(Nothing):
    "Says something of the variance, too: x."
    def forward(self, x, t): return torch.cat([self.weight*x, x], 1)


def twice(kind):
    "A pipeline whose network has learned a variance of this kind."
    pipe = made(variance_type=kind)
    pipe.unet = Twice()
    return pipe


def damaged(path):
    "A file that a disk has eaten."
    with open(path, "wb") as f: f.write(b"junk")
    return path


def foreign(path):
    "A file of weights."
    torch.save(Nothing().state_dict(), path)
    return path


class Sampler:
    "Of another library."
    config = {}
    def step(self): pass


pipe = made()
x = torch.zeros(3, 1, 4, 4, dtype=torch.uint8)
g = torch.Generator().manual_seed(0)

ROWS = [
    # call, error, words of the message
    ("bits_per_dim(pipe, x.float()/127.5 - 1)", ValueError, ("images", "bytes", "float32")),
    ("bits_per_dim(pipe, x.float())", ValueError, ("images", "uint8")),
    ("bits_per_dim(pipe, x[0])", ValueError, ("images", "(N, C, H, W)")),
    ("bits_per_dim(pipe, x.numpy())", ValueError, ("images", "ndarray")),
    ("bits_per_dim(pipe, x[:1])", ValueError, ("images", "at least 2", "got 1")),
    ("bits_per_dim(pipe, x, groups=6)", ValueError, ("groups", "between 2 and 5")),
    ("bits_per_dim(pipe, x, groups=1)", ValueError, ("groups", "between 2 and 5")),
    ("bits_per_dim(pipe, x, draws=0)", ValueError, ("draws", "at least 1")),
    ("bits_per_dim(pipe, x, batch_size=0)", ValueError, ("batch_size", "at least 1")),
    ("bits_per_dim(pipe, x, variance_type='fixed_larg')", ValueError, ("variance_type", "Did you")),
    ("bits_per_dim(pipe, x, variance_type='learned')", ValueError,
     ("'learned' needs", "network that learned", "'fixed_small'", "leave the argument out")),
    ("bits_per_dim(made(variance_type='learned_range'), x)", ValueError,
     ("(3, 2, 4, 4)", "got (3, 1, 4, 4)", "twice the channels")),
    ("bits_per_dim(twice('learned'), x)", ValueError, ("above 0", "got -", "learned_range")),
    ("bits_per_dim(twice('learned_range'), x, first='own')", ValueError,
     ("first='own'", "fixed_large", "'learned_range'")),
    ("bits_per_dim(pipe, x, first='third')", ValueError, ("first", "'second'")),
    ("bits_per_dim(pipe, x, first='own')", ValueError, ("first='own'", "fixed_large", "infinite")),
    ("bits_per_dim(pipe, x, clip=1)", TypeError, ("clip", "True or False")),
    ("bits_per_dim(pipe, x, resume='{tmp}/b.pt')", ValueError, ("resume", "generator=")),
    ("bits_per_dim(pipe, x, generator=g, resume=damaged('{tmp}/b.pt'))", ValueError,
     ("resume=", "damaged", "name another file")),
    ("bits_per_dim(pipe, x, generator=g, resume=foreign('{tmp}/w.pt'))", ValueError,
     ("resume=", "not written by bits_per_dim", "name another file")),
    ("bits_per_dim(pipe, x, generator=g, resume='{tmp}')", IsADirectoryError,
     ("resume=", "is a folder")),
    ("bits_per_dim(pipe, x, generator=g, resume='{tmp}/no/b.pt')", FileNotFoundError,
     ("resume=", "there is no folder", "make it first")),
    ("bits_per_dim(pipe.unet, x)", TypeError, ("pipe", "DDPMScheduler", "Nothing")),
    ("bits_per_dim(DDPMPipeline(Nothing(), Sampler()), x)", TypeError, ("pipe", "Sampler")),
]
