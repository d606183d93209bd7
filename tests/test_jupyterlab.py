"JupyterLab in a browser: open a chapter, run all of it, move the sliders with the keyboard, use a menu, look whether the picture has changed."
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

root = Path(__file__).parent.parent
chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(chromium is None, reason="needs chromium (Debian: apt install chromium)")]
CHAPTERS = os.environ.get("DDPM_LAB_CHAPTERS", "01_forward_process").split()              # more of them, by hand: names with spaces between
TOKEN = "only-for-this-test"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    "A server of our own with all its folders in a temporary place; yields its address."
    home, port = tmp_path_factory.mktemp("lab"), free_port()
    shutil.copytree(root/"nbs", home/"book", ignore=shutil.ignore_patterns("assignments", ".ipynb_checkpoints"))
    places = {name: str(home/name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "JUPYTERLAB_WORKSPACES_DIR", "JUPYTERLAB_SETTINGS_DIR", "IPYTHONDIR")}
    env = {**os.environ, **places, "OMP_NUM_THREADS": "2", "PYTHONPATH": str(root)}
    subprocess.run([sys.executable, "-m", "jupyter", "labextension", "disable", "@jupyterlab/apputils-extension:announcements"], env=env, capture_output=True)
    with open(home/"log", "w") as log:
        server = subprocess.Popen([sys.executable, "-m", "jupyter", "lab", "--no-browser", "--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={TOKEN}", f"--notebook-dir={home/'book'}",
                                   "--LabApp.expose_app_in_browser=True", "--allow-root"], env=env, stdout=log, stderr=log)
    base = f"http://127.0.0.1:{port}"
    for _ in range(240):
        try: urllib.request.urlopen(f"{base}/api/status?token={TOKEN}", timeout=2); break
        except OSError: time.sleep(0.25)
        if server.poll() is not None: pytest.fail((home/"log").read_text()[-2000:])
    yield base
    server.terminate()
    try: server.wait(20)
    except subprocess.TimeoutExpired: server.kill()


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


IDLE = "path => { const w = window.jupyterapp?.shell.currentWidget, s = w?.context?.path === path && w.sessionContext; return s?.session?.kernel?.connectionStatus === 'connected' && s.session.kernel.status === 'idle' }"
RUN = "() => window.jupyterapp.commands.execute('notebook:run-all-cells')"


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_explorer_in_jupyterlab(lab, browser, chapter):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(f"{lab}/lab/workspaces/{chapter.replace('/', '-')}/tree/{chapter}.ipynb?token={TOKEN}&reset")     # a workspace of its own: no tabs of earlier chapters
    page.wait_for_function(IDLE, arg=f"{chapter}.ipynb", timeout=90_000)
    page.evaluate(RUN)                                                            # resolves when all cells have been run
    page.wait_for_function(IDLE, arg=f"{chapter}.ipynb", timeout=240_000)
    count = page.evaluate("() => window.jupyterapp.shell.currentWidget.content.model.cells.length")
    assert count > 5
    panels = page.evaluate("""async () => { const book = window.jupyterapp.shell.currentWidget.content, found = [];
        for (let i = 0; i < book.model.cells.length; i++) if (book.model.cells.get(i).toJSON().source.toString().match(/^(explore_\\w+|RoofExplorer)\\(/m)) found.push(i); return found }""")
    assert panels, "the chapter shows no explorer"
    for cell in panels:
        page.evaluate("async i => { const book = window.jupyterapp.shell.currentWidget.content; book.activeCellIndex = i; await book.scrollToItem(i, 'smart') }", cell)
        panel = page.locator(f".jp-Notebook .jp-Cell[data-windowed-list-index='{cell}'] .ddpm-explorer")
        panel.wait_for(timeout=30_000)
        picture, readout, handle = panel.locator("figure img"), panel.locator(".widget-readout").first, panel.locator(".noUi-handle").first
        before, start = picture.get_attribute("src"), readout.text_content()
        handle.focus()
        for _ in range(3): page.keyboard.press("ArrowRight")
        page.wait_for_function("e => Number(e.getAttribute('aria-valuenow')) === 3", arg=handle.element_handle(), timeout=20_000)
        moved, value = picture.get_attribute("src"), readout.text_content()
        assert moved != before and picture.get_attribute("alt") and value != start
        page.wait_for_function("([e, panel]) => e.ariaLabel && e.ariaValueText === panel.querySelector('figure img').alt", arg=[handle.element_handle(), panel.element_handle()], timeout=20_000)      # what a screen reader says
        menus = panel.locator("select")
        if menus.count():                                                         # ask the kernel for other pictures
            menus.first.select_option(index=1)
            page.wait_for_function("([e, old]) => e.querySelector('figure img').src !== old && !(e.querySelector('.widget-hprogress, .progress')?.offsetParent)", arg=[panel.element_handle(), moved], timeout=90_000)
            assert float(handle.get_attribute("aria-valuenow")) == 3 and panel.locator("[role=alert]").count() == 0
        (root/"tests"/"screenshots").mkdir(exist_ok=True)
        panel.screenshot(path=root/"tests"/"screenshots"/f"lab_{chapter.replace('/', '_')}_{cell}.png")
    page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    page.close()
