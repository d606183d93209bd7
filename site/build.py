"""The website of the book: `python site/build.py OUT` makes it from the executed notebooks,
without running them and without the internet.

The pages ask no other host for anything: KaTeX is fetched from npm once, into site/_vendor, and
draws the formulas while the site is built (formulas.py); explorers become a slider of the browser
and picture files (panels.py). Sphinx, MyST-NB and furo do the rest; here stands what they cannot
know: which lines of a notebook are for nbdev, and what the front page shows. reference.py
documents the package."""
import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from configparser import ConfigParser
from pathlib import Path

import nbformat

here = Path(__file__).resolve().parent
root, nbs = here.parent, here.parent/"nbs"
sys.path[:0] = [str(root), str(here)]
from formulas import draw                                                   # noqa: E402
import panels                                                               # noqa: E402
from progress import Progress                                               # noqa: E402
from reference import reference                                             # noqa: E402
from slug import slug                                                       # noqa: E402

KATEX = "katex@0.16.47"
NEEDS = {
    "00_sixty_lines": "Python, and what a neural network is",
    "01_forward_process": "some probability: Gaussians, Bayes' rule",
    "02_variational_bound": "chapter 1",
    "03_score_matching": "chapters 1 and 2",
    "04_reverse_sampler": "chapters 1 to 3",
    "05_blocks": "convolutions, PyTorch modules",
    "05_unet": "the first half of chapter 5",
    "06_pipeline": "chapters 4 and 5",
    "07_training": "chapters 1 to 6",
    "08_bits": "chapters 2 and 6",
    "08_evaluation": "chapter 6",
    "09_progressive_coding": "chapters 2 and 6",
    "10_paper": "chapters 2, 6 and 8",
    "11_speed": "chapters 4 to 7",
}
SAMPLES = "![64 garments that the model has drawn, 1000 steps each](images/samples.png)"
HIDDEN = {"assignments", ".ipynb_checkpoints"}      # folders of notebooks that are no pages


def vendor(folder):
    "KaTeX from its npm package: the program, for building; style and letters, for the pages."
    if (folder/"fonts").is_dir() and (folder/"katex.min.js").exists(): return
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise SystemExit("npm is needed once, to fetch KaTeX, and Node.js to draw formulas: "
                         "install them (Debian: apt install npm)")
    folder.mkdir(parents=True, exist_ok=True)
    quiet = ["--ignore-scripts", "--no-save", "--silent", "--no-fund", "--no-audit"]
    subprocess.run([npm, "install", *quiet, "--prefix", str(folder), KATEX], check=True)
    made = folder/"node_modules"/"katex"/"dist"
    for name in ("katex.min.css", "katex.min.js"): shutil.copyfile(made/name, folder/name)
    only = shutil.ignore_patterns("*.woff", "*.ttf")                # every browser reads woff2
    shutil.copytree(made/"fonts", folder/"fonts", ignore=only, dirs_exist_ok=True)
    shutil.rmtree(folder/"node_modules")


CARDS = {"fashion-mnist": "model_card", "fashion-mnist-classes": "model_card_classes"}


def links(text):
    "Anchors as JupyterLab writes them become those of the site; so do files outside the book."
    anchor = r"(\]\([^)\s#]*\.ipynb)#([^)\s]*)\)"
    text = re.sub(anchor, lambda m: f"{m[1]}#{slug(m[2])})", text)
    text = re.sub(r"\]\((\.\./)*index\.ipynb\)", "](/index.md)", text)
    text = re.sub(r"\[([^\]]*)\]\((\.\./)*[A-Z]+\.md\)", r"\1", text)       # in the sources only
    for model, page in CARDS.items():
        card = rf"\]\((\.\./)+ddpm_edu/assets/{model}/README\.md\)"
        text = re.sub(card, f"](/{page}.md)", text)
    return text


def numbered(text):
    r"Formulas with line breaks and numbers: Sphinx would wrap them into what forbids `\tag`."
    def wrapped(m):
        if "\\\\" not in m[1] or "\\tag" not in m[1]: return m[0]
        return f"\\begin{{equation*}}{m[1]}\\end{{equation*}}"
    return re.sub(r"^\$\$(.*?)\$\$", wrapped, text, flags=re.M | re.S)


