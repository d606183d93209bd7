"The assignments: valid sources, students' versions without solutions, a grader tried on a class."
import ast
import csv
import json
import re
import shutil
import subprocess
import sys

import pytest
from grading import course, grade_all, notebook, points, sources, submission, written
from submissions import RIGHT, WRONG

from ddpm_edu.course.release import student_version

BLANK = "raise NotImplementedError()"
SOLUTION, HIDDEN = (re.compile(rf"### BEGIN {kind}\n(.*?)### END {kind}", re.S)
                    for kind in ("SOLUTION", "HIDDEN TESTS"))


def answers_of(n):
    "Source's answers, {'q1': text, ...}."
    cells = {i: c for i, c in notebook(n)[1].items() if re.fullmatch(r"q\d", i)}
    return {i: c["source"] for i, c in cells.items() if c["cell_type"] == "code"}


answers = {n: answers_of(n) for n in sources}
each = pytest.mark.parametrize("n", sources)
graded = pytest.mark.parametrize("n", RIGHT)


def blank(n):
    return {q: written(text, BLANK) for q, text in answers[n].items()} if n < 6 else {"q2": BLANK}


def question_of(i): return i.split("-")[0]


@each
def test_source_is_a_fair_assignment(n):
    import nbformat
    nb, cells = notebook(n)
    nbformat.validate(nb)
    assert len(cells) == len(nb["cells"]), "a grade_id twice"
    labels = {i: c["metadata"]["nbgrader"] for i, c in cells.items()}
    graded = {i: label["points"] for i, label in labels.items() if label["grade"]}
    intro = cells["intro"]["source"]
    assert "Learning goals" in intro and re.search(r"About \d+ (minutes|hours)", intro)
    assert f"{sum(graded.values())} points" in intro
    texts = {i: c["source"] for i, c in cells.items() if i.endswith("-text")}
    for i, text in texts.items():
        question = question_of(i)
        own = sum(p for j, p in graded.items() if question_of(j) == question)
        assert re.search(r"\((\d+) points?", text)[1] == str(own), i
        if f"{question}-test" in cells:
            test = cells[f"{question}-test"]["source"]
            assert HIDDEN.search(test) and "importlib.reload" in test
            assert re.search(r"(?m)^(compare|check_\w+)\(", test.split("###")[0])
    kinds = ("find the bug", "derive", "predict, then run")
    if n < 6: assert all(any(word in text for text in texts.values()) for word in kinds)


def lines(text): return {line.strip() for line in text.splitlines()}


@each
def test_student_version_has_no_answers(n):
    student = json.loads(student_version(sources[n].read_text()))
    seen = set().union(*(lines("".join(c["source"])) for c in student["cells"]))
    cells = notebook(n)[1]
    # a bug to find is told with the lines around it
    shown = (SOLUTION.sub("", HIDDEN.sub("", c["source"])) for c in cells.values())
    visible = set().union(*map(lines, shown)) | {""}
    for i, cell in cells.items():
        for secret in SOLUTION.findall(cell["source"]) + HIDDEN.findall(cell["source"]):
            told = lines(secret) - visible
            assert told and not told & seen, (i, told & seen)
    text = json.dumps(student)
    assert "### BEGIN" not in text and "### END" not in text and "NotImplementedError" in text
    assert not any(c.get("outputs") for c in student["cells"])


@graded
def test_a_right_answer_gets_all_points_and_a_blank_one_none(n):
    right, empty = grade_all([submission(n, {}), submission(n, blank(n))])
    assert right["scores"] == points(n), right["said"]
    assert set(empty["scores"]) == set(points(n)) and not sum(empty["scores"].values())
    assert all("not answered yet" in said for said in empty["said"].values())


@graded
def test_there_are_enough_answers_to_try(n):
    assert len(WRONG[n]) >= 15 and len(RIGHT[n]) >= 5
    assert {q for q, *_ in WRONG[n]} == set(answers[n]) == {q for q, _ in RIGHT[n]}
    for q, *_, body in WRONG[n] + RIGHT[n]:
        if "not Python" not in body: ast.parse(written(answers[n][q], body))


