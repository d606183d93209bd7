"""What editors and type checkers know of the package after `pip install .` and `pip install -e .`

Both go into environments of their own, so that nothing is found by way of the working directory."""
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

root = Path(__file__).parent.parent
pytestmark = pytest.mark.slow
WRONG = """
from ddpm_edu import DDPMPipeline, DDPMScheduler
DDPMPipeline.from_pretraind("fashion-mnist")
DDPMScheduler(beta_shedule="linear")
"""


@pytest.fixture(scope="module", params=["installed", "editable"])
def python(request, tmp_path_factory):
    "The interpreter of an environment with the package, and all else from that of the tests."
    folder = tmp_path_factory.mktemp(request.param)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder/"env")], check=True)
    python = folder/"env"/"bin"/"python"
    where, = (folder/"env"/"lib").glob("python*/site-packages")
    (where/"others.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    source = root
    if request.param == "installed":           # a copy: building must not write into the checkout
        names = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True,
                               check=True).stdout
        source = folder/"source"
        for name in filter(None, names.split("\0")):
            if not (root/name).is_file(): continue
            (source/name).parent.mkdir(parents=True, exist_ok=True)
            (source/name).write_bytes((root/name).read_bytes())
    options = ["-e"] if request.param == "editable" else []
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps",
               "--no-build-isolation", "--force-reinstall", *options, str(source)]
    subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder)
    return python


def check(tool, python, script, folder):
    "What a type checker says about a script: exit status and text."
    copy = folder/"script.py"
    copy.write_text(script)
    options = {"pyright": ["--pythonpath", str(python)],
               "mypy": ["--python-executable", str(python)]}[tool]
    env = {**os.environ, "PYTHONPATH": "", "MYPY_CACHE_DIR": str(folder/"cache")}
    done = subprocess.run([sys.executable, "-m", tool, *options, str(copy)], cwd=folder, env=env,
                          capture_output=True, text=True)
    if tool == "pyright" and "npm" in done.stderr and "error" in done.stderr.lower():
        pytest.skip(f"pyright could not be fetched: {done.stderr[-200:]}")
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("tool", ["pyright", "mypy"])
def test_no_errors_in_what_a_user_types(tool, python, tmp_path):
    status, said = check(tool, python, (root/"tests"/"user_script.py").read_text(), tmp_path)
    assert status == 0, said


@pytest.mark.parametrize("tool", ["pyright", "mypy"])
def test_mistakes_are_seen(tool, python, tmp_path):
    "Negative control: a checker that knows nothing of the package would find no mistake."
    status, said = check(tool, python, WRONG, tmp_path)
    assert status and "from_pretraind" in said and "beta_shedule" in said, said


def test_completion(python):
    "The names that an editor offers, and the arguments' documentation beside them."
    import jedi
    environment = jedi.create_environment(str(python), safe=False)
    project = jedi.Project(str(python.parent), load_unsafe_extensions=False)
    def script(code): return jedi.Script(code, environment=environment, project=project)
    start = "from ddpm_edu import DDPMPipeline, DDPMScheduler, UNet\n"
    offered = {name: {c.name for c in script(f"{start}{name}.").complete(2, len(name) + 1)}
               for name in ("DDPMPipeline", "DDPMScheduler", "UNet")}
    wanted = {"from_pretrained", "save_pretrained", "from_config"}
    for name, names in offered.items(): assert wanted <= names, name
    assert {"step", "add_noise", "set_timesteps"} <= offered["DDPMScheduler"]
    line = "DDPMPipeline.from_pretrained('fashion-mnist').__call__("
    call, *_ = script(f"{start}{line}").get_signatures(2, len(line))
    names = {"batch_size", "generator", "num_inference_steps", "output_type"}
    assert names <= {p.name for p in call.params}
    assert "reverse steps" in call.docstring()
    line = "DDPMScheduler("
    made, = script(f"{start}{line}").get_signatures(2, len(line))
    assert {"beta_schedule", "prediction_type"} <= {p.name for p in made.params}
    assert "what the network predicts" in made.docstring()


def test_help_shows_the_arguments():
    import pydoc
    from ddpm_edu import DDPMPipeline, DDPMScheduler, UNet
    wanted = {DDPMPipeline.__call__: "batch_size: number of images",
              DDPMScheduler.step: "model_output: (B, C, H, W)",
              UNet.forward: "sample: noisy images",
              DDPMPipeline.from_pretrained: "variant: which copy"}
    for thing, words in wanted.items():
        assert words in pydoc.plain(pydoc.render_doc(thing)), thing
