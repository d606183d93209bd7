"""What rules make of each solution, so that a test can name slips nobody thought of.

Run `python hints.py` after a question has changed. A rule takes one thing out of a solution or
puts one other thing in: a root, a sign, a factor, an index, a name. The changed solution is run
with the arguments of the visible tests, and the numbers that come out are kept in hints.json
beside the rule's sentence. So is the code in slips/, mistakes that somebody made, which come first.
`compare` looks there when none of a question's own mistakes fits. `python hints.py --check` only
says whether the file is in step. Hidden tests are left out: students get the file.
"""
import ast
import copy
import json
import math
import re
import sys
import textwrap
from pathlib import Path

import torch
from slips import SLIPS

from ddpm_edu.course.compare import close
from ddpm_edu.course.sandbox import call_apart

# what a student may call the solutions' own names
WORDS = {"ab": "abar", "a": "abar", "before": "abar of the step before"}
SQRT, SQUARE = "a square root is missing", "a square is missing"
MINUS = "a plus where a minus belongs, or the other way round"
TURNED = "multiplied where it must be divided, or the other way round"
EQUAL = "look at the comparison: what if both sides are equal?"
APART = "is there a case that must be treated apart?"
NUMBER = "a number in the formula is not right: a factor, a limit, an axis?"
STEP = {"beta": "betas[t]", "alpha": "1 - betas[t]", "abar": "abar[t]",
        "one minus abar": "1 - abar[t]", "abar of the step before": "abar[t - 1]"}
MARKER = re.compile(r".*### (BEGIN|END) SOLUTION.*\n?")


def sources(): return sorted((Path(__file__).parent/"source").glob("*/*.ipynb"))
def tree(text): return ast.parse(text, mode="eval").body


def is_sqrt(node):
    if isinstance(node, ast.Call): return ast.unparse(node.func).endswith("sqrt")
    power = isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow)
    return power and ast.unparse(node.right) == "0.5"


def receiver(node):
    "x of `x.sqrt()` and of `torch.sqrt(x)`."
    method = ast.unparse(node.func.value) not in ("torch", "math")
    return node.func.value if method else node.args[0]


def unwrap(node): return node.left if isinstance(node, ast.BinOp) else receiver(node)


def about(node, args):
    "' with `x0`': which of the student's own names an expression holds, the two that say most."
    names = {WORDS.get(n.id, n.id) for n in ast.walk(node) if isinstance(n, ast.Name)}
    held = names & {*args, *WORDS.values(), "abar"}
    told = sorted(held - {"t", "betas", *WORDS.values()})
    held = told or sorted(held - {"t"}) or sorted(held)
    return " with " + " and ".join(f"`{name}`" for name in held[:2]) if held else ""


def part(kind, node, args):
    return f"the {kind}{named}" if (named := about(node, args)) else f"a {kind}"


def arithmetic(node, args):
    "(sentence, replacement): signs, terms and factors."
    op, left, right = type(node.op), node.left, node.right
    other = lambda new: ast.BinOp(left, new(), right)
    if op is ast.Sub and ast.unparse(left) == "1":
        yield f"a `1 -` is missing{about(right, args)}", right
    if op in (ast.Add, ast.Sub):
        yield MINUS, other(ast.Sub if op is ast.Add else ast.Add)
        yield f"{part('term', right, args)} is missing", left
        alone = right if op is ast.Add else ast.UnaryOp(ast.USub(), right)
        yield f"{part('term', left, args)} is missing", alone
    if op in (ast.Mult, ast.Div):
        yield TURNED, other(ast.Div if op is ast.Mult else ast.Mult)
        division = "a division by " if op is ast.Div else ""
        yield f"{division}{part('factor', right, args)} is missing", left
        alone = right if op is ast.Mult else ast.BinOp(ast.Constant(1), ast.Div(), right)
        yield f"{part('factor', left, args)} is missing", alone
    if op is ast.Pow and ast.unparse(right) == "2": yield SQUARE, left


def calls(node, text):
    "(sentence, replacement): what is called."
    if text.startswith("reversed("): yield "the loop runs the other way round", node.args[0]
    if isinstance(node.func, ast.Attribute) and node.func.attr in ("log", "exp"):
        yield f"`{node.func.attr}` is missing", receiver(node)
    if text.startswith(("cumprod", "torch.cumprod")):
        yield "a sum where a product belongs", tree(text.replace("cumprod", "cumsum"))


