"""What rules make of each solution, so that a test can name slips nobody thought of: `python hints.py` after a question has changed.

A rule takes one thing out of a solution or puts one other thing in: a root, a sign, a factor, an index, a name. The changed
solution is run with the arguments of the visible tests, and the numbers that come out are kept in hints.json beside the
rule's sentence. So is the code in slips/, mistakes that somebody made, which come first. `compare` looks there when none of a question's own mistakes fits. `python hints.py --check` only says
whether the file is in step. Hidden tests are left out: students get the file.
"""
import ast
import copy
import json
import re
import sys
import textwrap
from pathlib import Path

import torch

from ddpm_edu.course.compare import close
from ddpm_edu.course.sandbox import call_apart
from slips import SLIPS

WORDS = {"ab": "abar", "a": "abar", "before": "abar of the step before"}             # what a student may call the solutions' own names
SQRT, SQUARE, MINUS = "a square root is missing", "a square is missing", "a plus where a minus belongs, or the other way round"
STEP = {"beta": "betas[t]", "alpha": "1 - betas[t]", "abar": "abar[t]", "one minus abar": "1 - abar[t]", "abar of the step before": "abar[t - 1]"}


def sources(): return sorted((Path(__file__).parent/"source").glob("*/*.ipynb"))
def tree(text): return ast.parse(text, mode="eval").body
def is_sqrt(node): return isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow) and ast.unparse(node.right) == "0.5" or isinstance(node, ast.Call) and ast.unparse(node.func).endswith("sqrt")
def unwrap(node): return node.left if isinstance(node, ast.BinOp) else node.func.value if ast.unparse(node.func.value) not in ("torch", "math") else node.args[0]


def about(node, args):
    "' with `x0`': which of the student's own names an expression holds, the two that say most."
    held = {WORDS.get(n.id, n.id) for n in ast.walk(node) if isinstance(n, ast.Name)} & {*args, *WORDS.values(), "abar"}
    held = sorted(held - {"t", "betas", *WORDS.values()}) or sorted(held - {"t"}) or sorted(held)
    return " with " + " and ".join(f"`{name}`" for name in held[:2]) if held else ""


def part(kind, node, args): return f"the {kind}{named}" if (named := about(node, args)) else f"a {kind}"


def arithmetic(node, args):
    "(sentence, replacement): signs, terms and factors."
    op, left, right = type(node.op), node.left, node.right
    other = lambda new: ast.BinOp(left, new(), right)
    if op is ast.Sub and ast.unparse(left) == "1": yield f"a `1 -` is missing{about(right, args)}", right
    if op in (ast.Add, ast.Sub):
        yield MINUS, other(ast.Sub if op is ast.Add else ast.Add)
        yield f"{part('term', right, args)} is missing", left
        yield f"{part('term', left, args)} is missing", right if op is ast.Add else ast.UnaryOp(ast.USub(), right)
    if op in (ast.Mult, ast.Div):
        yield "multiplied where it must be divided, or the other way round", other(ast.Div if op is ast.Mult else ast.Mult)
        yield f"{'a division by ' if op is ast.Div else ''}{part('factor', right, args)} is missing", left
        yield f"{part('factor', left, args)} is missing", right if op is ast.Mult else ast.BinOp(ast.Constant(1), ast.Div(), right)
    if op is ast.Pow and ast.unparse(right) == "2": yield SQUARE, left


def changes(node, args):
    "(sentence, replacement) for one node of a solution."
    text = ast.unparse(node)
    if is_sqrt(node): yield SQRT, unwrap(node)
    elif isinstance(node, ast.BinOp): yield from arithmetic(node, args)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub): yield "a minus is missing", node.operand
    if isinstance(node, ast.Call) and text.startswith("reversed("): yield "the loop runs the other way round", node.args[0]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("log", "exp"): yield f"`{node.func.attr}` is missing", node.func.value if ast.unparse(node.func.value) not in ("torch", "math") else node.args[0]
    if isinstance(node, ast.Call) and text.startswith(("cumprod", "torch.cumprod")): yield "a sum where a product belongs", tree(text.replace("cumprod", "cumsum"))
    if isinstance(node, ast.Compare):
        for swap, said in (({"<": "<=", ">": ">=", "==": "!=", "!=": "=="}, "look at the comparison: what if both sides are equal?"), ({"<": ">", ">": "<"}, "the comparison is turned")):
            for old, new in swap.items():
                if f" {old} " in text: yield said, tree(text.replace(f" {old} ", f" {new} "))
    if isinstance(node, ast.IfExp): yield "is there a case that must be treated apart?", node.body; yield "is there a case that must be treated apart?", node.orelse
    if text in STEP.values():
        for name, code in STEP.items():
            if code != text: yield f"{name} stands where {next(k for k, v in STEP.items() if v == text)} belongs", tree(code)
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Name):
        for step, said in (("+", "late"), ("-", "early")): yield f"off by one in {node.slice.id}: an entry one step too {said}", tree(f"{ast.unparse(node.value)}[{node.slice.id} {step} 1]")
    if isinstance(node, ast.Name) and node.id in args:
        for name in args:
            if name != node.id: yield f"`{name}` stands where `{node.id}` belongs", ast.Name(name, ast.Load())
    if isinstance(node, (ast.Name, ast.Subscript, ast.Call)) or isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub):
        yield f"a square root too many{about(node, args)}", tree(f"({text})**0.5")
        yield f"a square too many{about(node, args)}", tree(f"({text})**2")
        yield f"a `1 -` too many{about(node, args)}", tree(f"(1 - ({text}))")
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        for new in (2*node.value, node.value/2, node.value + 1, node.value - 1): yield "a number in the formula is not right: a factor, a limit, an axis?", ast.Constant(int(new) if new == int(new) else new)


