"""The website of the book: `python site/build.py OUT` makes it from the executed notebooks, without running them and without the internet.

The pages ask no other host for anything: MathJax and the widget manager are fetched from npm once, into site/_vendor. Sphinx, MyST-NB and furo do the work; here stands
what they cannot know: which lines of a notebook are for nbdev, what the front page shows, and how the package documents itself."""
import argparse
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat

here = Path(__file__).resolve().parent
root, nbs = here.parent, here.parent/"nbs"
sys.path[:0] = [str(root), str(here)]
from slug import slug                                                       # noqa: E402

VENDOR = {"mathjax@3": "mathjax/es5/tex-svg-full.js", "requirejs@2": "requirejs/require.js", "@jupyter-widgets/html-manager@1.0.14": "@jupyter-widgets/html-manager/dist/embed-amd.js"}
NEEDS = {"01_forward_process": "some probability: Gaussians, Bayes' rule", "02_variational_bound": "chapter 1", "03_score_matching": "chapters 1 and 2", "04_reverse_sampler": "chapters 1 to 3",
         "05_blocks": "convolutions, PyTorch modules",
         "05_unet": "the first half of chapter 5", "06_pipeline": "chapters 4 and 5", "07_training": "chapters 1 to 6", "11_speed": "chapters 4 to 7"}


def vendor(folder):
    "The scripts that the pages load, each from its npm package; kept for the next build."
    if not all((folder/Path(path).name).exists() for path in VENDOR.values()):
        npm = shutil.which("npm")
        if npm is None: raise SystemExit("npm is needed once, to fetch MathJax and the widget manager: install Node.js (Debian: apt install npm)")
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run([npm, "install", "--ignore-scripts", "--no-save", "--silent", "--no-fund", "--no-audit", "--prefix", str(folder), *VENDOR], check=True)
        for path in VENDOR.values(): shutil.copyfile(folder/"node_modules"/path, folder/Path(path).name)
        for font in (folder/"node_modules"/"@jupyter-widgets"/"html-manager"/"dist").glob("*.woff2"): shutil.copy(font, folder)      # icons of the play button
        shutil.rmtree(folder/"node_modules")


def links(text):
    "Anchors as JupyterLab writes them become those of the site; files outside the book become the page that stands for them."
    text = re.sub(r"(\]\([^)\s#]*\.ipynb)#([^)\s]*)\)", lambda m: f"{m[1]}#{slug(m[2])})", text)
    text = re.sub(r"\]\((\.\./)*index\.ipynb\)", "](/index.md)", text)
    return re.sub(r"\]\((\.\./)+ddpm_edu/assets/fashion-mnist/README\.md\)", "](/model_card.md)", text)


def numbered(text):
    r"Display formulas with line breaks and a number of their own: Sphinx would wrap them into an environment that forbids `\tag`."
    return re.sub(r"^\$\$(.*?)\$\$", lambda m: f"\\begin{{equation*}}{m[1]}\\end{{equation*}}" if "\\\\" in m[1] and "\\tag" in m[1] else m[0], text, flags=re.M | re.S)


def for_readers(nb):
    "A notebook without what is meant for nbdev only; folded answers keep their mathematics."
    cells = []
    for cell in nb.cells:
        if cell.cell_type == "raw": continue
        if cell.cell_type == "markdown":
            cell.source = re.sub(r"<details><summary>(.*?)</summary>\s*(.*?)\s*</details>", r"<details><summary>\1</summary>\n\n\2\n\n</details>", numbered(links(cell.source)), flags=re.S)
        else:
            directives = " ".join(re.findall(r"^#\|(.*)", cell.source, re.M))
            if re.search(r"\b(default_exp|hide)\b", directives): continue
            if re.search(r"echo:\s*false", directives): cell.metadata["tags"] = ["remove-input"]
            if re.search(r"code-fold:\s*true", directives): cell.metadata["tags"] = ["hide-input"]
            cell.source = re.sub(r"^#\|.*\n?", "", cell.source, flags=re.M).strip("\n")
            if not cell.source: continue
            for out in cell.outputs:
                if "text/markdown" in out.get("data", {}): out.data["text/markdown"] = links("".join(out.data["text/markdown"]))
        cells.append(cell)
    nb.cells = cells
    return nb


def to_reference(text):
    "Names of the package in a table become links to their documentation; they may be broken at their dots and underscores."
    def link(m): return f"[<code class='literal'>{re.sub('[._]', lambda c: c[0] + '<wbr>', m[0].strip('`'))}</code>](/api/{m[1]}.md#{slug(m[2])})"
    return re.sub(r"`(\w+)\.([\w.]+)`", link, text)


