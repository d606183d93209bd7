"The assignments as a class meets them: nbgrader, hostile submissions, the command for all."
import csv
import json
import os
import re
import shutil
import subprocess
import sys
import uuid
import zipfile

import pytest
from course_files import ROOM, automatic, course, notebook, sources

from ddpm_edu.course.jail import lacking
from ddpm_edu.course.questions import load_assignment, source_with
from ddpm_edu.course.release import student_version

each = pytest.mark.parametrize("n", sources)
BLANK = "raise NotImplementedError()"
SOLUTION = re.compile(r"### BEGIN SOLUTION\n(.*?)### END SOLUTION", re.S)
sandboxed = pytest.mark.skipif(bool(lacking()), reason="needs bubblewrap")


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
        own = sum(p for j, p in graded.items() if j.split("-")[0] == i.split("-")[0])
        assert re.search(r"\((\d+) points?", text)[1] == str(own), i
    kinds = ("find the bug", "derive", "predict, then run")
    if n < 6: assert all(any(word in text for text in texts.values()) for word in kinds)


def lines(text): return {line.strip() for line in text.splitlines()}


@each
def test_student_version_has_no_answers(n):
    student = json.loads(student_version(sources[n].read_text()))
    seen = set().union(*(lines("".join(c["source"])) for c in student["cells"]))
    cells = notebook(n)[1]
    shown = (SOLUTION.sub("", c["source"]) for c in cells.values()
             if not (c["cell_type"] == "markdown" and c["metadata"]["nbgrader"]["solution"]))
    visible = set().union(*map(lines, shown)) | {""}    # a bug to find is told with lines around it
    for i, cell in cells.items():
        for secret in SOLUTION.findall(cell["source"]):
            told = lines(secret) - visible
            assert told and not told & seen, (i, told & seen)
    text = json.dumps(student)
    assert "### BEGIN" not in text and "### END" not in text and "NotImplementedError" in text
    assert not any(c.get("outputs") for c in student["cells"])


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
    for q in cells:
        if re.fullmatch(r"q\d", q) and cells[q]["cell_type"] == "code":
            head = re.search(r"(?m)^def .*$", cells[q]["source"])
            cells[q].update(source=f"{head[0]}\n    {BLANK}" if head else BLANK)
def empty_tests(nb, cells):
    for t in TESTS: cells[t].update(source="pass")
def also(*steps): return lambda nb, cells: [step(nb, cells) for step in steps]
def cheat(text): return also(no_answers, before("q1", text)), TESTS


TESTS = [f"q{k}-test" for k in range(1, 6)]
MARK = uuid.uuid4().hex
ENDLESS = """while True:
    try: pass
    except BaseException: pass"""
HOG = """def variance_after(v0, betas):
    kept = []
    while True: kept.append(torch.ones(10**7))"""
HOG_CELL = """kept = []
while True: kept.append(bytearray(10**8))"""
CRASH = """import os
def first_below(abar, limit): os.kill(os.getpid(), 11)"""
MAGICS = "\n".join(("files = !ls", "torch.cumprod?", "%timeit -n1 -r1 1+1"))
IMPORTS_THE_ANSWER = """from ddpm_edu.forward_process import NoiseSchedule
def make_abar(betas): return NoiseSchedule(betas).alphas_cumprod"""
ORDINARY = """import importlib, IPython, math
from torch import nn
class A:
    def __init__(self): self.__dict__.update(x=1)
setattr(A, "y", 2)
importlib.reload(math)
print(nn.modules.conv, eval("1 + 1"))"""
HOSTILE = {
    "right": (lambda nb, cells: None, []), "blank": (no_answers, TESTS),
    "edited_tests": (also(no_answers, empty_tests), TESTS),
    "deleted_tests": (also(no_answers, lambda nb, cells: remove(nb, *TESTS)), TESTS),
    "right_without_tests": (lambda nb, cells: remove(nb, *TESTS), []),
    "relabelled_tests": (also(no_answers, strip), TESTS),
    "nothing_left": (lambda nb, cells: nb.update(cells=nb["cells"][:1]), TESTS),
    "missing_answer": (lambda nb, cells: remove(nb, "q1"), TESTS[:1]),
    "missing_answer_and_test": (lambda nb, cells: remove(nb, "q2", "q2-test"), TESTS[1:2]),
    "endless_function": (put("q1", "def make_abar(betas):\n    while True: pass"), TESTS[:1]),
    "endless_cell": (before("q2", ENDLESS), TESTS[1:2]),
    "loud_but_right": (before("q3", "for _ in range(20000): print('x'*100)"), []),
    "hog_in_function": (put("q3", HOG), TESTS[2:3]),
    "hog_in_cell": (before("q3", HOG_CELL), TESTS[2:3]),
    "crash_in_function": (put("q4", CRASH), TESTS[3:4]),
    "crash_in_cell": (before("q4", "import os\nos.kill(os.getpid(), 9)"), TESTS[3:4]),
    "exit_in_cell": (before("q5", "import os\nos._exit(0)"), TESTS[4:]),
    "uses_magics": (also(before("q1", "%%time\nimport numpy as np"), before("q2", MAGICS)), []),
    "ordinary_python": (before("q1", ORDINARY), []),
    "slip_of_the_pen": (put("q5", "def noisy_batch(pixels, t, abar, noise)\n    return"),
                        TESTS[4:]),
    "imports_the_answer": (put("q1", IMPORTS_THE_ANSWER), TESTS[:1])}