def prose(text):
    "Markdown as the site needs it; folded answers keep their mathematics."
    folded = r"<details><summary>(.*?)</summary>\s*(.*?)\s*</details>"
    def unfolded(m):
        return f"<details><summary>{in_html(m[1])}</summary>\n\n{m[2]}\n\n</details>"
    return re.sub(folded, unfolded, numbered(links(text)), flags=re.S)


def in_html(text):
    "HTML whose formulas are drawn: MyST leaves HTML alone."
    return re.sub(r"\$([^$]+)\$", lambda m: draw(m[1]), text)


TAG = r"^# (?:claims|proves): .*\n?"


def code_for_readers(cell):
    "A code cell without its directives, or None if it is for nbdev only."
    directives = " ".join(re.findall(r"^#\|(.*)", cell.source, re.M))
    if re.search(r"\b(default_exp|hide)\b", directives): return None
    if re.search(r"echo:\s*false", directives): cell.metadata["tags"] = ["remove-input"]
    folded = cell.metadata.get("jupyter", {}).get("source_hidden", False)       # as in JupyterLab
    cell.source = re.sub(r"^#\|.*\n?", "", cell.source, flags=re.M).strip("\n")
    if folded or re.search(r"code-fold:\s*true", directives):
        what, all_of_it = inside(cell.source)
        cell.metadata["tags"] = ["hide-cell" if all_of_it else "hide-input"]
        cell.metadata["mystnb"] = {"code_prompt_show": f"Show {what}",
                                   "code_prompt_hide": f"Hide {what}"}
    else: cell.source = re.sub(TAG, "", cell.source, flags=re.M)       # G lists the tags
    for out in markdown_outputs([cell]):
        out.data["text/markdown"] = links("".join(out.data["text/markdown"]))
    return cell if cell.source else None


def inside(code):
    "What a folded cell holds, for its handle; and is what it shows to be folded as well?"
    answer = re.match(r"# claims: (answers? [\d, and]+)", code)
    if answer: return f"the code of {answer[1].strip()}", True
    claim = re.search(r"^# claims: (.+)", code, re.M)
    if claim and not re.search(r"[$\\*`_{}]", claim[1]): return f"the check of “{claim[1]}”", False
    if claim or re.match("# proves:", code): return "the check", False
    names = re.findall(r"^(?:def|class) (\w+)", code, re.M)
    if names: return f"the code of {', '.join(names[:3])}{' ...' if names[3:] else ''}", False
    return ("the imports" if re.match("(import|from) ", code) else "the code"), False


def markdown_outputs(cells):
    "What cells have printed as Markdown."
    outputs = [o for c in cells for o in c.get("outputs", [])]
    return [o for o in outputs if "text/markdown" in o.get("data", {})]


def for_readers(nb):
    "A notebook without what is meant for nbdev only."
    cells = []
    for cell in nb.cells:
        if cell.cell_type == "raw": continue
        if cell.cell_type == "markdown": cell.source = prose(cell.source)
        elif code_for_readers(cell) is None: continue
        cells.append(cell)
    nb.cells = cells
    return nb


def to_reference(text):
    "Names in a table become links to their documentation; they may break at dots and underscores."
    def link(m):
        name = re.sub("[._]", lambda c: c[0] + "<wbr>", m[0].strip("`"))
        return f"[<code class='literal'>{name}</code>](/api/{m[1]}.md#{slug(m[2])})"
    return re.sub(r"`(\w+)\.([\w.]+)`", link, text)


def address(repository=""):
    "Where the sources are public: owner/name on GitHub, else what settings.ini says, else nowhere."
    settings = ConfigParser(interpolation=None, delimiters=["="])
    settings.read(root/"settings.ini", encoding="utf-8")
    known = settings["DEFAULT"].get("git_url", "").strip().rstrip("/")
    return f"https://github.com/{repository}" if repository else known


