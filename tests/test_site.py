"""The website as its readers meet it: built from the notebooks, opened page by page in a browser
without the internet, on a desk and on a phone."""
import functools
import http.server
import importlib.util
import io
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

root = Path(__file__).parent.parent


def script(name):
    "A module of the folder site/, which is no package."
    spec = importlib.util.spec_from_file_location(f"site_{name}", root/"site"/f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


build = script("build")
slug = build.slug
chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
                None)
needs_tools = pytest.mark.skipif(chromium is None or shutil.which("npm") is None,
    reason="needs chromium and npm (Debian: apt install chromium npm)")
notebooks = [p for p in sorted((root/"nbs").rglob("*.ipynb")) if not build.HIDDEN & set(p.parts)]


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="one process anyway")
def test_these_tests_share_one_process(request):
    assert request.node.nodeid.endswith("@test_site")


def test_slugs_meet():
    "An anchor as JupyterLab writes it, and the heading that it means."
    headings = ("All steps at once: equation (4)", "How much noise: $\\sigma_t$",
                "From divergences to squared errors: (8), (9), (10), (12)")
    for heading in headings:
        assert slug(heading) == slug(heading.replace(" ", "-"))
        assert re.fullmatch(r"[a-z0-9-]+", slug(heading))
    assert slug(headings[0]) == "all-steps-at-once-equation-4"
    assert slug(headings[0]) != slug("All steps at once: equation (2)")


def test_readers_do_not_see_directives():
    import nbformat
    for path in notebooks:
        before = nbformat.read(path, 4)
        seen = build.for_readers(nbformat.read(path, 4))
        text = "\n".join(c.source for c in seen.cells)
        assert not re.search(r"^#\|", text, re.M) and "default_exp" not in text
        exported = [c for c in before.cells if re.match(r"#\| export\b", c.source)]
        left_out = [c for c in before.cells if re.match(r"#\|\s*(hide|default_exp)", c.source)]
        assert len(seen.cells) >= len(before.cells) - len(left_out) - 1
        for c in exported: assert c.source.split("\n", 1)[1].strip() in text


def test_readers_see_a_tag_only_where_it_names_what_is_checked():
    from nbformat.v4 import new_code_cell
    code = "# proves: eq-3\n# claims: it falls\nx = 1  # claims: no tag\nassert x"
    shown = build.code_for_readers(new_code_cell(code))
    assert shown.source == "x = 1  # claims: no tag\nassert x"
    folded = new_code_cell(code, metadata={"jupyter": {"source_hidden": True}})
    assert build.code_for_readers(folded).source == code
    assert build.code_for_readers(new_code_cell("# claims: it falls")) is None


def test_a_folded_cell_says_what_it_holds():
    "An answer's code is folded with what it prints, or it would give the answer away."
    said = {
        "# claims: answer 2\nprint(1)": ("the code of answer 2", True),
        "# claims: answers 1 and 2\nprint(1)": ("the code of answers 1 and 2", True),
        "# claims: it falls\nassert 1": ("the check of “it falls”", False),
        "# claims: $x$ falls\nassert 1": ("the check", False),
        "# proves: eq-3\nassert 1": ("the check", False),
        "def f(): pass\n\nclass G: pass": ("the code of f, G", False),
        "import math": ("the imports", False),
        "x = 1": ("the code", False),
    }
    for code, expected in said.items(): assert build.inside(code) == expected, code


def test_the_source_is_linked_only_where_it_is_public(monkeypatch, tmp_path):
    "Edit and report: no address, no link; from settings.ini, or from the name on GitHub."
    (tmp_path/"settings.ini").write_text("[DEFAULT]\nname = x\n")
    monkeypatch.setattr(build, "root", tmp_path)
    assert build.address() == "" and build.address("me/book") == "https://github.com/me/book"
    nowhere = build.launch("appendix/A_data", build.address()).source
    assert "Edit" not in nowhere and "Report" not in nowhere and "http" not in nowhere
    (tmp_path/"settings.ini").write_text("[DEFAULT]\ngit_url = https://git.example/me/book/\n")
    text = build.launch("appendix/A_data", build.address()).source
    assert "(https://git.example/me/book/edit/main/nbs/appendix/A_data.ipynb)" in text
    assert "(https://git.example/me/book/issues/new?title=appendix/A_data)" in text
    assert "binder" not in text
    assert "binder" in build.launch("appendix/A_data", build.address("me/book")).source


