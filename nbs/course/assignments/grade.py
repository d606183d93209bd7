"""Grade all submissions of one assignment, one after the other, and show how far it is: `python grade.py 1_forward_process`.

Run it in this folder, or in a copy of it. What is graded already is left as it is (--force grades again), so that it can
be stopped and started. Each submission is a process of its own with a time limit; one that cannot be graded at all is
named at the end, and the exit status is then 1. The book's lecturer's guide says more.
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
    words = [sys.executable, "-m", "nbgrader", "autograde", assignment, f"--student={student}", *(["--force"] if force else [])]
    try: done = subprocess.run(words, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired: return f"took more than {seconds} s"
    errors = [line.split("| ERROR] ")[-1] for line in done.stderr.splitlines() if "Error:" in line or "| ERROR]" in line]
    return (errors[-3] if len(errors) > 2 else errors[0]).strip() if done.returncode and errors else f"exit status {done.returncode}" if done.returncode else ""


def scores(assignment):
    "{student: (score, of)} from the gradebook."
    with Gradebook("sqlite:///gradebook.db") as book:
        return {s.student.id: (s.score, s.max_score) for s in book.assignment_submissions(assignment)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("assignment", help="its folder in source, such as 1_forward_process")
    parser.add_argument("--force", action="store_true", help="also what is graded already")
    parser.add_argument("--seconds", type=float, default=1800, help="limit for one submission (default 1800)")
    args = parser.parse_args()
    students = sorted(p.parent.name for p in Path("submitted").glob(f"*/{args.assignment}"))
    if not students: parser.error(f"there is no submission: submitted/STUDENT/{args.assignment}/{args.assignment}.ipynb is expected here")
    if Path("source", args.assignment).exists(): print("note: source/ is in reach of the submissions, with all solutions; the lecturer's guide says where to grade", file=sys.stderr)
    failed, times = {}, []
    for student in (bar := tqdm(students, unit="submission")):
        bar.set_postfix_str(student)
        start = time.monotonic()
        if said := grade(args.assignment, student, args.force, args.seconds): failed[student] = said
        times.append(time.monotonic() - start)
    try: known = scores(args.assignment)
    except MissingEntry: parser.error(f"the gradebook does not know {args.assignment}: run `nbgrader generate_assignment {args.assignment}` first")
    for student in students:
        got, most = known.get(student, (0, 0))
        print(f"{student:30} {'not graded: ' + failed[student] if student in failed else f'{got:g} of {most:g}'}")
    print(f"{len(students) - len(failed)} of {len(students)} graded, {sorted(times)[len(times)//2]:.1f} s for one (median)")
    return bool(failed)


if __name__ == "__main__": sys.exit(main())
