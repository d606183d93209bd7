"The assignments: valid sources, students' versions without solutions, and a grader that is tried on a class of answers."
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
SOLUTION, HIDDEN = (rf"### BEGIN {kind}\n(.*?)### END {kind}" for kind in ("SOLUTION", "HIDDEN TESTS"))
answers = {n: {i: c["source"] for i, c in notebook(n)[1].items() if re.fullmatch(r"q\d", i) and c["cell_type"] == "code"} for n in sources}
each = pytest.mark.parametrize("n", sources)
graded = pytest.mark.parametrize("n", RIGHT)


def blank(n): return {q: written(text, BLANK) for q, text in answers[n].items()} if n < 6 else {"q2": BLANK}


@each
def test_source_is_a_fair_assignment(n):
    import nbformat
    nb, cells = notebook(n)
    nbformat.validate(nb)
    assert len(cells) == len(nb["cells"]), "a grade_id twice"
    total = sum(c["metadata"]["nbgrader"].get("points", 0) for c in cells.values() if c["metadata"]["nbgrader"]["grade"])
    intro = cells["intro"]["source"]
    assert "Learning goals" in intro and re.search(r"About \d+ (minutes|hours)", intro) and f"{total} points" in intro
    texts = {i: c["source"] for i, c in cells.items() if i.endswith("-text")}
    for i, text in texts.items():
        question = i.split("-")[0]
        own = [c["metadata"]["nbgrader"]["points"] for j, c in cells.items() if j.split("-")[0] == question and c["metadata"]["nbgrader"]["grade"]]
        assert re.search(r"\((\d+) points?", text)[1] == str(sum(own)), i
        if f"{question}-test" in cells:
            test = cells[f"{question}-test"]["source"]
            assert re.search(HIDDEN, test, re.S) and "importlib.reload" in test and re.search(r"(?m)^(compare|check_\w+)\(", test.split("###")[0])
    if n < 6: assert all(any(word in text for text in texts.values()) for word in ("find the bug", "derive", "predict, then run")), "the three kinds of question"


@each
def test_student_version_has_no_answers(n):
    text = sources[n].read_text()
    student = json.loads(student_version(text))
    seen = {line.strip() for c in student["cells"] for line in "".join(c["source"]).splitlines()}
    cells = notebook(n)[1]
    visible = {line.strip() for c in cells.values() for line in re.sub(SOLUTION, "", re.sub(HIDDEN, "", c["source"], flags=re.S), flags=re.S).splitlines()} | {""}     # a bug to find is told with the lines around it
    for i, cell in cells.items():
        for secret in re.findall(SOLUTION, cell["source"], re.S) + re.findall(HIDDEN, cell["source"], re.S):
            told = {line.strip() for line in secret.splitlines()} - visible
            assert told and not told & seen, (i, told & seen)
    assert "### BEGIN" not in json.dumps(student) and "### END" not in json.dumps(student) and "NotImplementedError" in json.dumps(student)
    assert not any(c.get("outputs") for c in student["cells"])


@graded
def test_a_right_answer_gets_all_points_and_a_blank_one_none(n):
    right, empty = grade_all([submission(n, {}), submission(n, blank(n))])
    assert right["scores"] == points(n), right["said"]
    assert set(empty["scores"]) == set(points(n)) and not sum(empty["scores"].values())
    assert all("not answered yet" in said for said in empty["said"].values())
    assert right["seconds"] < 60


@graded
def test_there_are_enough_answers_to_try(n):
    assert len(WRONG[n]) >= 15 and len(RIGHT[n]) >= 5 and {q for q, *_ in WRONG[n]} == set(answers[n]) == {q for q, _ in RIGHT[n]}
    for q, *_, body in WRONG[n] + RIGHT[n]: ast.parse(written(answers[n][q], body)) if "not Python" not in body else None


@pytest.mark.slow
@graded
def test_a_class_of_answers(n, record_property):
    "Right but different: all points. Wrong: this question's points are lost, the others kept, the slip named. Three times the same (from the second time on only the test of the question that was changed runs)."
    changed = [q for q, *_ in RIGHT[n] + WRONG[n]]
    jobs = [submission(n, {q: written(answers[n][q], body)}) for q, *_, body in RIGHT[n] + WRONG[n]]
    alone = [[cell for cell in job if not cell[0].endswith("-test") or cell[0] == f"{q}-test"] for q, job in zip(changed, jobs)]
    first, second, third = grade_all(jobs), grade_all(alone), grade_all(alone)
    assert [{f"{q}-test": o["scores"][f"{q}-test"]} for q, o in zip(changed, first)] == [o["scores"] for o in second] == [o["scores"] for o in third]
    full, named = points(n), 0
    for (q, body), o in zip(RIGHT[n], first): assert o["scores"] == full, (q, body, o["said"])
    for (q, word, body), o in zip(WRONG[n], first[len(RIGHT[n]):]):
        assert o["scores"] == {**full, f"{q}-test": 0}, (q, body, o)
        named += word in o["said"][f"{q}-test"]
    print(f"assignment {n}: {len(RIGHT[n])} alternatives accepted, {len(WRONG[n])} wrong caught, {named} named, slowest {max(o['seconds'] for o in first):.1f} s")
    assert named >= 0.8*len(WRONG[n])


