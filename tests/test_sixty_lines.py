"Chapter 0 keeps its word: sixty lines from scratch, narrow, without the library."
import json
import re
from pathlib import Path

root = Path(__file__).parent.parent
cells = json.loads((root/"nbs"/"00_sixty_lines.ipynb").read_text(encoding="utf-8"))["cells"]
scratch = [text for c in cells if c["cell_type"] == "code"
           and (text := "".join(c["source"])).startswith("# from scratch")]
lines = [line for text in scratch for line in text.splitlines()
         if line.strip() and not line.lstrip().startswith("#")]


def test_sixty_lines():
    assert 40 <= len(lines) <= 60 and len(scratch) >= 5
    assert max(map(len, lines)) <= 100 and not any(";" in line for line in lines)


def test_nothing_of_the_library():
    assert not [line for line in lines if re.search(r"ddpm_edu|diffusers", line)]


def test_every_block_names_its_chapter():
    "In a comment of its own, or in the text above it."
    above = ""
    for cell in cells:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown": above = text
        elif text in scratch: assert re.search(r"chapter|appendix", above + text, re.I), text


def test_it_exports_nothing():
    assert "#| export" not in json.dumps(cells) and "default_exp" not in json.dumps(cells)
