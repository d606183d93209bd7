"""What `nbdev-export` does besides copying cells: methods that later cells add with `@patch` are
folded into their class, and the comments of documented arguments are repeated in the docstring.

A chapter builds a class one method at a time; an editor, a type checker and a reader of
`ddpm_edu/*.py` want to see an ordinary class whose methods and arguments they know.
`[tool.nbdev] export_procs` in pyproject.toml names `Fold`; pip's editable install puts this folder
on the path, so that `nbdev-export` finds it. tests/test_house.py compares the outcome.
"""
import ast
import io
import re
import textwrap
import tokenize

DIRECTIVES = ("export", "exporti", "exports")

# Classes that users name: `help` and editors show what their methods' arguments are, so docstrings
# repeat it.
DOCUMENTED = {"DDPMPipeline", "PipelineMixin", "DDPMScheduler", "UNet", "Trainer",
              "ConfigMixin", "SavedMixin", "ModelMixin", "OffloadMixin", "MemoryMixin"}


class Narrow(textwrap.TextWrapper):
    "nbdev wraps `__all__` at 120 columns after its first word; this one keeps to a hundred."
    def __init__(self, width, **options): super().__init__(min(width, 89), **options)


class Fold:
    "A processor of nbdev: works on one notebook's cells, once all of them have been collected."
    def __init__(self, nb):
        import nbdev.maker
        nbdev.maker.TextWrapper = Narrow
        self.nb = nb

    def end(self):
        modules = {}
        for cell in self.nb.cells:
            if cell.cell_type != "code": continue
            for directive in DIRECTIVES:
                if directive not in cell.directives_: continue
                modules.setdefault(cell.directives_[directive], []).append(cell)
        for cells in modules.values():
            for cell, source in zip(cells, fold([cell.source for cell in cells])):
                if source != cell.source: cell.set_source(source)


def fold(sources):
    "The cells of one module with every `@patch` method in its class, and documented docstrings."
    classes, found, kept = {}, [], []
    for number, source in enumerate(sources):
        for node in ast.parse(source).body:
            if isinstance(node, ast.ClassDef): classes[node.name] = number
    for source in sources:
        rest = source
        for node in reversed(ast.parse(source).body):
            home = patched_class(node)
            if home not in classes: continue
            first, last = first_line(node, source), node.end_lineno
            lines = rest.split("\n")
            found.append((home, method(node, "\n".join(lines[first-1:last]))))
            rest = "\n".join(lines[:first-1] + lines[last:])
        kept.append(re.sub(r"\n{3,}", "\n\n", rest).strip("\n"))
        found, done = [], found
        for home, text in reversed(done): classes.setdefault(("methods", home), []).append(text)
    for home in [k for k in classes if isinstance(k, str) and ("methods", k) in classes]:
        number = classes[home]
        kept[number] = add_methods(kept[number], home, classes["methods", home])
    kept = drop_patch([overload(document(source)) for source in kept])
    if any("@overload" in source for source in kept):
        there = {name for source in kept for name in imported(source)}
        names = [name for name in ("Any", "Literal", "overload") if name not in there]
        kept[0] = f"from typing import {', '.join(names)}\n" + kept[0]
    return kept


def imported(source):
    "The names that a cell imports."
    return [a.asname or a.name for node in ast.parse(source).body
            if isinstance(node, ast.ImportFrom) for a in node.names]


def patched_class(node):
    "The name of the class that a function is patched into, or None."
    if not isinstance(node, ast.FunctionDef): return None
    if not any(is_patch(d) for d in node.decorator_list): return None
    return getattr(node.args.args[0].annotation, "id", None) if node.args.args else None


def is_patch(decorator):
    return getattr(getattr(decorator, "func", decorator), "id", None) == "patch"


def first_line(node, source):
    "The line of the first decorator, or of the comment right above it."
    lines, first = source.split("\n"), min(d.lineno for d in node.decorator_list)
    while first > 1 and lines[first-2].startswith("#"): first -= 1
    return first


def method(node, text):
    "The text of a patched function as that of a method."
    patch, = (d for d in node.decorator_list if is_patch(d))
    options = {k.arg: k.value.value for k in getattr(patch, "keywords", [])}
    as_what = None
    if options.get("cls_method"): as_what = "@classmethod"
    elif options.get("as_prop"): as_what = "@property"
    elif options.get("set_prop"): as_what = f"@{node.name}.setter"
    me = node.args.args[0]
    text = re.sub(r"^@patch\b.*\n", f"{as_what}\n" if as_what else "", text, count=1, flags=re.M)
    return re.sub(rf"\b{me.arg}\s*:\s*{me.annotation.id}\b", me.arg, text, count=1)


def indent(text):
    "The text four columns further in, except inside strings of several lines."
    inside = set()
    for token in tokenize.generate_tokens(io.StringIO(text + "\n").readline):
        if token.type == tokenize.STRING: inside |= set(range(token.start[0] + 1, token.end[0] + 1))
    lines = text.split("\n")
    return "\n".join(l if not l or i in inside else "    " + l for i, l in enumerate(lines, 1))


def add_methods(source, name, methods):
    "The cell with methods at the end of its class."
    node, = (n for n in ast.parse(source).body if isinstance(n, ast.ClassDef) and n.name == name)
    lines = source.split("\n")
    new = [part for text in methods for part in ("", *indent(text).split("\n"))]
    return "\n".join(lines[:node.end_lineno] + new + lines[node.end_lineno:])


