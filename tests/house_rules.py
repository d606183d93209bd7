"""The rules that the shape of the code must keep, as functions that list what breaks them.

`python tests/house_rules.py` prints every breach; tests/test_house.py asserts that there is none.
"""
import ast
import json
import re
import sys
from pathlib import Path

root = Path(__file__).parent.parent
WIDTH, CELL, MODULE = 100, 25, 400

# A module imports only from the floors below its own.
FLOORS = {name: floor for floor, names in enumerate((
    "checks randn channels_last",
    "winograd forward_process config store images pictures toys memory",
    "blocks variational_bound score_matching hub weight_files folders labels plots explorer "
    "model_index",
    "unet_options weights data scheduler explorers_formulas pipeline_mixin book feeding "
    "hub_pictures exact_pixels",
    "unet explorers scaling",
    "pipeline checkpoints runs",
    "resuming bits code_files profiling",
    "calibrating",
    "training evaluation many progressive_coding",
    "evaluate compress",
    "cli",
)) for name in names.split()}


def notebooks():
    "All of them, in the order of their names."
    return [p for p in sorted((root/"nbs").rglob("*.ipynb")) if ".ipynb_checkpoints" not in p.parts]
def modules(): return [p for p in sorted((root/"ddpm_edu").rglob("*.py")) if p.name != "_modidx.py"]
def name_of(path): return path.relative_to(root).as_posix()


def scripts():
    "Python that is not exported: tests, the site, the tools."
    folders = [root/"tests", root/"site", root/"nbs"]
    found = [p for f in folders for p in sorted(f.rglob("*.py"))] + sorted(root.glob("*.py"))
    made = ("_build", "_vendor")
    return [p for p in found if not any(part in made for part in p.parts)]


def cells(notebook): return json.loads(notebook.read_text(encoding="utf-8"))["cells"]
def source_of(cell): return "".join(cell["source"])


def code_cells(notebook):
    "The code cells of a notebook, numbered as they stand there."
    numbered = enumerate(cells(notebook))
    return [(i, source_of(c)) for i, c in numbered if c["cell_type"] == "code"]


def python_texts():
    "Everything that must keep the rules of the line: (where, source)."
    for path in modules() + scripts(): yield name_of(path), path.read_text(encoding="utf-8")
    for path in notebooks():
        for i, source in code_cells(path):
            lines = ["" if re.match(r"\s*[%!]", line) else line for line in source.split("\n")]
            yield f"{name_of(path)} cell {i}", "\n".join(lines)


def wide(source):
    "Lines over the width; the opening of a module is a paragraph of the book, however long."
    lines = source.split("\n")
    if source.startswith(('"""', 'r"""')):
        end = next(i for i, l in enumerate(lines)
                   if l.rstrip().endswith('"""') and (i or l.count('"""') == 2))
        lines = lines[end+1:]
    return [line for line in lines if len(line) > WIDTH]


def crowded(source):
    "Lines that hold several statements, divided by semicolons."
    found = []
    for node in ast.walk(ast.parse(source)):
        for field in ("body", "orelse", "finalbody"):
            block = getattr(node, field, None)
            if not isinstance(block, list): continue
            found += [b.lineno for a, b in zip(block, block[1:]) if a.end_lineno == b.lineno]
    lines = source.split("\n")
    return [lines[n-1].strip() for n in sorted(set(found))]


DOCUMENTED_ARGUMENT = re.compile(r" +\*{0,2}\w+\s*(:[^#]*|=[^#]*)?,\s*(#.*)?$")


def counted(source):
    "The lines of a cell that a reader must take in: not documented arguments, nor directives."
    lines = [l for l in source.split("\n") if l.strip() and not l.startswith("#|")]
    return [l for l in lines if not (DOCUMENTED_ARGUMENT.match(l) and "#" in l)]


def too_wide(): return [(where, line) for where, source in python_texts() for line in wide(source)]
def too_crowded():
    "Where, and which line."
    return [(where, line) for where, source in python_texts() for line in crowded(source)]


def too_tall():
    "Cells over the height."
    pages = [(p, i, s) for p in notebooks() for i, s in code_cells(p)]
    heights = [(f"{name_of(p)} cell {i}", len(counted(s))) for p, i, s in pages]
    return [(where, n) for where, n in heights if n > CELL]


def too_long():
    "Modules over the length."
    lengths = [(name_of(p), len(p.read_text(encoding="utf-8").splitlines())) for p in modules()]
    return [(where, n) for where, n in lengths if n > MODULE]


def imports(path):
    "The modules of this package that a module names in its imports, also inside functions."
    package, found = ["ddpm_edu", *path.relative_to(root/"ddpm_edu").parts[:-1]], []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import): found += [a.name for a in node.names]
        if isinstance(node, ast.ImportFrom):
            base = package[:len(package) - node.level + 1] if node.level else []
            start = ".".join([*base, *([node.module] if node.module else [])])
            inside = (root/start.replace(".", "/")).is_dir()
            found += [f"{start}.{a.name}" for a in node.names] if inside else [start]
    inner = [name.split(".", 1)[1] for name in found if name.startswith("ddpm_edu.")]
    return [name for name in inner if (root/"ddpm_edu"/f"{name.replace('.', '/')}.py").is_file()
            or name == "course"]


def through_the_floor():
    "Imports from a floor that is not below."
    found = []
    for path in modules():
        me = path.relative_to(root/"ddpm_edu").with_suffix("").as_posix()
        if path.name == "__init__.py": continue
        for other in imports(path):
            if me.startswith("course/"): fine = other.startswith(("course", "checks"))
            elif other.startswith("course"): fine = me == "cli"
            else: fine = FLOORS.get(other, 99) < FLOORS.get(me, -1)
            if not fine: found.append((me, other))
    return found


RULES = (too_wide, too_crowded, too_tall, too_long, through_the_floor)

if __name__ == "__main__":
    for rule in RULES:
        breaches = rule()
        print(f"== {rule.__name__}: {len(breaches)}")
        counts = {}
        for where, what in breaches: counts.setdefault(where.split(" ")[0], []).append(what)
        for where, what in sorted(counts.items(), key=lambda kv: -len(kv[1])):
            print(f"  {len(what):4}  {where}  {str(what[0])[:70]}")
    if "--assert" in sys.argv and any(rule() for rule in RULES): sys.exit(1)
