"""Grade many submissions without a kernel for each: a process forked for each runs its cells.

nbgrader's own result is what counts. A kernel takes seconds to start, and a class of wrong answers
is some hundreds, so `test_assignments.py` grades the mass this way and shows for some of them that
nbgrader gives the same scores. `python grading.py <jobs.json` takes a list of lists of cells and
prints a list of {"scores": ..., "said": ..., "seconds": ...}.
"""
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from multiprocessing import get_context
from pathlib import Path

course = Path(__file__).parent.parent/"nbs"/"course"/"assignments"
sources = {int(p.stem[0]): p for p in sorted((course/"source").glob("*/*.ipynb"))}


def notebook(n):
    "The source notebook of assignment n, and its cells by their grade id."
    nb = json.loads(sources[n].read_text())
    for cell in nb["cells"]: cell["source"] = "".join(cell["source"])
    return nb, {c["metadata"]["nbgrader"]["grade_id"]: c for c in nb["cells"]}


def points_of(cell):
    "Points of a cell that is graded automatically, else 0."
    label = cell["metadata"]["nbgrader"]
    return label.get("points", 0) if label["grade"] and cell["cell_type"] == "code" else 0


def points(n):
    "Points of the questions that are graded automatically, {'q1-test': 2, ...}."
    return {i: points_of(c) for i, c in notebook(n)[1].items() if points_of(c)}


def written(solution, body):
    "A student's cell: the def line of a source's solution with another body."
    head = re.search(r"(?m)^def .*$", solution)[0]
    if "\n" not in body and not body.startswith(("return ", "raise ")): body = "return " + body
    return head + "\n" + textwrap.indent(body, "    ")


def submission(n, answers):
    "A submission's code cells as autograde runs them; the reference where `answers` has nothing."
    code = {i: c for i, c in notebook(n)[1].items() if c["cell_type"] == "code"}
    return [[i, answers.get(i, c["source"]), points_of(c)] for i, c in code.items()]


def run_cells(cells, write):
    "The child's life."
    scores, said, space = {}, {}, {"__name__": "__main__"}
    sys.modules["__main__"].__dict__.update(space)
    for name, text, points in cells:
        try: exec(compile(text, name, "exec"), space)
        except BaseException as e:
            if points: scores[name], said[name] = 0, f"{type(e).__name__}: {e}"
        else:
            if points: scores[name] = points
    os.write(write, json.dumps({"scores": scores, "said": said}).encode())


def grade(cells, seconds=300):
    "Scores and messages of one submission."
    start, (read, write) = time.monotonic(), os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(read)
            sys.stdout = sys.stderr = open(os.devnull, "w")
            signal.alarm(seconds)
            run_cells(cells, write)
        finally: os.kill(os.getpid(), signal.SIGKILL)
    os.close(write)
    with os.fdopen(read) as pipe: text = pipe.read()
    os.waitpid(child, 0)
    done = json.loads(text) if text else {"scores": {}, "said": {}}
    return {**done, "seconds": time.monotonic() - start}


def grade_all(jobs, log=None):
    "Grade a list of submissions in a process of its own, two at a time."
    done = subprocess.run([sys.executable, __file__], input=json.dumps(jobs), capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


if __name__ == "__main__":
    import torch
    torch.set_num_threads(1)                                   # threads do not survive a fork
    import numpy, ddpm_edu.course.grader  # noqa: E401, F401  (once, for all the forks)
    workers = max(2, min(4, os.cpu_count() or 2))
    with get_context("fork").Pool(workers) as pool:
        print(json.dumps(pool.map(grade, json.load(sys.stdin), chunksize=1)))
