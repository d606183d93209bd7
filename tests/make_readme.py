"README.md from nbs/index.ipynb; tests/test_house.py checks that the two agree."
import re
from pathlib import Path

root = Path(__file__).parent.parent


def readme(notebook=root/"nbs"/"index.ipynb"):
    "The front page as Markdown: no directives, no outputs, links from the root of the repository."
    import nbformat
    from nbconvert import MarkdownExporter
    nb = nbformat.read(notebook, 4)
    cells = []
    for cell in nb.cells:
        if cell.cell_type == "code":
            lines = cell.source.split("\n")
            hidden = r"#\|\s*(hide|export|exporti|default_exp)\b"
            if any(re.match(hidden, line) for line in lines): continue
            cell.source = "\n".join(line for line in lines if not line.startswith("#|")).strip()
            cell.outputs = []
            if not cell.source: continue
        cells.append(cell)
    nb.cells = cells
    nb.metadata["language_info"] = {"name": "python"}
    text, _ = MarkdownExporter().from_notebook_node(nb)
    text = re.sub(r"\]\((?![a-z]+:|#|/)(\.\./)?", lambda m: "](" if m.group(1) else "](nbs/", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


if __name__ == "__main__":
    (root/"README.md").write_text(readme(), encoding="utf-8")
    print("wrote README.md")