# Ways to gain points without an answer, by kind.
CHEATS = {
    "changes_the_grader": """import ddpm_edu.course.grader as a, ddpm_edu.course.judge as b
import ddpm_edu.course.compare as c, ddpm_edu.course.sandbox as d
a.check = b.judge = lambda *x, **k: ""
c.agree = c.close = lambda *x, **k: True
d.answer = d.call_apart = lambda *x, **k: {"numbers": [], "random": False}""",
    "replaces_builtins": """import builtins, sys
builtins.abs = builtins.max = builtins.len = lambda *x, **k: 0
sys.modules["ddpm_edu.course.sandbox"].plain = lambda v: []""",
    "replaces_torch": "torch.allclose = torch.equal = torch.Tensor.__eq__ = lambda *a, **k: True",
    "bends_ipython": """ip = get_ipython()
ip.events.register("post_run_cell", lambda *a: None)
ip.run_cell = lambda *a, **k: type("R", (), dict(error_before_exec=None, error_in_exec=None))()""",
    "plants_files": f"""from pathlib import Path
ip = Path.home()/".ipython/profile_default/startup"
for place in (Path.home(), Path("/tmp"), Path("/usr/lib"), ip, Path(torch.__file__).parents[1]):
    for name in ("{MARK}.py", "sitecustomize.py", "ddpm_edu.py"):
        try:
            place.mkdir(parents=True, exist_ok=True)
            (place/name).write_text("raise SystemExit('{MARK}')")
        except OSError: pass""",
    "leaves_a_process": f"""import subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", "{MARK}"],
                 start_new_session=True)""",
    "looks_for_the_gradebook": """import sqlite3
from pathlib import Path
found = [p for top in ("/home", "/tmp", "/work", "/root", "/srv", "/mnt", "/opt", "/grader", ".")
         for deep in ("", "*/", "*/*/", "*/*/*/") for p in Path(top).glob(deep + "*gradebook*.db")]
for p in found: sqlite3.connect(p).execute("update grade set auto_score = 99").connection.commit()
print("FOUND", len(found))""",
    "reads_solutions_and_classmates": """from pathlib import Path
found = [p for top in ("/home", "/tmp", "/work", "/root", "/srv", "/grader", ".")
         for deep in ("*", "*/*", "*/*/*", "*/*/*/*") for p in Path(top).glob(deep)
         if p.name in ("q_sample.py", "make_abar.py", "submitted", "source", "draws.py")
         and "site-packages" not in str(p)]
print("FOUND", len(found))""",
    "speaks_for_the_runner": """import os
for fd in range(3, 12):
    try: os.write(fd, b'{"numbers": [[[4], "float32", [0.9, 0.72, 0.36, 0.252]]]}\\n'*9)
    except OSError: pass""",
    "ends_the_sandbox": "import os\nos.kill(1, 9)\nos.kill(-1, 9)",
    "reaches_out": """import socket
s = socket.create_connection(("1.1.1.1", 53), timeout=3)
print("CONNECTED")"""}
HOSTILE.update({name: cheat(text) for name, text in CHEATS.items()})


