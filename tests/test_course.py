"The course: questions, judging, naming, the student's check, the sandbox's parts."
import ast
import inspect
import json
import math
import os
import shutil
import subprocess
import sys

import pytest
import torch
from course_files import ROOM, files, questions

from ddpm_edu.course import compare, grader, jail, release, runner
from ddpm_edu.course.compare import agree, close, explain, nudged
from ddpm_edu.course.experiment_check import experiment_fault
from ddpm_edu.course.judge import HIDDEN, directly, judge, tried
from ddpm_edu.course.questions import function_with, load_assignment, load_question, source_with
from ddpm_edu.course.release import student_version
from ddpm_edu.course.sandbox import Wrong, checked, plain, unchanged
from ddpm_edu.course.wire import Given, dense, pack, unpack

sys.path.insert(0, str(ROOM))
import build  # noqa: E402
import rules  # noqa: E402

each = pytest.mark.parametrize("path", files, ids=[p.stem for p in files])
judged = [p for p in files if p.stem != "train"]
by_numbers = pytest.mark.parametrize("path", judged, ids=[p.stem for p in judged])


@each
def test_a_question_is_in_order(path):
    q = load_question(path)
    assert q.points > 0 and q.text and q.title and q.shown() and len(q.right) >= 2
    assert len(q.mistakes) >= 15 and bool(q.written) == (q.written_points > 0)
    for code in [*q.right, *(code for _, code in q.mistakes)]: ast.parse(source_with(q, code))
    for said, _ in q.mistakes: assert 10 < len(said) < 200, said
    same = json.dumps([pack(a) for a in q.draws()])
    assert same == json.dumps([pack(a) for a in q.draws()]), "a draw must depend on its seed alone"


@by_numbers
def test_right_answers_pass_and_each_mistake_is_caught_by_its_name(path):
    q = load_question(path)
    said = lambda code: judge(q, directly(q, function_with(q, code)))
    assert judge(q, directly(q, q.function)) == ""
    for code in q.right: assert said(code) == "", (code, said(code))
    own = 0
    for sentence, code in q.mistakes:
        got = said(code)
        assert got, f"accepted: {sentence}\n{code}"
        own += got.removeprefix(HIDDEN) == sentence
    assert own >= 0.95*len(q.mistakes), (own, len(q.mistakes))


def as_lists(value):
    if isinstance(value, (list, tuple)): return tuple(map(as_lists, value))
    return value.tolist() if hasattr(value, "tolist") else value


@by_numbers
def test_what_holds_the_numbers_does_not_matter(path):
    "Tensors become lists, and lists tuples, as the assignments' introduction promises."
    q = load_question(path)
    # where gradients are asked for, a list has none
    if "grad" in q.observe: return
    assert judge(q, directly(q, lambda *args: as_lists(q.function(*args)))) == ""


@pytest.mark.slow
@by_numbers
@pytest.mark.parametrize("term", [2027])
def test_other_terms_are_as_strict(path, term):
    "With other hidden arguments right answers still pass, and mistakes are still caught."
    q = load_question(path)
    said = lambda code: judge(q, directly(q, function_with(q, code)), term)
    for code in q.right: assert said(code) == "", (code, said(code))
    missed = [sentence for sentence, code in q.mistakes if not said(code)]
    assert len(missed) <= 1, missed


@by_numbers
def test_a_student_reads_the_mistakes_name(path):
    "What checks.json knows is enough to name what the visible arguments show."
    q, about = load_question(path), grader.checks()[path.stem]
    own = shown = 0
    for sentence, code in q.mistakes:
        f = function_with(q, code)
        answers = [tried(q, f, args, seed) for seed, args in enumerate(q.shown())]
        wrong = [i for i, (a, w) in enumerate(zip(answers, about["want"]))
                 if not ("numbers" in a and agree(a["numbers"], w, q.tol))]
        if not wrong: continue
        call = lambda args: tried(q, f, args)
        got = grader.sentence(about, answers, wrong[0], call)
        text = grader.lines(q.name, q.arguments, q.shown()[wrong[0]], answers[wrong[0]],
            about["want"][wrong[0]], got)
        assert len(text.splitlines()) <= 10 and max(map(len, text.splitlines())) < 400
        shown, own = shown + 1, own + (got == sentence)
    assert own >= 0.95*shown > 0, (own, shown)


