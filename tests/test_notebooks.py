"Every notebook is a test: nbdev's own runner goes through it, each in a process of its own."
import os
import subprocess
import sys
from pathlib import Path

import pytest

root = Path(__file__).parent.parent
apart = {".ipynb_checkpoints", "assignments"}
notebooks = [p for p in sorted((root/"nbs").rglob("*.ipynb")) if not apart & set(p.parts)]
runner = """
import sys
from nbdev.config import get_config
from nbdev.test import test_nb as run_notebook
cfg = get_config()
flags = cfg.tst_flags.split()
ok, seconds = run_notebook(sys.argv[1], skip_flags=flags, basepath=cfg.config_path,
                           cell_timeout=cfg.cell_timeout)
print(f"{seconds:.1f} s")
sys.exit(not ok)
"""


def run(notebook, cwd=root):
    "nbdev's runner in a fresh process: torch's state and threads are not shared between notebooks."
    env = {**os.environ, "MPLBACKEND": "Agg", "IN_TEST": "1"}
    return subprocess.run([sys.executable, "-c", runner, str(notebook)], cwd=cwd, env=env,
                          capture_output=True, text=True, timeout=600)


@pytest.mark.parametrize("notebook", notebooks,
                         ids=lambda p: str(p.relative_to(root/"nbs").with_suffix("")))
def test_notebook(notebook):
    done = run(notebook)
    said = f"{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
    assert done.returncode == 0, f"{notebook.name} failed:\n{said}"


def test_a_false_assertion_fails(tmp_path):
    "Negative control: the runner notices a notebook whose check is false."
    import nbformat
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("assert 1 == 2")])
    python = {"name": "python3", "display_name": "python3", "language": "python"}
    book.metadata["kernelspec"] = python
    nbformat.write(book, tmp_path/"wrong.ipynb")
    done = run(tmp_path/"wrong.ipynb")
    assert done.returncode != 0 and "AssertionError" in done.stdout + done.stderr