def formulas_of(text):
    "The formulas of Markdown as the site reads it: (TeX, whether it stands by itself)."
    from markdown_it import MarkdownIt
    from mdit_py_plugins.amsmath import amsmath_plugin
    from mdit_py_plugins.dollarmath import dollarmath_plugin
    reader = MarkdownIt("commonmark").enable("table")
    reader.use(dollarmath_plugin, double_inline=True).use(amsmath_plugin)
    found = []
    for token in reader.parse(text):
        for t in [token, *(token.children or [])]:
            if not t.type.startswith(("math", "amsmath")): continue
            found.append((t.content, "inline" not in t.type or "double" in t.type))
    return found


@needs_tools
def test_every_formula_can_be_drawn():
    "KaTeX reads each formula of each notebook; it says so when it cannot."
    import nbformat
    build.vendor(root/"site"/"_vendor")
    drawn = 0
    for path in notebooks:
        cells = build.for_readers(nbformat.read(path, 4)).cells
        printed = ["".join(o.data["text/markdown"]) for o in build.markdown_outputs(cells)]
        for text in [c.source for c in cells if c.cell_type == "markdown"] + printed:
            for tex, display in formulas_of(text):
                shown = build.draw(tex, display)
                assert "katex-html" in shown and "<math" in shown and "katex-error" not in shown
                drawn += 1
    assert drawn > 500
    with pytest.raises(ValueError, match=r"in the formula \\frac\{1\}$"): build.draw(r"\frac{1}")
    with pytest.raises(ValueError, match="nosuchthing"): build.draw(r"\nosuchthing_t")


def test_lines_of_code_keep_their_depth():
    text = build.lines('<span class="k">if</span> x:\n    <span class="n">y</span>\n\n')
    plain = re.sub("<[^>]*>", "", text)
    assert plain == "if x:\n    y\n" and text.count('style="--deep:4ch"') == 1


def entries(module):
    "The names that the page of a module documents, and its text."
    text = "\n".join(script("reference").page(importlib.import_module(f"ddpm_edu.{module}")))
    text = text.replace(r"\_", "_")                    # escaped, or Markdown would make it bold
    return re.findall(r"^##+ (\S+)$", text, re.M), text


LOOKED_UP = {
    "pipeline": """DDPMPipeline DDPMPipeline.__call__ DDPMPipeline.from_pretrained
        DDPMPipeline.from_config DDPMPipeline.from_pipe DDPMPipeline.download DDPMPipeline.to
        DDPMPipeline.save_pretrained DDPMPipeline.push_to_hub DDPMPipeline.components
        DDPMPipeline.set_progress_bar_config ImagePipelineOutput""",
    "scheduler": """DDPMScheduler DDPMScheduler.step DDPMScheduler.add_noise
        DDPMScheduler.get_velocity DDPMScheduler.set_timesteps DDPMScheduler.from_pretrained
        DDPMScheduler.from_config DDPMScheduler.save_pretrained DDPMScheduler.config
        DDPMScheduler.__len__""",
    "unet": """UNet UNet.forward UNet.from_pretrained UNet.from_config UNet.save_pretrained
        UNet.enable_gradient_checkpointing UNet.config""",
    "forward_process": """make_betas NoiseSchedule NoiseSchedule.q_sample
        NoiseSchedule.q_posterior NoiseSchedule.from_alphas_cumprod NoiseSchedule.__len__""",
    "training": "Trainer Trainer.train TrainConfig",
    "plots": "make_grid show_images plot_schedules",
    "explorers": "explore_sampler SamplerExplorer",
}


@pytest.mark.parametrize("module", LOOKED_UP)
def test_reference_lists_what_users_look_up(module):
    names, _ = entries(module)
    assert not set(LOOKED_UP[module].split()) - set(names)
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("module", [*LOOKED_UP, "checks", "config"])
def test_reference_leaves_helpers_out(module):
    called = ("__call__", "__getitem__", "__len__")
    last = [name.split(".")[-1] for name in entries(module)[0]]
    assert not [n for n in last if n.startswith(("_", "check_")) and n not in called]