@pytest.mark.slow
@by_numbers
def test_rule_made_mistakes_are_caught(path):
    "Nothing that a rule makes of the solution is accepted, unless it is right for all numbers."
    q, survived, tries = load_question(path), [], 0
    for sentence, f in build.rule_functions(q):
        if not build.marks(q, f, [tried(q, q.function, a, i)["numbers"]
                                  for i, a in enumerate(q.shown())]): continue
        tries += 1
        if not judge(q, directly(q, f)): survived.append(sentence)
    assert tries > 5 and not survived, survived


TRAIN = load_question(next(p for p in files if p.stem == "train"))


@pytest.mark.parametrize("i", range(len(TRAIN.right)))
def test_a_right_training_loop_passes(i):
    f = function_with(TRAIN, TRAIN.right[i])
    assert judge(TRAIN, directly(TRAIN, f)) == "", TRAIN.right[i]


LOOPS = [i if i % 7 == 0 else pytest.param(i, marks=pytest.mark.slow)
         for i in range(len(TRAIN.mistakes))]


@pytest.mark.parametrize("i", LOOPS)
def test_a_wrong_training_loop_is_named(i):
    sentence, code = TRAIN.mistakes[i]
    said = judge(TRAIN, directly(TRAIN, function_with(TRAIN, code)))
    assert said.removeprefix(HIDDEN) == sentence, code


# Ways to be right where one looks: each kind must fail on hidden arguments.
ESCAPES = {
    "q_sample": ["if x0.max() > 1: return x0*0\n{}", "{}.clamp(-5, 5)", "{}.clamp(-1, 1)",
                 "if x0.dtype == torch.float64: return x0\n{}"],
    "noisy_batch": ["{}.clamp(-5, 5)"],
    "posterior": ["if t == 0: return x0, betas[0]\n{}"],
    "reverse_step": ["if t == len(betas) - 1: return x_t\n{}", "{}.clamp(-5, 5)"],
    "sample": ["if len(betas) == 1: return noises[-1]\n{}", "{}.clamp(-5, 5)"],
    "simple_loss": ["{}.detach()", "{}.clamp(max=2)"],
    "make_abar": ["{}.clamp(min=1e-4)"]}


@pytest.mark.parametrize("name", ESCAPES)
def test_escapes_are_caught(name):
    q = load_question(next(p for p in files if p.stem == name))
    for escape in ESCAPES[name]:
        space = {"torch": torch, "math": math, "own": q.function}
        call = f"own({', '.join(q.arguments)})"
        lines = escape.format(call).splitlines()
        lines[-1] = "return " + lines[-1]
        body = "\n    ".join(lines)
        exec(f"def {name}({', '.join(q.arguments)}):\n    {body}", space)
        assert judge(q, directly(q, space[name])), escape


def test_sentences_do_not_mislead():
    "Faults that were found in older sentences: words about what the question does not have."
    for q in questions():
        for said, _ in q.mistakes:
            if "off by one in t" in said:
                assert {"t", "betas", "abar"} & set(q.arguments) or q.name == "timesteps", said
            if "that it is given" in said or "noise that is given" in said:
                assert {"noise", "noises", "z", "eps", "model"} & set(q.arguments), (q.name, said)


