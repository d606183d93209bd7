"The website as its readers meet it: built from the notebooks, opened page by page in a browser without the internet, on a desk and on a phone."
import functools
import http.server
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

root = Path(__file__).parent.parent
spec = importlib.util.spec_from_file_location("site_build", root/"site"/"build.py")
build = importlib.util.module_from_spec(spec)
spec.loader.exec_module(build)
slug = build.slug

chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_tools = pytest.mark.skipif(chromium is None or shutil.which("npm") is None, reason="needs chromium and npm (Debian: apt install chromium npm)")
notebooks = [p for p in sorted((root/"nbs").rglob("*.ipynb")) if not {"assignments", ".ipynb_checkpoints"} & set(p.parts)]


def test_slugs_meet():
    "An anchor as JupyterLab writes it, and the heading that it means."
    for heading in ("All steps at once: equation (4)", "From divergences to squared errors: (8), (9), (10), (12)", "How much noise: $\\sigma_t$"):
        assert slug(heading) == slug(heading.replace(" ", "-")) and re.fullmatch(r"[a-z0-9-]+", slug(heading))
    assert slug("All steps at once: equation (4)") == "all-steps-at-once-equation-4" != slug("All steps at once: equation (2)")


def test_readers_do_not_see_directives():
    import nbformat
    for path in notebooks:
        before = nbformat.read(path, 4)
        seen = build.for_readers(nbformat.read(path, 4))
        text = "\n".join(c.source for c in seen.cells)
        assert not re.search(r"^#\|", text, re.M) and "default_exp" not in text
        exported = [c for c in before.cells if re.match(r"#\| export\b", c.source)]
        assert len(seen.cells) >= len(before.cells) - len([c for c in before.cells if re.match(r"#\|\s*(hide|default_exp)", c.source)]) - 1
        for c in exported: assert c.source.split("\n", 1)[1].strip() in text


def test_quarto_settings_are_valid():
    "For people who have Quarto: the file parses, and names what exists."
    import yaml
    settings = yaml.safe_load((root/"nbs"/"_quarto.yml").read_text())
    assert settings["project"]["type"] == "website" and "html" in settings["format"]
    for page in re.findall(r"[\w/]+\.ipynb", json.dumps(settings)): assert (root/"nbs"/page).exists(), page


def test_workflows_are_valid():
    import yaml
    for path in (root/".github"/"workflows").glob("*.yml"):
        flow = yaml.safe_load(path.read_text())
        assert flow["jobs"] and (flow.get("on") or flow.get(True)), path.name     # YAML 1.1 reads the key `on` as true
        for job in flow["jobs"].values(): assert job["runs-on"] and job["steps"]
    tests = yaml.safe_load((root/".github"/"workflows"/"test.yml").read_text())
    assert tests["jobs"]["test"]["strategy"]["matrix"]["python"] == ["3.10", "3.11", "3.12", "3.13"]
    assert "tests/test_site.py tests/test_jupyterlab.py" in str(tests["jobs"]["browser"]["steps"]) and "tests/screenshots" in str(tests["jobs"]["browser"]["steps"])
    assert {p.name for p in (root/".github"/"workflows").glob("*.yml")} == {"test.yml", "pages.yml"}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    "The pages, built with the README's command."
    out = tmp_path_factory.mktemp("site")/"pages"
    command = next(line for line in (root/"README.md").read_text().splitlines() if "site/build.py" in line and line.startswith("pip")).split("&&")[-1].split()
    assert command[:2] == ["python", "site/build.py"]
    start = time.monotonic()
    done = subprocess.run([sys.executable, "site/build.py", str(out)], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    print(f"built in {time.monotonic()-start:.0f} s: {done.stdout.strip().splitlines()[-1]}")
    return out


@pytest.fixture(scope="module")
def served(site):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args): pass
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
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
    page.on("request", lambda r: outside.append(r.url) if not r.url.startswith((base, "data:", "blob:")) else None)
    page.on("response", lambda r: errors.append(f"{r.status} {r.url}") if r.status >= 400 else None)
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda e: errors.append(str(e)))
    return outside, errors


