"What the variational bound and its losses refuse."
import torch

from ddpm_edu.forward_process import NoiseSchedule, make_betas
from ddpm_edu.variational_bound import (bound_weights, discretized_gaussian_log_likelihood,
                                        history_log_prob, importance_timesteps, prediction,
                                        reverse_step, reverse_variance, training_loss, vlb_terms)

schedule = NoiseSchedule(make_betas("linear", 6, 0.05, 0.6))
images, t = torch.zeros(4, 1, 8, 8), torch.tensor([0, 1, 3, 5])
points = torch.zeros(4, 2)
levels = torch.arange(256)/127.5 - 1


def itself(x, t): return x
def twice(x, t): return torch.cat([x, x], 1)
def thrice(x, t): return torch.cat([x, x, x], 1)
def narrow(x, t): return x[:, :1]
def small(x, t): return x[..., :1]
def one(x, t): return x[:1]
def integers(x, t): return x.long()
def nothing(x, t): return None


def loss(model=itself, x0=images, noise=images, **words):
    return training_loss(model, schedule, x0, t, noise, **words)


SHAPES = ("network's output", "(4, 1, 8, 8)", "got (4, 2, 8, 8)", "learned_range")
ROWS = [
    ("history_log_prob(itself, schedule, [points]*6)",
     ValueError, ("xs must hold", "7 tensors, got 6")),
    ("reverse_variance(schedule, 'fixed_smal')",
     ValueError, ("variance_type must be one of", "Did you mean 'fixed_small'")),
    ("bound_weights(schedule, 'learned')", ValueError, "variance_type must be one of"),
    # the decoder for bytes
    ("discretized_gaussian_log_likelihood(torch.tensor([0.001]), torch.zeros(1), 1.)",
     ValueError, ("x must hold", "bytes scaled to [-1, 1]")),
    ("discretized_gaussian_log_likelihood(torch.tensor([1 + 2/255]), torch.zeros(1), 1.)",
     ValueError, "bytes scaled to [-1, 1]"),
    ("discretized_gaussian_log_likelihood(torch.tensor([-1 - 2/255]), torch.zeros(1), 1.)",
     ValueError, "bytes scaled to [-1, 1]"),
    ("discretized_gaussian_log_likelihood(levels, levels, 0.)",
     ValueError, ("std must be above 0", "got 0.0")),
    ("discretized_gaussian_log_likelihood(levels, levels, levels)",
     ValueError, ("std must be above 0", "got -1.0")),
    ("discretized_gaussian_log_likelihood(torch.arange(256), levels, 1.)",
     TypeError, ("x must hold", "floating-point")),
    ("discretized_gaussian_log_likelihood(levels, torch.arange(256), 1.)",
     TypeError, ("mean must hold", "floating-point")),
    ("discretized_gaussian_log_likelihood(levels, torch.zeros(1), 1.)",
     ValueError, ("mean must have the shape (256,)", "got (1,)")),
    # all terms
    ("vlb_terms(itself, images, schedule, decoder='bytes')", ValueError, "decoder must be one of"),
    ("vlb_terms(itself, images, schedule, 'learned')", ValueError,
     ("(4, 2, 8, 8)", "got (4, 1, 8, 8)", "twice the channels")),
    ("vlb_terms(itself, images.long(), schedule)", TypeError, ("x0 must hold", "floating-point")),
    ("vlb_terms(itself, images, schedule, clip='yes')", TypeError, ("clip must be", "'yes'")),
    ("vlb_terms(twice, images, schedule)", ValueError, SHAPES),
    ("vlb_terms(narrow, points, schedule, decoder='gaussian')",
     ValueError, ("(4, 2)", "got (4, 1)")),
    # what broadcasts is not compared
    ("prediction(images, points)", ValueError, ("network's output", "(4, 2)", "got (4, 1, 8, 8)")),
    ("prediction(None, images)", TypeError, ("network's output must be a tensor", "NoneType")),
    ("reverse_step(one, schedule, images, t)", ValueError, ("(4, 1, 8, 8)", "got (1, 1, 8, 8)")),
    ("loss(twice)", ValueError, SHAPES),
    ("loss(thrice)", ValueError, ("(4, 1, 8, 8)", "got (4, 3, 8, 8)")),
    ("loss(small)", ValueError, ("(4, 1, 8, 8)", "got (4, 1, 8, 1)")),
    ("loss(one, kind='vlb')", ValueError, ("(4, 1, 8, 8)", "got (1, 1, 8, 8)")),
    ("loss(nothing)", TypeError, ("network's output must be a tensor", "NoneType")),
    ("loss(integers)", TypeError, ("network's output must hold floating-point", "int64")),
    ("loss(narrow, points, points)", ValueError, ("(4, 2)", "got (4, 1)")),
    ("loss(noise=images[:1])",
     ValueError, ("noise must have the shape (4, 1, 8, 8)", "got (1, 1, 8, 8)")),
    ("loss(itself, variance_type='learned_range')",
     ValueError, ("(4, 2, 8, 8)", "got (4, 1, 8, 8)", "twice the channels")),
    ("loss(thrice, variance_type='learned')",
     ValueError, ("(4, 2, 8, 8)", "got (4, 3, 8, 8)", "variance_type='learned'")),
    # words of the loss
    ("loss(kind='l2')", ValueError, "kind must be one of"),
    ("loss(kind='simpel')", ValueError, ("kind must be one of", "Did you mean 'simple'")),
    ("loss(prediction_type='x0')", ValueError, "prediction_type must be one of"),
    ("loss(kind='vlb', variance_type='fixed')", ValueError, "variance_type must be one of"),
    ("loss(twice, kind='vlb', variance_type='learned')", ValueError,
     ("kind='vlb' needs a variance between bounds", "'learned_range'", "kind='simple'")),
    ("loss(kind='hybrid')", ValueError,
     ("kind='hybrid'", "'learned_range'", "twice the channels", "got 'fixed_large'")),
    ("loss(twice, kind='hybrid', variance_type='learned')",
     ValueError, ("kind='hybrid'", "'learned_range'", "got 'learned'")),
    ("loss(twice, kind='vlb', variance_type='learned_range')",
     ValueError, ("x must hold bytes", "got values")),
    ("loss(itself, kind='hybrid', variance_type='learned_range')",
     ValueError, ("(4, 2, 8, 8)", "got (4, 1, 8, 8)", "twice the channels")),
    ("loss(x0=images.long())", TypeError, ("x0 must hold", "floating-point")),
    # drawing timesteps
    ("importance_timesteps(torch.tensor([1., 0.]), 3)",
     ValueError, ("weights must be a vector of numbers above 0", "got 0.0")),
    ("importance_timesteps(torch.ones(2, 2), 3)", ValueError, "weights must be a vector"),
    ("importance_timesteps(torch.ones(0, 2), 3)",
     ValueError, ("weights must be a vector", "got none")),
]
