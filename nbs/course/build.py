"""Make what students get of the questions: `python nbs/course/build.py`, after a question changed.

Writes for each assignment the notebook in nbgrader's format (assignments/source), and for all of
them ddpm_edu/course/checks.json: the visible arguments, what is expected of them, and fingerprints
of mistakes. `--check` only says whether these files are in step with the questions."""
import inspect
import json
import sys
from pathlib import Path

from ddpm_edu.course.compare import agree, fingerprint
from ddpm_edu.course.judge import tried
from ddpm_edu.course.questions import function_with, load_assignment, stub
from ddpm_edu.course.wire import pack

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]/"tests"))
from rules import mutants  # noqa: E402
CHECKS = HERE.parents[1]/"ddpm_edu"/"course"/"checks.json"

LEAVE = (" A function leaves its arguments as they are. What it returns is read as numbers: "
         "a list, a tuple, an array and a tensor of the right shape are all the same.")


def cell(kind, name, source, points=None, solution=False, folded=False):
    "A cell with nbgrader's labels."
    label = dict(grade=points is not None, grade_id=name, locked=not solution, schema_version=3,
        solution=solution, task=False)
    if points is not None: label["points"] = points
    metadata = dict(jupyter=dict(source_hidden=True)) if folded else {}
    made = dict(cell_type=kind, id=name, metadata={**metadata, "nbgrader": label},
        source=source.splitlines(keepends=True))
    if kind == "code": made.update(execution_count=None, outputs=[])
    return made


def question_cells(k, q):
    "The cells of a question: text, answer, test, and perhaps an answer in words."
    points, many = q.points + q.written_points, "s"*(q.points + q.written_points != 1)
    text = f"## Question {k}: {q.title} ({points} point{many})\n\n{q.text}"
    if q.written:
        text += f"\n\n**In words ({q.written_points} of them):** {q.written}"
    head, body = stub(q)
    answer = f"{head}\n    ### BEGIN SOLUTION\n{body}\n    ### END SOLUTION"
    test = f"# Test of question {k}: run this cell\ncheck(\"{q.name}\")"
    yield cell("markdown", f"q{k}-text", text)
    if q.written:
        yield cell("markdown", f"q{k}-words", "*In words:*", q.written_points, solution=True)
    yield cell("code", f"q{k}", answer, solution=True)
    yield cell("code", f"q{k}-test", test, q.points, folded=True)


def notebook(assignment):
    "The source notebook of an assignment, as JSON."
    points = sum(q.points + q.written_points for q in assignment.questions)
    intro = f"# Assignment {assignment.number}: {assignment.title}\n\n"
    ours = "from ddpm_edu.course.grader import check, limits\nlimits()"
    setup = f"{assignment.setup.strip()}\n{ours}"
    text = assignment.intro.replace("{points}", str(points)) + LEAVE
    cells = [cell("markdown", "intro", intro + text),
             cell("code", "setup", setup)]
    for k, q in enumerate(assignment.questions, 1): cells += question_cells(k, q)
    kernel = dict(display_name="python3", language="python", name="python3")
    return json.dumps(dict(cells=cells, metadata=dict(kernelspec=kernel), nbformat=4,
        nbformat_minor=5), indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def marks(q, function, want):
    "A fingerprint for each visible call, None where the function fails; [] if all is right."
    said = [tried(q, function, args, seed) for seed, args in enumerate(q.shown())]
    parts = [s.get("numbers") for s in said]
    if all(p is not None and agree(p, w, 10*q.tol) for p, w in zip(parts, want)): return []
    return [p and fingerprint(p) for p in parts] if any(parts) else []


def named(q, want, slips, taken):
    "[[sentence, marks], ...] of slips that no earlier one looks like."
    found = []
    for sentence, function in slips:
        made = marks(q, function, want)
        if not made or made in taken: continue
        taken.append(made)
        found.append([sentence, made])
    return found


def rule_functions(q):
    "(sentence, function) for what rules make of the solution."
    for sentence, code in mutants(q.source):
        space = {k: v for k, v in vars(q.module).items() if k in ("math", "torch", "nn", "F")}
        exec(code, space)
        yield sentence, space[q.name]


def known(q):
    "What a student's copy knows of a question."
    args = [pack(args) for args in q.shown()]
    about = dict(arguments=q.arguments, visible=args, tol=q.tol, without=list(q.without),
        observe=q.observe)
    if q.verdict is not None: return dict(about, verdict=inspect.getsource(q.verdict))
    want = [tried(q, q.function, a, seed)["numbers"] for seed, a in enumerate(q.shown())]
    want = [[[shape, kind, [float(f"{x:.7g}") for x in numbers]] for shape, kind, numbers in parts]
            for parts in want]
    taken = []
    slips = [(sentence, function_with(q, code)) for sentence, code in q.mistakes]
    # rules come last, and only where nothing else is known: one sum is enough
    short = lambda found: [[said, [m and m[:2] for m in made]] for said, made in found]
    return dict(about, want=want, mistakes=named(q, want, slips, taken),
        rules=short(named(q, want, rule_functions(q), taken)))


def same(old, new):
    "Equal but for rounding, which is another on another processor?"
    if isinstance(new, dict):
        return isinstance(old, dict) and list(old) == list(new) and all(
            same(old[k], new[k]) for k in new)
    if isinstance(new, list):
        return isinstance(old, list) and len(old) == len(new) and all(map(same, old, new))
    if isinstance(new, float) and isinstance(old, (int, float)):
        return old == new or abs(old - new) <= 1e-4*max(1, abs(new))
    return old == new


def main():
    stale, checks = [], {}
    for folder in sorted(HERE.glob("questions/[0-9]")):
        assignment = load_assignment(folder)
        place, = (HERE/"assignments"/"source").glob(f"{folder.name}_*/{folder.name}_*.ipynb")
        text = notebook(assignment)
        if place.read_text(encoding="utf-8") != text: stale.append((place, text))
        for q in assignment.questions: checks[q.name] = known(q)
    checks = json.loads(json.dumps(checks))
    if not CHECKS.exists() or not same(json.loads(CHECKS.read_text(encoding="utf-8")), checks):
        dense = dict(ensure_ascii=False, separators=(",", ":"))
        rows = [f"{json.dumps(name)}:{json.dumps(q, **dense)}" for name, q in checks.items()]
        stale.append((CHECKS, "{\n" + ",\n".join(rows) + "\n}\n"))
    for path, text in stale:
        if "--check" not in sys.argv: path.write_text(text, encoding="utf-8")
        print(f"{path.name} {'is not in step' if '--check' in sys.argv else 'written'}")
    return "--check" in sys.argv and bool(stale)


if __name__ == "__main__": sys.exit(main())
