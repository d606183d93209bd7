"What is shipped: the library, the book, the model and the slice of data; nothing for lecturers."
import functools
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest
from course_files import ROOM, course, notebook, questions, sources

from ddpm_edu.course.release import SOLUTION, student_version

root = Path(__file__).parent.parent
parser = ConfigParser(interpolation=None, delimiters=["="])
parser.read(root/"settings.ini", encoding="utf-8")
version = parser["DEFAULT"]["version"]
NOT_SOURCE = (".git", "__pycache__", "*.egg-info", "build", "dist", ".hypothesis", ".pytest_cache")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    "A copy of the checkout, built without network; the source archive first, the wheel from it."
    out, copy = tmp_path_factory.mktemp("dist"), tmp_path_factory.mktemp("copy")/"ddpm-edu"
    shutil.copytree(root, copy, ignore=shutil.ignore_patterns(*NOT_SOURCE))
    # what a lecturer's work leaves in the checkout
    for left in ("submitted/eve/1_forward_process/1_forward_process.ipynb", "gradebook.db"):
        path = copy/course.relative_to(root)/left
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("eve's answers")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(copy)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return out


@pytest.fixture(scope="module")
def archive(built):
    "The files of the source archive, {path: bytes}."
    path, = built.glob("*.tar.gz")
    with tarfile.open(path) as t:
        files = [m for m in t.getmembers() if m.isfile()]
        return {m.name.split("/", 1)[1]: t.extractfile(m).read() for m in files}


@pytest.fixture(scope="module")
def wheel(built):
    "The files of the wheel, {path: bytes}."
    path, = built.glob("*.whl")
    assert path.stat().st_size < 12_000_000
    with zipfile.ZipFile(path) as z: return {n: z.read(n) for n in z.namelist()}


def pages():
    "The book's notebooks, and the assignments at the place that students find them."
    hidden = {".ipynb_checkpoints", "source"}
    found = [p for p in (root/"nbs").rglob("*.ipynb") if not hidden & set(p.parts)]
    found = {p.relative_to(root/"nbs").as_posix() for p in found}
    return found | {f"course/assignments/{p.parent.name}/{p.name}" for p in sources.values()}


@pytest.mark.slow
def test_wheel(wheel):
    metadata = wheel[f"ddpm_edu-{version}.dist-info/METADATA"].decode()
    init = wheel["ddpm_edu/__init__.py"].decode()
    assert f"Version: {version}\n" in metadata and f'__version__ = "{version}"' in init
    book = {n.removeprefix("ddpm_edu/book/") for n in wheel if n.startswith("ddpm_edu/book/")}
    lecturers = {p for p in pages() if p.startswith("course/") and "/assignments/" not in p}
    assert {n for n in book if n.endswith(".ipynb")} == pages() - lecturers and lecturers
    assert not [n for n in book if n.startswith("course/") and n.endswith(".png")]
    for needed in ("assets/fashion-mnist/model_index.json", "assets/fashion-mnist/README.md",
                   "assets/fashion-mnist/unet/diffusion_pytorch_model.safetensors",
                   "assets/fashion-mnist-slice/LICENSE", "book/images/samples.png",
                   "course/checks.json", "course/grader.py", "cli.py"):
        assert f"ddpm_edu/{needed}" in wheel, needed
    ours = ("ddpm_edu/", f"ddpm_edu-{version}.dist-info/")
    assert not [n for n in wheel if not n.startswith(ours)]
    assert "License" in metadata and "Requires-Dist: torch" in metadata and "# ddpm-edu" in metadata


@pytest.mark.slow
def test_source_archive(archive):
    assert {"settings.ini", "README.md", "LICENSE", "CHANGELOG.md", "setup.py", "pyproject.toml",
            "nbs/01_forward_process.ipynb", "ddpm_edu/course/checks.json",
            "ddpm_edu/assets/fashion-mnist/unet/config.json"} <= set(archive)
    found = {n.removeprefix("nbs/") for n in archive if re.match(r"nbs/.*\.ipynb$", n)}
    assert found == pages()


