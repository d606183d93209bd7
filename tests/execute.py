"""Run notebooks from top to bottom and keep what they show: `python tests/execute.py nbs/X.ipynb`.

Without arguments: all that a reader opens. nbdev-clean then removes what is of this machine."""
import base64
import io
import subprocess
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from house_rules import notebooks, root

VIEW = "application/vnd.jupyter.widget-view+json"
STATE = "application/vnd.jupyter.widget-state+json"


def drop_bars(nb):
    "Leave out progress bars: of all widgets, a page without a kernel needs the explorers alone."
    state = nb.metadata.get("widgets", {}).get(STATE, {}).get("state", {})
    def is_bar(output):
        if VIEW not in output.get("data", {}): return False
        known = state.get(output["data"][VIEW]["model_id"], {}).get("state", {})
        return "ddpm-explorer" not in (known.get("_dom_classes") or ())
    for cell in nb.cells:
        if "outputs" in cell: cell.outputs = [o for o in cell.outputs if not is_bar(o)]


def smaller_pictures(nb):
    "Pictures with at most 256 colours, in two fifths of the bytes: the book travels in the wheel."
    for cell in nb.cells:
        for data in (o.get("data", {}) for o in cell.get("outputs", [])):
            if "image/png" in data:
                data["image/png"] = smaller(data["image/png"])
                data.pop("image/jpeg", None)               # Pillow offers each picture twice


def smaller(text):
    "A PNG in base64, as a notebook holds it, with a palette if that is shorter."
    from PIL import Image
    before = base64.b64decode(text)
    image, file = Image.open(io.BytesIO(before)).convert("RGB"), io.BytesIO()
    kind = Image.Quantize.MEDIANCUT if image.getcolors(256) else Image.Quantize.FASTOCTREE
    few = image.quantize(256, kind, dither=Image.Dither.NONE)
    few.save(file, "PNG", optimize=True)
    after = file.getvalue()
    return base64.b64encode(min(before, after, key=len)).decode() + "\n"


def execute(path):
    "Run one notebook in its own folder and write it back."
    nb = nbformat.read(path, 4)
    start = time.monotonic()
    NotebookClient(nb, timeout=900, resources={"metadata": {"path": str(path.parent)}}).execute()
    drop_bars(nb)
    smaller_pictures(nb)
    if not any(VIEW in o.get("data", {}) for c in nb.cells for o in c.get("outputs", [])):
        nb.metadata.pop("widgets", None)                     # of progress bars that have gone
    nbformat.write(nb, path)
    subprocess.run(["nbdev-clean", "--fname", str(path)], check=True)
    print(f"{path.relative_to(root)}: {time.monotonic() - start:.0f} s", flush=True)


if __name__ == "__main__":
    given = [Path(name).resolve() for name in sys.argv[1:]]
    for path in given or [p for p in notebooks() if "assignments" not in p.parts]: execute(path)
