"The house rules: one version, the export in step with the notebooks, floors, a light import, clean notebooks."
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
from make_readme import readme

root = Path(__file__).parent.parent
parser = ConfigParser(interpolation=None, delimiters=["="])
parser.read(root/"settings.ini", encoding="utf-8")
settings = parser["DEFAULT"]
notebooks = [p for p in sorted((root/"nbs").rglob("*.ipynb")) if ".ipynb_checkpoints" not in p.parts]
modules = sorted((root/"ddpm_edu").glob("*.py"))
name_of = lambda p: str(p.relative_to(root))

floors = {"checks": 0, "assignments": 0, "forward_process": 1, "config": 1, "store": 1, "data": 1, "plots": 1, "hub": 2, "weights": 2.5, "variational_bound": 2,
          "score_matching": 2, "scheduler": 3, "unet": 3, "pipeline": 4, "training": 5, "evaluation": 5, "progressive_coding": 5, "explore": 5, "cli": 6}


def test_one_version():
    assert ddpm_edu.__version__ == settings["version"] == metadata.version("ddpm-edu")


def test_changelog_names_the_version():
    assert re.search(rf"^## {re.escape(settings['version'])}\b", (root/"CHANGELOG.md").read_text(), re.M)


def test_metadata_comes_from_settings():
    about = metadata.metadata("ddpm-edu")
    assert about["Requires-Python"] == ">=" + settings["min_python"] and about["Summary"] == settings["description"]
    needed = {r.split(";")[0].strip() for r in metadata.requires("ddpm-edu") if "extra ==" not in r}
    bare = lambda names: {re.split(r"[<>=]", n)[0].lower().replace("_", "-") for n in names}
    assert bare(needed) == bare(settings["requirements"].split())
    assert set(about.get_all("Provides-Extra")) == {"notebooks", "site", "dev"}


def copy_of_the_book(folder):
    for name in ("nbs", "ddpm_edu"):
        shutil.copytree(root/name, folder/name, ignore=shutil.ignore_patterns("__pycache__", "assets", ".ipynb_checkpoints"))
    for name in ("pyproject.toml", "settings.ini"): shutil.copy(root/name, folder)
    (folder/"ddpm_edu"/"assets").mkdir()


def nbdev(command, folder):
    tool = Path(sys.executable).parent/command
    subprocess.run([str(tool)], cwd=folder, check=True, capture_output=True, text=True)


def test_export_is_in_step(tmp_path):
    copy_of_the_book(tmp_path)
    for old in (tmp_path/"ddpm_edu").glob("*.py"): old.unlink()                  # what no notebook exports would be missed
    (tmp_path/"ddpm_edu"/"__init__.py").touch()
    nbdev("nbdev-export", tmp_path)
    exported = {p.name: p.read_text() for p in (tmp_path/"ddpm_edu").glob("*.py")}
    assert exported == {p.name: p.read_text() for p in modules}, "run nbdev-export"


def test_notebooks_are_clean(tmp_path):
    copy_of_the_book(tmp_path)
    nbdev("nbdev-clean", tmp_path)
    dirty = [name_of(p) for p in notebooks if (tmp_path/p.relative_to(root)).read_text() != p.read_text()]
    assert not dirty, f"run nbdev-clean: {dirty}"


@pytest.mark.parametrize("notebook", notebooks, ids=name_of)
def test_notebook_is_fit_to_read(notebook):
    nb = json.loads(notebook.read_text())
    assert notebook.stat().st_size < 1_000_000
    code = [c for c in nb["cells"] if c["cell_type"] == "code"]
    assert not any(c["execution_count"] for c in code)
    assert not any(o["output_type"] == "error" for c in code for o in c["outputs"])
    if "assignments" in notebook.parts: return
    title = "".join(nb["cells"][0]["source"])
    assert title.startswith("# ") and "\n> " in title, "a chapter opens with its title and one line of what the reader gains"
    lines = lambda c: [l for l in "".join(c["source"]).split("\n") if not re.match(r" +\w+:[^#]*,\s+# ", l)]       # a documented argument is read in the help
    long = ["".join(c["source"])[:60] for c in code if len(lines(c)) > 34]
    assert not long, f"cells that need scrolling: {long}"
    if len(code) > 3: assert any(c["outputs"] for c in code), "committed without having been run"


