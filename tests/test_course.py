"The room of the grader: what leads to a library, what changes Python, how mistakes are named."
import builtins
import json
import math
import subprocess
import sys

import pytest
import torch

from ddpm_edu.course import asking, release, tampering
from ddpm_edu.course.asking import Answer, ask, nudged
from ddpm_edu.course.compare import compare, rule_made
from ddpm_edu.course.origins import Wrong, leans_on
from ddpm_edu.course.release import course_folders, student_version
from ddpm_edu.course.sandbox import plain
from ddpm_edu.course.tampering import TESTS_OWN, tampered
from ddpm_edu.course.training_check import check_training


def test_a_student_version_keeps_the_text_and_loses_outputs():
    def cell(kind, text, **more):
        return dict(cell_type=kind, source=text.splitlines(True), metadata={}, **more)
    question = "def f(x):\n    ### BEGIN SOLUTION\n    return 2*x\n    ### END SOLUTION"
    cells = [cell("markdown", "# É"), cell("code", question, outputs=[1], execution_count=3)]
    text, code = json.loads(student_version(json.dumps(dict(cells=cells))))["cells"]
    assert text["source"] == ["# É"] and code["outputs"] == [] and code["execution_count"] is None
    stub = "def f(x):\n    # YOUR CODE HERE\n    raise NotImplementedError()"
    assert "".join(code["source"]) == stub
    hidden = "a = 1\n### BEGIN HIDDEN TESTS\nassert f(2) == 4\n### END HIDDEN TESTS\nx = 1\n"
    assert release.student_source(hidden) == "a = 1\nx = 1"


# A notebook with ways to the library, and some that only look so.
NOTEBOOK = """
import functools, math, torch
import ddpm_edu.scheduler
from ddpm_edu.images import to_model
from ddpm_edu.forward_process import NoiseSchedule, make_betas
ready = NoiseSchedule(make_betas())
def own(x): return x + 1
def methods(net, file): return net.eval(), file.open(), torch.compile(net)
def prepared(x): return to_model(x)
def by_import(x):
    from ddpm_edu.forward_process import make_betas
    return make_betas()
def through_helper(x): return by_import(x)
def by_module(x): return ddpm_edu.scheduler
def by_object(x): return ready
partial = functools.partial(make_betas, "linear")
class Table:
    def at(self, t): return ready.alphas_cumprod[t]
class Reader:
    def __call__(self, x): return ready
reader = Reader()
def by_default(x, s=ready): return s
def closed(s=ready): return lambda x: s
closure = closed()
def by_class(x): return Table().at(x)
def by_frame(x):
    import sys
    return sys._getframe(1)
def by_file(x): return open("y")
def by_history(x): return In[3]
def by_eval(x): return eval("x")
"""


@pytest.fixture(scope="module")
def notebook():
    "The names of a notebook that has run."
    space = {"__name__": "__main__"}
    exec(NOTEBOOK, space)
    return space


@pytest.mark.parametrize("name", ["own", "methods", "prepared"])
def test_a_function_of_ones_own_leans_on_nothing(notebook, name):
    assert leans_on(notebook[name], notebook) == leans_on(math.sqrt, notebook) == ""


@pytest.mark.parametrize("name", [
    "by_import", "make_betas", "NoiseSchedule", "through_helper", "by_module", "by_object",
    "partial", "Table", "reader", "by_default", "closure", "by_class"])
def test_ways_to_the_library_are_seen(notebook, name):
    assert leans_on(notebook[name], notebook).startswith("ddpm_edu"), name


@pytest.mark.parametrize("name,found", [
    ("by_frame", "_getframe"), ("by_file", "open"), ("by_history", "In"), ("by_eval", "eval")])
def test_detours_are_seen(notebook, name, found):
    assert leans_on(notebook[name], notebook) == found


def triple(x): return 3*x
def both(x): return x, (x**2).numpy()
def loud(x):
    for _ in range(10**5): print("x"*1000)
    return x
def draws(x): return x + torch.randn(())
def trick(x):
    class Always(list):
        def __eq__(self, other): return True
    return Always()
def halves(x, y): return x*0.4 + 0*y
def by_hand(x):
    g = x.view(1, 2, -1)
    centred = g - g.mean(2, keepdim=True)
    return centred/(g.var(2, keepdim=True, unbiased=False) + 1e-5).sqrt()


