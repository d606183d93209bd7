"Explorers: the saved notebook holds what a browser needs to move the slider without a kernel."
import json
import re
from pathlib import Path

import pytest
import torch

from ddpm_edu.data import SLICE, load_fashion_mnist
from ddpm_edu.explore import explore_forward

notebook = Path(__file__).parent.parent/"nbs"/"appendix"/"C_explorers.ipynb"
MIME = "application/vnd.jupyter.widget-state+json"


def test_saved_state_is_complete():
    "The link, the stack and all its pictures are saved with the notebook, and refer to one another."
    state = json.loads(notebook.read_text())["metadata"].get("widgets", {}).get(MIME, {}).get("state")
    assert state, "run the notebook with its widget state stored"
    link = next(m["state"] for m in state.values() if m["model_name"] == "LinkModel")
    (slider, value), (stack, index) = link["source"], link["target"]
    at = lambda ref: state[ref.removeprefix("IPY_MODEL_")]
    assert (value, index) == ("value", "selected_index") and at(slider)["model_name"] == "IntSliderModel" and at(stack)["model_name"] == "StackModel"
    pages = [at(child) for child in at(stack)["state"]["children"]]
    assert {p["model_name"] for p in pages} == {"ImageModel"} and at(slider)["state"]["max"] == len(pages) - 1
    # a browser rebuilds what a model refers to before the model itself: a circle would never end
    refers = {name: set(re.findall("IPY_MODEL_([0-9a-f]+)", json.dumps(model["state"]))) for name, model in state.items()}
    link_id = next(name for name, model in state.items() if model["model_name"] == "LinkModel")
    below = lambda name: {name}.union(*(below(other) for other in refers[name]))
    assert not any(link_id in below(name) for name in refers[link_id])
    shown = {v["model_id"] for c in json.loads(notebook.read_text())["cells"] for o in c.get("outputs", [])
             for k, v in o.get("data", {}).items() if k.endswith("widget-view+json")}
    assert shown and shown <= set(state)


@pytest.mark.parametrize("channels", [1, 3])
def test_panel(channels):
    x0 = load_fashion_mnist("test", root=SLICE).batch(range(4)).expand(4, channels, 28, 28)
    panel = explore_forward(x0, generator=torch.Generator().manual_seed(0))
    before = panel.picture.value
    panel.t.value = 500
    assert before != panel.picture.value == panel.png(500, "linear") and "t = 500" in panel.readout.value
