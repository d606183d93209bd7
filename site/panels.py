"""Explorers as the pages show them: a picture, a native slider, a play button, and nothing else.

A saved notebook holds the widgets of ipywidgets, whose manager is 3.6 MB of JavaScript. All that a
page without a kernel can do is to show one of the saved pictures, and for that a slider of the
browser will do, which keyboards, fingers and screen readers know. The pictures become files, which
the page asks for when the panel comes near the window (static/book.js)."""
import base64
import html
import json
import re

VIEW = "application/vnd.jupyter.widget-view+json"
STATE = "application/vnd.jupyter.widget-state+json"
PICTURE = re.compile(r"<img src='data:image/png;base64,([^']*)' alt='([^']*)' "
                     r"width='(\d+)' height='(\d+)'")


def widgets(nb):
    "What the notebook knows of its widgets, by their id; it leaves the notebook."
    return nb.metadata.pop("widgets", {}).get(STATE, {}).get("state", {})


def below(state, model):
    "A widget and all that it holds."
    yield state[model]
    for child in state[model]["state"].get("children", []):
        yield from below(state, child.removeprefix("IPY_MODEL_"))


def panel(state, model, save):
    "The HTML of one explorer; `save(i, file)` keeps a picture and says where it will be found."
    found = list(below(state, model))
    slider = next(w["state"] for w in found if w["model_name"] == "SelectionSliderModel")
    stack = next(w["state"] for w in found if w["model_name"] == "StackModel")
    pages = [state[child.removeprefix("IPY_MODEL_")]["state"]["value"]
             for child in stack["children"]]
    labels, frames = slider["_options_labels"], []
    if len(labels) != len(pages): raise ValueError(f"{len(labels)} stops, {len(pages)} pictures")
    for i, page in enumerate(pages):
        file, text, width, height = PICTURE.search(page).groups()
        frames.append([save(i, base64.b64decode(file)), html.unescape(text), labels[i]])
    first, name = frames[0], html.escape(slider["description"])
    classes = " ".join(found[0]["state"]["_dom_classes"])
    data = html.escape(json.dumps(frames, ensure_ascii=False), quote=True)
    alt = html.escape(first[1], quote=True)
    return (f'<div class="{classes}" data-frames="{data}"><figure><img src="{first[0]}" '
        f'alt="{alt}" width="{width}" height="{height}" loading="lazy">'
        f'<div class="ddpm-controls"><button type="button" aria-label="play or pause"></button>'
        f'<label>{name} <input type="range" min="0" max="{len(frames)-1}" value="0" '
        f'aria-valuetext="{alt}"></label><output>{html.escape(labels[0])}</output></div>'
        f'<figcaption role="status">{html.escape(first[1])}</figcaption></figure></div>')


def replace(nb, name, src):
    "Each panel of a notebook becomes HTML, and its pictures files; returns how many there were."
    state, up, count = widgets(nb), "../"*name.count("/"), 0
    for cell in nb.cells:
        for out in cell.get("outputs", []):
            view = out.get("data", {}).pop(VIEW, None)
            if view is None: continue
            stem = f"{name.replace('/', '-')}-{count}"
            folder = src/"_static"/"explorers"
            folder.mkdir(parents=True, exist_ok=True)
            def save(i, file):
                (folder/f"{stem}-{i}.png").write_bytes(file)
                return f"{up}_static/explorers/{stem}-{i}.png"
            out.data.clear()
            out.data["text/html"] = panel(state, view["model_id"], save)
            count += 1
    return count