def plain(text): return "\n".join(line.strip() for line in text.splitlines() if line.strip())


def secrets():
    "What a student must not see: solutions, right and wrong answers, arguments that are drawn."
    found = set()
    for q in questions():
        found |= {plain(code) for code in [*q.right, *(code for _, code in q.mistakes)]}
        found.add(plain(inspect.getsource(q.module.draw)))
    for n in sources:
        for cell in notebook(n)[1].values():
            solutions = [m[0] for m in SOLUTION.finditer(cell["source"])]
            found |= {plain(re.sub(r".*###.*", "", text)) for text in solutions}
    # a short line may stand anywhere; and a bug to find is told with the lines around it
    return {secret for secret in found if len(secret) > 60 and secret not in told()}


@functools.cache
def told():
    "All that students' versions and their checks tell."
    shown = [student_version(p.read_text()) for p in sources.values()]
    cells = ["".join(c["source"]) for text in shown for c in json.loads(text)["cells"]]
    checks = root/"ddpm_edu"/"course"/"checks.json"
    return "\n".join(map(plain, [*cells, checks.read_text()]))


def texts(name, content):
    "What can be read in a file: the cells of a notebook, or its lines."
    if not name.endswith((".ipynb", ".py", ".json", ".md", ".txt", ".toml", ".ini")): return []
    text = content.decode()
    if not name.endswith(".ipynb"): return [text]
    return ["".join(c["source"]) for c in json.loads(text)["cells"]]


def leaks(files):
    "(file, secret) for each secret that can be read somewhere; markers of solutions too."
    hidden, found = secrets(), []
    for name, content in files.items():
        for text in map(plain, texts(name, content)):
            found += [(name, secret) for secret in hidden if secret in text]
            if "/assignments/" in name and "### BEGIN" in text: found.append((name, "### BEGIN"))
    return found


def test_leaks_are_noticed():
    "Negative control: the source of an assignment is full of secrets."
    path = sources[1]
    found = leaks({f"nbs/course/assignments/{path.name}": path.read_bytes()})
    assert found and len(secrets()) > 200
    file = ROOM/"questions"/"1"/"q_sample.py"
    assert len(leaks({"q_sample.py": file.read_bytes()})) >= 3


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["archive", "wheel"])
def test_students_find_no_solution(kind, request):
    files = request.getfixturevalue(kind)
    assert not (found := leaks(files)), found[:5]
    private = ("course/questions/", "course/build.py", "source/", "submitted",
               "gradebook", "test_assignments", "test_course")
    assert not [n for n in files if any(word in n for word in private)]
    assert b"eve's answers" not in files.values()


@pytest.mark.slow
def test_the_wheel_hands_out_an_assignment(wheel, tmp_path):
    "From the wheel that was built from the source archive, far from any checkout."
    for name, content in wheel.items():
        (tmp_path/"site"/name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path/"site"/name).write_bytes(content)
    def run(*words):
        command = [sys.executable, "-c", "from ddpm_edu.cli import main; main()", *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True,
                              env={**os.environ, "PYTHONPATH": str(tmp_path/"site")})
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout
    assert len(run("assignment").splitlines()) == 6
    for number, path in sources.items():
        run("assignment", str(number), "work")
        assert (tmp_path/"work"/path.name).read_text() == student_version(path.read_text())
    run("notebooks", "book")
    copied = {p.relative_to(tmp_path/"book").as_posix() for p in (tmp_path/"book").rglob("*.ipynb")}
    assert copied == {page for page in pages() if not page.startswith("course/")}
    case = "from ddpm_edu.course.grader import checks; print('make_abar' in checks())"
    done = subprocess.run([sys.executable, "-c", case], cwd=tmp_path, text=True,
                          env={**os.environ, "PYTHONPATH": str(tmp_path/"site")},
                          capture_output=True)
    assert done.stdout.strip() == "True", done.stderr