@graded
def test_hints_belong_to_the_visible_tests(n):
    "hints.json holds what students see already, the right numbers of the visible tests, and what slips make of them."
    hints = json.loads((course/"hints.json").read_text())
    calls = lambda text: [c for c in ast.walk(ast.parse(text)) if isinstance(c, ast.Call) and ast.unparse(c.func) == "compare"]
    numbers = lambda text: {(c.args[0].args[0].value, ast.unparse(c.args[1])) for c in calls(text)}
    of = lambda name, right: (name, ast.unparse(ast.parse(repr(right))))
    for i, c in notebook(n)[1].items():
        if not i.endswith("-test"): continue
        shown = c["source"].split("### BEGIN HIDDEN TESTS")[0]
        kept = {of(name, case["right"]) for name, _ in numbers(shown) for case in hints[name]}
        assert kept == {of(name, ast.literal_eval(right)) for name, right in numbers(shown)}, i


@pytest.mark.slow
def test_hints_are_in_step_with_the_questions():
    done = subprocess.run([sys.executable, str(course/"hints.py"), "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def mutants(source):
    "What rules make of a solution: other operators, other numbers, another index, no root."
    tree, found = ast.parse(source), []
    swap = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult, ast.FloorDiv: ast.Mult, ast.Lt: ast.GtE, ast.Gt: ast.LtE, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq}
    def keep(): found.append(ast.unparse(tree))
    for node in ast.walk(tree.body[0]):
        if isinstance(node, ast.BinOp) and type(node.op) in swap: node.op, old = swap[type(node.op)](), node.op; keep(); node.op = old
        if isinstance(node, ast.Compare) and type(node.ops[0]) in swap: node.ops[0], old = swap[type(node.ops[0])](), node.ops[0]; keep(); node.ops[0] = old
        if isinstance(node, ast.Constant) and type(node.value) in (int, float): node.value, old = node.value + 1, node.value; keep(); node.value = old
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Name): node.slice, old = ast.BinOp(node.slice, ast.Add(), ast.Constant(1)), node.slice; keep(); node.slice = old
        if isinstance(node, ast.BinOp):
            for side in ("left", "right"):
                old = getattr(node, side)
                if isinstance(old, ast.Call) and isinstance(old.func, ast.Attribute) and old.func.attr in ("sqrt", "log", "exp"): setattr(node, side, old.func.value if ast.unparse(old.func.value) != "torch" else old.args[0]); keep(); setattr(node, side, old)
    return found


# What is no slip: a constant factor does not move a maximum, all entries have the shape that ones_like needs, an average that starts as its first entry may average that in again.
SAME = ("(3 * (1 - betas)", "ones_like(abar[1])")


@pytest.mark.slow
@graded
def test_rule_made_mutants_of_the_solutions_are_caught(n):
    changed = [(q, m) for q, text in answers[n].items() if not (n == 5 and q == "q6") for m in mutants(re.sub(r".*###.*\n?", "", text)) if not any(s in m for s in SAME)]
    jobs = [[cell for cell in submission(n, {q: m}) if cell[0] in ("setup", q, f"{q}-test")] for q, m in changed]
    assert len(jobs) >= 40
    survived = [(q, m) for (q, m), o in zip(changed, grade_all(jobs)) if o["scores"] != {f"{q}-test": 0}]
    assert not survived, survived


# What a student may do to a notebook: name -> (change, what is lost of the points)
def remove(nb, *ids): nb["cells"] = [c for c in nb["cells"] if c["metadata"].get("nbgrader", {}).get("grade_id") not in ids]
def put(q, text): return lambda nb, cells: cells[q].update(source=text)
def before(q, text): return lambda nb, cells: cells[q].update(source=text + "\n" + cells[q]["source"])
def strip(nb, cells):
    for q in ("q1", "q2"): cells[f"{q}-test"]["metadata"] = {}
    cells["q3-test"]["metadata"]["nbgrader"].update(points=1000)
    cells["q4-test"]["metadata"]["nbgrader"].update(grade=False, locked=False)
