"Explorers: the saved notebooks hold what a browser needs to move each slider without a kernel."
import base64
import io
import json
import re
from pathlib import Path

import pytest
import torch

from ddpm_edu import explorers as explore
from ddpm_edu.data import SLICE, load_fashion_mnist

nbs = Path(__file__).parent.parent/"nbs"
MIME = "application/vnd.jupyter.widget-state+json"
# chapter -> the explorers that it shows, by the panel's class
shown_in = {"01_forward_process": ["forward", "posterior"], "02_variational_bound": ["bound"], "03_score_matching": ["score"], "04_reverse_sampler": ["sampler"],
            "05_unet": ["unet"], "06_pipeline": ["sampler"], "07_training": ["bound"], "11_speed": ["roof"], "appendix/C1_explorer": ["point"], "appendix/C3_explorers": ["forward"]}


def saved(name):
    "The widgets of a notebook, and the ids of those that its cells show."
    nb = json.loads((nbs/f"{name}.ipynb").read_text())
    state = nb["metadata"].get("widgets", {}).get(MIME, {}).get("state", {})
    shown = [data["application/vnd.jupyter.widget-view+json"]["model_id"] for c in nb["cells"] for o in c.get("outputs", [])
             for data in [o.get("data", {})] if "application/vnd.jupyter.widget-view+json" in data]
    return state, shown


def below(state, name):
    "A widget and all that it refers to."
    found, todo = set(), [name]
    while todo:
        if (name := todo.pop()) in found: continue
        found.add(name)
        todo += re.findall("IPY_MODEL_([0-9a-f]+)", json.dumps(state[name]["state"]))
    return found


@pytest.mark.parametrize("chapter", shown_in)
def test_saved_explorers_are_complete(chapter):
    state, shown = saved(chapter)
    assert len(shown) == len(shown_in[chapter])
    for panel, kind in zip(shown, shown_in[chapter]):
        mine = {name: state[name] for name in below(state, panel)}
        assert f"ddpm-{kind}" in state[panel]["state"]["_dom_classes"]
        at = lambda ref: mine[ref.removeprefix("IPY_MODEL_")]
        links = {name: m["state"] for name, m in mine.items() if m["model_name"] == "LinkModel"}
        to_stack = next(link for link in links.values() if link["target"][1] == "selected_index")
        to_slider = next(link for link in links.values() if link["target"][1] == "index")
        stack, slider = at(to_stack["target"][0])["state"], at(to_stack["source"][0])
        assert slider["model_name"] == "SelectionSliderModel" and to_slider["target"][0] == to_stack["source"][0] and at(to_slider["source"][0])["model_name"] == "PlayModel"
        pages = [at(child)["state"]["value"] for child in stack["children"]]
        assert len(set(pages)) == len(pages) == len(slider["state"]["_options_labels"]) >= 8                  # as many pictures as places, no two alike
        assert all(re.search(r"<img src='data:image/png;base64,[^']+' alt='[^']+'.* onload='[^']+'", page) for page in pages)
        assert len(json.dumps(mine)) < 420_000
        for name in links:                  # a browser rebuilds what a model refers to before the model itself: a circle would never end
            assert not any(name in below(state, other) for other in re.findall("IPY_MODEL_([0-9a-f]+)", json.dumps(links[name])))


def test_every_chapter_has_an_explorer():
    chapters = {p.stem for p in nbs.glob("*.ipynb")} - {"index"}
    assert chapters == {name for name in shown_in if "/" not in name}


def test_other_pictures_other_stops():
    "A menu that changes the slider's range changes what the slider says, and leaves it where it is."
    from ddpm_edu import DDPMScheduler
    panel = explore.explore_sampler(lambda x, t: x, DDPMScheduler(), (5, 2), steps=(4, 8), frames=[0, 1, 4])
    panel.slider.index = 1
    panel.menus["steps"].value = 8
    panel.wait()
    assert panel.slider._options_labels == ("0", "2", "8") and panel.slider.index == 1 and "step 2 of 8" in panel.picture.children[1].value


def test_play_goes_all_the_way():
    "Also with a kernel there is a play button: from one end to the other in at most forty or so pictures."
    for panel in (explore.explore_posterior(), explore.explore_bound(lambda x, t: x, torch.zeros(2, 2), count=2)):
        play = panel.play
        assert play.min == play.value and 10 <= (play.max - play.min)//play.step <= 80 and "ddpm-needs-kernel" in play._dom_classes


@pytest.mark.parametrize("channels", [1, 3])
def test_live_panel(channels):
    x0 = load_fashion_mnist("test", root=SLICE).batch(range(4)).expand(4, channels, 28, 28)
    panel = explore.explore_forward(x0, generator=torch.Generator().manual_seed(0))
    before = panel.picture.value
    panel.slider.value = 500
    assert before != panel.picture.value == panel.page(500, "linear") and "t = 500" in panel.picture.value


def test_long_work_can_be_stopped():
    "The cancel button of a sampler that never ends by itself: the panel goes back to what it showed."
    import threading, time
    from ddpm_edu import DDPMScheduler
    calls = []
    def model(x, t): calls.append(t); time.sleep(0.01); return x
    panel = explore.explore_sampler(model, DDPMScheduler(), (1, 1, 8, 8), steps=(2, 1000), frames=[0, 2])
    before = [page.value for page in panel.picture.children]
    panel.menus["steps"].value = 1000
    threading.Timer(0.3, panel.cancel.click).start()
    panel.wait()
    assert [page.value for page in panel.picture.children] == before and panel.menus["steps"].value == 2 and 5 < len(calls) < 500
    assert panel.busy.layout.display == "none" and threading.active_count() < 20


def test_pictures_are_readable():
    "What lies in a page is a picture of the promised size, the one that `png` makes."
    from PIL import Image
    panel = explore.explore_posterior(frames=[1, 10])
    data = re.search("base64,([^']+)", panel.picture.children[1].value)[1]
    picture = Image.open(io.BytesIO(base64.b64decode(data)))
    assert picture.size == (600, 312) == Image.open(io.BytesIO(panel.png(10))).size