@pytest.mark.slow
@graded
def test_a_class_of_answers(n, record_property):
    """Right but different: all points. Wrong: this question's points are lost, the others kept, the
    slip named. Three times the same (from the second time on only the test of the question that was
    changed runs)."""
    changed = [q for q, *_ in RIGHT[n] + WRONG[n]]
    jobs = [submission(n, {q: written(answers[n][q], body)}) for q, *_, body in RIGHT[n] + WRONG[n]]
    needed = lambda name, q: not name.endswith("-test") or name == f"{q}-test"
    alone = [[cell for cell in job if needed(cell[0], q)] for q, job in zip(changed, jobs)]
    first, second, third = grade_all(jobs), grade_all(alone), grade_all(alone)
    once = [{f"{q}-test": o["scores"][f"{q}-test"]} for q, o in zip(changed, first)]
    assert once == [o["scores"] for o in second] == [o["scores"] for o in third]
    full, named = points(n), 0
    for (q, body), o in zip(RIGHT[n], first): assert o["scores"] == full, (q, body, o["said"])
    for (q, word, body), o in zip(WRONG[n], first[len(RIGHT[n]):]):
        assert o["scores"] == {**full, f"{q}-test": 0}, (q, body, o)
        named += word in o["said"][f"{q}-test"]
    print(f"assignment {n}: {len(RIGHT[n])} alternatives accepted, {len(WRONG[n])} wrong caught, "
          f"{named} named, slowest {max(o['seconds'] for o in first):.1f} s")
    assert named >= 0.8*len(WRONG[n])


@graded
def test_hints_belong_to_the_visible_tests(n):
    "hints.json holds visible right numbers, and what slips make of them."
    hints = json.loads((course/"hints.json").read_text())
    def compared(text):
        calls = [c for c in ast.walk(ast.parse(text)) if isinstance(c, ast.Call)]
        calls = [c for c in calls if ast.unparse(c.func) == "compare"]
        return {(c.args[0].args[0].value, ast.unparse(c.args[1])) for c in calls}
    of = lambda name, right: (name, ast.unparse(ast.parse(repr(right))))
    for i, c in notebook(n)[1].items():
        if not i.endswith("-test"): continue
        shown = compared(c["source"].split("### BEGIN HIDDEN TESTS")[0])
        kept = {of(name, case["right"]) for name, _ in shown for case in hints[name]}
        assert kept == {of(name, ast.literal_eval(right)) for name, right in shown}, i


@pytest.mark.slow
def test_hints_are_in_step_with_the_questions():
    done = subprocess.run([sys.executable, str(course/"hints.py"), "--check"], capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stdout + done.stderr


SWAP = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
        ast.Pow: ast.Mult, ast.FloorDiv: ast.Mult, ast.Lt: ast.GtE, ast.Gt: ast.LtE,
        ast.Eq: ast.NotEq, ast.NotEq: ast.Eq}


def bare(call):
    "x of `x.sqrt()` and of `torch.sqrt(x)`, None for other calls."
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute): return None
    if call.func.attr not in ("sqrt", "log", "exp"): return None
    return call.args[0] if ast.unparse(call.func.value) == "torch" else call.func.value


def swaps(node):
    "(attribute, new value) for one node of a solution."
    if isinstance(node, ast.BinOp) and type(node.op) in SWAP: yield "op", SWAP[type(node.op)]()
    if isinstance(node, ast.Compare) and type(node.ops[0]) in SWAP:
        yield "ops", [SWAP[type(node.ops[0])](), *node.ops[1:]]
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield "value", node.value + 1
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Name):
        yield "slice", ast.BinOp(node.slice, ast.Add(), ast.Constant(1))
    if isinstance(node, ast.BinOp):
        for side in ("left", "right"):
            if inside := bare(getattr(node, side)): yield side, inside


def mutants(source):
    "What rules make of a solution: other operators, other numbers, another index, no root."
    tree, found = ast.parse(source), []
    for node in ast.walk(tree.body[0]):
        for field, new in list(swaps(node)):
            old = getattr(node, field)
            setattr(node, field, new)
            found.append(ast.unparse(tree))
            setattr(node, field, old)
    return found


