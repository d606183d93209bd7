"nbgrader's settings for this course: run `nbgrader` in this folder. Appendix I of the book is the guide."
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat.v4 import new_output
from nbconvert.preprocessors import ClearMetadataPreprocessor
from nbgrader.api import Gradebook
from nbgrader.preprocessors import (
    AssignLatePenalties, CheckCellMetadata, ClearOutput, DeduplicateIds, Execute, IgnorePattern, LimitOutput, OverwriteCells, OverwriteKernelspec, SaveAutoGrades)

from ddpm_edu.assignments import tampered


class Restore(OverwriteCells):
    "Put back what a student has changed or deleted: the tests, and the answers' empty cells."

    def add_missing_grade_cells(self, nb, resources):
        source = Gradebook(self.db_url).find_notebook(self.notebook_id, self.assignment_id)
        points, answers = {cell.name: cell.max_score for cell in source.grade_cells}, {cell.name for cell in source.solution_cells}
        place = 0
        for cell in source.source_cells:
            at = [i for i, own in enumerate(nb.cells) if own.metadata.get("nbgrader", {}).get("grade_id") == cell.name]
            if at: place = max(place, at[0] + 1)
            elif cell.name in points:
                nb.cells.insert(place, self.missing_cell_transform(cell, points[cell.name], is_solution=cell.name in answers))
                place += 1
        return nb, resources


class ToTheEnd(Execute):
    "Run a submission to its end: a cell that tampers, never ends or kills Python is left out, and the others are graded."

    def preprocess(self, nb, resources, km=None):
        left_out, sources = {}, [cell.source for cell in nb.cells]
        for i, cell in enumerate(nb.cells):
            if cell.cell_type == "code" and (found := tampered({}, [cell.source])):
                left_out[i] = f"this cell was not run: it changes {found}, and the tests need Python as it is"
        while True:
            for i, said in left_out.items(): nb.cells[i].source = f"raise RuntimeError({said!r})"
            try: nb, resources = super().preprocess(nb, resources, km)
            except (DeadKernelError, CellTimeoutError) as e:                                    # once for each cell at most
                if self.at in left_out: raise
                left_out[self.at] = "this cell ran longer than the time limit: does a loop never end?" if isinstance(e, CellTimeoutError) else "this cell ended Python: a crash, or an exit"
                continue
            for cell, source in zip(nb.cells, sources): cell.source = source
            return nb, resources

    def preprocess_cell(self, cell, resources, index):
        self.at = index
        return super().preprocess_cell(cell, resources, index)


c = get_config()                                               # noqa: F821  (nbgrader defines it)
c.CourseDirectory.course_id = "ddpm"
c.ClearSolutions.code_stub = {"python": "# YOUR CODE HERE\nraise NotImplementedError()"}
c.OverwriteCells.add_missing_cells = True                      # a test that a student has deleted comes back
c.Autograde.sanitize_preprocessors = [ClearOutput, DeduplicateIds, OverwriteKernelspec, Restore, CheckCellMetadata]
c.Autograde.autograde_preprocessors = [ToTheEnd, IgnorePattern, ClearMetadataPreprocessor, LimitOutput, SaveAutoGrades, AssignLatePenalties, CheckCellMetadata]
c.ExecutePreprocessor.timeout = 30                             # seconds for a cell; a test calls answers with limits of its own
c.ExecutePreprocessor.interrupt_on_timeout = False             # a loop may swallow an interrupt: begin anew without it
c.ExecutePreprocessor.timeout_func = lambda cell: 600 if cell.metadata.get("nbgrader", {}).get("grade") else 30
c.LimitOutput.max_lines = 200