TESTS = [f"q{k}-test" for k in range(1, 6)]
NO_ANSWERS = lambda nb, cells: [cells[q].update(source=text) for q, text in blank(1).items()]
also = lambda *steps: lambda nb, cells: [step(nb, cells) for step in steps]
HOSTILE = {
    "right": (lambda nb, cells: None, []), "blank": (NO_ANSWERS, TESTS),
    "edited_tests": (also(NO_ANSWERS, lambda nb, cells: [cells[t].update(source="pass") for t in TESTS]), TESTS),
    "deleted_tests": (also(NO_ANSWERS, lambda nb, cells: remove(nb, *TESTS)), TESTS),
    "right_without_tests": (lambda nb, cells: remove(nb, *TESTS), []),
    "relabelled_tests": (also(NO_ANSWERS, strip), TESTS),
    "nothing_left": (lambda nb, cells: nb.update(cells=nb["cells"][:1]), TESTS),
    "missing_answer": (lambda nb, cells: remove(nb, "q1"), TESTS[:1]),
    "missing_answer_and_test": (lambda nb, cells: remove(nb, "q2", "q2-test"), TESTS[1:2]),
    "missing_setup": (lambda nb, cells: remove(nb, "setup", "intro"), None),
    "endless_function": (put("q1", "def make_abar(betas):\n    while True: pass"), TESTS[:1]),
    "endless_cell": (before("q2", "while True:\n    try: pass\n    except BaseException: pass"), TESTS[1:2]),
    "endless_and_stubborn": (before("q2", "while True:\n    try:\n        while True: pass\n    except BaseException: pass"), TESTS[1:2]),
    "endless_print": (before("q3", "while True: print('x'*1000)"), TESTS[2:3]),
    "loud_but_right": (before("q3", "for _ in range(20000): print('x'*100)"), []),
    "hog_in_function": (put("q3", "def variance_after(v0, betas):\n    kept = []\n    while True: kept.append(torch.ones(10**7))"), TESTS[2:3]),
    "hog_in_cell": (before("q3", "kept = []\nwhile True: kept.append(bytearray(10**8))"), TESTS[2:3]),
    "crash_in_function": (put("q4", "import os\ndef first_below(abar, limit): os.kill(os.getpid(), 11)"), TESTS[3:4]),
    "crash_in_cell": (before("q4", "import os\nos.kill(os.getpid(), 9)"), TESTS[3:4]),
    "exit_in_function": (put("q5", "import sys\ndef noisy_batch(*args): sys.exit(0)"), TESTS[4:]),
    "exit_in_cell": (before("q5", "import os\nos._exit(0)"), TESTS[4:]),
    "uses_magics": (also(before("q1", "%%time\n%matplotlib inline\nimport numpy as np"), before("q2", "!ls\nfiles = !ls\ntorch.cumprod?\n%timeit -n1 -r1 1+1")), []),
    "returns_an_iterator": (put("q1", "class Table:\n    def __call__(self, betas):\n        left = 1.0\n        for b in betas.tolist():\n            left *= 1-b\n            yield left\nmake_abar = Table()"), []),
    "slip_of_the_pen": (put("q5", "def noisy_batch(pixels, t, abar, noise)\n    return"), TESTS[4:]),
    "imports_the_answer": (put("q1", "from ddpm_edu.forward_process import NoiseSchedule\ndef make_abar(betas): return NoiseSchedule(betas).alphas_cumprod"), TESTS[:1]),
    "patched_torch": (before("q1", "torch.allclose = lambda *a, **k: True"), TESTS[:1]),
    "patched_grader": (also(NO_ANSWERS, before("q1", "import ddpm_edu.course.grader as a\na.compare = a.ask = lambda *b, **k: None")), TESTS),
    "false_modules": (also(NO_ANSWERS, before("q1", "import sys, types\nsys.modules['ddpm_edu.course.grader'] = types.SimpleNamespace(ask=print, compare=print)\nsys.modules['importlib'] = types.SimpleNamespace(reload=print)")), TESTS),
    "own_compare": (also(NO_ANSWERS, before("q1", "compare = ask = lambda *a, **k: None")), TESTS),
}
if sys.platform != "linux": HOSTILE = {name: HOSTILE[name] for name in ("right", "blank", "edited_tests", "deleted_tests")}


