"The assignments: sources that are valid, students' versions without solutions, scores from nbgrader itself."
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ddpm_edu.assignments import student_version

course = Path(__file__).parent.parent/"nbs"/"assignments"
sources = sorted((course/"source").glob("*/*.ipynb"))
WRONG = {                                                      # name: (cell, answer, question that loses, word of the feedback)
    "alphas": ("q1", "def make_abar(betas): return 1-betas", "q1-test", "these are the alphas"),
    "sum": ("q1", "def make_abar(betas): return torch.cumsum(1-betas, 0)", "q1-test", "this is a sum"),
    "no roots": ("q2", "def q_sample(x0, t, abar, noise):\n    a = abar[t].view(-1, *[1]*(x0.ndim-1))\n    return a*x0 + (1-a)*noise", "q2-test", "square root is missing on both"),
    "broadcast": ("q2", "def q_sample(x0, t, abar, noise):\n    a = abar[t]\n    return a.sqrt()*x0 + (1-a).sqrt()*noise", "q2-test", "wrong broadcasting"),
    "range": ("q3", "def to_model_range(pixels): return pixels/255", "q3-test", "[0, 1]"),
    "redefined checker": ("q1", "def make_abar(betas): return 1-betas\nrecognise = lambda *a: None", "q1-test", "these are the alphas"),
    "patched checker": ("q1", "import ddpm_edu.assignments as a\na.recognise = lambda *b: None\ndef make_abar(betas): return 1-betas", "q1-test", "not in general"),
    "crash": ("q2", "raise ValueError('a slip')", "q2-test", "a slip"),
    "endless": ("q1", "def make_abar(betas):\n    while True: pass", "q1-test", "does a loop never end"),
}
POINTS = {"q1-test": 2, "q2-test": 4, "q3-test": 2}


@pytest.mark.parametrize("source", sources, ids=lambda p: p.stem)
def test_student_version_has_no_answers(source):
    student = student_version(source.read_text())
    assert "### BEGIN SOLUTION" in source.read_text() and "### BEGIN" not in student and "NotImplementedError" in student
    for cell in json.loads(source.read_text())["cells"]:
        text = "".join(cell["source"])
        for kind in ("SOLUTION", "HIDDEN TESTS"):
            if f"### BEGIN {kind}" not in text: continue
            for line in text.split(f"### BEGIN {kind}\n")[1].split(f"### END {kind}")[0].strip().splitlines():
                assert line.strip() not in [x.strip() for c in json.loads(student)["cells"] for x in "".join(c["source"]).splitlines()], line


@pytest.mark.slow
def test_nbgrader_gives_the_right_scores(tmp_path):
    pytest.importorskip("nbgrader")
    from nbgrader.api import Gradebook
    name = "1_forward_process"
    shutil.copyfile(course/"nbgrader_config.py", tmp_path/"nbgrader_config.py")
    shutil.copytree(course/"source"/name, tmp_path/"source"/name)
    def grade(*words): subprocess.run([sys.executable, "-m", "nbgrader", *words], cwd=tmp_path, capture_output=True, text=True, timeout=400)
    grade("generate_assignment", name)
    release = json.loads((tmp_path/"release"/name/f"{name}.ipynb").read_text())
    master = (course/"source"/name/f"{name}.ipynb").read_text()
    ours = json.loads(student_version(master))
    assert ["".join(c["source"]) for c in ours["cells"]] == ["".join(c["source"]) for c in release["cells"]]
    def submit(who, change):
        nb = json.loads(json.dumps(release))
        change({c["metadata"]["nbgrader"]["grade_id"]: c for c in nb["cells"]}, nb)
        path = tmp_path/"submitted"/who/name/f"{name}.ipynb"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(nb))
    right = {c["metadata"]["nbgrader"]["grade_id"]: c["source"] for c in json.loads(master)["cells"]}
    def solve(cells, nb):
        for key in ("q1", "q2", "q3"): cells[key]["source"] = right[key]
    def delete(cells, nb): nb["cells"].remove(cells["q1-test"])
    def edit(cells, nb): cells["q1-test"]["source"] = "pass"
    submit("right", solve); submit("blank", lambda *_: None); submit("deleted", delete); submit("edited", edit)
    for who, (key, answer, *_) in WRONG.items():
        submit(who.replace(" ", "_"), lambda cells, nb: (solve(cells, nb), cells[key].update(source=answer)))
    grade("autograde", name)
    with Gradebook(f"sqlite:///{tmp_path}/gradebook.db") as book:
        scores = {s.student.id: {g.name: g.score for n in s.notebooks for g in n.grades} for s in book.assignment_submissions(name)}
    assert sum(scores["right"].values()) == 8
    for who in ("blank", "deleted", "edited"): assert sum(scores[who].values()) == 0, (who, scores[who])
    for who, (_, _, lost, word) in WRONG.items():
        student = who.replace(" ", "_")
        assert scores[student] == {**POINTS, lost: 0}, (who, scores[student])
        assert word in (tmp_path/"autograded"/student/name/f"{name}.ipynb").read_text(), who
