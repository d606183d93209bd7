"The house rules: one version, the export in step with the notebooks, floors, a light import."
import ast
import json
import re
import shutil
import subprocess
import sys
from configparser import ConfigParser
from importlib import metadata
from pathlib import Path

import pytest

import ddpm_edu
import house_rules
from make_readme import readme

root = Path(__file__).parent.parent
parser = ConfigParser(interpolation=None, delimiters=["="])
parser.read(root/"settings.ini", encoding="utf-8")
settings = parser["DEFAULT"]
notebooks = house_rules.notebooks()
modules = [*house_rules.modules(), root/"ddpm_edu"/"_modidx.py"]
name_of = lambda p: str(p.relative_to(root))

def test_one_version():
    assert ddpm_edu.__version__ == settings["version"] == metadata.version("ddpm-edu")


def test_changelog_names_the_version():
    log = (root/"CHANGELOG.md").read_text()
    assert re.search(rf"^## {re.escape(settings['version'])}\b", log, re.M)
    assert "## [Unreleased]" in log


def test_metadata_comes_from_settings():
    about = metadata.metadata("ddpm-edu")
    assert about["Requires-Python"] == ">=" + settings["min_python"]
    assert about["Summary"] == settings["description"]
    needed = {r.split(";")[0].strip() for r in metadata.requires("ddpm-edu") if "extra ==" not in r}
    bare = lambda names: {re.split(r"[<>=]", n)[0].lower().replace("_", "-") for n in names}
    assert bare(needed) == bare(settings["requirements"].split())
    extras = {n.removesuffix("_requirements") for n in settings if n.endswith("_requirements")}
    assert {"datasets", "notebooks", "site", "dev"} <= extras
    assert set(about.get_all("Provides-Extra")) == extras


def copy_of_the_book(folder):
    for name in ("nbs", "ddpm_edu"):
        ignore = shutil.ignore_patterns("__pycache__", "assets", ".ipynb_checkpoints")
        shutil.copytree(root/name, folder/name, ignore=ignore)
    for name in ("pyproject.toml", "settings.ini"): shutil.copy(root/name, folder)
    (folder/"ddpm_edu"/"assets").mkdir()


def nbdev(command, folder):
    tool = Path(sys.executable).parent/command
    subprocess.run([str(tool)], cwd=folder, check=True, capture_output=True, text=True)


def test_export_is_in_step(tmp_path):
    copy_of_the_book(tmp_path)
    for old in (tmp_path/"ddpm_edu").rglob("*.py"): old.unlink()   # what nothing exports is missed
    (tmp_path/"ddpm_edu"/"__init__.py").touch()
    nbdev("nbdev-export", tmp_path)
    exported = {p.relative_to(tmp_path): p.read_text() for p in (tmp_path/"ddpm_edu").rglob("*.py")}
    assert exported == {p.relative_to(root): p.read_text() for p in modules}, "run nbdev-export"


def test_notebooks_are_clean(tmp_path):
    copy_of_the_book(tmp_path)
    nbdev("nbdev-clean", tmp_path)
    same = lambda p: (tmp_path/p.relative_to(root)).read_text() == p.read_text()
    dirty = [name_of(p) for p in notebooks if not same(p)]
    assert not dirty, f"run nbdev-clean: {dirty}"


@pytest.mark.parametrize("notebook", notebooks, ids=name_of)
def test_notebook_is_fit_to_read(notebook):
    nb = json.loads(notebook.read_text())
    assert notebook.stat().st_size < 1_000_000
    code = [c for c in nb["cells"] if c["cell_type"] == "code"]
    assert not any(c["execution_count"] for c in code)
    assert not any(o["output_type"] == "error" for c in code for o in c["outputs"])
    kinds = {kind for c in code for o in c["outputs"] for kind in o.get("data", {})}
    shown = any("widget-view" in kind for kind in kinds)
    assert shown or "widgets" not in nb["metadata"], "state of a progress bar that has gone"
    if "assignments" in notebook.parts: return
    title = "".join(nb["cells"][0]["source"])
    assert title.startswith("# ") and "\n> " in title, "its title, and what the reader gains"
    if len(code) > 3: assert any(c["outputs"] for c in code), "committed without having been run"


@pytest.mark.parametrize("path", notebooks + modules + [root/"README.md"], ids=name_of)
def test_nothing_of_this_machine(path):
    text = path.read_text()
    home = str(Path.home())
    places = [place + "/" for place in (str(root), home) if len(place) > 1]
    leaks = [line[:160] for line in text.splitlines() if any(place in line for place in places)]
    assert not leaks, leaks


def test_readme_is_the_index():
    assert (root/"README.md").read_text() == readme(), "run python tests/make_readme.py"


def test_readme_has_the_two_commands():
    lines = (root/"README.md").read_text().splitlines()
    assert "pip install . && ddpm-edu sample" in lines
    assert 'pip install -e ".[dev]" && pytest' in lines