def test_an_answer_comes_back_as_plain_numbers():
    assert ask("triple", torch.tensor([[1., 2.]])) == [[[1, 2], "float32", [3., 6.]]]
    assert ask("both", torch.arange(2)) == [[[2], "int64", [0., 1.]], [[2], "int64", [0., 1.]]]
    assert ask("triple", 2) == [[[], "int64", [6.]]] and ask("loud", 1) == [[[], "int64", [1.]]]
    assert ask("triple", torch.tensor(0.5).bfloat16())[0][2] == [1.5]
    assert math.isnan(ask("triple", math.nan)[0][2][0])
    assert ask("trick", 1) == [[[0], "float64", []]]          # an object that is equal to all
    assert [ask("loud", 1).random, ask("draws", 1).random] == [False, True]
    image = torch.randn(1, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    assert len(ask("by_hand", image, without=("group_norm", "scaled_dot_product"))) == 1


def test_containers_and_iterators_are_made_plain():
    parts = plain({"a": torch.ones(1), "b": torch.zeros(2)})
    assert parts == [([1], "float32", [1.]), ([2], "float32", [0., 0.])]
    assert plain(reversed([2, 1])) == plain([1, 2]) and plain([1, 2.5]) == [
        ([2], "float64", [1., 2.5])]


CHANGES = [                          # a cell, what it changes
    ("import torch\ntorch.allclose = print", "torch.allclose"),
    ("import builtins", "builtins"),
    ("x = get_ipython()", "get_ipython"),
    ("from unittest import mock", "unittest.mock"),
    ("import ddpm_edu.course.grader as a", "ddpm_edu.course.grader"),
    ("import ddpm_edu.course", "ddpm_edu.course"),
    ("from ddpm_edu import course", "ddpm_edu.course"),
    ("from ddpm_edu.course import compare", "ddpm_edu.course.compare"),
    ("setattr(torch, 'x', 1)", "setattr"),
    ("import sys as s\nx = s.modules", "s.modules"),
    ("from ddpm_edu.course.grader import Wrong\nWrong.__new__ = print", "Wrong.__new__"),
    ("from ddpm_edu.course.compare import close\nclose.x = print", "close.x"),
    ("from sys import modules", "sys.modules"),
    ("compare.__globals__['close'] = print", "compare.__globals__"),
    ("exec('x = 1')", "exec"),
    ("import torch\na, torch.nn.Linear = 1, 2", "torch.nn.Linear"),
    ("import torch\ndel torch.randn", "torch.randn"),
    ("for torch.x in [1]: pass", "torch.x"),
    ("%%time\nexec('x')", "exec"),
    ("%time import builtins", "builtins"),
    ("get_ipython().user_ns", "get_ipython"),
    ("import json\nvars(json).update(loads=print)", "vars(json)"),
    ("from IPython.core.getipython import get_ipython as g",
     "IPython.core.getipython.get_ipython"),
    ("import IPython", "IPython"),
    ("import gc\ngc.get_objects()", "gc.get_objects"),
    ("import inspect\ninspect.stack()", "inspect.stack"),
    ("import gc as g", "gc"),
    ("from operator import attrgetter\nattrgetter('__globals__')(x)", "__globals__"),
    ("def f():\n    global torch\n    torch = 1\n    torch.x = 2\nimport torch", "torch.x"),
]
HARMLESS = [
    "%timeit x\nx = 1", "%%time\nx = 1", "%matplotlib inline\n!ls\nx = !ls\ntorch?", "def f(:",
    "self.x = 1", "x: int = 2", "net.modules(); d['a'] = net.eval()", "\n".join(TESTS_OWN),
    "import torch\ntorch.backends.cudnn.benchmark = True",
    "from matplotlib import pyplot as plt\nplt.rcParams['a'] = 1",
    "from ddpm_edu.course.grader import ask, compare",
    "import gc\ngc.collect()", "import inspect\nprint(inspect.signature(f))",
    "from IPython.display import display",
    "from math import e\ndef f(noise):\n    e = noise.clone()\n    e[0] = 1",
    "import time as t\ndef f(t):\n    t[0] = 0",
    "from random import random as r\nr = [1]\nr[0] = 2",
]


@pytest.mark.parametrize("cell,found", CHANGES + [(cell, "") for cell in HARMLESS])
def test_cells_that_change_python_are_seen(cell, found):
    assert tampered({"torch": torch, "self": triple}, [cell]) == found


@pytest.mark.parametrize("name", ["abs", "max", "sum", "ValueError"])
def test_replaced_builtins_are_seen(monkeypatch, name):
    assert tampered({}, []) == ""
    monkeypatch.setattr(builtins, name, lambda *x: 0)
    found = tampered({}, [])
    monkeypatch.undo()
    assert found == f"builtins.{name}"


def test_a_changed_notebook_gets_no_answer(monkeypatch):
    before = tampering.history()
    monkeypatch.setattr(asking, "history", lambda: ["import builtins"])
    with pytest.raises(Wrong, match="a cell changes builtins: the tests need Python as it is"):
        ask("triple", 1)
    assert tampering.history() == before


def of(*x): return [[[len(x)], "float32", [float(v) for v in x]]]


def says(*args, **kw):
    "What a comparison says, None if all is right."
    try: compare(*args, **kw)
    except Wrong as e: return str(e)


RIGHT = [0.9, 0.72, 0.36]
NAMED = [                            # numbers where RIGHT is expected, words of what is said
    ([0.91, 0.72, 0.36], "67% of the numbers are right"),
    ([-x for x in RIGHT], "sign"),
    ([x**2 for x in RIGHT], "a square root is missing"),
    ([x**0.5 for x in RIGHT], "root too many"),
    ([0.1, 0.28, 0.64], "one minus"),
    ([1/x for x in RIGHT], "one over"),
    (RIGHT[::-1], "reverse order"),
    ([1.0, 0.9, 0.72], "shifted by one"),
    ([0.72, 0.36, 0.1], "shifted by one"),
    ([0.72, 0.9, 0.36], "another order"),
    ([2*x for x in RIGHT], "twice the right"),
    ([3*x for x in RIGHT], "3 times the right one"),
    ([x/math.log(2) for x in RIGHT], "in bits"),
    ([x/2 for x in RIGHT], "half of the right"),
    ([x + 1 for x in RIGHT], "off by +1"),
    ([math.nan]*3, "NaN"), ([math.inf]*3, "infinities"), ([0]*3, "all numbers are 0"),
    ([1, 2], "2 numbers where 3"),
]


@pytest.mark.parametrize("numbers,words", NAMED, ids=[words for _, words in NAMED])
def test_mistakes_are_named_from_the_numbers_alone(numbers, words):
    assert words in says(of(*numbers), RIGHT)


def test_right_numbers_pass():
    for numbers, right, more in ((RIGHT, RIGHT, {}), ([1e6], [1e6+1], dict(shapes=[[1]])),
                                 ((0.90001, 0.72, 0.36), RIGHT, dict(shapes=[[3, 1]])),
                                 ([math.inf], [math.inf], {})):
        assert says(of(*numbers), right, **more) is None
    rows = [[[2], "float32", [1., 2.]], [[2], "float32", [3., 4.]]]        # a list of rows
    assert says(rows, [1, 2, 3, 4], shapes=[[2, 2]]) is None
    for x in (1e9, -math.inf, math.nan): assert says(of(x), [math.inf])    # is not infinity


def test_a_questions_own_mistakes_come_first():
    assert says(of(0.1, 0.2, 0.5), RIGHT, {"these are the betas": [0.1, 0.2, 0.5]}) == (
        "these are the betas")


def test_slips_and_rules_of_the_first_question_are_named():
    path = next(f/"hints.json" for f in course_folders() if (f/"hints.json").exists())
    case = json.loads(path.read_text(encoding="utf-8"))["make_abar"][0]
    def named(numbers):
        given = Answer(of(*numbers))
        given.name = "make_abar"
        return says(given, case["right"])
    assert all(named(wrong[0]) == hint for hint, wrong in case["slips"].items())
    assert any(named(wrong[0]) == hint for hint, wrong in case["rules"].items())
    assert rule_made("make_abar", [0.5]) == {} and rule_made("absent", []) == {}
    assert rule_made("make_abar", case["right"]) == case


def test_other_shapes_are_named():
    for shapes, words in (
            ([[3, 2]], "a sum over the wrong axis"),
            ([[1, 2], [1]], "(3,) where (1, 2) and (1,) is expected: 1 result where 2")):
        assert words in says(of(*RIGHT), [*RIGHT, 1], shapes=shapes)
    assert "one number for all" in says(of(1), RIGHT, shapes=[[3]])
    wide = [[[1, 3, 2], "float32", [1.]*6]]
    assert "an axis that should" in says(wide, [1, 2, 3], shapes=[[3]])
    assert "clipped" in says(of(1, 0.5), [2, 0.5])
    assert "float32, the arguments float64" in says(of(*RIGHT), RIGHT, kind="float64")
    said = says(of(1, 1), [2, 2], hidden=True)
    assert said.startswith("right for the numbers shown, but not")


def test_an_argument_that_makes_no_difference_is_named():
    x = torch.tensor([1., 2.])
    assert "another `y` gives the same" in says(ask("halves", x, 0.3), [0.65, 1.15])
    assert "another `y`" in says(ask("halves", x, torch.tensor([1, 2])), [1.5, 0.5])
    assert "term by term" in says(ask("halves", x, 0), [0.65, 1.15])
    assert nudged("a") is None and nudged(2) == 1 and nudged(0.1) != 0.1
    assert abs(nudged(math.sin)(0.) - 0.0137) < 1e-9


def test_the_answer_is_not_told():
    assert says(of(3.), [2.]) == (
        "0% of the numbers are right. Compare your code with the equation, term by term")
    said = says(of(0.91, 0.5, 0.1), RIGHT)
    assert not any(str(x) in said for x in RIGHT)


def training(pred="noise", t="torch.randint(len(abar), (128,))", n="torch.randn_like(x0)",
             x="a.sqrt()*x0 + (1-a).sqrt()*noise", told="t", steps="steps", once="pass",
             rows="data[torch.randint(len(data), (128,))]", each="pass", loss="**2",
             adam="torch.optim.Adam(parameters, lr=3e-3)",
             after="opt.zero_grad(); loss.backward(); opt.step()"):
    "Algorithm 1, or what a slip makes of it."
    lines = ["def train(model, parameters, data, abar, steps):", f"    opt = {adam}",
             f"    {once}", f"    for i in range({steps}):", f"        {each}",
             f"        x0 = {rows}", f"        t = {t}", f"        noise = {n}",
             "        a = abar[t][:, None]",
             f"        loss = ((model({x}, {told}) - {pred}){loss}).mean()", f"        {after}"]
    space = {"torch": torch, "math": math, "check_training": check_training}
    exec("\n".join(lines), space)
    return space


TRAININGS = [                        # words of the verdict, what the student writes instead
    ("", {}),
    ("the weights have not changed", dict(after="loss.backward()")),
    ("one t for the whole batch", dict(t="torch.randint(len(abar), (1,)).expand(128)")),
    ("of the timesteps ever come", dict(t="torch.randint(10, (128,))")),
    ("randn", dict(n="torch.rand_like(x0)")),
    ("not drawn from all", dict(rows="data[:4].repeat(32, 1)")),
    ("x_t has the wrong variance", dict(x="a*x0 + (1-a)*noise")),
    ("or is x_0 shown", dict(x="x0")),
    ("sign is turned", dict(pred="-noise")),
    ("target is the noise", dict(pred="x0")),
    ("zero_grad() missing", dict(after="loss.backward(); opt.step()")),
    ("another noise", dict(pred="torch.randn_like(x0)")),
    ("outside 0..T-1", dict(told="t+1")),
    ("called 3 times", dict(steps="3")),
    ("never called", dict(steps="0")),
    ("NaN", dict(pred="math.nan*noise")),
    ("only 98% of the timesteps", dict(t="torch.randint(1, len(abar), (128,))")),
    ("8 examples in a step", dict(rows="data[torch.randint(len(data), (8,))]",
                                  t="torch.randint(len(abar), (8,))")),
    ("more than one optimizer", dict(each="opt = torch.optim.Adam(parameters, lr=3e-3)")),
    ("noise is the same", dict(once="noise = torch.randn(128, 2)", n="noise")),
    ("examples are the same", dict(once="x0 = data[torch.randperm(len(data))[:128]]", rows="x0")),
    ("asks for torch.optim.Adam", dict(adam="torch.optim.SGD(parameters, lr=3e-3)")),
    ("step size is 0.001", dict(adam="torch.optim.Adam(parameters)")),
    ("absolute error", dict(loss=".abs()")),
]


@pytest.mark.parametrize("words,slip", TRAININGS, ids=[words or "right" for words, _ in TRAININGS])
def test_a_training_loop_is_judged(words, slip):
    space = training(**slip)
    try: exec("check_training('train')", space)
    except Wrong as e: found = str(e)
    else: found = ""
    assert words in found and bool(words) == bool(found), found


LIMITS = '''
import io, sys, os, builtins
from ddpm_edu.course.grader import limits, ask, compare
real = sys.stdout = io.StringIO()
limits(memory=1, printed=1000)
print("A"*600)
print("B"*600)
print("C"*600)
text = real.getvalue()
sys.stdout = sys.__stdout__
print(text.count("A"), 300 < text.count("B") < 420, text.count("C"), "left out" in text)
try:
    x = bytearray(4*2**30)
    print("memory was not bounded")
except MemoryError: print("bounded")
for leave in (exit, quit, os._exit, os.abort):
    try:
        leave()
        print("left")
    except RuntimeError as e: print(e)
def f(x): return 2*x
compare(ask("f", 3), [6])
'''


@pytest.mark.skipif(sys.platform != "linux", reason="the limits need Linux")
def test_a_notebook_is_bounded():
    done = subprocess.run([sys.executable, "-c", LIMITS], capture_output=True, text=True)
    stays = ["this would end the notebook; leave it out"]*4
    assert done.stdout.splitlines() == ["600 True 0 True", "bounded", *stays, "f: right"], (
        done.stdout + done.stderr)


def test_loading_the_grader_again_undoes_a_change():
    script = ("import importlib, sys; from ddpm_edu.course import compare, grader; "
              "compare.close = lambda *a: True; importlib.reload(sys.modules[grader.__name__]); "
              "print(compare.close([1], [2], 0.1), grader.compare is compare.compare)")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.split() == ["False", "True"], done.stdout + done.stderr
