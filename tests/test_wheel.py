"What is shipped: the wheel and the source archive hold the library, the book, the model and the slice of data, and little else."
import subprocess
import sys
import tarfile
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest

root = Path(__file__).parent.parent
parser = ConfigParser(interpolation=None, delimiters=["="])
parser.read(root/"settings.ini", encoding="utf-8")
version = parser["DEFAULT"]["version"]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    "A copy of what git tracks, built without network; the source archive first, and the wheel from it."
    import shutil
    out, copy = tmp_path_factory.mktemp("dist"), tmp_path_factory.mktemp("copy")/"ddpm-edu"
    shutil.copytree(root, copy, ignore=shutil.ignore_patterns(".git", "__pycache__", "*.egg-info", "build", "dist", ".hypothesis", ".pytest_cache"))
    done = subprocess.run([sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(copy)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return out


@pytest.mark.slow
def test_wheel(built):
    path, = built.glob("*.whl")
    assert path.stat().st_size < 12_000_000
    with zipfile.ZipFile(path) as z:
        names = set(z.namelist())
        assert not [n for n in names if "/assignments/" in n and b"### BEGIN" in z.read(n)]          # no solution, no hidden test
        metadata = z.read(f"ddpm_edu-{version}.dist-info/METADATA").decode()
        init = z.read("ddpm_edu/__init__.py").decode()
    assert f"Version: {version}\n" in metadata and f'__version__ = "{version}"' in init                 # one version
    pages = {p.relative_to(root/"nbs").as_posix() for p in (root/"nbs").rglob("*.ipynb") if not {".ipynb_checkpoints", "source"} & set(p.parts)}
    pages |= {"assignments/" + p.relative_to(root/"nbs"/"assignments"/"source").as_posix() for p in (root/"nbs"/"assignments"/"source").rglob("*.ipynb")}
    assert {n.removeprefix("ddpm_edu/book/") for n in names if n.startswith("ddpm_edu/book/") and n.endswith(".ipynb")} == pages
    for needed in ("assets/fashion-mnist/model_index.json", "assets/fashion-mnist/unet/diffusion_pytorch_model.safetensors", "assets/fashion-mnist/README.md",
                   "assets/fashion-mnist-slice/LICENSE", "book/images/samples.png", "book/assignments/hints.json", "cli.py"): assert f"ddpm_edu/{needed}" in names, needed
    assert not [n for n in names if not n.startswith(("ddpm_edu/", f"ddpm_edu-{version}.dist-info/"))]
    assert "License" in metadata and "Requires-Dist: torch" in metadata and "# ddpm-edu" in metadata


@pytest.mark.slow
def test_source_archive(built):
    path, = built.glob("*.tar.gz")
    with tarfile.open(path) as t: names = {n.split("/", 1)[1] for n in t.getnames() if "/" in n}
    assert {"settings.ini", "README.md", "LICENSE", "CHANGELOG.md", "setup.py", "pyproject.toml", "nbs/01_forward_process.ipynb", "ddpm_edu/assets/fashion-mnist/unet/config.json"} <= names
