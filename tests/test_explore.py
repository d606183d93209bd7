"Explorers: the saved notebooks hold what a browser needs to move each slider without a kernel."
import base64
import io
import json
import re
import threading
import time
from pathlib import Path

import pytest
import torch

from ddpm_edu import DDPMScheduler, UNet, explorer, explorers
from ddpm_edu.data import SLICE, load_fashion_mnist
from ddpm_edu.toys import GaussianMixture

nbs = Path(__file__).parent.parent/"nbs"
MIME = "application/vnd.jupyter.widget-state+json"
VIEW = "application/vnd.jupyter.widget-view+json"
# chapter -> the explorers that it shows, by the panel's class
shown_in = {
    "01_forward_process": ["posterior", "forward"],
    "02_variational_bound": ["bound"],
    "03_score_matching": ["score"],
    "04_reverse_sampler": ["sampler"],
    "05_unet": ["unet"],
    "06_pipeline": ["sampler"],
    "07_training": ["bound"],
    "08_evaluation": ["distance"],
    "09_progressive_coding": ["code"],
    "10_paper": ["depth"],
    "11_speed": ["roof"],
    "appendix/C1_explorer": ["point"],
    "appendix/C2_explorers_formulas": ["forward"],
    "appendix/C3_explorers": ["score"],
}


def saved(name):
    "The widgets of a notebook, and the ids of those that its cells show."
    nb = json.loads((nbs/f"{name}.ipynb").read_text())
    state = nb["metadata"].get("widgets", {}).get(MIME, {}).get("state", {})
    outputs = [o.get("data", {}) for c in nb["cells"] for o in c.get("outputs", [])]
    return state, [data[VIEW]["model_id"] for data in outputs if VIEW in data]


def refers_to(text): return re.findall("IPY_MODEL_([0-9a-f]+)", json.dumps(text))


def below(state, name):
    "A widget and all that it refers to."
    found, todo = set(), [name]
    while todo:
        if (name := todo.pop()) in found: continue
        found.add(name)
        todo += refers_to(state[name]["state"])
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
        to_stack = next(k for k in links.values() if k["target"][1] == "selected_index")
        to_slider = next(k for k in links.values() if k["target"][1] == "index")
        stack, slider = at(to_stack["target"][0])["state"], at(to_stack["source"][0])
        assert slider["model_name"] == "SelectionSliderModel"
        assert to_slider["target"][0] == to_stack["source"][0]
        assert at(to_slider["source"][0])["model_name"] == "PlayModel"
        pages = [at(child)["state"]["value"] for child in stack["children"]]
        # as many pictures as places, no two alike
        assert len(set(pages)) == len(pages) == len(slider["state"]["_options_labels"]) >= 8
        picture = r"<img src='data:image/png;base64,[^']+' alt='[^']+'.* onload='[^']+'"
        assert all(re.search(picture, page) for page in pages)
        assert len(json.dumps(mine)) < 420_000
        # a browser rebuilds what a model refers to before the model: a circle would never end
        for name in links:
            assert not any(name in below(state, other) for other in refers_to(links[name]))


def test_every_chapter_has_an_explorer():
    # Some have two halves; chapter 0 is one page without the library.
    chapters = {p.stem[:2] for p in nbs.glob("[0-9]*.ipynb")} - {"00"}
    assert chapters == {name[:2] for name in shown_in if "/" not in name}


def test_other_pictures_other_stops():
    "A menu that changes the slider's range changes what it says, and leaves it where it is."
    panel = explorers.explore_sampler(lambda x, t: x, DDPMScheduler(), (5, 2), steps=(4, 8),
        frames=[0, 1, 4])
    panel.slider.index = 1
    panel.menus["steps"].value = 8
    panel.wait()
    assert panel.slider._options_labels == ("0", "2", "8") and panel.slider.index == 1
    assert "step 2 of 8" in panel.picture.children[1].value


def test_play_goes_all_the_way():
    "Also with a kernel: from one end to the other in at most forty or so pictures."
    bound = explorers.explore_bound(lambda x, t: x, torch.zeros(2, 2), count=2)
    for panel in (explorers.explore_posterior(), bound):
        play = panel.play
        assert play.min == play.value and 10 <= (play.max - play.min)//play.step <= 80
        assert "ddpm-needs-kernel" in play._dom_classes


@pytest.mark.parametrize("channels", [1, 3])
def test_live_panel(channels):
    x0 = load_fashion_mnist("test", root=SLICE).batch(range(4)).expand(4, channels, 28, 28)
    panel = explorers.explore_forward(x0, generator=torch.Generator().manual_seed(0))
    before = panel.picture.value
    panel.slider.value = 500
    assert before != panel.picture.value == panel.page(500, "linear")
    assert "t = 500" in panel.picture.value