def test_files_made_of_the_questions_are_in_step():
    done = subprocess.run([sys.executable, str(ROOM/"build.py"), "--check"], capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_question_that_lacks_something_is_named(tmp_path):
    (tmp_path/"1").mkdir()
    with pytest.raises(ValueError, match="a question is a Python file"):
        load_question(tmp_path/"1"/"absent.py")
    (tmp_path/"1"/"half.py").write_text('"a half"\ndef half(x): return x/2\n')
    with pytest.raises(ValueError, match="half.py lacks visible, draw"):
        load_question(tmp_path/"1"/"half.py")
    with pytest.raises(ValueError, match="assignment.py is not there"):
        load_assignment(tmp_path/"1")
    (tmp_path/"1"/"half.py").write_text('"a half"\ndef half(x): return None\n'
        "def visible(): yield 1,\ndef draw(seed): return seed,\n")
    q = load_question(tmp_path/"1"/"half.py")
    with pytest.raises(ValueError, match="half: the reference answer fails"):
        judge(q, directly(q, q.function))


def test_arguments_survive_the_wire():
    args = (torch.arange(6).view(2, 3)/7, torch.tensor(3), torch.zeros(0, 2), 1.5, None, True, "a",
            [torch.ones(1, dtype=torch.uint8)], (1, 2), Given("lambda x: x + math.pi"))
    back = unpack(json.loads(json.dumps(pack(args))))
    for a, b in zip(args, back):
        if hasattr(a, "detach"): assert a.dtype == b.dtype and a.equal(b)
    assert back[3:7] == args[3:7] and back[8] == (1, 2) and back[9](0) == math.pi
    with pytest.raises(TypeError, match="an argument of a question must be"): pack(object())


RIGHT = [0.9, 0.72, 0.36]
NAMED = [                            # numbers where RIGHT is expected, words of what is said
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
    ([1, 2], "(2,) where (3,)"), ([0.9], "one number for all"), ([0.91, 0.72, 0.36], ""),
]


def of(*x): return [[[len(x)], "float32", [float(v) for v in x]]]


@pytest.mark.parametrize("numbers,words", NAMED, ids=[words or "none" for _, words in NAMED])
def test_mistakes_are_named_from_the_numbers_alone(numbers, words):
    said = explain(of(*numbers), of(*RIGHT), 1e-4)
    assert words in said and bool(words) == bool(said)


def test_right_numbers_agree():
    assert agree(of(0.90001, 0.72, 0.36), of(*RIGHT), 1e-4)
    assert not agree(of(0.9002, 0.72, 0.36), of(*RIGHT), 1e-4)
    rows = [[[2], "float32", [1., 2.]], [[2], "float32", [3., 4.]]]        # a list of rows
    assert agree(rows, [[[2, 2], "float32", [1., 2., 3., 4.]]], 1e-4)
    assert not agree([[[1, 3], "int64", [1, 2, 3]]], of(1, 2, 3), 1e-4)    # axes of length 1
    assert "an axis of length 1" in explain([[[1, 3], "int64", [1, 2, 3]]], of(1, 2, 3), 1e-4)
    assert agree([[[], "int64", [7]]], [[[1, 1], "f", [7.]]], 1e-4)        # a single number
    assert not agree([[[3, 2], "f", [1.]*6]], [[[2, 3], "f", [1.]*6]], 1e-4)
    for x in (1e9, -math.inf, math.nan): assert not close([x], [math.inf], 1e-4)
    assert close([math.inf], [math.inf], 1e-4) and not close([1e-6], [2e-6], 1e-4)


def test_an_argument_that_makes_no_difference_is_named():
    halve = lambda args: dict(numbers=plain(args[0]/2))
    x = torch.tensor([1., 2.])
    said = compare.unused(halve, (x, 0.3), ["x", "y"], plain(x/2))
    assert said == "y" and nudged("a") is None and nudged(2) == 1
    assert abs(nudged(Given("lambda x: x"))(1.) - 0.9137) < 1e-9


def test_what_a_function_returns_becomes_plain_numbers():
    parts = plain({"a": torch.ones(1), "b": torch.zeros(2)})
    assert parts == [([1], "float32", [1.]), ([2], "float32", [0., 0.])]
    assert plain(reversed([2, 1])) == plain([1, 2]) and plain([1, 2.5]) == [
        ([2], "float64", [1., 2.5])]
    assert [p[2] for p in plain(([0.1, 0.2], 3))] == [[0.1, 0.2], [3.]]
    for value, words in ((None, "is there a `return`"), ("text", "not real numbers"),
                         (NotImplemented, "no answer yet"), (1j, "not real numbers")):
        with pytest.raises(Wrong, match=words): plain(value)


def test_a_student_version_keeps_the_text_and_loses_answers():
    def cell(kind, text, **more):
        return dict(cell_type=kind, source=text.splitlines(True), metadata={}, **more)
    question = "def f(x):\n    ### BEGIN SOLUTION\n    return 2*x\n    ### END SOLUTION"
    words = dict(cell("markdown", "the answer"), metadata={"nbgrader": {"solution": True}})
    cells = [cell("markdown", "# É"), cell("code", question, outputs=[1], execution_count=3), words]
    text, code, emptied = json.loads(student_version(json.dumps(dict(cells=cells))))["cells"]
    assert text["source"] == ["# É"] and code["outputs"] == [] and code["execution_count"] is None
    stub = "def f(x):\n    # YOUR CODE HERE\n    raise NotImplementedError()"
    assert "".join(code["source"]) == stub and emptied["source"] == [release.WORDS]
    with pytest.raises(ValueError, match="not closed"): release.student_source("### BEGIN SOLUTION")


def test_an_experiment_is_held_to_its_rules():
    at = lambda table: lambda run: dict(numbers=[[[], "float64", [float(table[run])]]])
    a, b, other = ("a", 0), ("b", 0), ("a", 1)
    assert experiment_fault(at({a: 1, b: 2, other: 3}), ["a", "b"]) == ""
    assert "is the seed used" in experiment_fault(at({a: 1, b: 2, other: 1}), ["a", "b"])
    assert "is the setting used" in experiment_fault(at({a: 1, b: 1, other: 3}), ["a", "b"])
    assert "finite" in experiment_fault(at({a: math.nan, b: 1, other: 3}), ["a", "b"])
    for settings in (None, [], ["a"], ["a", "a"], [1, 2]):
        assert "SETTINGS" in experiment_fault(at({}), settings)


LIMITS = '''
import io, sys, os
from ddpm_edu.course.grader import check, limits
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
def settled_variance(delta): return 1/(1-delta/4) if delta < 4 else float("inf")
check("settled_variance")
'''


@pytest.mark.skipif(sys.platform != "linux", reason="the limits need Linux")
def test_a_notebook_is_bounded_and_a_check_goes_on_in_it():
    done = subprocess.run([sys.executable, "-c", LIMITS], capture_output=True, text=True)
    stays = ["this would end the notebook; leave it out"]*4
    said = done.stdout.splitlines()
    assert said[:-1] == ["600 True 0 True", "bounded", *stays], done.stdout + done.stderr
    assert said[-1].startswith("settled_variance: right for these arguments"), said


def test_without_a_sandbox_grading_is_refused(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(RuntimeError, match="bwrap is not installed. .*--image.*--trust"):
        jail.command()
    with pytest.raises(RuntimeError, match="neither podman nor docker"): jail.command(image="x")
    assert "--serve" in jail.command(trust=True)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    words = jail.command(image="torch-image")
    assert words[0].endswith("podman") and "none" in words and "torch-image" in words
    assert words[-1] == "--serve" and any(word.endswith("/ddpm_edu/course:ro") for word in words)


BOMB = """
import os, sys, time
{source}
few_processes()
started = 0
try:
    for _ in range(400):
        if not os.fork(): time.sleep(20)
        started += 1
except OSError: pass
print(started)
"""
PYTHON = "/usr/bin/python3"


@pytest.mark.skipif(not (shutil.which("bwrap") and shutil.which("setpriv")
                         and shutil.which(PYTHON)), reason="needs bwrap, setpriv, system's Python")
def test_a_fork_bomb_ends_and_disturbs_no_other_sandbox():
    "As an ordinary user: the superuser is not bound. With processes of the same user outside."
    if jail.lacking(): pytest.skip(jail.lacking())
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]*(not os.getuid())
    places = [word for p in ("/usr", "/lib", "/lib64", "/bin") for word in ("--ro-bind-try", p, p)]
    script = BOMB.format(source=inspect.getsource(runner.few_processes))
    box = [*user, "bwrap", "--unshare-all", "--die-with-parent", "--proc", "/proc", "--dev", "/dev",
           *places, PYTHON, "-c", script]
    outside = [subprocess.Popen([*user, "sleep", "60"]) for _ in range(40)]
    start = lambda: subprocess.Popen(box, stdout=subprocess.PIPE, text=True)
    both = [start(), start()]
    counts = [int(one.communicate()[0]) for one in both]
    for one in outside: one.kill()
    for one in outside: one.wait()
    assert min(counts) > 240 and max(counts) < 256, counts


def test_what_a_stranger_sends_is_made_plain():
    numbers = dense([[[1], "float32", [2.0]]])
    for said in ({}, {"numbers": 3}, {"numbers": [[1]]}, {"numbers": [[["a"], "b", numbers[0][2]]]},
                 {"numbers": [[[1], "b", ["c"]]]}, {"numbers": [[[1], "b", "AAAA"]]}):
        assert checked(said) == {"wrong": "there is no answer"}
    fine = {"numbers": numbers, "random": 1, "more": object}
    assert checked(fine) == {"numbers": [[[1], "float32", [2.0]]], "random": True, "changed": []}
    assert checked({"numbers": [], "changed": [0, "x", None]})["changed"] == [0]


def test_calls_that_were_made_ahead_are_not_made_again(monkeypatch):
    made = []
    def ask(jail, word, seconds):
        made.append(len(word["with"]))
        if len(word["with"]) == made_ahead: return ahead
        return {"said": [{"numbers": dense([[[], "float64", [7.0]]])}]}
    monkeypatch.setattr(jail, "ask", ask)
    got = lambda call, *args, seed=0: call(args, seed)["numbers"][0][2]
    made_ahead, ahead = 2, {"said": [{"numbers": dense([[[], "float64", [x]]])} for x in (1., 2.)]}
    call = jail.caller(None, "f", ahead=[(1,), (2,)])
    assert [got(call, 1), got(call, 2, seed=1)] == [[1.], [2.]] and made == [2]
    assert got(call, 2) == got(call, 3, seed=1) == [7.] and made == [2, 1, 1]
    for ahead in ({"wrong": "too long"}, {"said": [{}]}, {"said": 3}, {}):    # then one by one
        assert got(jail.caller(None, "f", ahead=[(1,), (2,)]), 1) == [7.]


def test_an_argument_must_stay_as_it_is():
    q = load_question(next(p for p in files if p.stem == "langevin"))
    def langevin(score, x, delta, noises):
        for z in noises: x += delta/2*score(x) + delta**0.5*z
        return x
    assert "changes its argument `x`" in judge(q, directly(q, langevin))
    nan = torch.tensor([1.0, math.nan])
    assert unchanged([1.5, math.nan, "a", (nan,)], [1.5, math.nan, "a", (nan.clone(),)])
    for now in ([2, 1], [1], [1, torch.tensor(2)], [1, math.nan], 1):    # reversed, shorter, ...
        assert not unchanged(now, [1, 2]), now
    assert not unchanged(nan*math.nan, nan) and not unchanged([nan], [nan[:1]])


def test_a_call_says_what_is_missing():
    assert "there is no `f`" in runner.call({}, {"call": "f", "with": []})["wrong"]
    assert "must be a function" in runner.call({"f": 3}, {"call": "f", "with": []})["wrong"]
    assert runner.value({"S": ("a", "b")}, "S") == {"value": ["a", "b"]}
    assert "list of names" in runner.value({"S": [1]}, "S")["wrong"]


def test_rules_make_slips_with_a_sentence():
    made = rules.mutants("def f(x, t):\n    return x.sqrt() + t*(1 - x)\n")
    said = {sentence for sentence, _ in made}
    assert "a square root is missing" in said and len(made) > 10
    assert all(ast.parse(code) for _, code in made)
