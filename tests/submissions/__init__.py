"""Answers that a class might hand in, for the test of the grader.

RIGHT: other ways to write a right answer, (question, body). WRONG: one plausible slip each, (question, words of the
feedback that names it, body). A body of one line is the expression that is returned; the `def` line is the source's.
"""
from importlib import import_module

RIGHT = {n: import_module(f".answers_{n}", __name__).RIGHT for n in range(1, 6)}
WRONG = {n: import_module(f".answers_{n}", __name__).WRONG for n in range(1, 6)}