def comparisons(text):
    "(sentence, replacement): which side is larger."
    for swap, said in (({"<": "<=", ">": ">=", "==": "!=", "!=": "=="}, EQUAL),
                       ({"<": ">", ">": "<"}, "the comparison is turned")):
        for old, new in swap.items():
            if f" {old} " in text: yield said, tree(text.replace(f" {old} ", f" {new} "))


def names(node, text, args):
    "(sentence, replacement): another entry, another argument."
    if text in STEP.values():
        right = next(k for k, v in STEP.items() if v == text)
        for name, code in STEP.items():
            if code != text: yield f"{name} stands where {right} belongs", tree(code)
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Name):
        at = node.slice.id
        for step, said in (("+", "late"), ("-", "early")):
            yield (f"off by one in {at}: an entry one step too {said}",
                   tree(f"{ast.unparse(node.value)}[{at} {step} 1]"))
    if isinstance(node, ast.Name) and node.id in args:
        for name in args:
            if name != node.id:
                yield f"`{name}` stands where `{node.id}` belongs", ast.Name(name, ast.Load())


def too_many(node, text, args):
    "(sentence, replacement): a root, a square, a `1 -` or another number."
    difference = isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub)
    if isinstance(node, (ast.Name, ast.Subscript, ast.Call)) or difference:
        yield f"a square root too many{about(node, args)}", tree(f"({text})**0.5")
        yield f"a square too many{about(node, args)}", tree(f"({text})**2")
        yield f"a `1 -` too many{about(node, args)}", tree(f"(1 - ({text}))")
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        for new in (2*node.value, node.value/2, node.value + 1, node.value - 1):
            yield NUMBER, ast.Constant(int(new) if new == int(new) else new)


def changes(node, args):
    "(sentence, replacement) for one node of a solution."
    text = ast.unparse(node)
    if is_sqrt(node): yield SQRT, unwrap(node)
    elif isinstance(node, ast.BinOp): yield from arithmetic(node, args)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield "a minus is missing", node.operand
    if isinstance(node, ast.Call): yield from calls(node, text)
    if isinstance(node, ast.Compare): yield from comparisons(text)
    if isinstance(node, ast.IfExp):
        yield APART, node.body
        yield APART, node.orelse
    yield from names(node, text, args)
    yield from too_many(node, text, args)


def places(function):
    "(node, a function that puts another in its place) for the expressions of a function."
    for parent in ast.walk(function):
        if isinstance(parent, ast.arguments): continue
        for field, value in ast.iter_fields(parent):
            if field in ("func", "targets", "target", "decorator_list"): continue
            for i, node in enumerate(value if isinstance(value, list) else [value]):
                if not isinstance(node, ast.expr): continue
                if isinstance(getattr(node, "ctx", None), ast.Store): continue
                if isinstance(value, list): yield node, lambda new: value.__setitem__(i, new)
                else: yield node, lambda new: setattr(parent, field, new)


class Bare(ast.NodeTransformer):
    "A solution without square roots."
    def visit(self, node):
        node = self.generic_visit(node)
        return unwrap(node) if is_sqrt(node) else node


def mutants(solution):
    "(sentence, code) for everything that the rules make of a solution."
    root = ast.parse(MARKER.sub("", solution))
    function = next(node for node in root.body if isinstance(node, ast.FunctionDef))
    args, found = [a.arg for a in function.args.args], []
    written = lambda root: ast.unparse(ast.fix_missing_locations(root))
    for node, put in places(function):
        for said, new in changes(node, args):
            put(new)
            found.append((said, written(copy.deepcopy(root))))
            put(node)
    found.append(("all square roots are missing", written(Bare().visit(copy.deepcopy(root)))))
    vague = ("a number in", "a `1 -` too", "a square too", "`")
    priority = lambda said: (said.startswith(vague), said.startswith("a square root too"))
    return sorted(found, key=lambda item: priority(item[0]))


def numbers(code, name, args, others=""):
    """What a changed solution returns, None if it fails.

    `others`: solutions of the assignment's other questions, which it may use."""
    space = {"torch": torch, "math": math, "nn": torch.nn, "F": torch.nn.functional}
    for text in (others, code): exec(text, space)
    done = call_apart(space[name], args, 2, 1, library=True)
    found = [x for part in done.get("numbers", []) for x in part[2]]
    return found if found and all(abs(x) < 1e30 for x in found) else None