def launch(name, repository):
    "What one can do with the notebook: take it, or run it."
    depth = "../"*name.count("/")
    parts = [f"{{download}}`Download this notebook <{depth}_notebooks/{name}.ipynb>`"]
    if repository:
        parts += [f"[Run it on Binder](https://mybinder.org/v2/gh/{repository}/main?labpath=nbs/{name}.ipynb)", f"[Open it in Colab](https://colab.research.google.com/github/{repository}/blob/main/nbs/{name}.ipynb)"]
    else: parts += [f"run it with `jupyter lab book/{name}.ipynb` ([how](/index.md#{slug('Sixty seconds to a picture')}))"]
    return nbformat.v4.new_markdown_cell(":::{container} ddpm-launch\n" + " · ".join(parts) + "\n:::")


def about(name):
    "Title and summary of a chapter, and how long it takes."
    first = nbformat.read(nbs/f"{name}.ipynb", 4).cells[0].source
    title = re.search(r"^# (.*)", first, re.M)[1]
    quote = " ".join(line.lstrip("> ") for line in first.splitlines() if line.startswith(">"))
    time = re.search(r"(\d+ (?:minutes?|seconds?)) to read, (.*?) to run", quote)
    return dict(title=title, summary=re.split(r"(?<=\.) (?=Paper|Section)", quote)[0], read=time[1], run=time[2])


def notebooks(src, repository):
    "All notebooks as their readers shall see them; the originals beside them, to download."
    names = [str(p.relative_to(nbs).with_suffix("")) for p in sorted(nbs.rglob("*.ipynb")) if not {"assignments", ".ipynb_checkpoints"} & set(p.parts) and p.stem != "index"]
    for name in names:
        nb = for_readers(nbformat.read(nbs/f"{name}.ipynb", 4))
        title, rest = re.match(r"(# [^\n]*\n\s*(?:>[^\n]*\n?)*)(.*)", nb.cells[0].source, re.S).groups()      # what the reader gains, and the rest
        nb.cells[:1] = [nbformat.v4.new_markdown_cell(title), launch(name, repository), *([nbformat.v4.new_markdown_cell(rest)] if rest.strip() else [])]
        if name.endswith("G_items"):
            for out in (o for c in nb.cells for o in c.get("outputs", []) if "text/markdown" in o.get("data", {})): out.data["text/markdown"] = to_reference(out.data["text/markdown"])
        for folder in (src, src/"_notebooks"): (folder/name).parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(nb, src/f"{name}.ipynb")
        shutil.copyfile(nbs/f"{name}.ipynb", src/"_notebooks"/f"{name}.ipynb")
    shutil.copytree(nbs/"images", src/"images")
    card = root/"ddpm_edu"/"assets"/"fashion-mnist"
    for picture in card.glob("*.png"): shutil.copyfile(picture, src/picture.name)
    text = re.sub(r"\A---\n.*?\n---\n", "", (card/"README.md").read_text(), flags=re.S)
    (src/"model_card.md").write_text(text if text.lstrip().startswith("# ") else f"# The model that ships\n\n{text}")
    return names


def assignments(src):
    "A page with the assignments, and the students' versions to download: without solutions and hidden tests."
    from ddpm_edu.course.release import assignment_files, student_version
    (src/"_notebooks"/"assignments").mkdir(parents=True)
    lines = ["# The assignments", "", "Six notebooks with questions to derive, to predict and to repair. Each question has a test that says what may be the matter, so you need no grader. "
             "Download one here and open it in JupyterLab where `ddpm_edu` is installed, or let `ddpm-edu assignment 1 my-work` copy it out. Lecturers: solutions, hidden tests and grading are in the [lecturer's guide](course/lecturers_guide.ipynb).", ""]
    for number, path in assignment_files().items():
        text = student_version(path.read_text(encoding="utf-8"))
        (src/"_notebooks"/"assignments"/path.name).write_text(text, encoding="utf-8")
        cells = ["".join(c["source"]) for c in json.loads(text)["cells"]]
        title, about = re.search(r"^# Assignment \d+: (.*)", cells[0], re.M)[1], re.search(r"^> (.*)", cells[0], re.M)[1]
        questions = [m[1] for c in cells for m in re.finditer(r"^## Question \d+: (.*)", c, re.M)]
        lines += [f"## {number}. {title[0].upper() + title[1:]}", "", about, "", *[f"{i}. {q}" for i, q in enumerate(questions, 1)], "",
                  f":::{{container}} ddpm-launch\n{{download}}`Download assignment {number} <_notebooks/assignments/{path.name}>`\n:::", ""]
    (src/"assignments.md").write_text("\n".join(lines))