# What is no slip: a constant factor does not move a maximum, all entries have the shape that
# ones_like needs, an average that starts as its first entry may average that in again.
SAME = ("(3 * (1 - betas)", "ones_like(abar[1])")


@pytest.mark.slow
@graded
def test_rule_made_mutants_of_the_solutions_are_caught(n):
    questions = {q: re.sub(r".*###.*\n?", "", text) for q, text in answers[n].items()}
    if n == 5: del questions["q6"]
    changed = [(q, m) for q, text in questions.items() for m in mutants(text)
               if not any(s in m for s in SAME)]
    jobs = [[cell for cell in submission(n, {q: m}) if cell[0] in ("setup", q, f"{q}-test")]
            for q, m in changed]
    assert len(jobs) >= 40
    survived = [(q, m) for (q, m), o in zip(changed, grade_all(jobs))
                if o["scores"] != {f"{q}-test": 0}]
    assert not survived, survived


# What a student may do to a notebook: name -> (change, what is lost of the points)
def remove(nb, *ids):
    name = lambda c: c["metadata"].get("nbgrader", {}).get("grade_id")
    nb["cells"] = [c for c in nb["cells"] if name(c) not in ids]


def put(q, text): return lambda nb, cells: cells[q].update(source=text)
def before(q, text):
    return lambda nb, cells: cells[q].update(source=text + "\n" + cells[q]["source"])
def strip(nb, cells):
    for q in ("q1", "q2"): cells[f"{q}-test"]["metadata"] = {}
    cells["q3-test"]["metadata"]["nbgrader"].update(points=1000)
    cells["q4-test"]["metadata"]["nbgrader"].update(grade=False, locked=False)
def no_answers(nb, cells):
    for q, text in blank(1).items(): cells[q].update(source=text)
def empty_tests(nb, cells):
    for t in TESTS: cells[t].update(source="pass")
def also(*steps): return lambda nb, cells: [step(nb, cells) for step in steps]


TESTS = [f"q{k}-test" for k in range(1, 6)]
ENDLESS_CELL = """while True:
    try: pass
    except BaseException: pass"""
STUBBORN_CELL = """while True:
    try:
        while True: pass
    except BaseException: pass"""
HOG = """def variance_after(v0, betas):
    kept = []
    while True: kept.append(torch.ones(10**7))"""
