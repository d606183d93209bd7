"Where the course lies, and its questions."
import json
from pathlib import Path

from ddpm_edu.course.questions import load_question

ROOM = Path(__file__).parent.parent/"nbs"/"course"
course = ROOM/"assignments"
sources = {int(p.stem[0]): p for p in sorted((course/"source").glob("*/*.ipynb"))}
NOT_QUESTIONS = {"assignment"}
files = [p for p in sorted((ROOM/"questions").glob("[0-9]/*.py")) if p.stem not in NOT_QUESTIONS]


def notebook(n):
    "The source notebook of assignment n, and its cells by their grade id."
    nb = json.loads(sources[n].read_text())
    for cell in nb["cells"]: cell["source"] = "".join(cell["source"])
    return nb, {c["metadata"]["nbgrader"]["grade_id"]: c for c in nb["cells"]}


def automatic(n):
    "Points of the questions that are graded automatically, {'q1-test': 2, ...}."
    labels = {i: c["metadata"]["nbgrader"] for i, c in notebook(n)[1].items()}
    return {i: label["points"] for i, label in labels.items()
            if label["grade"] and not label["solution"]}


def questions(): return [load_question(path) for path in files]