def launch(name, url):
    "What one can do with the notebook: take it, run it; if its source is public, improve it."
    original = f"{'../'*name.count('/')}_notebooks/{name}.ipynb"
    parts = [f"{{download}}`Download this notebook <{original}>`"]
    github = re.fullmatch(r"https://github\.com/(.+)", url)
    if github:
        binder = f"https://mybinder.org/v2/gh/{github[1]}/main?labpath=nbs/{name}.ipynb"
        colab = f"https://colab.research.google.com/github/{github[1]}/blob/main/nbs/{name}.ipynb"
        parts += [f"[Run it on Binder]({binder})", f"[Open it in Colab]({colab})"]
    else:
        how = f"/index.md#{slug('Sixty seconds to a picture')}"
        parts.append(f"run it with `jupyter lab book/{name}.ipynb` ([how]({how}))")
    if url:
        parts += [f"[Edit this page]({url}/edit/main/nbs/{name}.ipynb)",
                  f"[Report a problem]({url}/issues/new?title={name})"]
    text = ":::{container} ddpm-launch\n" + " · ".join(parts) + "\n:::"
    return nbformat.v4.new_markdown_cell(text)


def about(name):
    "Title and summary of a chapter, and how long it takes."
    first = nbformat.read(nbs/f"{name}.ipynb", 4).cells[0].source
    title = re.search(r"^# (.*)", first, re.M)[1]
    quote = " ".join(line.lstrip("> ") for line in first.splitlines() if line.startswith(">"))
    time = re.search(r"(\d+ (?:minutes?|seconds?)) to read, (.*?) to run", quote)
    summary = re.split(r"(?<=\.) (?=Paper|Section)", quote)[0]
    return dict(title=title, summary=summary, read=time[1], run=time[2])


def page_names():
    "The notebooks that become pages, without the front page."
    paths = [p for p in sorted(nbs.rglob("*.ipynb")) if not HIDDEN & set(p.parts)]
    names = [p.relative_to(nbs).with_suffix("").as_posix() for p in paths]
    return [name for name in names if name != "index"]


def notebook(src, name, url):
    "One notebook as its readers shall see it; the original beside it, to download."
    new = nbformat.v4.new_markdown_cell
    nb = for_readers(nbformat.read(nbs/f"{name}.ipynb", 4))
    top = r"(# [^\n]*\n\s*(?:>[^\n]*\n?)*)(.*)"                         # what the reader gains
    title, rest = re.match(top, nb.cells[0].source, re.S).groups()
    nb.cells[:1] = [new(title), launch(name, url), *([new(rest)] if rest.strip() else [])]
    if name.endswith("G_items"):
        for out in markdown_outputs(nb.cells):
            out.data["text/markdown"] = to_reference(out.data["text/markdown"])
    panels.replace(nb, name, src)
    for folder in (src, src/"_notebooks"): (folder/name).parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nb, src/f"{name}.ipynb")
    shutil.copyfile(nbs/f"{name}.ipynb", src/"_notebooks"/f"{name}.ipynb")


def model_cards(src):
    "The cards of the models that ship, with their pictures."
    for model, page in CARDS.items():
        card = root/"ddpm_edu"/"assets"/model
        for picture in card.glob("*.png"): shutil.copyfile(picture, src/picture.name)
        text = re.sub(r"\A---\n.*?\n---\n", "", (card/"README.md").read_text(), flags=re.S)
        if not text.lstrip().startswith("# "): text = f"# The model that ships\n\n{text}"
        (src/f"{page}.md").write_text(text)


