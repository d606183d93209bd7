"""Grade all submissions of one assignment: `python grade.py 1_forward_process`.

They are graded one after the other, and a bar shows how far it is. Run it in this folder, or in a
copy of it. What is graded already is left as it is (--force grades again), so that it can be
stopped and started. Each submission is a process of its own with a time limit; one that cannot be
graded at all is named at the end, and the exit status is then 1. The book's lecturer's guide says
more.
"""
import argparse
import subprocess
import sys
import time
from pathlib import Path

from nbgrader.api import Gradebook, MissingEntry
from tqdm import tqdm


def grade(assignment, student, force, seconds):
    "Autograde one submission: '' if that went well, otherwise what was the matter."
    words = [sys.executable, "-m", "nbgrader", "autograde", assignment, f"--student={student}"]
    if force: words.append("--force")
    try: done = subprocess.run(words, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired: return f"took more than {seconds} s"
    if not done.returncode: return ""
    lines = [line for line in done.stderr.splitlines() if "Error:" in line or "| ERROR]" in line]
    errors = [line.split("| ERROR] ")[-1] for line in lines]
    if not errors: return f"exit status {done.returncode}"
    return (errors[-3] if len(errors) > 2 else errors[0]).strip()


def scores(assignment):
    "{student: (score, of)} from the gradebook."
    with Gradebook("sqlite:///gradebook.db") as book:
        found = book.assignment_submissions(assignment)
        return {s.student.id: (s.score, s.max_score) for s in found}


def arguments(parser):
    parser.add_argument("assignment", help="its folder in source, such as 1_forward_process")
    parser.add_argument("--force", action="store_true", help="also what is graded already")
    parser.add_argument("--seconds", type=float, default=1800,
                        help="limit for one submission (default 1800)")
    return parser.parse_args()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    args = arguments(parser)
    name = args.assignment
    students = sorted(p.parent.name for p in Path("submitted").glob(f"*/{name}"))
    if not students:
        parser.error(f"there is no submission: submitted/STUDENT/{name}/{name}.ipynb "
                     "is expected here")
    if Path("source", name).exists():
        print("note: source/ is in reach of the submissions, with all solutions; "
              "the lecturer's guide says where to grade", file=sys.stderr)
    failed, times = {}, []
    for student in (bar := tqdm(students, unit="submission")):
        bar.set_postfix_str(student)
        start = time.monotonic()
        if said := grade(name, student, args.force, args.seconds): failed[student] = said
        times.append(time.monotonic() - start)
    try: known = scores(name)
    except MissingEntry:
        parser.error(f"the gradebook does not know {name}: "
                     f"run `nbgrader generate_assignment {name}` first")
    for student in students:
        got, most = known.get(student, (0, 0))
        said = f"{got:g} of {most:g}"
        if student in failed: said = "not graded: " + failed[student]
        print(f"{student:30} {said}")
    print(f"{len(students) - len(failed)} of {len(students)} graded, "
          f"{sorted(times)[len(times)//2]:.1f} s for one (median)")
    return bool(failed)


if __name__ == "__main__": sys.exit(main())