def film(path, steps=60, frames=40):
    "Sixteen garments on their way out of the noise, as an animation, and its last picture."
    import torch
    from ddpm_edu import DDPMPipeline
    from ddpm_edu.plots import make_grid
    pipe, seen = DDPMPipeline.from_pretrained("fashion-mnist"), []
    pipe.set_progress_bar_config(disable=True)
    def look(pipe, i, t, state): seen.append(make_grid(state["sample"].clamp(-1, 1), ncols=8, value_range=(-1, 1)))
    pipe(batch_size=16, num_inference_steps=steps, generator=torch.Generator().manual_seed(5), callback_on_step_end=look)
    chosen = [seen[round(i*(steps-1)/(frames-1))] for i in range(frames)]
    chosen[0].save(path, save_all=True, append_images=chosen[1:], duration=[90]*(frames-1)+[3000], loop=0, quality=70, method=4)
    chosen[-1].save(path.with_suffix(".png"))


def front_page(src, names):
    "index.md: the film, what the book is, a card for each chapter, and the rest of the notebook's front page."
    cells = [c.source for c in nbformat.read(nbs/"index.ipynb", 4).cells]
    index = for_readers(nbformat.read(nbs/"index.ipynb", 4))
    keep = [c for c in index.cells if not (c.cell_type == "markdown" and (c.source.startswith("# ") or "The paper: Ho" in c.source or c.source.startswith("## The book"))) and "_all_" not in c.source]
    keep = [f"```python\n{c.source}\n```" if c.cell_type == "code" else c.source for c in keep]
    intro = re.sub(r"!\[.*?\]\(.*?\)\n*", "", next(c for c in cells if c.startswith("The paper: Ho")))
    intro = intro.replace("on two CPU cores:", "on two CPU cores.")
    about_appendix = lambda name: f"{Path(name).name[0]}. " + re.sub(r"^[A-Z]\. ", "", about(name)["title"])
    rest = re.split(r"\n\n(?=The appendix)", next(c for c in cells if c.startswith("## The book")))[1]
    cards = []
    for name in (n for n in names if "/" not in n):
        a = about(name)
        cards.append(f'<a class="ddpm-card" href="{name}.html"><b>{int(name[:2])}. {a["title"]}</b><span>{a["summary"]}</span><small>{a["read"]} to read, {a["run"]} to run<br>needs {NEEDS[name]}</small></a>')
    cards = [re.sub(r"\$([^$]*)\$", r"\\(\1\\)", c).replace('class="ddpm-card"', 'class="ddpm-card tex2jax_process"') for c in cards]
    tree = lambda caption, pages: "\n".join([f":::{{toctree}}\n:hidden:\n:caption: {caption}\n", *pages, ":::\n"])
    chapters = [n for n in names if "/" not in n]
    appendix, school = ([n for n in names if n.startswith(f"{room}/")] for room in ("appendix", "course"))
    page = f"""# ddpm-edu

:::{{container}} ddpm-tagline
A book about Denoising Diffusion Probabilistic Models that compiles to a library.
:::

<picture><source media="(prefers-reduced-motion: reduce)" srcset="_static/reverse.png"><img class="ddpm-film" src="_static/reverse.webp" alt="Sixteen pictures of pure noise turn, step by step, into garments: the reverse process"></picture>

{intro}

## The chapters

<div class="ddpm-cards">{"".join(cards)}</div>

Looking for an equation? [The table of the paper's items](appendix/G_items.ipynb) leads from each of them to the heading where it is derived, the code that is it, and the check that proves it.

{links(rest)}

{chr(10).join(k + chr(10) for k in keep)}

{tree("The book", [f"{int(n[:2])}. {about(n)['title']} <{n}>" for n in chapters] + ["assignments"])}
{tree("Appendix", [f"{about_appendix(n)} <{n}>" for n in appendix])}
{tree("The school", sorted(school, key=lambda n: n != "course/lecturers_guide"))}
{tree("Reference", ["api/index", "model_card"])}
"""
    (src/"index.md").write_text(page)