def assignments(src):
    "A page with the assignments, and the students' versions: without solutions and hidden tests."
    from ddpm_edu.course.release import assignment_files, student_version
    folder = src/"_notebooks"/"assignments"
    folder.mkdir(parents=True)
    lines = ["# The assignments", "", (
        "Six notebooks with questions to derive, to predict and to repair. Each question has a "
        "test that says what may be the matter, so you need no grader. Download one here and "
        "open it in JupyterLab where `ddpm_edu` is installed, or let `ddpm-edu assignment 1 "
        "my-work` copy it out. Lecturers: solutions, hidden tests and grading are in the "
        "[lecturer's guide](course/lecturers_guide.ipynb)."), ""]
    for number, path in assignment_files().items():
        text = student_version(path.read_text(encoding="utf-8"))
        (folder/path.name).write_text(text, encoding="utf-8")
        cells = ["".join(c["source"]) for c in json.loads(text)["cells"]]
        title = re.search(r"^# Assignment \d+: (.*)", cells[0], re.M)[1]
        summary = re.search(r"^> (.*)", cells[0], re.M)[1]
        found = [m[1] for c in cells for m in re.finditer(r"^## Question \d+: (.*)", c, re.M)]
        lines += [f"## {number}. {title[0].upper() + title[1:]}", "", summary, "",
            *[f"{i}. {question}" for i, question in enumerate(found, 1)], "",
            f":::{{container}} ddpm-launch\n{{download}}`Download assignment {number} "
            f"<_notebooks/assignments/{path.name}>`\n:::", ""]
    (src/"assignments.md").write_text("\n".join(lines))


def film(path, steps=60, frames=40):
    "Sixteen garments on their way out of the noise, as an animation, and its last picture."
    import torch
    from ddpm_edu import DDPMPipeline
    from ddpm_edu.plots import make_grid
    pipe, seen = DDPMPipeline.from_pretrained("fashion-mnist"), []
    pipe.set_progress_bar_config(disable=True)
    def look(pipe, i, t, state):
        seen.append(make_grid(state["sample"].clamp(-1, 1), ncols=8, value_range=(-1, 1)))
        return state
    seed = torch.Generator("cpu").manual_seed(5)
    pipe(batch_size=16, num_inference_steps=steps, generator=seed, callback_on_step_end=look)
    moving([seen[round(i*(steps-1)/(frames-1))] for i in range(frames)], path, 90)


def moving(pictures, path, each):
    "An animation, `each` ms a picture and the last one longer; beside it the last picture alone."
    first, *rest = pictures
    first.save(path, save_all=True, append_images=rest, duration=[each]*len(rest) + [3000], loop=0,
        quality=70, method=4)
    pictures[-1].save(path.with_suffix(".png"))


def film_of_bytes(path):
    "Eight garments, each decoded from more and more bytes of its file; below, the originals."
    import torch
    from ddpm_edu import DDPMPipeline
    from ddpm_edu.data import SLICE, load_fashion_mnist
    from ddpm_edu.plots import make_grid
    from ddpm_edu.progressive_coding import decode_steps, encode
    pipe = DDPMPipeline.from_pretrained("fashion-mnist")
    pipe.set_progress_bar_config(disable=True)
    data = load_fashion_mnist("test", root=SLICE)
    x0 = data.batch(torch.randperm(len(data), generator=torch.Generator().manual_seed(3))[:8])
    steps = decode_steps(pipe, encode(pipe, x0))                        # 8 of (44, 1, 28, 28)
    last = max(map(len, steps))
    steps = torch.stack([torch.cat([s, s[-1:].expand(last - len(s), -1, -1, -1)]) for s in steps])
    grids = [make_grid(torch.cat([steps[:, k], x0]), 8, value_range=(-1, 1), scale=2)
             for k in range(last)]
    moving([counted(grid, 2*k) for k, grid in enumerate(grids)], path, 160)


def counted(grid, n, strip=34):
    "A picture with the number of bytes below it, to be read on a telephone, too."
    from PIL import Image, ImageDraw, ImageFont
    whole = Image.new("L", (grid.width, grid.height + strip), 0)
    whole.paste(grid)
    text = dict(text=f"{n} bytes each", font=ImageFont.load_default(26), fill=255)
    ImageDraw.Draw(whole).text((6, grid.height), **text)
    return whole


def card(name):
    "A chapter on the front page."
    a = about(name)
    text = (f'<a class="ddpm-card" href="{name}.html">'
            f'<b>{int(name[:2])}. {a["title"]}</b><span>{a["summary"]}</span>'
            f'<small>{a["read"]} to read, {a["run"]} to run<br>needs {NEEDS[name]}</small></a>')
    return in_html(text)