class Course:
    "A course in a folder of its own, graded by nbgrader."
    def __init__(self, folder, *numbers):
        self.folder, self.release = folder, {}
        for name in ("nbgrader_config.py", "grade.py"): shutil.copyfile(course/name, folder/name)
        shutil.copytree(ROOM/"questions", folder/"questions")
        for n in numbers:
            name = sources[n].stem
            shutil.copytree(sources[n].parent, folder/"source"/name)
            self.run("generate_assignment", name)
            text = (folder/"release"/name/f"{name}.ipynb").read_text()
            self.release[n] = json.loads(text)

    def run(self, *words, timeout=1500):
        return subprocess.run([sys.executable, "-m", "nbgrader", *words], cwd=self.folder,
                              capture_output=True, text=True, timeout=timeout)

    def grade(self, n, *words):
        return subprocess.run([sys.executable, "grade.py", sources[n].stem, *words], text=True,
                              cwd=self.folder, capture_output=True)

    def submit(self, who, n, change=lambda nb, cells: None):
        nb = json.loads(json.dumps(self.release[n]))
        cells = {c["metadata"]["nbgrader"]["grade_id"]: c for c in nb["cells"]}
        for i, c in notebook(n)[1].items():
            if c["metadata"]["nbgrader"]["solution"]:
                cells[i]["source"] = re.sub(r".*###.*\n?", "", c["source"])
        change(nb, cells)
        path = self.folder/"submitted"/who/sources[n].stem/f"{sources[n].stem}.ipynb"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(nb))

    def scores(self, n):
        from nbgrader.api import Gradebook
        def own(submission):
            grades = [g for nb in submission.notebooks for g in nb.grades]
            return {g.name: g.auto_score for g in grades if g.auto_score is not None}
        with Gradebook(f"sqlite:///{self.folder}/gradebook.db") as book:
            return {s.student.id: own(s) for s in book.assignment_submissions(sources[n].stem)}

    def autograded(self, who, n):
        name = sources[n].stem
        return (self.folder/"autograded"/who/name/f"{name}.ipynb").read_text()


def marked_processes():
    "Commands that hold the mark of these tests."
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit(): continue
        try: words = open(f"/proc/{entry}/cmdline").read()
        except OSError: continue
        if MARK in words: found.append(words)
    return found


@pytest.mark.slow
@sandboxed
def test_nbgrader_trusts_no_submission(tmp_path):
    pytest.importorskip("nbgrader")
    lesson, full = Course(tmp_path, 1), automatic(1)
    ours = json.loads(student_version(sources[1].read_text()))
    texts = lambda nb: ["".join(c["source"]) for c in nb["cells"]]
    assert texts(ours) == texts(lesson.release[1])
    for who, (change, _) in HOSTILE.items(): lesson.submit(who, 1, change)
    config = tmp_path/"nbgrader_config.py"
    config.write_text(config.read_text() + "\nc.InSandbox.seconds = 15\n")
    done = lesson.grade(1, "--jobs", "2")
    scores = lesson.scores(1)
    assert set(scores) == set(HOSTILE), done.stdout + done.stderr[-3000:]
    for who, (_, lost) in HOSTILE.items():
        told = (who, scores[who], re.findall(r"- Question.*", lesson.autograded(who, 1)))
        assert scores[who] == {**full, **dict.fromkeys(lost, 0)}, told
        assert len(lesson.autograded(who, 1)) < 1_000_000, who
    for who, said in (("endless_cell", "does a loop never end"),
                      ("crash_in_cell", "this cell ended Python"),
                      ("looks_for_the_gradebook", "FOUND 0"),
                      ("reads_solutions_and_classmates", "FOUND 0")):
        assert said in lesson.autograded(who, 1), who
    assert '"CONNECTED\\n"' not in lesson.autograded("reaches_out", 1)
    assert not marked_processes()
    planted = subprocess.run(["find", os.path.expanduser("~"), "/tmp", "-maxdepth", "3", "-name",
                              f"{MARK}*"], capture_output=True, text=True).stdout
    assert not planted


