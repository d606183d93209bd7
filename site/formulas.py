"""Formulas drawn when the site is built, so that a page needs no program to show them.

KaTeX draws them, in one process of Node.js that is asked line by line. A formula that KaTeX cannot
read is a warning, and so no site. Beside the drawing stands MathML, for screen readers."""
import functools
import json
import os
import re
import subprocess
from pathlib import Path

from docutils import nodes

here = Path(__file__).resolve().parent
processes = {}


def process():
    "Node.js with KaTeX: one for each process of Sphinx, which must not share a pipe."
    if os.getpid() not in processes:
        vendor = os.environ.get("DDPM_VENDOR", str(here/"_vendor"))
        command = ["node", os.environ.get("DDPM_FORMULAS", str(here/"formulas.js")), vendor]
        processes[os.getpid()] = subprocess.Popen(command, text=True, encoding="utf-8",
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    return processes[os.getpid()]


@functools.lru_cache(None)
def draw(tex, display=False):
    "HTML of a formula; a ValueError that says what is wrong with it."
    run = process()
    run.stdin.write(json.dumps({"tex": tex, "display": display}) + "\n")
    run.stdin.flush()
    answer = json.loads(run.stdout.readline())
    if "error" in answer: raise ValueError(f"{answer['error']} in the formula {tex}")
    # the source, which is there twice otherwise, is of no use to a reader
    return re.sub(r"<annotation.*?</annotation>", "", answer["html"], flags=re.S)


def visit(self, node):
    "A formula, in a line of text or by itself."
    from sphinx.util import logging
    display = isinstance(node, nodes.math_block)
    try: shown = draw(node.astext(), display)
    except ValueError as error:
        logging.getLogger(__name__).warning(str(error), location=node)
        shown = self.encode(node.astext())
    tag = "div" if display else "span"
    self.body.append(f'<{tag} class="math notranslate nohighlight">{shown}</{tag}>')
    if display: self.body.append("\n")
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer("katex", (visit, None), (visit, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