def mutants(solution):
    "(sentence, code) for everything that the rules make of a solution."
    root = ast.parse(re.sub(r".*### (BEGIN|END) SOLUTION.*\n?", "", solution))
    function = next(node for node in root.body if isinstance(node, ast.FunctionDef))
    args, found = [a.arg for a in function.args.args], []
    for parent in ast.walk(function):
        if isinstance(parent, ast.arguments): continue
        for field, value in ast.iter_fields(parent):
            for i, node in enumerate(value if isinstance(value, list) else [value]):
                if not isinstance(node, ast.expr) or field in ("func", "targets", "target", "decorator_list") or isinstance(getattr(node, "ctx", None), ast.Store): continue
                def put(new): value.__setitem__(i, new) if isinstance(value, list) else setattr(parent, field, new)
                for said, new in changes(node, args):
                    put(new); found.append((said, ast.unparse(ast.fix_missing_locations(copy.deepcopy(root))))); put(node)
    bare = copy.deepcopy(root)

    class Bare(ast.NodeTransformer):
        def visit(self, node):
            node = self.generic_visit(node)
            return unwrap(node) if is_sqrt(node) else node
    found.append(("all square roots are missing", ast.unparse(ast.fix_missing_locations(Bare().visit(bare)))))
    priority = lambda item: (item[0].startswith(("a number in", "a `1 -` too", "a square too", "`")), item[0].startswith("a square root too"))
    return sorted(found, key=priority)


def numbers(code, name, args, others=""):
    "What a changed solution returns, None if it fails. `others`: solutions of the assignment's other questions, which it may use."
    import math
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


def hints(solution, call, others):
    "{right, slips: {sentence: [numbers, ...]}, rules: the same} for one visible `compare`."
    asked, right, known = call.args[0], ast.literal_eval(call.args[1]), ast.literal_eval(call.args[2]) if len(call.args) > 2 else {}
    name, args = asked.args[0].value, tuple(eval(ast.unparse(a), {"torch": torch}) for a in asked.args[1:])
    tol, taken, found = next((k.value.value for k in call.keywords if k.arg == "tol"), 1e-4), [right, *known.values()], {"right": right, "slips": {}, "rules": {}}
    made = dict((code, (said, code)) for said, code in reversed(mutants(solution))).values()       # a code once, with its first sentence
    for kind, said, code in [("slips", *slip) for slip in slips(solution, name)] + [("rules", *rule) for rule in reversed(made)]:
        got = numbers(code, name, args, others)
        if got is None or len(got) > 2*len(right) + 4 or any(close(got, other, 10*tol) for other in taken): continue
        taken.append(got)
        found[kind].setdefault(said, []).append([float(f"{x:.6g}") for x in got])
    return found


def visible_calls(test):
    "The calls of `compare` that a student sees."
    nodes = ast.parse(test.partition("### BEGIN HIDDEN TESTS")[0]).body
    return [node.value for node in nodes if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and ast.unparse(node.value.func) == "compare"]


def in_step(old, new):
    "The same but for rounding, which is another on another processor."
    if isinstance(new, dict): return isinstance(old, dict) and list(old) == list(new) and all(in_step(old[k], new[k]) for k in new)
    if isinstance(new, list): return isinstance(old, list) and len(old) == len(new) and all(map(in_step, old, new))
    return abs(old - new) <= 1e-4*max(1, abs(new))


def main():
    target, made = Path(__file__).parent/"hints.json", {}
    only = [word for word in sys.argv[1:] if not word.startswith("-")]                   # for a look at some assignments: nothing is written
    for path in sources():
        if only and path.stem[0] not in only: continue
        cells = {c["metadata"]["nbgrader"]["grade_id"]: "".join(c["source"]) for c in json.loads(path.read_text(encoding="utf-8"))["cells"]}
        for name, test in cells.items():
            if not name.endswith("-test"): continue
            others = "\n".join(cells[other[:-5]] for other in cells if other.endswith("-test") and other != name and cells[other[:-5]].startswith("def "))
            for call in visible_calls(test): made.setdefault(call.args[0].args[0].value, []).append(hints(cells[name[:-5]], call, others))
    if only: return print(json.dumps(made, indent=1))
    text = "{\n" + ",\n".join(f"{json.dumps(name)}: {json.dumps(cases)}" for name, cases in made.items()) + "\n}\n"
    if "--check" in sys.argv:
        same = target.exists() and in_step(json.loads(target.read_text(encoding="utf-8")), made)
        print("hints.json is in step" if same else "hints.json is not in step with the questions: run `python hints.py`")
        return not same
    target.write_text(text, encoding="utf-8")
    print(f"{sum(len(lists) for cases in made.values() for case in cases for kind in ('slips', 'rules') for lists in case[kind].values())} hints for {len(made)} functions")


if __name__ == "__main__": sys.exit(main())
