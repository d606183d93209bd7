"nbgrader's settings for this course: run `nbgrader` in this folder."
c = get_config()                                               # noqa: F821  (nbgrader defines it)
c.CourseDirectory.course_id = "ddpm"
c.ClearSolutions.code_stub = {"python": "# YOUR CODE HERE\nraise NotImplementedError()"}
c.ExecutePreprocessor.timeout = 30                             # seconds for a cell
c.ExecutePreprocessor.interrupt_on_timeout = True              # the next cells still run