class Course:
    "A course in a folder of its own, graded by nbgrader."
    def __init__(self, folder, n):
        self.folder, self.n, self.name = folder, n, sources[n].stem
        shutil.copyfile(course/"nbgrader_config.py", folder/"nbgrader_config.py")
        shutil.copytree(sources[n].parent, folder/"source"/self.name)
        self.run("generate_assignment", self.name)
        self.release = json.loads((folder/"release"/self.name/f"{self.name}.ipynb").read_text())

    def run(self, *words, timeout=1500):
        return subprocess.run([sys.executable, "-m", "nbgrader", *words], cwd=self.folder, capture_output=True, text=True, timeout=timeout)

    def submit(self, who, change):
        nb = json.loads(json.dumps(self.release))
        cells = {c["metadata"]["nbgrader"]["grade_id"]: c for c in nb["cells"]}
        for i, c in notebook(self.n)[1].items():
            if c["metadata"]["nbgrader"]["solution"]: cells[i]["source"] = re.sub(r".*###.*\n?", "", c["source"])
        change(nb, cells)
        path = self.folder/"submitted"/who/self.name/f"{self.name}.ipynb"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(nb))

    def scores(self):
        from nbgrader.api import Gradebook
        with Gradebook(f"sqlite:///{self.folder}/gradebook.db") as book:
            return {s.student.id: {g.name: g.auto_score for n in s.notebooks for g in n.grades if g.auto_score is not None} for s in book.assignment_submissions(self.name)}

    def autograded(self, who): return (self.folder/"autograded"/who/self.name/f"{self.name}.ipynb").read_text()


@pytest.mark.slow
def test_nbgrader_trusts_no_submission(tmp_path):
    pytest.importorskip("nbgrader")
    lesson, full = Course(tmp_path, 1), points(1)
    ours = json.loads(student_version(sources[1].read_text()))
    assert ["".join(c["source"]) for c in ours["cells"]] == ["".join(c["source"]) for c in lesson.release["cells"]]
    for who, (change, _) in HOSTILE.items(): lesson.submit(who, change)
    done = lesson.run("autograde", lesson.name)
    scores = lesson.scores()
    assert set(scores) == set(HOSTILE), done.stderr[-3000:]
    for who, (_, lost) in HOSTILE.items():
        if lost is None: assert sum(scores[who].values()) in (0, sum(full.values())), (who, scores[who])
        else: assert scores[who] == {**full, **dict.fromkeys(lost, 0)}, (who, scores[who], done.stderr[-3000:])
        assert len(lesson.autograded(who)) < 1_000_000, who
    assert "does a loop never end" in lesson.autograded("endless_cell") and "this cell was not run: it changes" in lesson.autograded("patched_grader")
    assert "write the answer yourself" in lesson.autograded("imports_the_answer") and "this cell ended Python" in lesson.autograded("crash_in_cell")
    lesson.run("generate_feedback", lesson.name)
    assert "does a loop never end" in (tmp_path/"feedback"/"endless_function"/lesson.name/f"{lesson.name}.html").read_text()
    lesson.run("export", "--to", "grades.csv")
    with open(tmp_path/"grades.csv") as file: rows = {r["student_id"]: float(r["score"]) for r in csv.DictReader(file)}
    assert rows["right"] == sum(full.values()) and rows["blank"] == 0 and rows["crash_in_cell"] == sum(full.values()) - full["q4-test"]


@pytest.mark.slow
@pytest.mark.parametrize("n", sources)
def test_nbgrader_agrees_with_the_quick_grading(n, tmp_path):
    pytest.importorskip("nbgrader")
    lesson = Course(tmp_path, n)
    tried = {"right": {}, "blank": blank(n)}
    if n in RIGHT: tried |= {f"wrong_{i}": {WRONG[n][i][0]: written(answers[n][WRONG[n][i][0]], WRONG[n][i][2])} for i in (0, len(WRONG[n])//2)} | {"other": {q: written(answers[n][q], body) for q, body in RIGHT[n][:1]}}
    for who, cells_of in tried.items(): lesson.submit(who, lambda nb, cells: [cells[q].update(source=text) for q, text in cells_of.items()])
    done = lesson.run("autograde", lesson.name)
    scores = lesson.scores()
    for who, o in zip(tried, grade_all([submission(n, cells_of) for cells_of in tried.values()])):
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
    command = [sys.executable, "grade.py", lesson.name]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and "2 of 3 graded" in done.stdout and "3/3" in done.stderr, done.stdout + done.stderr
    assert re.search(r"right +11 of 11", done.stdout) and re.search(r"imports_the_answer +9 of 11", done.stdout) and re.search(r"broken +not graded: .*JSON", done.stdout)
    shutil.rmtree(broken.parent)
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert again.returncode == 0 and "2 of 2 graded" in again.stdout
    wrong = subprocess.run([sys.executable, "grade.py", "nothing"], cwd=tmp_path, capture_output=True, text=True)
    assert wrong.returncode == 2 and "there is no submission" in wrong.stderr