def move_explorers(page):
    "Drag each slider of the page with the keyboard, to its end, and back with the mouse; a screen reader hears its name and the caption. Returns how many."
    panels = page.locator(".ddpm-explorer")
    for i in range(panels.count()):
        panel = panels.nth(i)
        picture, readout, handle = panel.locator("figure img"), panel.locator(".widget-readout").first, panel.locator(".noUi-handle").first
        first, said = picture.get_attribute("src"), readout.text_content()
        at = lambda place: page.wait_for_function("([e, v]) => Number(e.getAttribute('aria-valuenow')) === v", arg=[handle.element_handle(), place], timeout=10_000)
        handle.focus()
        for _ in range(2): page.keyboard.press("ArrowRight")
        at(2)
        second = picture.get_attribute("src")
        assert second != first and readout.text_content() != said
        page.keyboard.press("End")
        at(last := float(handle.get_attribute("aria-valuemax")))
        assert picture.get_attribute("src") not in (first, second) and last >= 7
        panel.locator(".slider-container").scroll_into_view_if_needed()          # and with the mouse, or a finger
        track = panel.locator(".noUi-base").bounding_box()
        page.mouse.click(track["x"] + 1, track["y"] + track["height"]/2)
        at(0)
        assert picture.get_attribute("src") == first and readout.text_content() == said
        label = panel.locator(".widget-slider .widget-label").text_content()
        page.wait_for_function("([e, panel]) => e.ariaLabel && e.ariaValueText === panel.querySelector('figure img').alt", arg=[handle.element_handle(), panel.element_handle()], timeout=10_000)
        assert handle.get_attribute("aria-label") == label and all(b.get_attribute("aria-label") for b in panel.locator(".widget-play button").all())
        assert panel.locator(".ddpm-needs-kernel:visible").count() == 0
    return panels.count()


# what sticks out of the window though nothing around it scrolls
OUTSIDE = """() => [...document.querySelectorAll('article p, article pre, article table, article img, article mjx-container, article .ddpm-explorer, article .ddpm-card')].filter(e => {
    if (e.getBoundingClientRect().right <= innerWidth + 1) return false;
    for (let a = e; a && a.tagName !== 'ARTICLE'; a = a.parentElement) if (['auto', 'scroll'].includes(getComputedStyle(a).overflowX)) return false;
    return true }).map(e => e.outerHTML.slice(0, 200))"""


