"The pages of the library: what users look up, with signatures, and what each argument is."
import importlib
import inspect
import json
import re
import textwrap

CALLED = ("__call__", "__getitem__", "__len__")           # without a name, but looked up
WIDTH = 100


def is_helper(name): return name.startswith(("_", "check_"))


def public(module):
    "The classes and functions of a module that a user may look up, in their order."
    here = [n for n in getattr(module, "__all__", [])
            if getattr(getattr(module, n), "__module__", None) == module.__name__]
    return [n for n in here if not is_helper(n) and explains(getattr(module, n))]


def members(cls):
    "Methods, class methods and properties, of a class and what it inherits from this package."
    found = {}
    for parent in cls.__mro__:
        if not parent.__module__.startswith("ddpm_edu"): continue
        for name, value in vars(parent).items():
            if name in CALLED or (not is_helper(name) and not isinstance(value, type)
                                  and explains(value)):
                found.setdefault(name, value)
    return found


def explains(value):
    "A class, a property, or a function that says what it does and what its arguments are."
    if isinstance(value, type): return True
    inner = getattr(value, "__func__", getattr(value, "fget", value))
    if not inspect.isroutine(inner) or not inner.__doc__: return False
    parameters = inspect.signature(inner).parameters.values()
    stars = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    given = {p.name for p in parameters if p.kind not in stars} - {"self", "cls"}
    return not given or bool(given & set(comments_of(inspect.unwrap(inner))))


def type_name(annotation):
    "An annotation as one would write it."
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    text = re.sub(r"\b(?:[a-z_]\w*\.)+(?=[A-Za-z])", "", text).replace(" | ", "|")
    return text.replace("NoneType", "None").strip("'")


def argument(parameter):
    "An argument as it stands in a signature."
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    text, empty = stars + parameter.name, parameter.empty
    if parameter.annotation is not empty: text += f":{type_name(parameter.annotation)}"
    if parameter.default is not empty:
        text += "=" + re.sub(r" at 0x\w+|\btorch\.(?=Size)", "", repr(parameter.default))
    return text + ","


def lines_of(rows):
    "Code with its comments below one another; one that does not fit stands above its line."
    wide = max((len(code) for code, comment in rows if comment and len(code) <= 48), default=0)
    lines = []
    for code, comment in rows:
        line = f"{code:{wide}} # {comment}" if comment else code
        if len(line) > WIDTH and comment:
            pad = code[:len(code) - len(code.lstrip())]
            lines += [f"{pad}# {part}" for part in textwrap.wrap(comment, WIDTH-2-len(pad))]
            line = code
        lines.append(line)
    return "\n".join(lines)


def comments_of(function):
    "What the source says of each argument, and of the result."
    from fastcore.docments import docments
    try: said = docments(function, returns=True, full=False)
    except (TypeError, OSError, SyntaxError, IndexError): return {}
    return {name: " ".join(text.split()) for name, text in said.items() if text}


def signature(name, value):
    "How it is called, with its comments."
    if isinstance(value, property): return f"{name}  # property{returned(value.fget)}"
    is_class = isinstance(value, type)
    kind = "class" if is_class else "def"
    plain = getattr(value, "__func__", value)
    try: called = inspect.signature(value if is_class else plain)
    except (TypeError, ValueError): return f"{kind} {name}(...)"
    said = comments_of(value.__init__ if is_class else inspect.unwrap(plain))
    given = [p for p in called.parameters.values() if p.name not in ("self", "cls")]
    end = f")->{type_name(called.return_annotation)}:" if (
        called.return_annotation not in (called.empty, None) and not is_class) else "):"
    if not given: return lines_of([(f"{kind} {name}({end}", said.get("return", ""))])
    rows = [(f"    {argument(p)}", said.get(p.name, "")) for p in given]
    return lines_of([(f"{kind} {name}(", ""), *rows, (end, said.get("return", ""))])


def returned(function):
    "The type of a property, if its source says so."
    annotation = inspect.signature(function).return_annotation
    return "" if annotation is inspect.Signature.empty else f", {type_name(annotation)}"


def entry(name, value):
    "Heading, signature and docstring; the arguments stand in the signature."
    text = inspect.cleandoc(getattr(value, "__doc__", None) or "")
    text = re.split(r"^Args:|^Returns:", text, flags=re.M)[0].strip()
    heading = "###" if "." in name else "##"
    decorator = "@classmethod\n" if isinstance(value, classmethod) else ""
    code = decorator + signature(name.split(".")[-1], value)
    title = name.replace("__", r"\_\_")                        # or Markdown makes it bold
    return f"{heading} {title}\n\n```python\n{code}\n```\n\n{text}\n"


def page(module):
    "All of a module, as lines."
    lines = []
    for name in public(module):
        value = getattr(module, name)
        lines.append(entry(name, value))
        if not isinstance(value, type): continue
        for member, what in sorted(members(value).items()):
            lines.append(entry(f"{name}.{member}", what))
    constants = [n for n in module.__all__ if n.isupper() and not n.startswith("_")]
    if constants:
        lines += ["## Constants", "", *[f"- `{n} = {str(getattr(module, n))[:120]}`"
                                        for n in constants]]
    return lines


def source_of(short, nbs):
    "The notebook that a module is made from."
    for path in nbs.rglob("*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        if f"default_exp {short}\n" in "".join(cells[1]["source"]) + "\n": return path
    raise SystemExit(f"no notebook exports {short}")


def reference(src, nbs, title):
    "A page for each module that a user may look something up in; each leads to its chapter."
    from ddpm_edu._modidx import d
    folder, purposes = src/"api", {}
    folder.mkdir()
    for name in d["syms"]:
        module = importlib.import_module(name)
        short = name.removeprefix("ddpm_edu.")
        if name == "ddpm_edu" or short.endswith("__init__") or not public(module): continue
        about = " ".join((module.__doc__ or "").split())
        purposes[short] = re.split(r"\s(?=Paper:|Section|\d+ \w+ to read)", about)[0]
        chapter = source_of(short, nbs).relative_to(nbs)
        heading = title(chapter.with_suffix("").as_posix())
        top = [f"# ddpm_edu.{short}", "",
               f"Made from [{heading}](/{chapter.as_posix()}), where each piece is derived and "
               "checked.", ""]
        (folder/f"{short}.md").write_text("\n".join(top + page(module)))
    order = sorted(purposes)
    rows = [f"| [{m}]({m}.md) | {purposes[m]} |" for m in order]
    (folder/"index.md").write_text("\n".join([
        "# The library", "", "Signatures with what each argument is, from the code itself.", "",
        "| module | what it is for |", "|---|---|", *rows, "",
        ":::{toctree}", ":hidden:", "", *order, ":::", ""]))
