"Build settings: every fact comes from settings.ini."
import runpy
import shutil
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

here = Path(__file__).parent
parser = ConfigParser(interpolation=None, delimiters=["="])
parser.read(here/"settings.ini", encoding="utf-8")
cfg = parser["DEFAULT"]
lib, nbs = cfg["lib_path"], here/cfg["nbs_path"]
suffix = "_requirements"
extras = {name.removesuffix(suffix): cfg[name].split() for name in cfg if name.endswith(suffix)}
school = Path("course")/"assignments"                      # inside the book


def students_versions():
    "(where in the book, text) of each assignment: without solutions."
    release = runpy.run_path(str(here/lib/"course"/"release.py"))
    for path in release["assignment_files"]().values():
        text = release["student_version"](path.read_text(encoding="utf-8"))
        yield school/path.parent.name/path.name, text


def write_assignments(book):
    "What students get of the assignments, into a folder."
    for place, text in students_versions():
        (book/place).parent.mkdir(parents=True, exist_ok=True)
        (book/place).write_text(text, encoding="utf-8")


class build_with_book(build_py):
    "The library and, inside it as `book/`, its notebooks: `ddpm-edu notebooks DIR` copies them."
    def run(self):
        super().run()
        if self.editable_mode: return                      # then the notebooks are in the checkout
        book = Path(self.build_lib)/lib/"book"
        results = nbs.glob("experiments/*.json")           # which the notebooks read
        for page in sorted([*nbs.rglob("*.ipynb"), *nbs.rglob("*.png"), *results]):
            place = page.relative_to(nbs)
            hidden = any(part.startswith((".", "_")) for part in place.parts)
            if hidden or place.parts[0] == "course": continue      # a lecturer has a checkout
            (book/place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(page, book/place)
        write_assignments(book)


class sdist_for_students(sdist):
    "The source archive holds the assignments as a wheel does: MANIFEST.in leaves the sources out."
    def make_release_tree(self, base_dir, files):
        super().make_release_tree(base_dir, files)
        write_assignments(Path(base_dir)/cfg["nbs_path"])


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
    package_dir={"": "."},                 # an editable install is then a path that editors follow
    include_package_data=False,
    package_data={lib: ["py.typed", "assets/*", "assets/**/*", "course/checks.json"]},
    python_requires=">="+cfg["min_python"],
    install_requires=cfg["requirements"].split(),
    extras_require=extras,
    entry_points={"console_scripts": cfg["console_scripts"].split(),
                  "nbdev": [f"{lib}={lib}._modidx:d"]},
    cmdclass={"build_py": build_with_book, "sdist": sdist_for_students},
    zip_safe=False,
)