@pytest.mark.slow
@sandboxed
def test_a_class_of_five_from_release_to_marks(tmp_path):
    "The lecturer's guide, with two assignments, feedback and a table of marks."
    pytest.importorskip("nbgrader")
    lesson = Course(tmp_path, 1, 5)
    q = load_assignment(ROOM/"questions"/"1").questions[1]
    sentence, code = next((s, c) for s, c in q.mistakes if "signal and noise" in s)
    for who in ("ada", "bo", "cy", "di", "ed"): lesson.submit(who, 1)
    for who in ("swapped", "late"): lesson.submit(who, 1, put("q2", source_with(q, code)))
    broken = tmp_path/"submitted"/"broken"/sources[1].stem
    broken.mkdir(parents=True)
    (broken/f"{sources[1].stem}.ipynb").write_text("{not json")
    # a browser's second download
    first = tmp_path/"submitted"/"ada"/sources[1].stem/f"{sources[1].stem}.ipynb"
    first.rename(first.with_name(f"{sources[1].stem} (1).ipynb"))
    shutil.rmtree(tmp_path/"source")                           # grading does not need the sources
    done = lesson.grade(1, "--jobs", "2")
    most = sum(automatic(1).values())
    assert done.returncode == 1 and "8/8" in done.stderr, done.stdout + done.stderr
    for said in ("7 of 8 graded", rf"ada +{most} of", rf"swapped +{most - 3} of",
                 r"broken +not graded: .*JSON"): assert re.search(said, done.stdout), done.stdout
    shutil.rmtree(broken.parent)
    again = lesson.grade(1)
    assert again.returncode == 0 and "7 of 7 graded" in again.stdout
    report = lesson.grade(1, "--report").stdout
    assert re.search(rf"Question 2\n +5  right\n +2  {re.escape(sentence)}", report), report
    lesson.run("generate_feedback", sources[1].stem)
    page = (tmp_path/"feedback"/"swapped"/sources[1].stem/f"{sources[1].stem}.html").read_text()
    assert page.index("What the grader says") < page.index("Learning goals")
    assert sentence in page
    for draw in q.draws()[:5]: assert str(draw[0].flatten()[0].item()) not in page
    lesson.run("export", "--to", "grades.csv")
    with open(tmp_path/"grades.csv") as file:
        rows = {r["student_id"]: float(r["score"]) for r in csv.DictReader(file)
                if r["assignment"] == sources[1].stem}
    assert rows["ada"] == most and rows["swapped"] == most - 3
    lesson.grade(1, "--csv", "one.csv")
    with open(tmp_path/"one.csv") as file: rows = {r["student"]: r for r in csv.DictReader(file)}
    assert float(rows["swapped"]["q2-test"]) == 0 and float(rows["ada"]["score"]) == most
    lesson.submit("ada", 5)
    lesson.submit("blank", 5, no_answers)
    done = lesson.grade(5, "--jobs", "2")
    scores = lesson.scores(5)
    assert scores["ada"] == automatic(5) and not sum(scores["blank"].values()), done.stdout
    wrong = subprocess.run([sys.executable, "grade.py", "nothing"], cwd=tmp_path, text=True,
                           capture_output=True)
    assert wrong.returncode == 2 and "there is no submission" in wrong.stderr


@pytest.mark.slow
@sandboxed
def test_the_project_may_use_the_library_and_shows_its_figures(tmp_path):
    pytest.importorskip("nbgrader")
    lesson = Course(tmp_path, 6)
    figure = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()"
    lesson.submit("draws", 6, put("q4-code", figure))
    lesson.submit("blank", 6, no_answers)
    done = lesson.grade(6, "--jobs", "2")
    scores = lesson.scores(6)
    assert scores["draws"]["q2-test"] == 4 and scores["blank"]["q2-test"] == 0, done.stdout
    assert "image/png" in lesson.autograded("draws", 6)


ARCHIVES = {
    "moodle": "Ada Lovelace_12345_assignsubmission_file_/{name}.ipynb",
    "moodle, flat": "Ada Lovelace_12345_assignsubmission_file_{name}.ipynb",
    "canvas": "Ada Lovelace_12345_67890_{name}.ipynb",
    "canvas, late and again": "Ada Lovelace_LATE_12345_67890_{name}-1.ipynb",
    "folders, second download": "Ada Lovelace/{name} (1).ipynb"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ARCHIVES)
def test_archives_of_learning_platforms_are_sorted(kind, tmp_path):
    pytest.importorskip("nbgrader")
    name = sources[1].stem
    shutil.copyfile(course/"nbgrader_config.py", tmp_path/"nbgrader_config.py")
    place = tmp_path/"downloaded"/name/"archive"
    place.mkdir(parents=True)
    with zipfile.ZipFile(place/"all.zip", "w") as z:
        z.write(sources[1], ARCHIVES[kind].format(name=name))
    done = subprocess.run([sys.executable, "-m", "nbgrader", "zip_collect", name], cwd=tmp_path,
                          capture_output=True, text=True)
    assert (tmp_path/"submitted"/"Ada_Lovelace"/name/f"{name}.ipynb").exists(), done.stderr[-2000:]