def tree(caption, pages):
    "A part of the book in the list on the left."
    return "\n".join([f":::{{toctree}}\n:hidden:\n:caption: {caption}\n", *pages, ":::\n"])


def trees(names):
    "The whole list on the left."
    chapters = [n for n in names if "/" not in n]
    appendix, school = ([n for n in names if n.startswith(f"{room}/")]
                        for room in ("appendix", "course"))
    school = sorted(school, key=lambda n: n != "course/lecturers_guide")
    def lettered(name):                                       # with its own number, if it has one
        title = about(name)["title"]
        letter = Path(name).name.split("_")[0]
        return title if re.match(r"[A-Z]\d?\. ", title) else f"{letter}. {title}"
    numbered = [f"{int(n[:2])}. {about(n)['title']} <{n}>" for n in chapters]
    return "\n".join([
        tree("The book", [*numbered, "assignments"]),
        tree("Appendix", [f"{lettered(n)} <{n}>" for n in appendix]),
        tree("The school", school),
        tree("Reference", ["api/index", *CARDS.values()])])


def front_page(src, names):
    "index.md: the film, what the book is, a card for each chapter, the rest of its notebook."
    cells = [c.source for c in nbformat.read(nbs/"index.ipynb", 4).cells]
    elsewhere = ("# ", "## The book")
    keep = []
    for c in for_readers(nbformat.read(nbs/"index.ipynb", 4)).cells:
        if c.cell_type == "code": keep.append(f"```python\n{c.source}\n```")
        elif not c.source.startswith(elsewhere) and "The paper: Ho" not in c.source:
            keep.append(c.source)
    keep = [text for text in keep if "_all_" not in text]
    intro = next(c for c in cells if c.startswith("The paper: Ho"))
    intro = re.sub(r"!\[.*?\]\(.*?\)\n*", "", intro)
    intro = intro.replace("on two CPU cores:", "on two CPU cores.")
    book = next(c for c in cells if c.startswith("## The book"))
    ours = "## The model that ships\n"                       # its text speaks of samples above it
    keep = [text.replace(ours, f"{ours}\n{SAMPLES}\n") for text in keep]
    rest = re.split(r"\n\n(?=The appendix)", book)[1]
    cards = "".join(card(n) for n in names if "/" not in n)
    (src/"index.md").write_text(f"""# ddpm-edu

:::{{container}} ddpm-tagline
A book about Denoising Diffusion Probabilistic Models that compiles to a library.
:::

<picture><source media="(prefers-reduced-motion: reduce)" srcset="_static/bytes.png"><img
class="ddpm-film" src="_static/bytes.webp"
alt="Eight garments appear, coarse to fine, as more bytes of their files are read"></picture>

*Above: the first bytes of eight files, decoded by [chapter 9](09_progressive_coding.ipynb), over
the originals. Below: sixteen pictures of pure noise, and what sixty steps back make of each.*

<picture><source media="(prefers-reduced-motion: reduce)" srcset="_static/reverse.png"><img
class="ddpm-film" src="_static/reverse.webp"
alt="Sixteen pictures of noise turn, step by step, into garments: the reverse process"></picture>

{intro}

## The chapters

<div class="ddpm-cards">{cards}</div>

Looking for an equation? [The table of the paper's items](appendix/G_items.ipynb) leads from each
of them to the heading where it is derived, the code that is it, and the check that proves it.

{links(rest)}

{chr(10).join(text + chr(10) for text in keep)}

{trees(names)}
""")