HOG_CELL = """kept = []
while True: kept.append(bytearray(10**8))"""
CRASH = """import os
def first_below(abar, limit): os.kill(os.getpid(), 11)"""
MAGICS = "\n".join(("!ls", "files = !ls", "torch.cumprod?", "%timeit -n1 -r1 1+1"))
ITERATOR = """class Table:
    def __call__(self, betas):
        left = 1.0
        for b in betas.tolist():
            left *= 1-b
            yield left
make_abar = Table()"""
IMPORTS_THE_ANSWER = """from ddpm_edu.forward_process import NoiseSchedule
def make_abar(betas): return NoiseSchedule(betas).alphas_cumprod"""
PATCHED_GRADER = """import ddpm_edu.course.grader as a
a.compare = a.ask = lambda *b, **k: None"""
PATCHED_COMPARE = """from ddpm_edu.course import compare as a
a.compare = lambda *b, **k: None"""
FALSE_MODULES = """import sys, types
fake = types.SimpleNamespace(ask=print, compare=print)
sys.modules['ddpm_edu.course.grader'] = fake
sys.modules['importlib'] = types.SimpleNamespace(reload=print)"""
HOSTILE = {
    "right": (lambda nb, cells: None, []), "blank": (no_answers, TESTS),
    "edited_tests": (also(no_answers, empty_tests), TESTS),
    "deleted_tests": (also(no_answers, lambda nb, cells: remove(nb, *TESTS)), TESTS),
    "right_without_tests": (lambda nb, cells: remove(nb, *TESTS), []),
    "relabelled_tests": (also(no_answers, strip), TESTS),
    "nothing_left": (lambda nb, cells: nb.update(cells=nb["cells"][:1]), TESTS),
    "missing_answer": (lambda nb, cells: remove(nb, "q1"), TESTS[:1]),
    "missing_answer_and_test": (lambda nb, cells: remove(nb, "q2", "q2-test"), TESTS[1:2]),
    "missing_setup": (lambda nb, cells: remove(nb, "setup", "intro"), None),
    "endless_function": (put("q1", "def make_abar(betas):\n    while True: pass"), TESTS[:1]),
    "endless_cell": (before("q2", ENDLESS_CELL), TESTS[1:2]),
    "endless_and_stubborn": (before("q2", STUBBORN_CELL), TESTS[1:2]),
    "endless_print": (before("q3", "while True: print('x'*1000)"), TESTS[2:3]),
    "loud_but_right": (before("q3", "for _ in range(20000): print('x'*100)"), []),
    "hog_in_function": (put("q3", HOG), TESTS[2:3]),
    "hog_in_cell": (before("q3", HOG_CELL), TESTS[2:3]),
    "crash_in_function": (put("q4", CRASH), TESTS[3:4]),
    "crash_in_cell": (before("q4", "import os\nos.kill(os.getpid(), 9)"), TESTS[3:4]),
    "exit_in_function": (put("q5", "import sys\ndef noisy_batch(*args): sys.exit(0)"), TESTS[4:]),
    "exit_in_cell": (before("q5", "import os\nos._exit(0)"), TESTS[4:]),
    "uses_magics": (also(before("q1", "%%time\n%matplotlib inline\nimport numpy as np"),
                         before("q2", MAGICS)), []),
    "returns_an_iterator": (put("q1", ITERATOR), []),
    "slip_of_the_pen": (put("q5", "def noisy_batch(pixels, t, abar, noise)\n    return"),
                        TESTS[4:]),
    "imports_the_answer": (put("q1", IMPORTS_THE_ANSWER), TESTS[:1]),
    "patched_torch": (before("q1", "torch.allclose = lambda *a, **k: True"), TESTS[:1]),
    "patched_grader": (also(no_answers, before("q1", PATCHED_GRADER)), TESTS),
    "patched_compare": (also(no_answers, before("q1", PATCHED_COMPARE)), TESTS),
    "false_modules": (also(no_answers, before("q1", FALSE_MODULES)), TESTS),
    "own_compare": (also(no_answers, before("q1", "compare = ask = lambda *a, **k: None")), TESTS),
}
if sys.platform != "linux":
    HOSTILE = {k: HOSTILE[k] for k in ("right", "blank", "edited_tests", "deleted_tests")}


class Course:
    "A course in a folder of its own, graded by nbgrader."
    def __init__(self, folder, n):
        self.folder, self.n, self.name = folder, n, sources[n].stem
        shutil.copyfile(course/"nbgrader_config.py", folder/"nbgrader_config.py")
        shutil.copytree(sources[n].parent, folder/"source"/self.name)
        self.run("generate_assignment", self.name)
        release = folder/"release"/self.name/f"{self.name}.ipynb"
        self.release = json.loads(release.read_text())

    def run(self, *words, timeout=1500):
        return subprocess.run([sys.executable, "-m", "nbgrader", *words], cwd=self.folder,
                              capture_output=True, text=True, timeout=timeout)

    def submit(self, who, change):
        nb = json.loads(json.dumps(self.release))
        cells = {c["metadata"]["nbgrader"]["grade_id"]: c for c in nb["cells"]}
        for i, c in notebook(self.n)[1].items():
            if c["metadata"]["nbgrader"]["solution"]:
                cells[i]["source"] = re.sub(r".*###.*\n?", "", c["source"])
        change(nb, cells)
        path = self.folder/"submitted"/who/self.name/f"{self.name}.ipynb"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(nb))

    def scores(self):
        from nbgrader.api import Gradebook
        def own(submission):
            grades = [g for n in submission.notebooks for g in n.grades]
            return {g.name: g.auto_score for g in grades if g.auto_score is not None}
        with Gradebook(f"sqlite:///{self.folder}/gradebook.db") as book:
            return {s.student.id: own(s) for s in book.assignment_submissions(self.name)}

    def autograded(self, who):
        return (self.folder/"autograded"/who/self.name/f"{self.name}.ipynb").read_text()