@pytest.mark.parametrize("path", notebooks + modules + [root/"README.md"], ids=name_of)
def test_nothing_of_this_machine(path):
    text = path.read_text()
    home = str(Path.home())
    leaks = [line[:160] for line in text.splitlines() if str(root) + "/" in line or (len(home) > 1 and home + "/" in line)]
    assert not leaks, leaks


def test_readme_is_the_index():
    assert (root/"README.md").read_text() == readme(), "run python tests/make_readme.py"


def test_readme_has_the_two_commands():
    lines = (root/"README.md").read_text().splitlines()
    assert "pip install . && ddpm-edu sample" in lines and 'pip install -e ".[dev]" && pytest' in lines


def test_links_lead_somewhere():
    "Relative links of the README and of every notebook point at files that exist."
    def check(text, folder, where):
        for target in re.findall(r"\]\((?![a-z]+:|#)([^)\s#]+)", text):
            assert (folder/target).exists(), f"{where}: {target}"
    check((root/"README.md").read_text(), root, "README.md")
    for path in notebooks:
        for cell in json.loads(path.read_text())["cells"]:
            if cell["cell_type"] == "markdown":
                check(re.sub(r"\$[^$]*\$|`[^`]*`", "", "".join(cell["source"])), path.parent, name_of(path))


@pytest.mark.parametrize("path", [p for p in modules if p.stem not in ("__init__", "_modidx")], ids=lambda p: p.stem)
def test_floors(path):
    "A module imports only from the floors below its own, inside functions too."
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module.split(".")[0] == "ddpm_edu": names = [node.module]
        if isinstance(node, ast.ImportFrom) and node.level == 1: names = ["ddpm_edu." + (node.module or a.name) for a in node.names]
        if isinstance(node, ast.Import): names = [a.name for a in node.names if a.name.startswith("ddpm_edu.")]
        for name in names:
            if name == "ddpm_edu": continue
            other = name.split(".")[1]
            assert floors[other] < floors[path.stem], f"{path.stem} (floor {floors[path.stem]}) imports {other} (floor {floors[other]})"


def loaded_by(code):
    done = subprocess.run([sys.executable, "-c", f"import sys; {code}; print(*sorted(sys.modules))"], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_import_is_light():
    "What is only sometimes needed is imported where it is used; the measured ratio is in the benchmarks, the cause is asserted here."
    new = loaded_by("import ddpm_edu") - loaded_by("import torch")
    tops = {m.split(".")[0] for m in new}
    heavy = {"matplotlib", "ipywidgets", "accelerate", "huggingface_hub", "safetensors", "PIL", "tqdm", "IPython", "pandas", "scipy", "sklearn", "diffusers"}
    assert not tops & heavy, tops & heavy
    assert len(new) < 60, sorted(new)
    assert {"matplotlib"} <= loaded_by("import torch, matplotlib")               # negative control: the listing sees what is loaded


def test_public_names():
    from ddpm_edu import DDPMPipeline, DDPMScheduler, UNet
    assert {"DDPMPipeline", "DDPMScheduler", "UNet"} <= set(ddpm_edu.__all__)
    assert (DDPMPipeline.__module__, DDPMScheduler.__module__, UNet.__module__) == ("ddpm_edu.pipeline", "ddpm_edu.scheduler", "ddpm_edu.unet")


def test_syntax_of_the_oldest_python():
    version = tuple(map(int, settings["min_python"].split(".")))
    for path in modules: ast.parse(path.read_text(), feature_version=version)
