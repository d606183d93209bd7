"nbgrader's settings: run `nbgrader` in this folder. The guide is lecturers_guide.ipynb."
import os
import re
from pathlib import Path

from nbconvert.preprocessors import ClearMetadataPreprocessor
from nbformat.v4 import new_markdown_cell, new_output
from nbgrader.api import Gradebook
from nbgrader.plugins import FileNameCollectorPlugin
from nbgrader.preprocessors import (
    AssignLatePenalties,
    CheckCellMetadata,
    ClearOutput,
    DeduplicateIds,
    IgnorePattern,
    LimitOutput,
    NbGraderPreprocessor,
    OverwriteCells,
    OverwriteKernelspec,
    SaveAutoGrades,
)
from traitlets import Float

from ddpm_edu.course.experiment_check import OBSERVE, experiment_fault
from ddpm_edu.course.jail import Jail, caller, run_cell, value_of
from ddpm_edu.course.judge import judge
from ddpm_edu.course.questions import load_assignment

HERE = Path(__file__).parent
ROOM = next((p for p in (HERE/"questions", HERE.parent/"questions") if p.is_dir()), None)
PROJECT = "6_project"                # it may use the library, and take its time


class Restore(OverwriteCells):
    "Put back what a student has changed or deleted: tests, points, and which cell is which."

    def preprocess(self, nb, resources):
        course = resources["nbgrader"]
        book = Gradebook(course["db_url"])
        source = book.find_notebook(course["notebook"], course["assignment"])
        self.sources = {cell.name: cell for cell in source.source_cells}
        self.points = {cell.name: cell.max_score for cell in source.grade_cells}
        self.answers = {cell.name for cell in source.solution_cells}
        for cell in nb.cells:
            name = cell.metadata.pop("nbgrader", {}).get("grade_id")
            if name in self.sources: cell.metadata["nbgrader"] = self.label(name)
        return super().preprocess(nb, resources)

    def label(self, name):
        points = {"points": self.points[name]} if name in self.points else {}
        return {"grade_id": name, "grade": bool(points), "solution": name in self.answers,
                "task": False, "locked": name not in self.answers, "schema_version": 3, **points}

    def add_missing_grade_cells(self, nb, resources):
        place = 0
        for name, source in self.sources.items():
            at = [i for i, cell in enumerate(nb.cells)
                  if cell.metadata.get("nbgrader", {}).get("grade_id") == name]
            if at: place = max(place, at[0] + 1)
            elif name in self.points:
                answer = name in self.answers
                cell = self.missing_cell_transform(source, self.points[name], is_solution=answer)
                nb.cells.insert(place, cell)
                place += 1
        return nb, resources


class InSandbox(NbGraderPreprocessor):
    """Run a submission's cells in a sandbox, and judge its functions out here.

    The outputs that a submission came with are gone; those of a test are written by this class,
    and nbgrader takes the points from them."""

    seconds = Float(30, help="for a cell; a project has thirty times as much").tag(config=True)

    def preprocess(self, nb, resources):
        name = resources["nbgrader"]["assignment"]
        project = name == PROJECT
        tests = {"q2-test": None} if project else self.tests(name)
        words = dict(library=project, seconds=self.seconds*(30 if project else 1),
            trust=bool(os.environ.get("GRADE_TRUST")), image=os.environ.get("GRADE_IMAGE", ""))
        lines = []
        with Jail(**words) as jail:
            for cell in [c for c in nb.cells if c.cell_type == "code"]:
                test = cell.metadata.get("nbgrader", {}).get("grade_id")
                if test not in tests: cell.outputs = shown(run_cell(jail, cell.source))
                else:
                    said = judged(jail, tests[test], int(os.environ.get("GRADE_TERM", 0)))
                    cell.outputs = verdict(said)
                    got = cell.metadata["nbgrader"]["points"]*(not said)
                    lines.append(f"- Question {test[1:-5]}: {said or 'right'} ({got:g} of "
                                 f"{cell.metadata['nbgrader']['points']:g})")
        nb.cells.insert(0, new_markdown_cell("## What the grader says\n\n" + "\n".join(lines)))
        return nb, resources

    def tests(self, name):
        "The question of each test."
        if ROOM is None:
            raise FileNotFoundError("the questions are not here: copy the folder questions of the "
                "repository's nbs/course beside nbgrader_config.py")
        questions = load_assignment(ROOM/name.split("_")[0]).questions
        return {f"q{k}-test": q for k, q in enumerate(questions, 1)}


def judged(jail, question, term):
    "What the grader says about a question, '' if it is right."
    if question is None:
        call = caller(jail, "experiment", 60, 6, OBSERVE)
        return experiment_fault(call, value_of(jail, "SETTINGS"))
    # a training takes its time, so each is a call of its own
    seconds, ahead = (60, []) if question.verdict else (10, question.tries(term))
    call = caller(jail, question.name, seconds, observe=question.observe, without=question.without,
        ahead=ahead)
    return judge(question, call, term)


def shown(said):
    "Outputs of a student's cell."
    outputs = [new_output("stream", name="stdout", text=said["text"])] if said["text"] else []
    outputs += [new_output("display_data", data=data) for data in said["shown"] if data]
    if said["error"] and not said["text"]: outputs += verdict(said["error"])
    return outputs


def verdict(sentence):
    "Outputs of a test."
    if not sentence: return [new_output("stream", name="stdout", text="right\n")]
    return [new_output("error", ename="Not yet", evalue=sentence, traceback=[sentence])]


class Collected(FileNameCollectorPlugin):
    "Whose file is it in an archive of Moodle or Canvas, or in folders of students?"

    WAYS = (r"(?P<who>.+?)_\d+_assignsubmission_file_?/?(?P<file>[^/]+)$",       # Moodle
            r"(?P<who>[^/_]+)(_LATE)?_\d+_\d+_(?P<file>[^/]+)$",                  # Canvas
            r"(?P<who>[^/]+)/(?P<file>[^/]+)$")                                 # student/file

    def collect(self, submitted_file):
        place = Path(submitted_file)
        inside = place.relative_to(Path(*place.parts[:-2])).as_posix()
        for text in (place.name, inside):
            for way in self.WAYS:
                if not (found := re.match(way, text)): continue
                # a browser's second download, and Canvas's second hand-in
                name = re.sub(r"( ?\(\d+\)|-\d+)?\.ipynb$", ".ipynb", found["file"])
                who = re.sub(r"[^\w.@-]+", "_", found["who"])
                return dict(file_id=name, student_id=who)
        return None


c = get_config()                                   # noqa: F821  (nbgrader defines it)
c.CourseDirectory.course_id = "ddpm"
c.ClearSolutions.code_stub = {"python": "# YOUR CODE HERE\nraise NotImplementedError()"}
c.ClearSolutions.text_stub = "*Your answer:*"
c.OverwriteCells.add_missing_cells = True          # a test that a student has deleted comes back
c.Autograde.sanitize_preprocessors = [
    ClearOutput, DeduplicateIds, OverwriteKernelspec, Restore, CheckCellMetadata]
c.Autograde.autograde_preprocessors = [
    InSandbox, IgnorePattern, ClearMetadataPreprocessor, LimitOutput, SaveAutoGrades,
    AssignLatePenalties, CheckCellMetadata]
c.LimitOutput.max_lines = 200
c.ZipCollectApp.collector_plugin = Collected
