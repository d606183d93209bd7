"The release, rehearsed: build, check, upload to an index on this machine, install by name."
import os
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.request
from pathlib import Path

import pytest

root = Path(__file__).parent.parent
pytestmark = pytest.mark.slow


def run(*words, **options):
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{words}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    "Wheel and sdist, built from what git knows of the checkout."
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in filter(None, run("git", "ls-files", "-z", cwd=root).split("\0")):
        if not (root/name).is_file(): continue
        (source/name).parent.mkdir(parents=True, exist_ok=True)
        (source/name).write_bytes((root/name).read_bytes())
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, source)
    return out


@pytest.fixture()
def index(tmp_path):
    "The address of an empty package index on this machine."
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    (tmp_path/"packages").mkdir()
    command = [sys.executable, "-m", "pypiserver", "run", "-i", "127.0.0.1", "-p", str(port),
               "-P", ".", "-a", ".",
               "--disable-fallback", str(tmp_path/"packages")]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(100):
            try: urllib.request.urlopen(url, timeout=1)
            except OSError: time.sleep(0.1)
            else: break
        yield url
    finally: server.terminate()


def test_metadata_passes_the_index_checks(dist):
    files = sorted(dist.iterdir())
    assert "PASSED" in run(sys.executable, "-m", "twine", "check", "--strict", *files)


def test_upload_and_install_by_name(dist, index, tmp_path):
    "`pip install ddpm-edu` from an index, once as the wheel and once from the sdist."
    files = sorted(dist.iterdir())
    assert [f.suffix for f in files] == [".whl", ".gz"]
    run(sys.executable, "-m", "twine", "upload", "--non-interactive", "--repository-url", index,
        "-u", "a", "-p", "b", *files)
    for kind in ("wheel", "sdist"):
        env = tmp_path/kind
        run(sys.executable, "-m", "venv", "--without-pip", env)
        where, = (env/"lib").glob("python*/site-packages")
        (where/"others.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
        choice = "--only-binary=:all:" if kind == "wheel" else "--no-binary=ddpm-edu"
        run(sys.executable, "-m", "pip", "--python", env/"bin"/"python", "install", "-q",
            "--no-deps", "--force-reinstall",
            "--no-build-isolation", "--no-cache-dir", choice, "--index-url", f"{index}/simple/",
            "ddpm-edu")
        path = {**os.environ, "PYTHONPATH": ""}
        assert (where/"ddpm_edu"/"py.typed").is_file()
        version = run(env/"bin"/"ddpm-edu", "--version", cwd=tmp_path, env=path).strip()
        assert f"version = {version}" in (root/"settings.ini").read_text()
        picture = tmp_path/f"{kind}.png"
        run(env/"bin"/"ddpm-edu", "sample", "--n", "1", "--steps", "2", "--out", picture.name,
            cwd=tmp_path, env=path)
        assert picture.stat().st_size > 0