def slips(solution, name):
    "(sentence, code) for the mistakes in slips/."
    head = re.search(r"(?m)^def .*$", solution)[0]
    for said, body in SLIPS.get(name, []):
        if "\n" not in body and not body.startswith(("return ", "raise ")): body = "return " + body
        yield said, head + "\n" + textwrap.indent(body, "    ")


def tried(solution, name):
    "(kind, sentence, code) of all slips; a code once, with its first sentence."
    made = dict((code, (said, code)) for said, code in reversed(mutants(solution))).values()
    yield from (("slips", *slip) for slip in slips(solution, name))
    yield from (("rules", *rule) for rule in reversed(made))


def hints(solution, call, others):
    "{right, slips: {sentence: [numbers, ...]}, rules: the same} for one visible `compare`."
    asked, right = call.args[0], ast.literal_eval(call.args[1])
    known = ast.literal_eval(call.args[2]) if len(call.args) > 2 else {}
    name = asked.args[0].value
    args = tuple(eval(ast.unparse(a), {"torch": torch}) for a in asked.args[1:])
    tol = next((k.value.value for k in call.keywords if k.arg == "tol"), 1e-4)
    taken, found = [right, *known.values()], {"right": right, "slips": {}, "rules": {}}
    for kind, said, code in tried(solution, name):
        got = numbers(code, name, args, others)
        if got is None or len(got) > 2*len(right) + 4: continue
        if any(close(got, other, 10*tol) for other in taken): continue
        taken.append(got)
        found[kind].setdefault(said, []).append([float(f"{x:.6g}") for x in got])
    return found


def visible_calls(test):
    "The calls of `compare` that a student sees."
    nodes = ast.parse(test.partition("### BEGIN HIDDEN TESTS")[0]).body
    found = [node.value for node in nodes if isinstance(node, ast.Expr)]
    found = [call for call in found if isinstance(call, ast.Call)]
    return [call for call in found if ast.unparse(call.func) == "compare"]


def in_step(old, new):
    "The same but for rounding, which is another on another processor."
    if isinstance(new, dict):
        same = isinstance(old, dict) and list(old) == list(new)
        return same and all(in_step(old[k], new[k]) for k in new)
    if isinstance(new, list):
        same = isinstance(old, list) and len(old) == len(new)
        return same and all(map(in_step, old, new))
    return abs(old - new) <= 1e-4*max(1, abs(new))


def hints_of(path):
    "(function, its hints) for each visible `compare` of an assignment."
    nb = json.loads(path.read_text(encoding="utf-8"))
    cells = {c["metadata"]["nbgrader"]["grade_id"]: "".join(c["source"]) for c in nb["cells"]}
    tests = {name.removesuffix("-test"): text for name, text in cells.items()
             if name.endswith("-test")}
    answers = {q: cells[q] for q in tests}
    for q, test in tests.items():
        others = "\n".join(text for other, text in answers.items()
                           if other != q and text.startswith("def "))
        for call in visible_calls(test):
            yield call.args[0].args[0].value, hints(answers[q], call, others)


def main():
    target, made = Path(__file__).parent/"hints.json", {}
    # for a look at some assignments: nothing is written
    only = [word for word in sys.argv[1:] if not word.startswith("-")]
    for path in sources():
        if only and path.stem[0] not in only: continue
        for name, found in hints_of(path): made.setdefault(name, []).append(found)
    if only: return print(json.dumps(made, indent=1))
    rows = [f"{json.dumps(name)}: {json.dumps(cases)}" for name, cases in made.items()]
    if "--check" in sys.argv:
        old = json.loads(target.read_text(encoding="utf-8")) if target.exists() else None
        same = in_step(old, made)
        print("hints.json is in step" if same else
              "hints.json is not in step with the questions: run `python hints.py`")
        return not same
    target.write_text("{\n" + ",\n".join(rows) + "\n}\n", encoding="utf-8")
    cases = [case for cases in made.values() for case in cases]
    lists = [some for case in cases for kind in ("slips", "rules") for some in case[kind].values()]
    print(f"{sum(map(len, lists))} hints for {len(made)} functions")


if __name__ == "__main__": sys.exit(main())