def sources(src, url, progress):
    "Everything that Sphinx shall turn into pages."
    names = page_names()
    for name in progress.over("preparing pages", names): notebook(src, name, url)
    for room in ("images", "course/images"): shutil.copytree(nbs/room, src/room)
    model_cards(src)
    assignments(src)
    shutil.copytree(here/"static", src/"_static", dirs_exist_ok=True)
    beside = shutil.ignore_patterns("*.json", "*.js", "node_modules")
    shutil.copytree(here/"_vendor", src/"_static"/"vendor", ignore=beside, dirs_exist_ok=True)
    progress.say("drawing the films of the front page")
    film_of_bytes(src/"_static"/"bytes.webp")
    film(src/"_static"/"reverse.webp")
    front_page(src, names)
    progress.say("documenting the library")
    reference(src, nbs, lambda name: about(name)["title"])
    for name in ("conf.py", "slug.py", "formulas.py"): shutil.copyfile(here/name, src/name)


def sphinx(src, html, progress):
    "Run Sphinx; a warning is an error."
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-W", "--keep-going", "--no-color",
               "-j", "auto", str(src), str(html)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(src), str(root)]),
           "DDPM_FORMULAS": str(here/"formulas.js"), "DDPM_VENDOR": str(here/"_vendor")}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as run:
        for line in run.stdout: progress.sphinx(line)
    progress.end()
    if run.returncode: raise SystemExit("the site was not built: see the messages above")


def lines(code):
    "Each line of code by itself, with its depth: on a phone what is wrapped keeps its place."
    def line(text):
        bare = re.sub("<[^>]*>", "", text)
        deep = len(bare) - len(bare.lstrip(" "))
        style = f' style="--deep:{deep}ch"' if deep else ""
        return f'<span class="ddpm-line"{style}>{text}\n</span>'
    return "".join(map(line, code.rstrip("\n").split("\n")))


def picture(tag, folder):
    "A picture that knows its size and arrives when it comes near the window."
    from PIL import Image
    source = re.search(r'src="([^"]*)"', tag)[1]
    if "_images/" not in source or not source.endswith((".png", ".jpg", ".webp")): return tag
    known = ""
    if not re.search(r"\b(width|style)=", tag):
        with Image.open(folder/source) as image: known = ' width="%d" height="%d"' % image.size
    return tag.replace("<img", f'<img loading="lazy"{known}', 1)


def finish(html):
    "What Sphinx and furo leave to do: pictures, lines of code, the list of headings at the right."
    for path in html.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        text = re.sub(r"<img\b[^>]*>", lambda m: picture(m[0], path.parent), text)
        text = re.sub(r'(<div class="highlight"><pre>(?:<span></span>)?)(.*?)(</pre>)',
            lambda m: m[1] + lines(m[2]) + m[3], text, flags=re.S)
        path.write_text(text, encoding="utf-8")
    style = html/"_static"/"styles"/"furo.css"
    text, narrow = style.read_text(encoding="utf-8"), "@media(max-width:82em)"
    if narrow not in text:
        raise SystemExit(f"furo.css has no {narrow}: adapt finish() and book.css")
    style.write_text(text.replace(narrow, "@media(max-width:78.9em)"), encoding="utf-8")


def build(out, repository=""):
    "The pages, whole or not at all."
    if out.exists() and any(out.iterdir()) and not (out/"objects.inv").exists():
        raise SystemExit(f"{out} holds other files: name a new folder, or one that an earlier "
                         "build has made")
    progress = Progress()
    with tempfile.TemporaryDirectory(prefix="ddpm-site-") as work:    # two builds never meet in it
        src, html = Path(work)/"pages", Path(work)/"html"
        src.mkdir()
        progress.say("looking for KaTeX")
        vendor(here/"_vendor")
        sources(src, address(repository), progress)
        sphinx(src, html, progress)
        finish(html)
        (html/".nojekyll").touch()           # or GitHub Pages leaves out folders that begin with _
        shutil.rmtree(html/".doctrees", ignore_errors=True)
        shutil.rmtree(out, ignore_errors=True)
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(html, out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("out", type=Path, help="folder for the pages")
    parser.add_argument("--repository", default=os.environ.get("GITHUB_REPOSITORY", ""),
        help="owner/name on GitHub, for links to it (default: git_url of settings.ini, or none)")
    args = parser.parse_args()
    build(args.out.resolve(), args.repository)
    print(f"{len(list(args.out.rglob('*.html')))} pages; open {args.out}/index.html")