def test_long_work_can_be_stopped():
    "The cancel button of a sampler that never ends: the panel goes back to what it showed."
    calls = []
    def model(x, t):
        calls.append(t)
        time.sleep(0.01)
        return x
    panel = explorers.explore_sampler(model, DDPMScheduler(), (1, 1, 8, 8), steps=(2, 1000),
        frames=[0, 2])
    before = [page.value for page in panel.picture.children]
    panel.menus["steps"].value = 1000
    threading.Timer(0.3, panel.cancel.click).start()
    panel.wait()
    assert [page.value for page in panel.picture.children] == before
    assert panel.menus["steps"].value == 2 and 5 < len(calls) < 500
    assert panel.busy.layout.display == "none" and threading.active_count() < 20


def test_pictures_are_readable():
    "What lies in a page is a picture of the promised size, the one that `png` makes."
    from PIL import Image
    panel = explorers.explore_posterior(frames=[1, 10])
    data = re.search("base64,([^']+)", panel.picture.children[1].value)[1]
    picture = Image.open(io.BytesIO(base64.b64decode(data)))
    assert picture.size == (600, 312) == Image.open(io.BytesIO(panel.png(10))).size


@pytest.fixture
def defaults():
    "Torch's default device and dtype may be changed; afterwards they are as before."
    before = torch.get_default_dtype()
    yield
    torch.set_default_device(None)
    torch.set_default_dtype(before)


def small_unet(out_channels=1):
    torch.manual_seed(0)
    return UNet(sample_size=8, in_channels=1, out_channels=out_channels,
        block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D")).eval()


@pytest.mark.parametrize("device,dtype", [("meta", torch.float32), ("cpu", torch.float64)])
def test_defaults_of_torch(defaults, device, dtype):
    "Whatever the default device and dtype: pictures are those of images and networks on the CPU."
    images, net = torch.rand(1, 1, 8, 8)*2 - 1, small_unet()
    def shown():
        seed = torch.Generator("cpu").manual_seed(0)
        forward = explorers.ForwardExplorer(images, generator=seed)
        bound = explorers.BoundExplorer(net, images, count=3, generator=seed)
        ring = GaussianMixture.ring(3)
        score = explorers.ScoreExplorer(ring, steps=3, particles=9)
        sampler = explorers.SamplerExplorer(net, DDPMScheduler(), (1, 1, 8, 8), steps=(2,))
        inside = explorers.UNetExplorer(net, images)
        some = (forward, explorers.PosteriorExplorer(), bound, score, sampler, inside)
        return [e.png() for e in some]
    before = shown()
    torch.set_default_device(device)
    torch.set_default_dtype(dtype)
    assert shown() == before


def test_a_network_in_another_precision():
    "The sampler and the network's explorer compute where the weights are, in their precision."
    net, images = small_unet().double(), torch.rand(1, 1, 8, 8)
    sampler = explorers.SamplerExplorer(net, DDPMScheduler(), (1, 1, 8, 8), steps=(2,))
    assert sampler.state(2).x_t.dtype == torch.float64 and sampler.png(1)
    low = explorers.UNetExplorer(small_unet().bfloat16(), images)
    assert low.png(3) and low.state(3).activation.dtype == torch.float32


def test_a_learned_variance_is_kept():
    "A network that says its variance too can only be sampled with it."
    net = small_unet(out_channels=2)
    scheduler = DDPMScheduler(variance_type="learned_range")
    sampler = explorers.SamplerExplorer(net, scheduler, (1, 1, 8, 8), steps=(2,))
    assert sampler.controls["variance"] == ("learned_range",) and sampler.png(2)


def test_the_script_lies_in_the_package():
    "It is read from a file beside the modules, and is one line that an attribute can hold."
    script = explorer.naming_script()
    assert "ariaLabel" in script and "\n" not in script and "//" not in script
    assert not {"'", '"'} & set(script)


def test_saved_notebooks_show_no_progress_bars():
    "They would stay at nought on every page; the site takes each saved widget for an explorer."
    for path in sorted(nbs.rglob("*.ipynb")):
        if ".ipynb_checkpoints" in path.parts: continue
        name = path.relative_to(nbs).with_suffix("").as_posix()
        state, shown = saved(name)
        for panel in shown: assert "ddpm-explorer" in state[panel]["state"]["_dom_classes"], name
