"What the commands refuse, as Python functions: the program itself is in tests/test_cli.py."
from pathlib import Path

from PIL import Image

from ddpm_edu import DDPMPipeline, DDPMScheduler, UNet
from ddpm_edu.book import notebooks
from ddpm_edu.cli import check_output, sample, train, write_image
from ddpm_edu.compress import decompress
from ddpm_edu.unet import unet_config


def draw(folder, **options): return sample(**{"out": f"{folder}/x.png", "steps": 2, **options})


def with_channels(folder, channels, **others):
    "Draw with a model whose images have so many channels."
    options = {**unet_config("tiny"), "in_channels": channels, "out_channels": channels, **others}
    DDPMPipeline(UNet(**options), DDPMScheduler()).save_pretrained(f"{folder}/model")
    return draw(folder, model=f"{folder}/model")


def learn(folder, pictures=6, **options):
    "Train on some gray pictures."
    for i in range(pictures): Image.new("L", (20, 24), 40*i).save(f"{folder}/{i}.png")
    given = {"out": f"{folder}/new", "data": folder, "size": 8, "batch_size": 2, **options}
    return train(**given)


def on_a_file(folder, command, **options):
    path = Path(folder)/"file"
    path.write_text("precious")
    return command(folder, out=str(path), **options) if command is learn else command(str(path))


def folder_named(folder, name):
    (Path(folder)/name).mkdir()
    return check_output(f"{folder}/{name}")


def told(folder, label, names=None):
    "Draw with a model that was told three classes, and perhaps knows their names."
    model = Path(folder)/"model"
    net = UNet(**{**unet_config("tiny"), "num_class_embeds": 3})
    DDPMPipeline(net, DDPMScheduler()).save_pretrained(model)
    if names: (model/"classes.json").write_text(names)
    return draw(folder, model=str(model), label=label)


ROWS = [
    ("decompress('bag.png.ddpm', out='{tmp}/bag.jpg')", ValueError, ("out must end in .png",)),
    ("decompress('{tmp}/bag.ddpm')", FileNotFoundError, ("file=", "bag.ddpm' is not there")),
    # call, error, words of the message
    ("draw('{tmp}', label='Bag')", ValueError,
     ("label='Bag' needs a model that was told the classes", "labels=True")),
    ("told('{tmp}', '3')", ValueError, "class_labels must be between 0 and 2"),
    ("told('{tmp}', 'bag')", ValueError, "label must be one of '0', '1', '2'; got 'bag'"),
    ("told('{tmp}', 'boots', '[\"boot\", \"bag\", \"none\"]')", ValueError,
     ("label must be one of 'boot', 'bag', 'none'", "Did you mean 'boot'?")),
    ("told('{tmp}', 'bag', '{}')", ValueError, ("classes.json is damaged", "by its number")),
    ("learn('{tmp}', labels=True)", ValueError, ("have no labels", "a folder for each class")),
    ("learn('{tmp}', labels=True, label_dropout=1.)", ValueError, "label_dropout must be"),
    ("check_output('{tmp}/a.txt')", ValueError, ("out must end in one of", ".png", "a.txt")),
    ("check_output('{tmp}')", ValueError, "for example samples.png"),
    ("check_output('{tmp}/no/a.png')", FileNotFoundError, "there is no folder"),
    ("folder_named('{tmp}', 'd.png')", IsADirectoryError, ("d.png' is a folder", "name a file")),
    ("write_image(Image.new('L', (70_000, 1)), Path('{tmp}/a.jpg'))", OSError,
     ("a.jpg' cannot be written", "another kind of file")),
    ("draw('{tmp}', n=0)", ValueError, "n must be between 1 and 4096"),
    ("draw('{tmp}', n=10**6)", ValueError, "n must be between 1 and 4096"),
    ("draw('{tmp}', steps=0)", ValueError, "steps must be at least 1"),
    ("draw('{tmp}', steps=1001)", ValueError, ("steps must be between 1 and 1000", "trained with")),
    ("draw('{tmp}', seed=-1)", ValueError, "seed must be between 0 and"),
    ("draw('{tmp}', seed=2**64)", ValueError, "seed must be between 0 and"),
    ("draw('{tmp}', model='fashion')", FileNotFoundError, "not a bundled pipeline"),
    ("with_channels('{tmp}', 2)", ValueError, ("2 channels", "1 (gray) or 3 (color)")),
    ("with_channels('{tmp}', 4)", ValueError, "draws images with 4 channels"),
    ("with_channels('{tmp}', 1, sample_size=None)", ValueError, "sample_size"),
    ("learn('{tmp}', out='')", ValueError, "--out DIR"),
    ("learn('{tmp}', pictures=0)", ValueError, "holds no .png"),
    ("learn('{tmp}', data='fashion-mnits')", FileNotFoundError, "is not a folder"),
    ("learn('{tmp}', size=9)", ValueError, ("size must be a multiple of 4", "got 9; try 12")),
    ("learn('{tmp}', channels=2)", ValueError, ("channels must be 1 (gray), 3 (color)", "got 2")),
    ("learn('{tmp}', batch_size=7)", ValueError, "number of images (6)"),
    ("learn('{tmp}', best=True)", ValueError, ("best=True", "held_out=500")),
    ("learn('{tmp}', steps=0)", ValueError, "steps must be at least 1"),
    ("learn('{tmp}', on_error='ignore')", ValueError, "on_error must be one of 'raise', 'skip'"),
    ("on_a_file('{tmp}', learn)", NotADirectoryError, "is a file"),
    ("on_a_file('{tmp}', notebooks)", NotADirectoryError, "is a file"),
]
