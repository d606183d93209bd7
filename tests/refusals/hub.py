"What looking for a folder, loading without weights and uploading refuse."
from pathlib import Path

from ddpm_edu import DDPMScheduler, UNet
from ddpm_edu.config import register_to_config
from ddpm_edu.hub import SavedMixin, find_folder


class Toy(SavedMixin):
    config_name, diffusers_name = "toy_config.json", "BigToy"

    @register_to_config
    def __init__(self, size=3): pass


def saved(folder, text=None):
    Toy().save_pretrained(folder)
    if text is not None: (Path(folder)/Toy.config_name).write_text(text)
    return folder


def pipeline(folder):
    Toy().save_pretrained(Path(folder)/"toy")
    return folder


scheduler = DDPMScheduler()
offline = dict(local_files_only=True)

ROWS = [
    ("find_folder('./no/such/folder')", FileNotFoundError, "'./no/such/folder' is not a folder"),
    ("find_folder('fashion-mnits')", FileNotFoundError,
     ("hub id", "Did you mean 'fashion-mnist'?")),
    ("find_folder('a/b/c')", FileNotFoundError, "not a hub id"),
    ("find_folder('')", TypeError, "name_or_path must be a folder"),
    ("find_folder(3)", TypeError, "got 3"),
    ("find_folder('someone/something', cache_dir='{tmp}', **offline)", OSError, "go online once"),
    ("find_folder('a b/c', **offline)", OSError, "cannot load 'a b/c'"),
    ("find_folder('{tmp}', revison='main')", TypeError, "Did you mean 'revision'?"),
    ("Toy.from_pretrained(saved('{tmp}'), subfolder='no')", FileNotFoundError,
     "no toy_config.json"),
    ("Toy.from_pretrained(pipeline('{tmp}'))", FileNotFoundError,
     "pass subfolder=... (it holds toy)"),
    ("Toy.from_pretrained(saved('{tmp}'), subfolder='../..')", ValueError, "leads out of"),
    ("Toy.from_pretrained(saved('{tmp}'), sise=4)", TypeError, "Did you mean 'size'?"),
    ("Toy.from_pretrained(saved('{tmp}'), device_map='auto')", ValueError,
     ("device_map='auto' is not supported", ".to(device)")),
    ("Toy.from_pretrained(saved('{tmp}'), proxies={'http': 'x'})", ValueError, "HTTPS_PROXY"),
    ("Toy.from_pretrained(saved('{tmp}', '[1]'))", ValueError, "JSON object"),
    ("Toy.from_pretrained(saved('{tmp}', '{'))", ValueError, "not valid JSON"),
    ("Toy.from_pretrained(saved('{tmp}', '{\"_class_name\": \"Plane\"}'))", ValueError, "'Plane'"),
    ("Toy.load_config(saved('{tmp}'), subfoldr='x')", TypeError, "has no argument 'subfoldr'"),
    ("scheduler.save_pretrained('{tmp}', pus_to_hub=True)", TypeError, "no argument 'pus_to_hub'"),
    ("UNet.from_pretrained('{tmp}')", FileNotFoundError, "no config.json in"),
]
