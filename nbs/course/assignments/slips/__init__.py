"""Mistakes that students made, for hints.py: function -> (sentence that names the mistake, body of the function).

A body of one line is the expression that is returned; the `def` line is the solution's. The sentence must not tell the
answer. What gives the same numbers as an earlier mistake, or as one in the test itself, is left out.
"""
from importlib import import_module

SLIPS = {function: slips for n in range(1, 6) for function, slips in import_module(f".slips_{n}", __name__).SLIPS.items()}