def reference(src):
    "A page for each module, from its docments; each entry leads to the chapter that derives it."
    from nbdev.showdoc import show_doc
    from ddpm_edu._modidx import d
    (src/"api").mkdir()
    modules = {}                                    # name -> what it is for
    for module, syms in d["syms"].items():
        short = module.removeprefix("ddpm_edu.")
        mod = importlib.import_module(module)
        if module.split(".")[-1] == "__init__" or not getattr(mod, "__all__", None): continue
        modules[short] = re.split(r"\s(?=Paper:|Section|\d+ \w+ to read)", " ".join((mod.__doc__ or "").split()))[0]
        source = next(iter(syms.values()))[0].split("#")[0].removesuffix(".html")
        chapter = next(p for p in nbs.rglob("*.ipynb") if f"default_exp {short}\n" in "".join(json.loads(p.read_text())["cells"][1]["source"]) + "\n")
        lines = [f"# ddpm_edu.{short}", "", f"Made from [{about(str(chapter.relative_to(nbs).with_suffix('')))['title']}](/{chapter.relative_to(nbs)}), where each piece is derived and checked.", ""]
        names = [n for n in mod.__all__ if getattr(getattr(mod, n), "__module__", None) == module and callable(getattr(mod, n))]
        methods = [f"{n}.{m}" for n in names if isinstance(getattr(mod, n), type) for m, v in vars(getattr(mod, n)).items() if not m.startswith("_") and callable(v) and getattr(v, "__doc__", None)]
        for name in sorted(names + methods, key=lambda n: (names.index(n.split(".")[0]), n)):
            value = mod
            for part in name.split("."): value = getattr(value, part)
            lines += [entry(name, show_doc(value)._repr_markdown_(), isinstance(value, type)), ""]
        constants = [n for n in mod.__all__ if n not in names and n.isupper()]
        if constants: lines += ["## Constants", ""] + [f"- `{n} = {str(getattr(mod, n))[:120]}`" for n in constants]
        (src/"api"/f"{short}.md").write_text("\n".join(lines))
    order = sorted(modules)
    (src/"api"/"index.md").write_text("# The library\n\nSignatures with what each argument is, from the code itself.\n\n| module | what it is for |\n|---|---|\n"
        + "\n".join(f"| [{m}]({m}.md) | {modules[m]} |" for m in order) + "\n\n:::{toctree}\n:hidden:\n\n" + "\n".join(order) + "\n:::\n")


def signature(code, is_class):
    "A signature as one would write it, its comments below one another."
    if is_class: code = re.sub(r"^def ", "class ", code).replace(")->None:", "):")
    short = lambda part: re.sub(r"\b(?:torch|ddpm_edu\.\w+)\.(?=[A-Z])", "", part.replace(":NoneType=None", "=None"))
    parts = [(short(part), *comment) for part, *comment in (line.split(" # ", 1) for line in code.splitlines())]
    width = min(max((len(p[0]) for p in parts if p[1:]), default=0), 44)
    return "\n".join(f"{p[0]:{width}} # {p[1]}" if p[1:] else p[0] for p in parts)


def entry(name, text, is_class):
    "What `show_doc` says, as part of a page."
    text = re.sub(r"^---\n|^\[source\].*\n", "", text, flags=re.M)
    text = re.sub(r"^#+ .*\n", "", text, count=1, flags=re.M)
    text = re.sub(r"(?<=```python\n).*?(?=```)", lambda m: signature(m[0].strip("\n"), is_class) + "\n", text, count=1, flags=re.S)
    text = re.sub(r"(?<=```\n\n)\*(.+)\*\s*\Z", r"\1\n", text, flags=re.S)                 # the docstring, in italics
    return f"{'###' if '.' in name else '##'} {name}\n{text}"


def build(out, repository=""):
    if out.exists() and any(out.iterdir()) and not (out/"objects.inv").exists(): raise SystemExit(f"{out} holds other files: name a new folder, or one that an earlier build has made")
    work = here/"_source"
    src, html = work/"pages", work/"html"
    shutil.rmtree(work, ignore_errors=True)
    src.mkdir(parents=True)
    try:
        vendor(here/"_vendor")
        names = notebooks(src, repository)
        assignments(src)
        shutil.copytree(here/"static", src/"_static")
        shutil.copytree(here/"_vendor", src/"_static"/"vendor", ignore=shutil.ignore_patterns("*.json", "node_modules"))
        film(src/"_static"/"reverse.webp")
        front_page(src, names)
        reference(src)
        shutil.copyfile(here/"conf.py", src/"conf.py"); shutil.copyfile(here/"slug.py", src/"slug.py")
        done = subprocess.run([sys.executable, "-m", "sphinx", "-b", "html", "-W", "--keep-going", "-q", "-j", "auto", str(src), str(html)], env={**os.environ, "PYTHONPATH": os.pathsep.join([str(src), str(root)])})
        if done.returncode: raise SystemExit("the site was not built: see the messages above")
        (html/".nojekyll").touch()                                          # GitHub Pages would leave out folders that begin with _
        shutil.rmtree(html/".doctrees", ignore_errors=True)
        shutil.rmtree(out, ignore_errors=True)
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(html, out)                                              # whole, or not at all
    finally: shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path, help="folder for the pages")
    parser.add_argument("--repository", default=os.environ.get("GITHUB_REPOSITORY", ""), help="owner/name on GitHub, for the links to Binder and Colab")
    args = parser.parse_args()
    build(args.out.resolve(), args.repository)
    print(f"{len(list(args.out.rglob('*.html')))} pages; open {args.out}/index.html")