@pytest.mark.slow
def test_nbgrader_trusts_no_submission(tmp_path):
    pytest.importorskip("nbgrader")
    lesson, full = Course(tmp_path, 1), points(1)
    ours = json.loads(student_version(sources[1].read_text()))
    texts = lambda nb: ["".join(c["source"]) for c in nb["cells"]]
    assert texts(ours) == texts(lesson.release)
    for who, (change, _) in HOSTILE.items(): lesson.submit(who, change)
    done = lesson.run("autograde", lesson.name)
    scores = lesson.scores()
    assert set(scores) == set(HOSTILE), done.stderr[-3000:]
    for who, (_, lost) in HOSTILE.items():
        told = (who, scores[who], done.stderr[-3000:])
        if lost is None: assert sum(scores[who].values()) in (0, sum(full.values())), told
        else: assert scores[who] == {**full, **dict.fromkeys(lost, 0)}, told
        assert len(lesson.autograded(who)) < 1_000_000, who
    for who, said in (("endless_cell", "does a loop never end"),
                      ("patched_grader", "this cell was not run: it changes"),
                      ("imports_the_answer", "write the answer yourself"),
                      ("crash_in_cell", "this cell ended Python")):
        assert said in lesson.autograded(who), who
    lesson.run("generate_feedback", lesson.name)
    page = tmp_path/"feedback"/"endless_function"/lesson.name/f"{lesson.name}.html"
    assert "does a loop never end" in page.read_text()
    lesson.run("export", "--to", "grades.csv")
    with open(tmp_path/"grades.csv") as file:
        rows = {r["student_id"]: float(r["score"]) for r in csv.DictReader(file)}
    assert rows["right"] == sum(full.values()) and rows["blank"] == 0
    assert rows["crash_in_cell"] == sum(full.values()) - full["q4-test"]


def answered(n, tried):
    "Some submissions: who -> {question: text of the cell}."
    if n not in RIGHT: return tried
    for i in (0, len(WRONG[n])//2):
        q, _, body = WRONG[n][i]
        tried[f"wrong_{i}"] = {q: written(answers[n][q], body)}
    q, body = RIGHT[n][0]
    return {**tried, "other": {q: written(answers[n][q], body)}}


@pytest.mark.slow
@pytest.mark.parametrize("n", sources)
def test_nbgrader_agrees_with_the_quick_grading(n, tmp_path):
    pytest.importorskip("nbgrader")
    lesson = Course(tmp_path, n)
    tried = answered(n, {"right": {}, "blank": blank(n)})
    def writing(texts): return also(*(put(q, text) for q, text in texts.items()))
    for who, texts in tried.items(): lesson.submit(who, writing(texts))
    done = lesson.run("autograde", lesson.name)
    scores = lesson.scores()
    for who, o in zip(tried, grade_all([submission(n, texts) for texts in tried.values()])):
        assert scores[who] == o["scores"], (who, scores[who], o, done.stderr[-2000:])
    assert scores["right"] == points(n) and not sum(scores["blank"].values())


@pytest.mark.slow
def test_one_command_grades_a_class_and_names_what_it_cannot_read(tmp_path):
    pytest.importorskip("nbgrader")
    lesson = Course(tmp_path, 1)
    shutil.copyfile(course/"grade.py", tmp_path/"grade.py")
    for who in ("right", "imports_the_answer"): lesson.submit(who, HOSTILE[who][0])
    broken = tmp_path/"submitted"/"broken"/lesson.name
    broken.mkdir(parents=True)
    (broken/f"{lesson.name}.ipynb").write_text("{not json")
    shutil.rmtree(tmp_path/"source")                           # grading does not need the solutions
    def grade(name):
        return subprocess.run([sys.executable, "grade.py", name], cwd=tmp_path, capture_output=True,
                              text=True)
    done = grade(lesson.name)
    assert done.returncode == 1 and "3/3" in done.stderr, done.stdout + done.stderr
    for said in ("2 of 3 graded", r"right +11 of 11", r"imports_the_answer +9 of 11",
                 r"broken +not graded: .*JSON"): assert re.search(said, done.stdout), done.stdout
    shutil.rmtree(broken.parent)
    again = grade(lesson.name)
    assert again.returncode == 0 and "2 of 2 graded" in again.stdout
    wrong = grade("nothing")
    assert wrong.returncode == 2 and "there is no submission" in wrong.stderr