def test_reference_headings_keep_their_underscores():
    "Two of them around a name would be bold in Markdown."
    from markdown_it import MarkdownIt
    page = script("reference").page(importlib.import_module("ddpm_edu.pipeline"))
    shown = MarkdownIt().render("\n".join(page))
    assert "<h3>DDPMPipeline.__call__</h3>" in shown


def test_reference_says_what_arguments_are():
    _, text = entries("pipeline")
    call = text.split("### DDPMPipeline.__call__")[1].split("###")[0]
    assert re.search(r"batch_size:int=1, +# number of images", call) and "Args:" not in call
    load = text.split("### DDPMPipeline.from_pretrained")[1].split("###")[0]
    assert "@classmethod" in load and "bundled name" in load and "cls" not in load.split("def")[1]
    for line in text.splitlines(): assert len(line) <= 100 or not line.startswith("    "), line


class Terminal(io.StringIO):
    "A stream that says that it is a terminal."
    def isatty(self): return True


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_building_shows_progress(stream):
    "One line that changes on a terminal; in a log some ten lines, however many pages."
    out = stream()
    progress = script("progress").Progress(out)
    assert list(progress.over("preparing pages", [f"page{i}" for i in range(200)]))[-1] == "page199"
    for i in range(1, 101): progress.sphinx(f"writing output... [{i:3}%] page{i}\n")
    progress.sphinx("looking for now-outdated files... none found\n")
    progress.end()
    text = out.getvalue()
    assert "preparing pages: 100 % page199" in text and "writing output: 100 % page100" in text
    assert "outdated" not in text and text.endswith("\n")
    if stream is Terminal: assert text.count("\r") == 300 and text.count("\n") == 1
    else: assert 15 <= text.count("\n") <= 30 and "\r" not in text


def test_quarto_settings_are_valid():
    "For people who have Quarto: the file parses, and names what exists."
    import yaml
    settings = yaml.safe_load((root/"nbs"/"_quarto.yml").read_text())
    assert settings["project"]["type"] == "website" and "html" in settings["format"]
    for page in re.findall(r"[\w/]+\.ipynb", json.dumps(settings)):
        assert (root/"nbs"/page).exists(), page


def test_workflows_are_valid():
    import yaml
    for path in (root/".github"/"workflows").glob("*.yml"):
        flow = yaml.safe_load(path.read_text())
        # YAML 1.1 reads the key `on` as true
        assert flow["jobs"] and (flow.get("on") or flow.get(True)), path.name
        for job in flow["jobs"].values(): assert job["runs-on"] and job["steps"]
    tests = yaml.safe_load((root/".github"/"workflows"/"test.yml").read_text())
    assert tests["jobs"]["test"]["strategy"]["matrix"]["python"] == ["3.10", "3.11", "3.12", "3.13"]
    steps = str(tests["jobs"]["browser"]["steps"])
    assert "tests/test_site.py tests/test_jupyterlab.py" in steps and "tests/screenshots" in steps
    names = {p.name for p in (root/".github"/"workflows").glob("*.yml")}
    assert names == {"test.yml", "pages.yml", "release.yml"}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    "The pages, built with the README's command; or those in the folder that DDPM_SITE names."
    if ready := os.environ.get("DDPM_SITE"): return Path(ready)
    out = tmp_path_factory.mktemp("site")/"pages"
    lines = (root/"README.md").read_text().splitlines()
    line = next(l for l in lines if "site/build.py" in l and l.startswith("pip"))
    command = line.split("&&")[-1].split()
    assert command[:2] == ["python", "site/build.py"]
    start = time.monotonic()
    done = subprocess.run([sys.executable, "site/build.py", str(out)], cwd=root,
        capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    print(f"built in {time.monotonic()-start:.0f} s: {done.stdout.strip().splitlines()[-1]}")
    assert re.search(r"writing output: 100 %", done.stdout) and len(done.stdout.splitlines()) < 80
    return out


class Quiet(http.server.SimpleHTTPRequestHandler):
    "Serves a folder, and says nothing."
    def log_message(self, *args): pass


def serve(folder):
    "A server for a folder."
    handler = functools.partial(Quiet, directory=str(folder))
    return http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)


