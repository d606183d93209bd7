"""Grade all submissions of one assignment: `python grade.py 1_forward_process --jobs 2`.

Each submission runs in a sandbox of its own (bubblewrap; `--image` for a container, `--trust` for
none), and is judged outside of it. A bar shows how far it is. Run it in this folder, or in a copy of
it with `questions` beside it. What is graded already is left as it is (--force grades again), so
that it can be stopped and started. A submission that cannot be graded at all is named at the end,
and the exit status is then 1. `--report` says which sentences the class was told. The book's
lecturer's guide says more.
"""
import argparse
import csv
import multiprocessing
import os
import re
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from nbgrader.api import Gradebook, MissingEntry
from tqdm import tqdm

from ddpm_edu.course.jail import command


# imported once, by a server from which each grading process is forked; submissions never run there
READY = ["nbgrader.apps", "nbgrader.api", "tqdm", "torch._dynamo", "ddpm_edu.course.jail",
         "ddpm_edu.course.judge", "ddpm_edu.course.experiment_check",
         "ddpm_edu.course.training_check"]


def autograde(words, log):
    "nbgrader's command, in a process of its own."
    for stream in (1, 2): os.dup2(os.open(log, os.O_WRONLY | os.O_APPEND), stream)
    from nbgrader.apps import NbGraderApp
    NbGraderApp.launch_instance(["autograde", *words])


def run(words, seconds):
    "Its exit status, None if it took too long, and what it said."
    way = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(way)
    if way == "forkserver": context.set_forkserver_preload(READY)
    with tempfile.NamedTemporaryFile("r") as log:
        process = context.Process(target=autograde, args=(words, log.name))
        process.start()
        process.join(seconds)
        late = process.exitcode is None
        if late: process.kill()
        process.join()
        return None if late else process.exitcode, log.read()


def grade(assignment, student, a):
    "Autograde one submission: '' if that went well, otherwise what was the matter; seconds."
    words, start = [assignment, f"--student={student}", *["--force"]*a.force], time.monotonic()
    for turn in range(5):
        status, said = run(words, a.seconds)
        if status is None: return f"took more than {a.seconds} s", a.seconds
        if "database is locked" not in said: break
        time.sleep(1 + turn)                       # another job is writing its marks
    took = time.monotonic() - start
    if not status: return "", took
    lines = [line for line in said.splitlines() if "Error:" in line or "| ERROR]" in line]
    errors = [line.split("| ERROR] ")[-1] for line in lines]
    if not errors: return f"exit status {status}", took
    return (errors[-3] if len(errors) > 2 else errors[0]).strip(), took


def scores(assignment):
    "{student: (score, of)} from the gradebook."
    with Gradebook("sqlite:///gradebook.db") as book:
        found = book.assignment_submissions(assignment)
        return {s.student.id: (s.score, s.max_score) for s in found}


def tidy(assignment):
    "Give a file its name back that a browser has numbered: `name (1).ipynb`."
    for folder in Path("submitted").glob(f"*/{assignment}"):
        wanted, found = folder/f"{assignment}.ipynb", list(folder.glob("*.ipynb"))
        if wanted in found or len(found) != 1: continue
        found[0].rename(wanted)
        print(f"{folder.parent.name}: {found[0].name} is taken for {wanted.name}", file=sys.stderr)


def table(assignment, path):
    "A line for each student: names, points of each question, their sum."
    with Gradebook("sqlite:///gradebook.db") as book, open(path, "w", newline="") as file:
        rows, columns = [], ["student", "first_name", "last_name", "email", "score", "of", "late"]
        for s in book.assignment_submissions(assignment):
            who = s.student
            row = dict(student=who.id, first_name=who.first_name, last_name=who.last_name,
                email=who.email, score=s.score, of=s.max_score, late=s.total_seconds_late)
            for grade in (g for nb in s.notebooks for g in nb.grades):
                row[grade.name] = grade.score
            columns += [name for name in row if name not in columns]
            rows.append(row)
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    print(f"{len(rows)} students in {path}")


def report(assignment):
    "How often each sentence was said, most often first, question by question."
    said = Counter()
    for page in Path("autograded").glob(f"*/{assignment}/{assignment}.ipynb"):
        for line in re.findall(r'"- (Question \d+: .*?) \([\d.]+ of [\d.]+\)', page.read_text()):
            question, _, sentence = line.partition(": ")
            said[question, sentence] += 1
    for question in sorted({q for q, _ in said}):
        print(question)
        for (q, sentence), n in said.most_common():
            if q == question: print(f"  {n:4}  {sentence}")


def arguments(parser):
    parser.add_argument("assignment", help="its folder in source, such as 1_forward_process")
    parser.add_argument("--force", action="store_true", help="also what is graded already")
    parser.add_argument("--jobs", type=int, default=1, help="so many at a time (default 1)")
    parser.add_argument("--seconds", type=float, default=1800,
                        help="limit for one submission (default 1800)")
    parser.add_argument("--image", default="", help="of a podman or docker container to grade in")
    parser.add_argument("--term", type=int, default=0,
                        help="a number of the term: other hidden arguments for each")
    parser.add_argument("--trust", action="store_true",
                        help="no sandbox: submissions run with your own rights")
    parser.add_argument("--csv", default="", metavar="FILE",
                        help="only write names and points of this assignment")
    parser.add_argument("--report", action="store_true",
                        help="only say which sentences the class was told, and how often")
    return parser.parse_args()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    a = arguments(parser)
    name = a.assignment
    if a.report: return report(name)
    if a.csv: return table(name, a.csv)
    if a.term < 0: parser.error(f"--term must be 0 or more, such as 2027, got {a.term}")
    if a.jobs < 1: parser.error(f"--jobs must be at least 1, got {a.jobs}")
    students = sorted(p.parent.name for p in Path("submitted").glob(f"*/{name}"))
    if not students:
        parser.error(f"there is no submission: submitted/STUDENT/{name}/{name}.ipynb "
                     "is expected here")
    try: command(trust=a.trust, image=a.image)
    except RuntimeError as e: parser.error(str(e))
    tidy(name)
    os.environ.update(GRADE_TRUST="1"*a.trust, GRADE_IMAGE=a.image, GRADE_TERM=str(a.term))
    os.environ.setdefault("OMP_NUM_THREADS", "1")          # jobs do not wait for each other
    failed, times = {}, []
    with ThreadPoolExecutor(a.jobs) as pool:
        running = {pool.submit(grade, name, student, a): student for student in students}
        for done in tqdm(as_completed(running), total=len(students), unit="submission"):
            said, took = done.result()
            if said: failed[running[done]] = said
            times.append(took)
    try: known = scores(name)
    except MissingEntry:
        parser.error(f"the gradebook does not know {name}: "
                     f"run `nbgrader generate_assignment {name}` first")
    for student in students:
        got, most = known.get(student, (0, 0))
        said = f"{got:g} of {most:g}"
        if got > most: said += ": its points have changed since; grade again with --force"
        if student in failed: said = "not graded: " + failed[student]
        print(f"{student:30} {said}")
    print(f"{len(students) - len(failed)} of {len(students)} graded, "
          f"{sorted(times)[len(times)//2]:.1f} s for one (median)")
    return bool(failed)


if __name__ == "__main__": sys.exit(main())