def test_readme_names_every_page():
    "Each chapter and each appendix has a link on the front page, and no chapter takes too long."
    text = (root/"README.md").read_text()
    pages = [p for p in notebooks if re.match(r"nbs/(\d\d|appendix/)", name_of(p))]
    assert len(pages) > 40
    missing = [name_of(p) for p in pages if f"]({name_of(p)})" not in text]
    assert not missing, missing
    assert "No chapter takes more than three minutes" in text
    for path in pages:
        first = "".join(json.loads(path.read_text())["cells"][0]["source"])
        (n, unit), = re.findall(r"(\d+) (second|minute)s? to\s+run", first)
        assert int(n)*dict(second=1, minute=60)[unit] <= 180, name_of(path)


def test_links_lead_somewhere():
    "Relative links of the README and of every notebook point at files that exist."
    def check(text, folder, where):
        for target in re.findall(r"\]\((?![a-z]+:|#)([^)\s#]+)", text):
            assert (folder/target).exists(), f"{where}: {target}"
    check((root/"README.md").read_text(), root, "README.md")
    for path in notebooks:
        for cell in json.loads(path.read_text())["cells"]:
            if cell["cell_type"] != "markdown": continue
            prose = re.sub(r"\$[^$]*\$|`[^`]*`", "", "".join(cell["source"]))
            check(prose, path.parent, name_of(path))


@pytest.mark.parametrize("rule", house_rules.RULES, ids=lambda rule: rule.__name__)
def test_house_rules(rule):
    "Width, one statement a line, height of cells, length of modules, floors: see house_rules.py."
    breaches = rule()
    assert not breaches, f"{len(breaches)} of {rule.__name__}, such as {breaches[:5]}"


def test_breaches_are_noticed():
    "Negative control: each rule of the line, on a line that breaks it, and on one that does not."
    assert house_rules.wide("x = 1  #" + "-"*100) and not house_rules.wide("x = 1")
    assert house_rules.crowded("if x:\n    a = 1; b = 2") == ["a = 1; b = 2"]
    assert not house_rules.crowded("if x: a = 1\nfor i in y: print(';')")
    assert len(house_rules.counted("def f(\n    x:int,   # how many\n):\n    return x")) == 3


def test_ruff():
    command = [sys.executable, "-m", "ruff", "check", "."]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]


def loaded_by(code):
    script = f"import sys; {code}; print(*sorted(sys.modules))"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_import_is_light():
    "What is only sometimes needed is imported where it is used; the cause is asserted here."
    new = loaded_by("import ddpm_edu") - loaded_by("import torch")
    tops = {m.split(".")[0] for m in new}
    heavy = {"matplotlib", "ipywidgets", "accelerate", "huggingface_hub", "safetensors", "PIL",
             "tqdm", "IPython", "pandas", "scipy", "sklearn", "diffusers"}
    assert not tops & heavy, tops & heavy
    assert len(new) < 60, sorted(new)
    # negative control: the listing sees what is loaded
    assert {"matplotlib"} <= loaded_by("import torch, matplotlib")


def test_public_names():
    from ddpm_edu import DDPMPipeline, DDPMScheduler, UNet
    assert {"DDPMPipeline", "DDPMScheduler", "UNet"} <= set(ddpm_edu.__all__)
    homes = [c.__module__ for c in (DDPMPipeline, DDPMScheduler, UNet)]
    assert homes == ["ddpm_edu.pipeline", "ddpm_edu.scheduler", "ddpm_edu.unet"]


def test_syntax_of_the_oldest_python():
    version = tuple(map(int, settings["min_python"].split(".")))
    for path in modules: ast.parse(path.read_text(), feature_version=version)


def test_methods_are_in_their_classes():
    "What a chapter adds with `@patch` is an ordinary method of the module, arguments documented."
    patched = [p.name for p in modules if re.search(r"^@patch\b", p.read_text(), re.M)]
    assert not patched
    tree = ast.parse((root/"ddpm_edu"/"pipeline.py").read_text())
    classes = {n.name: n for n in tree.body if isinstance(n, ast.ClassDef)}
    pipeline = classes["DDPMPipeline"]
    methods = {m.name: m for m in pipeline.body if isinstance(m, ast.FunctionDef)}
    names = {"__call__", "from_pretrained", "download", "from_config", "from_pipe"}
    assert names <= set(methods)
    for name in ("__call__", "from_pretrained", "download"):
        text = ast.get_docstring(methods[name])
        for arg in methods[name].args.args[1:]: assert f"    {arg.arg}: " in text, (name, arg.arg)


def test_folding():
    "A method lands in its class with its comments and its several-line strings unchanged."
    from nbdev_fold import fold
    class_cell = "class A:\n    \"An A.\"\n    x = 1"
    patch_cell = '''# about f
@patch
def f(self:A,
    n:int,     # how many
)->str:        # text
    "Say it."
    return """a
b"""

def other(): return 2

@patch(cls_method=True)
def make(cls:A): return cls()'''
    import_cell = "from fastcore.basics import patch\nimport math"
    a, b, c = fold([import_cell, class_cell, patch_cell])
    assert a == "import math" and c == "def other(): return 2"
    space = {}
    exec(b, space)
    made = space["A"].make()
    assert made.f(1) == "a\nb" and space["A"].f.__doc__ == "Say it."
    assert "# about f" in b and "n:int,     # how many" in b
    # the class of another module is not ours to fill
    assert fold(["x = 1", "@patch\ndef f(self:Elsewhere): pass"])[1].startswith("@patch")