@pytest.fixture(scope="module")
def served(site):
    server = serve(site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


def watch(page, base):
    "What a page asks of other hosts, and what it complains about."
    outside, errors = [], []
    def request(r):
        if not r.url.startswith((base, "data:", "blob:")): outside.append(r.url)
    def response(r):
        if r.status >= 400: errors.append(f"{r.status} {r.url}")
    def console(m):
        if m.type == "error": errors.append(m.text)
    page.on("request", request)
    page.on("response", response)
    page.on("console", console)
    page.on("pageerror", lambda e: errors.append(str(e)))
    return outside, errors


STANDS_AT = "([e, v]) => Number(e.value) === v"


def move_explorers(page):
    "Drag each slider with the keyboard, to its end, and back with the mouse. Returns how many."
    panels = page.locator(".ddpm-explorer")
    for i in range(panels.count()):
        panel = panels.nth(i)
        panel.scroll_into_view_if_needed()
        picture, slider = panel.locator("figure img"), panel.locator("input[type=range]")
        readout, caption = panel.locator("output"), panel.locator("figcaption")
        first, said = picture.get_attribute("src"), readout.text_content()
        handle = slider.element_handle()
        def at(place): page.wait_for_function(STANDS_AT, arg=[handle, place], timeout=10_000)
        slider.focus()
        for _ in range(2): page.keyboard.press("ArrowRight")
        at(2)
        second = picture.get_attribute("src")
        assert second != first and readout.text_content() != said
        page.keyboard.press("End")
        at(last := float(slider.get_attribute("max")))
        assert picture.get_attribute("src") not in (first, second) and last >= 7
        picture.evaluate("e => e.decode()")                    # the file is there
        slider.scroll_into_view_if_needed()
        box = slider.bounding_box()                            # and with the mouse, or a finger
        assert box["height"] >= 40 and box["width"] >= 150
        page.mouse.click(box["x"] + 2, box["y"] + box["height"]/2)
        at(0)
        assert picture.get_attribute("src") == first and readout.text_content() == said
        # a screen reader hears the control's name and the caption
        assert slider.evaluate("e => e.labels[0].textContent.trim()")
        assert caption.text_content() == picture.get_attribute("alt")
        assert caption.text_content() in slider.get_attribute("aria-valuetext")
        assert panel.locator("button").get_attribute("aria-label") == "play or pause"
    return panels.count()


# what sticks out of the window though nothing around it scrolls
OUTSIDE = """() => {
    const kinds = ['p', 'pre', 'table', 'img', '.math', '.ddpm-explorer', '.ddpm-card'];
    const found = document.querySelectorAll(kinds.map(kind => 'article ' + kind).join());
    const scrolls = e => ['auto', 'scroll'].includes(getComputedStyle(e).overflowX);
    return [...found].filter(e => {
        if (e.getBoundingClientRect().right <= innerWidth + 1) return false;
        for (let a = e; a && a.tagName !== 'ARTICLE'; a = a.parentElement)
            if (scrolls(a)) return false;
        return true;
    }).map(e => e.outerHTML.slice(0, 200));
}"""
# formulas that were not drawn
RAW = r"""() => {
    const kinds = ['p', 'li', 'td', 'summary', 'figcaption'];
    const found = document.querySelectorAll(kinds.map(kind => 'article ' + kind).join());
    return [...found].map(e => {
        const copy = e.cloneNode(true);
        copy.querySelectorAll('.katex, code, pre').forEach(x => x.remove());
        return copy.textContent;
    }).filter(text => /\$[^$]+\$|\\\(|\\frac|\\bar/.test(text));
}"""
DESK, PHONE = dict(width=1280, height=900), dict(width=390, height=844)        # windows, in pixels
TOO_WIDE = "() => document.documentElement.scrollWidth - window.innerWidth"
# formulas that are cut off: wider than their place, and no way to scroll it
CUT = """() => [...document.querySelectorAll('article .math')].filter(e => {
    const box = e.closest('div.math, .ddpm-wide') || e, style = getComputedStyle(box);
    const place = box.getBoundingClientRect();
    const parts = [...e.querySelectorAll('.katex-html > .base, .katex-html > .tag')];
    const out = parts.some(p => p.getBoundingClientRect().right > innerWidth + 1);
    return place.width && out && !(box !== e || style.overflowX === 'auto');
}).map(e => e.textContent.slice(0, 80))"""
SCROLLS = """() => [...document.querySelectorAll('article div.math')]
    .filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.textContent.slice(0, 60))"""


def settled(page):
    "Wait until the page has its letters, its formulas fit, and every folded answer is open."
    page.evaluate("() => document.querySelectorAll('article details').forEach(e => e.open = true)")
    page.evaluate("() => document.fonts.ready.then(() => true)")
    page.wait_for_timeout(50)


@pytest.mark.slow
@needs_tools
@pytest.mark.parametrize("width,height,color", [(1280, 900, "light"), (390, 844, "dark")],
    ids=["desk", "phone"])
def test_every_page(site, served, browser, width, height, color):
    shots = root/"tests"/"screenshots"/f"site_{width}"
    shots.mkdir(parents=True, exist_ok=True)
    window = dict(viewport={"width": width, "height": height}, color_scheme=color)
    page = browser.new_context(**window).new_page()
    outside, errors = watch(page, served)
    pages = sorted(p.relative_to(site).as_posix() for p in site.rglob("*.html"))
    explorers, formulas, scroll, cut = 0, 0, 0, []
    for name in pages:
        page.goto(served + name, wait_until="load")
        settled(page)
        formulas += page.locator(".katex").count()
        assert page.locator(".katex-error").count() == 0, name
        cut += [(name, formula) for formula in page.evaluate(CUT)]
        scroll += len(page.evaluate(SCROLLS))
        assert not (raw := page.evaluate(RAW)), (name, raw[:3])
        assert page.evaluate(TOO_WIDE) <= 0, f"{name} is wider than {width} pixels"
        assert not (out := page.evaluate(OUTSIDE)), (name, out[:3])
        explorers += move_explorers(page)
        page.screenshot(path=shots/f"{name.replace('/', '_')[:-5]}.png", full_page=True)
    print(f"{len(pages)} pages, {formulas} formulas ({scroll} scroll), "
          f"{explorers} explorers moved, "
          f"{len(outside)} requests to other hosts, {len(errors)} errors")
    assert not cut, cut
    assert not outside and not errors, (outside[:5], errors[:5])
    from test_explore import shown_in
    assert explorers == sum(map(len, shown_in.values())) and formulas > 500 and len(pages) > 25


@pytest.mark.slow
@needs_tools
def test_links_resolve(site):
    "Every link, script and picture is a file that exists, and has the anchor that is named."
    from html.parser import HTMLParser
    from urllib.parse import unquote

    class Page(HTMLParser):
        def __init__(self, text):
            super().__init__()
            self.links, self.ids = [], set()
            self.feed(text)

        def handle_starttag(self, tag, attrs):
            for key, value in attrs:
                if key in ("href", "src") and value: self.links.append(value)
                if key == "id" or (tag == "a" and key == "name"): self.ids.add(value)

    pages = {p: Page(p.read_text()) for p in site.rglob("*.html")}
    checked, broken = 0, []
    for path, page in pages.items():
        for link in page.links:
            if re.match(r"[a-z]+:", link) or link == "#": continue
            target, _, anchor = unquote(re.sub(r"\?[^#]*", "", link)).partition("#")
            there = (path.parent/target).resolve() if target else path
            checked += 1
            missing = anchor and there in pages and anchor not in pages[there].ids
            if missing or not there.exists(): broken.append((path.name, link))
    assert checked > 1000 and not broken, broken[:10]
    items = pages[site/"appendix"/"G_items.html"]
    to_headings = [link for link in items.links if re.match(r"\.\./0\d_\w+\.html#\w", link)]
    assert len(to_headings) >= 20


@pytest.mark.slow
@needs_tools
def test_front_page(site, served, browser):
    "The film, a card a chapter with its time and what it needs, search, the way from page to page."
    page = browser.new_context(viewport=DESK).new_page()
    page.goto(served)
    for k in range(2):
        film = page.locator("img.ddpm-film").nth(k)
        assert film.evaluate("e => e.complete && e.naturalWidth > 100")
    cards = page.locator(".ddpm-card")
    chapters = [p.stem for p in notebooks if p.parent.name == "nbs" and p.stem != "index"]
    assert cards.count() == len(chapters)
    for card in cards.all():
        assert re.search(r"\d+ minutes? to read, .* to run.*needs ", card.inner_text(), re.S)
    assert (root/"nbs"/"images"/"samples.png").exists()
    text = page.locator("article").inner_text()
    assert "Above: the first bytes" in text and "Below: sixteen" in text
    assert text.index("samples above") > text.index("The model that")
    cards.first.click()
    assert page.url.endswith(f"{chapters[0]}.html")
    page.goto(served + "01_forward_process.html")
    page.locator(".related-pages a.next-page").click()
    assert page.url.endswith("02_variational_bound.html")
    with page.expect_download() as download: page.locator(".ddpm-launch a.download").click()
    original = (root/"nbs"/"02_variational_bound.ipynb").read_text()
    assert json.loads(Path(download.value.path()).read_text()) == json.loads(original)
    page.goto(served + "search.html?q=langevin")
    page.locator("#search-results li a").first.wait_for(timeout=20_000)
    assert "03_score_matching" in page.locator("#search-results").inner_html()
    page.goto(served + "01_forward_process.html")
    theme = lambda: page.evaluate("() => document.body.dataset.theme")
    before = theme()
    places = (f".theme-toggle-{place} button.theme-toggle" for place in ("header", "content"))
    page.locator(", ".join(places)).locator("visible=true").first.click()
    assert theme() != before


@pytest.mark.slow
@needs_tools
def test_play_and_pause(served, browser):
    "The play button moves the slider and the picture, and a second press stops them."
    page = browser.new_page(viewport=PHONE)
    page.goto(served + "04_reverse_sampler.html")
    panel = page.locator(".ddpm-explorer").first
    handle = panel.locator("input").element_handle()
    play = panel.locator("button")
    play.click()
    moved = "e => Number(e.value) >= 2"
    page.wait_for_function(moved, arg=handle, timeout=10_000)
    play.click()
    stopped = handle.input_value()
    page.wait_for_timeout(1000)
    assert handle.input_value() == stopped != "0"


def received(page):
    "A list whose only number is how many bytes the page has been sent."
    wire, total = page.context.new_cdp_session(page), [0]
    wire.send("Network.enable")
    def done(event): total[0] += event["encodedDataLength"]
    wire.on("Network.loadingFinished", done)
    return total


SCROLL = """async () => {
    for (let y = 0; y < document.documentElement.scrollHeight; y += 500) {
        scrollTo(0, y);
        await new Promise(done => setTimeout(done, 40));
    }
}"""


@pytest.mark.slow
@needs_tools
def test_pages_are_light(site, served, browser):
    "A chapter is at most 2.5 MB, with all its pictures and explorers; nothing is kept from before."
    for path in sorted(site.glob("0*.html")):
        page = browser.new_context(viewport=DESK).new_page()
        total = received(page)
        page.goto(served + path.name, wait_until="networkidle")
        at_first = total[0]
        page.evaluate(SCROLL)
        page.wait_for_load_state("networkidle")
        page.wait_for_timeout(500)
        print(f"{path.name}: {at_first/1e6:.2f} MB, scrolled to the end {total[0]/1e6:.2f} MB")
        assert 2e5 < at_first <= total[0] < 2.5e6, path.name
        page.context.close()


LONGEST = """deep => {
    const line = document.querySelector('article .highlight .ddpm-line');
    line.textContent = ' '.repeat(deep) + 'x = 1  # ' + 'abcdefghi '.repeat(9) + '!\\n';
    line.style.setProperty('--deep', deep + 'ch');
    const pre = line.closest('pre'), box = pre.parentElement;
    const scrolls = e => e.scrollWidth > e.clientWidth + 1;
    return [line.textContent.trimEnd().length, scrolls(pre) || scrolls(box),
            Math.round(line.getBoundingClientRect().height)];
}"""


@pytest.mark.slow
@needs_tools
def test_a_line_of_a_hundred_columns(served, browser):
    "At 1280 pixels it fits beside the headings of the page; on a phone it is wrapped."
    page = browser.new_page(viewport=DESK)
    page.goto(served + "02_variational_bound.html")
    assert page.evaluate(LONGEST, 0)[:2] == [100, False]
    toc = page.locator(".toc-drawer").bounding_box()
    assert toc["x"] > 900 and toc["x"] + toc["width"] <= 1281
    assert page.locator(".toc-tree a:visible").count() > 5
    page = browser.new_page(viewport=PHONE)
    page.goto(served + "02_variational_bound.html")
    length, scrolls, height = page.evaluate(LONGEST, 0)
    assert length == 100 and not scrolls and height > 30
    length, scrolls, deep = page.evaluate(LONGEST, 40)       # still most of the phone's width
    assert length == 140 and not scrolls and height <= deep < 2.1*height


@pytest.mark.slow
@needs_tools
def test_folded_cells_open_by_keyboard(site, served, browser):
    folded = [p.name for p in sorted(site.glob("*.html")) if 'hide above-input"' in p.read_text()]
    assert folded, "no chapter has a folded cell"
    page = browser.new_page(viewport=DESK)
    page.goto(served + folded[0])
    cell = page.locator("details.hide.above-input").first
    code = cell.locator("pre").first
    handle = cell.locator("summary")
    said = handle.inner_text()
    assert not code.is_visible() and said.lstrip("\u25b8\xa0 ").startswith("Show the ")
    handle.focus()
    page.keyboard.press("Enter")
    assert code.is_visible() and handle.inner_text() == said.replace("Show", "Hide")


@pytest.mark.slow
@needs_tools
def test_from_the_file_system(site, browser):
    "No server: the explorer moves, the letters of formulas are there, nothing else is asked for."
    page = browser.new_page(viewport=DESK)
    outside, errors = watch(page, "file://")
    page.goto((site/"01_forward_process.html").as_uri(), wait_until="load")
    assert move_explorers(page) == 2
    page.evaluate("() => document.fonts.ready.then(() => true)")
    assert page.evaluate("() => document.fonts.check('16px KaTeX_Math')")
    assert page.evaluate("() => [...document.fonts].some(f => f.status === 'loaded')")
    assert not outside and not errors, (outside[:3], errors[:3])


@pytest.mark.slow
@needs_tools
def test_assignments_without_solutions(site):
    "A student finds all six; nobody finds a solution or a hidden test."
    from ddpm_edu.course.release import assignment_files, student_version
    published = {p.name: p.read_text() for p in site.rglob("*.ipynb")}
    page = (site/"assignments.html").read_text()
    for number, path in assignment_files().items():
        assert published[path.name] == student_version(path.read_text()) and path.name in page
    for name, text in published.items():
        if name == "release.ipynb": continue                                # explains the markers
        assert not re.search(r"### (BEGIN|END) (SOLUTION|HIDDEN)", text), name
    published = [p.relative_to(site) for p in site.rglob("*")]
    assert not [p for p in published if "source" in p.parts or p.suffix == ".db"]


@pytest.mark.slow
@needs_tools
def test_a_broken_page_is_noticed(tmp_path, browser):
    "Negative control: a page that asks another host, fails in its script, draws no formula."
    (tmp_path/"bad.html").write_text("""<html><body><article><p>$x_t$</p></article>
        <img src='http://127.0.0.2:9/x.png'><script>undefined_function()</script></body></html>""")
    server = serve(tmp_path)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_port}/"
    page = browser.new_page()
    outside, errors = watch(page, base)
    page.goto(base + "bad.html", wait_until="load")
    assert page.evaluate(RAW) == ["$x_t$"]
    server.shutdown()
    assert outside == ["http://127.0.0.2:9/x.png"]
    assert any("undefined_function" in e for e in errors)
