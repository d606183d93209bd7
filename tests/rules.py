"""What rules make of right code: mistakes that nobody thought of, each with its sentence.

A rule takes one thing out of an expression or puts one other thing in: a root, a sign, a factor, an
index, a name. nbs/course/build.py makes slips of the course's solutions with them, which it runs
with the visible arguments, so that a student's test can name such a slip; mutants.py makes mistakes
in the book's chapters with them, to see that some check of the chapter fails."""
import ast
import copy

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
    "(sentence, replacement) for one node: what is there is taken out or turned."
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


def of_students(node, args):
    "(sentence, replacement): what those may take who write a formula for the first time."
    text = ast.unparse(node)
    yield from names(node, text, args)
    yield from too_many(node, text, args)


OTHER = {
    "alphas": "alphas_cumprod", "alphas_cumprod": "alphas_cumprod_prev",
    "alphas_cumprod_prev": "alphas_cumprod", "abar": "alpha",
    "betas": "posterior_variance", "posterior_variance": "betas",
    "posterior_mean_coef1": "posterior_mean_coef2", "posterior_mean_coef2": "posterior_mean_coef1",
    "sqrt_alphas_cumprod": "sqrt_one_minus_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod": "sqrt_alphas_cumprod",
    "mean": "sum", "randn": "rand", "randn_like": "rand_like"}
DROPPED = ("clamp", "clamp_min", "abs", "square", "cumprod", "flip", "detach", "clone")


def of_library(node):
    "(sentence, replacement): what may slip into code that has tables, options and methods."
    if isinstance(node, ast.Attribute) and node.attr in OTHER:
        yield f"{OTHER[node.attr]} for {node.attr}", ast.Attribute(node.value, OTHER[node.attr],
                                                                   node.ctx)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        for said, function in of_library(node.func):
            yield said, ast.Call(function, node.args, node.keywords)
        if node.func.attr in DROPPED: yield f"{node.func.attr} dropped", node.func.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield "not dropped", node.operand
    if isinstance(node, ast.Constant):
        if type(node.value) is bool: yield "the other bool", ast.Constant(not node.value)
        elif type(node.value) is int: yield "one more", ast.Constant(node.value + 1)
        elif type(node.value) is float: yield "a tenth more", ast.Constant(node.value*1.1 or 0.1)
    if isinstance(node, ast.IfExp):
        yield "branches swapped", ast.IfExp(node.test, node.orelse, node.body)
    if isinstance(node, ast.Slice) and node.lower is None and isinstance(node.upper, ast.UnaryOp):
        yield "[:-k] -> [k:]", ast.Slice(node.upper.operand, None, None)


def places(tree):
    "(node, a function that puts another in its place) for the expressions of a piece of code."
    for parent in ast.walk(tree):
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
    root = ast.parse(solution)
    function = next(node for node in root.body if isinstance(node, ast.FunctionDef))
    args, found = [a.arg for a in function.args.args], []
    written = lambda root: ast.unparse(ast.fix_missing_locations(root))
    for node, put in places(function):
        for said, new in [*changes(node, args), *of_students(node, args)]:
            put(new)
            found.append((said, written(copy.deepcopy(root))))
            put(node)
    found.append(("all square roots are missing", written(Bare().visit(copy.deepcopy(root)))))
    vague = ("a number in", "a `1 -` too", "a square too", "`")
    priority = lambda said: (said.startswith(vague), said.startswith("a square root too"))
    return sorted(found, key=lambda item: priority(item[0]))
