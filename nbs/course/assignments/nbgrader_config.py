"nbgrader's settings: run `nbgrader` in this folder. The guide is lecturers_guide.ipynb."
import sys

from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbconvert.preprocessors import ClearMetadataPreprocessor
from nbgrader.api import Gradebook
from nbgrader.preprocessors import (
    AssignLatePenalties,
    CheckCellMetadata,
    ClearOutput,
    DeduplicateIds,
    Execute,
    IgnorePattern,
    LimitOutput,
    OverwriteCells,
    OverwriteKernelspec,
    SaveAutoGrades,
)

from ddpm_edu.course.tampering import names, tampered

# for a cell that a student wrote; 30 in all other assignments
SECONDS = {"6_project": 900}


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


ENDLESS = "this cell ran longer than the time limit: does a loop never end?"
CRASHED = "this cell ended Python: a crash, or an exit"


class ToTheEnd(Execute):
    """Run a submission to its end.

    A cell that tampers, never ends or kills Python is left out, and the others are graded."""

    def preprocess(self, nb, resources, km=None):
        seconds = SECONDS.get(resources["nbgrader"]["assignment"], 30)
        graded = lambda cell: cell.metadata.get("nbgrader", {}).get("grade")
        # a test has limits of its own for each call
        self.timeout_func = lambda cell: 600 if graded(cell) else seconds
        sources = [cell.source for cell in nb.cells]
        left_out = self.tampering(nb)
        while True:
            for i, said in left_out.items(): nb.cells[i].source = f"raise RuntimeError({said!r})"
            try: nb, resources = super().preprocess(nb, resources, km)
            except (DeadKernelError, CellTimeoutError) as e:     # once for each cell at most
                if self.at in left_out: raise
                left_out[self.at] = ENDLESS if isinstance(e, CellTimeoutError) else CRASHED
                continue
            for cell, source in zip(nb.cells, sources): cell.source = source
            return nb, resources

    def tampering(self, nb):
        "Cells that change Python: {number: why it is not run}."
        # a name that is imported anywhere is a module's
        modules = dict.fromkeys(names([cell.source for cell in nb.cells]), sys)
        found = {i: tampered(modules, [cell.source]) for i, cell in enumerate(nb.cells)
                 if cell.cell_type == "code"}
        return {i: f"this cell was not run: it changes {what}, and the tests need Python as it is"
                for i, what in found.items() if what}

    def preprocess_cell(self, cell, resources, index):
        self.at = index
        return super().preprocess_cell(cell, resources, index)


c = get_config()                                   # noqa: F821  (nbgrader defines it)
c.CourseDirectory.course_id = "ddpm"
c.ClearSolutions.code_stub = {"python": "# YOUR CODE HERE\nraise NotImplementedError()"}
c.OverwriteCells.add_missing_cells = True          # a test that a student has deleted comes back
c.Autograde.sanitize_preprocessors = [
    ClearOutput, DeduplicateIds, OverwriteKernelspec, Restore, CheckCellMetadata]
c.Autograde.autograde_preprocessors = [
    ToTheEnd, IgnorePattern, ClearMetadataPreprocessor, LimitOutput, SaveAutoGrades,
    AssignLatePenalties, CheckCellMetadata]
# a loop may swallow an interrupt: begin anew without it
c.ExecutePreprocessor.interrupt_on_timeout = False
c.LimitOutput.max_lines = 200