@pytest.mark.slow
@needs_tools
@pytest.mark.parametrize("width,height,dark", [(1280, 900, False), (390, 844, True)], ids=["desk", "phone"])
def test_every_page(site, served, browser, width, height, dark):
    shots = root/"tests"/"screenshots"/f"site_{width}"
    shots.mkdir(parents=True, exist_ok=True)
    page = browser.new_context(viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light").new_page()
    outside, errors = watch(page, served)
    pages = sorted(p.relative_to(site).as_posix() for p in site.rglob("*.html"))
    explorers, formulas = 0, 0
    for name in pages:
        page.goto(served + name, wait_until="load")
        if page.locator("script[type='application/vnd.jupyter.widget-view+json']").count(): page.locator(".ddpm-explorer").first.wait_for(timeout=20_000)
        if page.locator(".math").count(): page.locator("mjx-container").first.wait_for(timeout=20_000)
        page.wait_for_function("() => !window.MathJax?.startup?.promise || window.MathJax.startup.promise.then(() => true)")
        formulas += page.locator("mjx-container").count()
        assert page.locator("[data-mml-node=merror]").count() == 0, name
        raw = page.evaluate(r"""() => [...document.querySelectorAll('article p, article li, article td, article summary, article figcaption')].map(e => { const c = e.cloneNode(true);
            c.querySelectorAll('mjx-container, code, pre').forEach(x => x.remove()); return c.textContent }).filter(t => /\$[^$]+\$|\\\(|\\frac|\\bar/.test(t))""")
        assert not raw, (name, raw[:3])
        assert page.evaluate("() => document.documentElement.scrollWidth - window.innerWidth") <= 0, f"{name} is wider than {width} pixels"
        out = page.evaluate(OUTSIDE)
        assert not out, (name, out[:3])
        explorers += move_explorers(page)
        page.screenshot(path=shots/f"{name.replace('/', '_')[:-5]}.png", full_page=True)
    print(f"{len(pages)} pages, {formulas} formulas, {explorers} explorers moved, {len(outside)} requests to other hosts, {len(errors)} errors")
    assert not outside and not errors, (outside[:5], errors[:5])
    from test_explore import shown_in
    assert explorers == sum(map(len, shown_in.values())) and formulas > 500 and len(pages) > 25


@pytest.mark.slow
@needs_tools
def test_links_resolve(site):
    "Every link of every page leads to a file that exists and, if it names one, to an anchor in it; the same for scripts and pictures."
    from html.parser import HTMLParser

    class Page(HTMLParser):
        def __init__(self, text): super().__init__(); self.links, self.ids = [], set(); self.feed(text)
        def handle_starttag(self, tag, attrs):
            for key, value in attrs:
                if key in ("href", "src") and value: self.links.append(value)
                if key == "id" or (tag == "a" and key == "name"): self.ids.add(value)

    from urllib.parse import unquote
    pages = {p: Page(p.read_text()) for p in site.rglob("*.html")}
    checked, broken = 0, []
    for path, page in pages.items():
        for link in page.links:
            if re.match(r"[a-z]+:", link) or link == "#": continue
            target, _, anchor = unquote(link.split("?")[0] if "#" not in link else re.sub(r"\?[^#]*", "", link)).partition("#")
            there = (path.parent/target).resolve() if target else path
            checked += 1
            if not there.exists() or (anchor and there in pages and anchor not in pages[there].ids): broken.append((path.name, link))
    assert checked > 1000 and not broken, broken[:10]
    items = pages[site/"appendix"/"G_items.html"]
    assert len([link for link in items.links if re.match(r"\.\./0\d_\w+\.html#\w", link)]) >= 20        # the table leads to headings


@pytest.mark.slow
@needs_tools
def test_front_page(site, served, browser):
    "The film, a card for each chapter with its time and what it needs, search, and the way from page to page."
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.goto(served)
    assert page.locator("img.ddpm-film").evaluate("e => e.complete && e.naturalWidth > 100")
    cards = page.locator(".ddpm-card")
    chapters = [p.stem for p in notebooks if p.parent.name == "nbs" and p.stem != "index"]
    assert cards.count() == len(chapters)
    for i in range(cards.count()): assert re.search(r"\d+ minutes? to read, .* to run.*needs ", cards.nth(i).inner_text(), re.S)
    cards.first.click()
    assert page.url.endswith("01_forward_process.html")
    page.locator(".related-pages a.next-page").click()
    assert page.url.endswith("02_variational_bound.html")
    with page.expect_download() as download: page.locator(".ddpm-launch a.download").click()
    assert json.loads(Path(download.value.path()).read_text()) == json.loads((root/"nbs"/"02_variational_bound.ipynb").read_text())
    page.goto(served + "search.html?q=langevin")
    page.locator("#search-results li a").first.wait_for(timeout=20_000)
    assert "03_score_matching" in page.locator("#search-results").inner_html()
    page.goto(served + "01_forward_process.html")
    theme = lambda: page.evaluate("() => document.body.dataset.theme")
    before = theme()
    page.locator(".theme-toggle-header button.theme-toggle, .theme-toggle-content button.theme-toggle").locator("visible=true").first.click()
    assert theme() != before


@pytest.mark.slow
@needs_tools
def test_play_and_pause(served, browser):
    "The play button moves the slider and the picture, and a second press stops them."
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.goto(served + "04_reverse_sampler.html")
    panel = page.locator(".ddpm-explorer").first
    panel.wait_for(timeout=20_000)
    handle, play = panel.locator(".noUi-handle").element_handle(), panel.locator(".widget-play button").first
    play.click()
    page.wait_for_function("e => Number(e.getAttribute('aria-valuenow')) >= 2", arg=handle, timeout=10_000)
    play.click()
    stopped = handle.get_attribute("aria-valuenow")
    page.wait_for_timeout(1000)
    assert handle.get_attribute("aria-valuenow") == stopped != "0.0"


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
        if name != "release.ipynb": assert not re.search(r"### (BEGIN|END) (SOLUTION|HIDDEN)", text), name        # it explains the markers
    assert not [p for p in site.rglob("*") if "source" in p.relative_to(site).parts or p.suffix == ".db"]


@pytest.mark.slow
@needs_tools
def test_a_broken_page_is_noticed(tmp_path, browser):
    "Negative control: a page that asks another host, fails in its script and does not draw its formula."
    (tmp_path/"bad.html").write_text("<html><body><article><p>$x_t$</p></article><img src='http://127.0.0.2:9/x.png'><script>undefined_function()</script></body></html>")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_port}/"
    page = browser.new_page()
    outside, errors = watch(page, base)
    page.goto(base + "bad.html", wait_until="load")
    server.shutdown()
    assert outside == ["http://127.0.0.2:9/x.png"] and any("undefined_function" in e for e in errors)
