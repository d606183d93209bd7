"""JupyterLab in a browser: open a chapter, run all of it, move the sliders with the keyboard, use a
menu, look whether the picture has changed."""
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
chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
                None)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(chromium is None,
    reason="needs chromium (Debian: apt install chromium)")]
# more of them, by hand: names with spaces between
CHAPTERS = os.environ.get("DDPM_LAB_CHAPTERS", "01_forward_process").split()
TOKEN = "only-for-this-test"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def folders_of_our_own(home):
    "Where Jupyter and IPython keep what they remember: nothing of the user's own."
    names = ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR",
             "JUPYTERLAB_WORKSPACES_DIR", "JUPYTERLAB_SETTINGS_DIR", "IPYTHONDIR")
    return {name: str(home/name) for name in names}


def answers(base):
    "Does the server say how it is?"
    try: urllib.request.urlopen(f"{base}/api/status?token={TOKEN}", timeout=2)
    except OSError: return False
    return True


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    "A server of our own with all its folders in a temporary place; yields its address."
    home, port = tmp_path_factory.mktemp("lab"), free_port()
    left_out = shutil.ignore_patterns("assignments", ".ipynb_checkpoints")
    shutil.copytree(root/"nbs", home/"book", ignore=left_out)
    env = {**os.environ, **folders_of_our_own(home), "OMP_NUM_THREADS": "2",
           "PYTHONPATH": str(root)}
    jupyter = [sys.executable, "-m", "jupyter"]
    news = "@jupyterlab/apputils-extension:announcements"
    subprocess.run([*jupyter, "labextension", "disable", news], env=env, capture_output=True)
    options = ["--no-browser", "--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0",
        f"--IdentityProvider.token={TOKEN}", f"--notebook-dir={home/'book'}",
        "--LabApp.expose_app_in_browser=True", "--allow-root"]
    with open(home/"log", "w") as log:
        server = subprocess.Popen([*jupyter, "lab", *options], env=env, stdout=log, stderr=log)
    base = f"http://127.0.0.1:{port}"
    for _ in range(240):
        if answers(base): break
        if server.poll() is not None: pytest.fail((home/"log").read_text()[-2000:])
        time.sleep(0.25)
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


IDLE = """path => {
    const shown = window.jupyterapp?.shell.currentWidget;
    const session = shown?.context?.path === path && shown.sessionContext.session;
    const kernel = session?.kernel;
    return kernel?.connectionStatus === 'connected' && kernel.status === 'idle';
}"""
RUN = "() => window.jupyterapp.commands.execute('notebook:run-all-cells')"
COUNT = "() => window.jupyterapp.shell.currentWidget.content.model.cells.length"
PANELS = r"""() => {
    const cells = window.jupyterapp.shell.currentWidget.content.model.cells, found = [];
    for (let i = 0; i < cells.length; i++) {
        const source = cells.get(i).toJSON().source.toString();
        if (source.match(/^(explore_\w+|\w+Explorer)\(/m)) found.push(i);
    }
    return found;
}"""
GO_TO = """async i => {
    const book = window.jupyterapp.shell.currentWidget.content;
    book.activeCellIndex = i;
    await book.scrollToItem(i, 'smart');
}"""
STANDS_AT_3 = "e => Number(e.getAttribute('aria-valuenow')) === 3"
# what a screen reader says
SPOKEN = """([e, panel]) =>
    e.ariaLabel && e.ariaValueText === panel.querySelector('figure img').alt"""
OTHER_PICTURE = """([e, old]) => {
    const busy = e.querySelector('.widget-hprogress, .progress')?.offsetParent;
    return e.querySelector('figure img').src !== old && !busy;
}"""
STOP = "() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()"


def open_and_run(page, lab, chapter):
    "A chapter in a workspace of its own, without tabs of earlier ones, run to its end."
    where = f"{lab}/lab/workspaces/{chapter.replace('/', '-')}/tree/{chapter}.ipynb"
    page.goto(f"{where}?token={TOKEN}&reset")
    page.wait_for_function(IDLE, arg=f"{chapter}.ipynb", timeout=90_000)
    page.evaluate(RUN)                                     # resolves when all cells have been run
    page.wait_for_function(IDLE, arg=f"{chapter}.ipynb", timeout=900_000)
    assert page.evaluate(COUNT) > 5


def use(page, panel):
    "Move the slider with the keyboard, hear it, and ask the kernel for other pictures."
    picture, handle = panel.locator("figure img"), panel.locator(".noUi-handle").first
    readout, element = panel.locator(".widget-readout").first, handle.element_handle()
    before, start = picture.get_attribute("src"), readout.text_content()
    handle.focus()
    for _ in range(3): page.keyboard.press("ArrowRight")
    page.wait_for_function(STANDS_AT_3, arg=element, timeout=20_000)
    moved = picture.get_attribute("src")
    assert moved != before and picture.get_attribute("alt") and readout.text_content() != start
    page.wait_for_function(SPOKEN, arg=[element, panel.element_handle()], timeout=20_000)
    menus = panel.locator("select")
    if not menus.count(): return
    menus.first.select_option(index=1)
    page.wait_for_function(OTHER_PICTURE, arg=[panel.element_handle(), moved], timeout=90_000)
    assert float(handle.get_attribute("aria-valuenow")) == 3
    assert panel.locator("[role=alert]").count() == 0


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_explorer_in_jupyterlab(lab, browser, chapter):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    open_and_run(page, lab, chapter)
    panels = page.evaluate(PANELS)
    assert panels, "the chapter shows no explorer"
    shots = root/"tests"/"screenshots"
    shots.mkdir(exist_ok=True)
    for number in panels:
        page.evaluate(GO_TO, number)
        cell = f".jp-Notebook .jp-Cell[data-windowed-list-index='{number}']"
        panel = page.locator(f"{cell} .ddpm-explorer")
        panel.wait_for(timeout=30_000)
        use(page, panel)
        panel.screenshot(path=shots/f"lab_{chapter.replace('/', '_')}_{number}.png")
    page.evaluate(STOP)
    page.close()
