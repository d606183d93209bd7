"What the assignments' grader says to a student, and what `ddpm-edu assignment` refuses."
import math
import os

import numpy
import torch

from ddpm_edu.course.experiment_check import check_experiment
from ddpm_edu.course.grader import check
from ddpm_edu.course.questions import load_assignment, load_question
from ddpm_edu.course.release import assignment, student_source
from ddpm_edu.course.sandbox import Wrong, call_apart, plain
from ddpm_edu.course.wire import pack

image = torch.randn(1, 4, 2, 2, generator=torch.Generator().manual_seed(0))


# what a student's function may do instead of answering
def forever(x):
    while True: pass
def hog(x):
    kept = []
    while True: kept.append(torch.empty(10**8))
def leaves(x): raise SystemExit(3)
def dies(x): os._exit(1)
def kills(x): os.kill(os.getpid(), 11)
def shapes(x): return torch.ones(3) + torch.ones(4)
def blank(x): raise NotImplementedError()
def nothing(x): pass
def late(x): return [1][x+1]
def over_zero(x): return 1/(x-1)
def absent_from(x): return [2].index(x)
def of_a_number(x): return [0.5][0].sqrt()
def without_arguments(): return 1
def misspelt(x): return mispelt        # noqa: F821
def endless(x): return endless(x)


def imports(x):
    from ddpm_edu.absent import NoiseSchedule
    return NoiseSchedule(x)


def ask(function, *args, seconds=10, without=()):
    said = call_apart(function, args, seconds, 2, None, without)
    if "wrong" in said: raise Wrong(said["wrong"])


def trial(experiment, SETTINGS=("one", "other")):
    space = dict(experiment=experiment, SETTINGS=SETTINGS, check_experiment=check_experiment)
    exec("check_experiment()", space)


def tried(name, value):
    space = {name: value, "check": check}
    exec(f"check({name!r})", space)


# operations that a question forbids
def normed(x): return torch.nn.functional.group_norm(x, 2)
def layered(x): return torch.nn.GroupNorm(2, 4, affine=False)(x)
def by_number(x): return torch.ops.aten.native_group_norm(x, None, None, 1, 4, 4, 2, 1e-5)[0]
def attends(q): return torch.nn.functional.scaled_dot_product_attention(q, q, q)


def random(setting, seed): return float(torch.rand(()))
def numpys(setting, seed): return numpy.random.rand()
def seedless(setting, seed): return len(setting)
def settingless(setting, seed): return seed
def several(setting, seed): return torch.ones(2)
def infinite(setting, seed): return math.inf


SEE_SHAPES = "wrong broadcasting"
ROWS = [
    ("student_source('### BEGIN SOLUTION\\nx = 1')", ValueError, ("is not closed", "### END")),
    ("assignment('9', '{tmp}')", ValueError, ("number must be one of 1, 2", "got '9'")),
    ("assignment('1')", ValueError, "folder is missing"),
    ("assignment('1', '{tmp}') or assignment('1', '{tmp}')", FileExistsError,
     ("may hold your work", "another folder")),

    ("plain(None)", Wrong, "is there a `return`"),
    ("plain('x')", Wrong, "str, which are not real"),
    ("plain(1j)", Wrong, "complex, which are not real"),
    ("plain(torch.zeros(1001, 1000))", Wrong, "1,001,000 numbers: wrong broadcasting"),
    ("plain(...)", Wrong, "no answer"),

    ("ask(forever, 1, seconds=1)", Wrong, "longer than 1 s: does a loop never end"),
    ("ask(hog, 1)", Wrong, "more memory than a test allows"),
    ("ask(leaves, 1)", Wrong, "ends the program"),
    ("ask(dies, 1)", Wrong, "brought Python down"),
    ("ask(kills, 1)", Wrong, "brought Python down"),
    ("ask(shapes, 1)", Wrong, SEE_SHAPES),
    ("ask(blank, 1)", Wrong, "not answered yet"),
    ("ask(nothing, 1)", Wrong, "is there a `return`"),
    ("ask(late, 1)", Wrong, "an index beyond the end"),
    ("ask(over_zero, 1)", Wrong, "denominator 0"),
    ("ask(absent_from, 1)", Wrong, "if there is none"),
    ("ask(of_a_number, 1)", Wrong, "a plain number has no"),
    ("ask(without_arguments, 1)", Wrong, "def line"),
    ("ask(misspelt, 1)", Wrong, "slip of the pen"),
    ("ask(endless, 1)", Wrong, "when does it stop calling itself"),
    ("ask(imports, 1)", Wrong, "write the answer yourself"),
    *[(f"ask({name}, image, without=('group_norm',))", Wrong, "uses group_norm: write out")
      for name in ("normed", "layered", "by_number")],
    ("ask(attends, image, without=('scaled_dot_product',))", Wrong, "uses scaled_dot_product"),

    ("tried('absent', 1)", Wrong, ("no question about `absent`", "make_abar")),
    ("tried('make_abar', 3)", Wrong, "there is no function `make_abar`"),
    ("tried('make_abar', blank)", Wrong, ("not answered yet", "expected", "tried")),
    ("tried('make_abar', lambda betas: 1 - betas)", Wrong, ("0.9, 0.72", "came out")),
    ("tried('train', lambda *args: None)", Wrong, "the model is never called"),

    ("trial(None)", Wrong, "there is no function `experiment`"),
    *[(f"trial({name})", Wrong, "two different numbers") for name in ("random", "numpys")],
    ("trial(seedless)", Wrong, "is the seed used"),
    ("trial(settingless)", Wrong, "is the setting used"),
    ("trial(several)", Wrong, "one finite number"),
    ("trial(infinite)", Wrong, "one finite number"),
    ("trial(blank)", Wrong, "stops with TypeError"),
    *[(f"trial(random, {settings})", Wrong, "at least two different names")
      for settings in ("['one']", "['one', 'one']", "[1, 2]", "'ab'", "None")],

    ("pack(object())", TypeError, ("must be a number", "got object")),
    ("load_question('{tmp}/absent.py')", ValueError, ("absent.py is not there", "Python file")),
    ("load_assignment('{tmp}')", ValueError, ("assignment.py is not there", "TITLE")),
]
