"Build settings: every fact comes from settings.ini."
import runpy
import shutil
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

here = Path(__file__).parent
parser = ConfigParser(interpolation=None, delimiters=["="])
parser.read(here/"settings.ini", encoding="utf-8")
cfg = parser["DEFAULT"]
lib, nbs = cfg["lib_path"], here/cfg["nbs_path"]
extras = {name.removesuffix("_requirements"): cfg[name].split() for name in cfg if name.endswith("_requirements")}


class build_with_book(build_py):
    "The library and, inside it as `book/`, the notebooks that it is made from: `ddpm-edu notebooks DIR` copies them out."
    def run(self):
        super().run()
        if self.editable_mode: return                      # then the notebooks are in the checkout
        for page in sorted([*nbs.rglob("*.ipynb"), *nbs.rglob("*.png")]):
            parts = page.relative_to(nbs).parts
            if parts[0] == "assignments" or any(part.startswith((".", "_")) for part in parts): continue
            target = Path(self.build_lib)/lib/"book"/page.relative_to(nbs)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(page, target)
        student_version = runpy.run_path(str(here/lib/"assignments.py"))["student_version"]
        for source in sorted((nbs/"assignments"/"source").glob("*/[0-9]_*.ipynb")):      # never the solutions
            target = Path(self.build_lib)/lib/"book"/"assignments"/source.parent.name/source.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(student_version(source.read_text(encoding="utf-8")), encoding="utf-8")
        shutil.copyfile(nbs/"assignments"/"hints.json", Path(self.build_lib)/lib/"book"/"assignments"/"hints.json")


setup(
    name=cfg["name"],
    version=cfg["version"],
    description=cfg["description"],
    long_description=(here/"README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author=cfg["author"],
    license=cfg["license"],
    keywords=cfg["keywords"].split(),
    packages=find_packages(include=[lib, lib+".*"]),
    package_dir={"": "."},                 # an editable install then is a plain path, which editors and checkers follow
    include_package_data=False,
    package_data={lib: ["py.typed", "assets/*", "assets/**/*"]},
    python_requires=">="+cfg["min_python"],
    install_requires=cfg["requirements"].split(),
    extras_require=extras,
    entry_points={"console_scripts": cfg["console_scripts"].split(), "nbdev": [f"{lib}={lib}._modidx:d"]},
    cmdclass={"build_py": build_with_book},
    zip_safe=False,
)