def document(source):
    """The cell with the comments of its methods' arguments in their docstrings too; those of the
    constructor in the docstring of the class, where editors look for them."""
    lines = source.split("\n")
    tree = ast.parse(source)
    classes = [c for c in tree.body if isinstance(c, ast.ClassDef) and c.name in DOCUMENTED]
    if not classes: return source
    comments = said_of(source)
    nodes = [(m, c if m.name == "__init__" and ast.get_docstring(m) is None else m)
             for c in classes for m in c.body
             if isinstance(m, ast.FunctionDef) and wants_documentation(m)]
    for node, home in sorted(nodes, key=lambda pair: -pair[1].body[0].lineno):
        args = [(a, comments[a.lineno]) for a in arguments(node)
                if a.lineno != node.lineno and a.lineno in comments]
        if not args: continue
        close = max((a.end_lineno for a in arguments(node)), default=node.lineno)
        first = home.body[0]
        ends = [k for k in range(close + 1, node.body[0].lineno)
                if k in comments and lines[k-1].lstrip().startswith(")")]
        block = docstring(home, node, args, comments[ends[0]] if ends else None)
        if ast.get_docstring(home) is not None: lines[first.lineno-1:first.end_lineno] = block
        elif first.lineno > home.lineno: lines[first.lineno-1:first.lineno-1] = block
    return "\n".join(lines)


def overload(source):
    """The cell in which a method that returns `A|tuple`, by its argument `return_dict`, tells type
    checkers that it is A unless they see that argument."""
    lines = source.split("\n")
    classes = [c for c in ast.parse(source).body
               if isinstance(c, ast.ClassDef) and c.name in DOCUMENTED]
    nodes = [m for c in classes for m in c.body
             if isinstance(m, ast.FunctionDef) and isinstance(m.returns, ast.BinOp)
             and any(a.arg == "return_dict" for a in m.args.args)]
    for node in sorted(nodes, key=lambda n: -n.lineno):
        first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
        said = lines[node.body[0].lineno-1:node.body[0].end_lineno]
        lines[first-1:first-1] = signatures(node, said)
    return "\n".join(lines)


def signatures(node, said):
    """The lines of the two `@overload`s of a method: without and with another `return_dict`.

    That of a call repeats the docstring: it is what some editors show."""
    names = [a.arg for a in node.args.args]
    given = [""]*(len(names) - len(node.args.defaults))
    given += ["=" + ast.unparse(d) for d in node.args.defaults]
    parts = []
    for a, default in zip(node.args.args, given):
        kind = ":" + ast.unparse(a.annotation).replace(" | ", "|") if a.annotation else ""
        parts.append(f"{a.arg}{':Literal[True]' if a.arg == 'return_dict' else kind}{default}")
    one = ast.unparse(node.returns.left)
    texts = (f"def {node.name}({', '.join(parts)})->{one}:",
             f"def {node.name}(self, *args:Any, return_dict:bool, **kwargs:Any)->Any: ...")
    pad = " "*node.col_offset
    wrapped = [[pad + line for line in textwrap.wrap(text, 100 - len(pad), subsequent_indent=" "*8)]
               for text in texts]
    body = said if node.name == "__call__" else [f"{pad}    ..."]
    return [pad + "@overload", *wrapped[0], *body, pad + "@overload", *wrapped[1]]


def said_of(source):
    "Comments by line; those that fill lines of their own belong to the next line that has none."
    lines, comments, above = source.split("\n"), {}, []
    tokens = tokenize.generate_tokens(io.StringIO(source + "\n").readline)
    found = {t.start[0]: t for t in tokens if t.type == tokenize.COMMENT}
    for number, line in enumerate(lines, 1):
        token = found.get(number)
        text = token.string.lstrip("# ") if token else ""
        if token and not line[:token.start[1]].strip(): above.append(text)
        else:
            if text or above: comments[number] = text or " ".join(above)
            above = []
    return comments


def wants_documentation(node):
    return not node.name.startswith("_") or node.name in ("__init__", "__call__")


def arguments(node):
    a = node.args
    return [x for x in (*a.posonlyargs, *a.args, a.vararg, *a.kwonlyargs, a.kwarg) if x is not None]


def docstring(home, node, args, returns):
    "The lines of the docstring of `home` that says what the arguments of `node` are."
    said = ast.get_docstring(home, clean=False)
    pad = " "*home.body[0].col_offset
    stars = {getattr(node.args.vararg, "arg", None): "*"}
    stars[getattr(node.args.kwarg, "arg", None)] = "**"
    text = [*narrow(said.rstrip(), 97 - len(pad)), ""] if said else []
    text += ["Args:", *(f"    {stars.get(a.arg, '')}{a.arg}: {comment}" for a, comment in args)]
    if returns and returns != "None": text += ["Returns:", f"    {returns}"]
    wrapped = [piece for line in text for piece in wrap(line, 100 - len(pad))]
    raw = "r" if "\\" in "".join(wrapped) else ""
    rest = [pad + line if line else "" for line in wrapped[1:]]
    return [f'{pad}{raw}"""{wrapped[0]}', *rest, f'{pad}"""']


def narrow(said, width):
    "The lines of a docstring; the three quotes made its first one longer."
    first, *rest = said.split("\n")
    return [*textwrap.wrap(first, width), *(line.strip() for line in rest)]


def wrap(line, width):
    if len(line) <= width or not line.startswith("    "): return [line]
    return textwrap.wrap(line, width, subsequent_indent=" "*8,
                         break_long_words=False, break_on_hyphens=False)


def drop_patch(sources):
    "Without the import of `patch`, if nothing needs it any more."
    if any(re.search(r"^@patch\b", s, re.M) for s in sources): return sources
    alone = re.compile(r"^from fastcore\.basics import patch(\n|\Z)", re.M)
    sources = [alone.sub("", s) for s in sources]
    others = re.compile(r"^(from fastcore\.basics import .*?)(?:, patch\b|\bpatch, )", re.M)
    sources = [others.sub(r"\1", s) for s in sources]
    return sources
