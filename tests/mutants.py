"""Deliberate mistakes in the exported cells of a chapter: does some check of the chapter fail?

`python tests/mutants.py 01_forward_process` tries rule-made mutants and lists those that survive
(`--sample 60` for a random selection, `--seed`, `--jobs 2`). The rules are those of rules.py, which
the course uses, too. tests/test_mutants.py runs the mutants that are written down there."""
import argparse
import ast
import contextlib
import functools
import io
import multiprocessing
import os
import random
import re
import signal
import sys
import time
import types
from pathlib import Path

from rules import changes, of_library, places

root = Path(__file__).parent.parent


@functools.lru_cache
def chapter_cells(chapter):
    "The code cells of a chapter as (source, is exported), without those that nbdev would not run."
    import nbformat
    nb = nbformat.read(root/"nbs"/f"{chapter}.ipynb", 4)
    cells = [c.source for c in nb.cells if c.cell_type == "code"]
    skip = re.compile(r"^#\|\s*(eval:\s*false|notest|slow|gpu|default_exp)", re.M)
    exported = re.compile(r"^#\|\s*exporti?\b", re.M)
    return [(s, bool(exported.search(s))) for s in cells if not skip.search(s)]


def run_cells(sources):
    "Run cells one after the other as a notebook would; None, or a line about the first error."
    import matplotlib
    matplotlib.use("Agg", force=True)
    import matplotlib.pyplot as plt
    module = sys.modules["__main__"] = types.ModuleType("__main__")   # pickle looks up there
    space = module.__dict__
    space["display"] = lambda *a, **k: None
    for number, source in enumerate(sources):
        source = "\n".join(l for l in source.split("\n") if not l.startswith(("%", "!", "#|")))
        try:
            nowhere = io.StringIO()
            with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
                exec(compile(source, f"cell {number}", "exec"), space)
        except BaseException as e:
            first, *_ = str(e).strip().splitlines() or [""]
            return f"cell {number}: {type(e).__name__}: {first[:90]}"
        plt.close("all")
    return None


def _child(pipe, sources, folder):
    os.chdir(folder)
    os.setpgrp()
    import torch
    torch.set_num_threads(1)
    pipe.send(run_cells(sources))
    pipe.close()


def run_mutants(chapter, mutants, jobs=2, limit=600):
    """For each mutant (cell number, new source): None if it survived, else how it was caught.

    Children are forked from a server that has loaded torch and done nothing else: forked from
    a process with threads of its own (pytest's, after other tests), one may hang."""
    context, waiting = multiprocessing.get_context("forkserver"), list(enumerate(mutants))
    context.set_forkserver_preload(["torch", "matplotlib.pyplot", "numpy", "sympy"])
    cells = [source for source, _ in chapter_cells(chapter)]
    running, results = {}, {}
    while waiting or running:
        while waiting and len(running) < jobs:
            i, (number, source) = waiting.pop(0)
            here, there = context.Pipe(duplex=False)
            changed = cells[:number] + [source] + cells[number+1:]
            folder = str((root/"nbs"/chapter).parent)
            process = context.Process(target=_child, args=(there, changed, folder))
            process.start()
            there.close()
            running[i] = process, here, time.monotonic()
        time.sleep(0.05)
        for i, (process, here, start) in list(running.items()):
            if here.poll():
                try: results[i] = here.recv()
                except EOFError: results[i] = "the process died"
            elif time.monotonic() - start > limit: results[i] = "timed out"
            else: continue
            with contextlib.suppress(ProcessLookupError): os.killpg(process.pid, signal.SIGKILL)
            process.join()
            del running[i]
    return [results[i] for i in range(len(mutants))]


def listed(chapter, old, new):
    "The mutant that replaces one line's text, which must occur once in the exported cells."
    hits = [(number, source) for number, (source, exported) in enumerate(chapter_cells(chapter))
            if exported and old in source]
    found = sum(source.count(old) for _, source in hits)
    if found != 1: raise ValueError(f"{chapter}: {old!r} must occur once, found {found} times")
    (number, source), = hits
    return number, source.replace(old, new)


def only_words(tree):
    "The nodes that compute nothing: imports, messages, annotations, decorators."
    tops = [n for n in ast.walk(tree)
            if isinstance(n, (ast.Raise, ast.JoinedStr, ast.Import, ast.ImportFrom))]
    for n in ast.walk(tree):
        if isinstance(n, ast.FunctionDef): tops += [n.returns, *n.decorator_list]
        if isinstance(n, (ast.arg, ast.AnnAssign)): tops.append(n.annotation)
    return {id(n) for top in tops if top is not None for n in ast.walk(top)}


def rule_mutants(chapter):
    "Every one-place change of the rules in the exported cells: (cell number, source, description)."
    made = []
    for number, (source, exported) in enumerate(chapter_cells(chapter)):
        if not exported: continue
        tree = ast.parse(source)
        spoken = only_words(tree)
        for node, put in places(tree):
            if id(node) in spoken: continue
            where = f"line {node.lineno} of cell {number}, {ast.unparse(node)[:60]}"
            for said, new in [*changes(node, ()), *of_library(node)]:
                put(new)
                made.append((number, ast.unparse(ast.fix_missing_locations(tree)),
                             f"{where}: {said}"))
                put(node)
    return made


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("chapter")
    parser.add_argument("--sample", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    mutants = rule_mutants(args.chapter)
    total = len(mutants)
    if args.sample and args.sample < total:
        mutants = random.Random(args.seed).sample(mutants, args.sample)
    start = time.monotonic()
    healthy, = run_mutants(args.chapter, [(0, chapter_cells(args.chapter)[0][0])])
    assert healthy is None, f"the chapter fails without any mutant: {healthy}"
    results = run_mutants(args.chapter, [m[:2] for m in mutants], args.jobs)
    alive = [m[2] for m, r in zip(mutants, results) if r is None]
    print(f"{args.chapter}: {len(mutants)} of {total} rule-made mutants, "
          f"{len(mutants)-len(alive)} caught, {len(alive)} alive, {time.monotonic()-start:.0f} s")
    print(*alive, sep="\n")
    sys.exit(0)
