"""Data: what needs the real files, other processes, damaged pictures or a bad network.

The rest is asserted in nbs/appendix: A_data (Fashion-MNIST), A1_images and A3_folders."""
import gzip
import hashlib
import http.server
import os
import socket
import struct
import subprocess
import sys
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile, PngImagePlugin
from torch.utils.data import DataLoader, Subset, TensorDataset

from ddpm_edu import data
from ddpm_edu.data import FILES, MD5, SLICE, ImageDataset, ImageFolder, download_file
from ddpm_edu.data import load_fashion_mnist, read_idx, read_image
from ddpm_edu.folders import image_paths, picture_formats
from ddpm_edu.images import as_dataset, to_model

# Seconds since 1970 at which the publishers compressed each file. Debian's package keeps the
# compressed data and drops time and name from the header; with both put back the file is, byte for
# byte, the published one.
COMPRESSED = {"train-images-idx3-ubyte.gz": 1504176606, "train-labels-idx1-ubyte.gz": 1504176606,
              "t10k-images-idx3-ubyte.gz": 1504176627, "t10k-labels-idx1-ubyte.gz": 1504176627}


@pytest.fixture
def empty_world(tmp_path, monkeypatch):
    "No data anywhere, and loopback without a proxy."
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path/"cache"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path/"keras"))
    monkeypatch.setenv("XDG_DATA_DIRS", str(tmp_path/"share"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("DDPM_EDU_DATA", raising=False)
    return tmp_path


def published(path):
    "The MD5 of a file as it would be with the publishers' gzip header."
    raw = path.read_bytes()
    if hashlib.md5(raw).hexdigest() == MD5[path.name] or raw[3] != 0:
        return hashlib.md5(raw).hexdigest()
    name = path.name.removesuffix(".gz").encode()
    when = struct.pack("<I", COMPRESSED[path.name])
    header = b"\x1f\x8b\x08\x08" + when + b"\0\x03" + name + b"\0"
    return hashlib.md5(header + raw[10:]).hexdigest()


@pytest.mark.parametrize("split", FILES)
def test_the_files_on_this_computer_are_the_published_ones(split):
    complete = (d for d in data.data_folders() if all((d/f).is_file() for f in FILES[split]))
    folder = next(complete, None)
    if folder is None: pytest.skip("Fashion-MNIST is not on this computer")
    for name in FILES[split]: assert published(folder/name) == MD5[name]
    full = load_fashion_mnist(split)
    assert full.labels.bincount().tolist() == [len(full)//10]*10
    assert len(full) == {"train": 60_000, "test": 10_000}[split]


def test_the_slice_carries_its_license():
    words = [p for p in SLICE.iterdir() if p.suffix == ".md" or p.name == "LICENSE"]
    text = "\n".join(p.read_text() for p in words)
    assert "MIT" in text and "Zalando" in text and "without restriction" in text
    assert sum(p.stat().st_size for p in SLICE.iterdir()) < 4e6


class Serves(http.server.BaseHTTPRequestHandler):
    "Hands out `files`; breaks off after `cut` bytes as long as fewer than five answers were given."
    files, cut, sent = {}, None, []

    def do_GET(self):
        content = self.files.get(self.path.strip("/"))
        if content is None: return self.send_error(404)
        start = int(self.headers.get("Range", "bytes=0-")[6:-1])
        stop = start + self.cut if self.cut and len(self.sent) < 5 else len(content)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content)-start))
        self.end_headers()
        self.sent.append(len(content[start:stop]))   # before the reader can be done with it
        self.wfile.write(content[start:stop])

    def log_message(self, *args): pass


@pytest.fixture
def server(monkeypatch):
    "A server on this computer: `server(files, cut)` gives its address and what it sent."
    running = []

    def start(files, cut=None):
        handler = type("Handler", (Serves,), dict(files=files, cut=cut, sent=[]))
        running.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler))
        threading.Thread(target=running[-1].serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{running[-1].server_port}/", handler.sent

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield start
    for s in running:
        s.shutdown()
        s.server_close()


@pytest.mark.parametrize("cut", [1, 1000, 400_000])
def test_interrupted_again_and_again(empty_world, server, monkeypatch, cut):
    "However often the connection breaks, the parts add up to the file, and no byte is sent twice."
    body = {f: (SLICE/f).read_bytes() for f in FILES["test"]}
    monkeypatch.setattr(data, "MD5", {f: hashlib.md5(b).hexdigest() for f, b in body.items()})
    url, sent = server(body, cut)
    for _ in range(8):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            ds = load_fashion_mnist("test", urls=url)
        if not said: break
        assert "broke off" in str(said[0].message) and ds.source == str(SLICE)
    assert ds.source == str(data.cache_folder()) and len(ds) == 1000
    assert sum(sent) == sum(map(len, body.values()))
    assert sorted(p.name for p in data.cache_folder().iterdir()) == sorted(body)


def test_a_wrong_body_is_refused_and_deleted(server, tmp_path):
    url, _ = server({"x.bin": b"something else"})
    path = tmp_path/"x.bin"
    with pytest.raises(ValueError, match="refused and deleted"):
        download_file(url+"x.bin", path, hashlib.md5(b"what was published").hexdigest())
    assert not list(tmp_path.iterdir())


def test_servers_that_have_nothing_or_are_silent(server, tmp_path):
    url, _ = server({})
    with pytest.raises(OSError, match="404"): download_file(url+"x.bin", tmp_path/"x", "0"*32)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/x"
        with pytest.raises(OSError): download_file(address, tmp_path/"x", "0"*32, timeout=0.2)


def test_offline_falls_back_and_says_so(empty_world):
    words = "slice that comes with ddpm_edu, 5,000 of 60,000 train images"
    with pytest.warns(UserWarning, match=words):
        ds = load_fashion_mnist("train", urls="http://127.0.0.1:1/")
    assert len(ds) == 5000 and ds.labels.bincount().tolist() == [500]*10


def test_a_cache_that_cannot_be_written(empty_world):
    (empty_world/"cache").write_text("a file where a folder should be")
    with pytest.warns(UserWarning, match="slice that comes with ddpm_edu"):
        assert load_fashion_mnist("test", urls="http://127.0.0.1:1/").source == str(SLICE)


NOBODY = """
import os, pwd
def nobody(uid): raise KeyError(f"getpwuid(): uid not found: {uid}")
pwd.getpwuid = nobody
from ddpm_edu import data
from ddpm_edu.folders import ImageFolder
assert "~" not in str(data.data_folders()), data.data_folders()
print(len(data.load_fashion_mnist("test", urls="http://127.0.0.1:1/")))
try: ImageFolder("~/pictures", 8)
except ValueError as e: print(e)
assert os.listdir() == [], os.listdir()
"""


def test_no_home(tmp_path):
    "Containers run without HOME and with a user id that no one knows: no folder is named '~' then."
    gone = ("HOME", "XDG_CACHE_HOME", "KERAS_HOME", "DDPM_EDU_DATA")
    env = {k: v for k, v in os.environ.items() if k not in gone}
    env.update(XDG_DATA_DIRS=str(tmp_path/"share"), TMPDIR=str(tmp_path))
    checkout = str(Path(__file__).parent.parent)
    env["PYTHONPATH"] = os.pathsep.join([checkout, env.get("PYTHONPATH", "")])
    (tmp_path/"here").mkdir()
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", NOBODY], env=env,
        cwd=tmp_path/"here", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1000\nroot='~/pictures' begins with ~"), done.stdout


def test_a_damaged_file_is_named(tmp_path):
    for name in FILES["test"]: (tmp_path/name).write_bytes((SLICE/name).read_bytes()[:-100])
    with pytest.raises(ValueError, match="t10k-images-idx3-ubyte.gz is damaged"):
        load_fashion_mnist("test", root=tmp_path)


@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4, 5)])
def test_idx_of_any_number_of_dimensions(tmp_path, shape):
    n = torch.Size(shape).numel()
    header = b"\0\0\x08" + bytes([len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
    (tmp_path/"x.gz").write_bytes(gzip.compress(header + bytes(range(n))))
    assert read_idx(tmp_path/"x.gz").shape == shape
    assert read_idx(tmp_path/"x.gz").flatten().tolist() == list(range(n))


def test_dataloader_workers():
    "The data set also works in torch's DataLoader, in other processes."
    ds = ImageDataset(torch.arange(24, dtype=torch.uint8).view(6, 1, 2, 2))
    batches = list(DataLoader(ds, batch_size=4, num_workers=1))
    assert torch.equal(torch.cat(batches), ds.batch(range(6)))
    assert [len(b) for b in batches] == [4, 2]


def test_defaults_of_torch_change_nothing(tmp_path):
    "A default device or type that somebody has set for other work changes no image and no coin."
    for i in range(3): Image.fromarray(np.full((8, 8, 3), 40*i, np.uint8)).save(tmp_path/f"{i}.png")

    def everything():
        g = lambda: torch.Generator().manual_seed(3)
        folder = ImageFolder(tmp_path, 8)
        fashion = load_fashion_mnist("test", root=SLICE, flip=True).batch(range(20), g())
        wrapped = as_dataset(Subset(folder, [2, 1])).batch([1, 0], g())
        return [folder.batch([0, 2, 1], g()), fashion, wrapped]

    before = everything()
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    try: after = everything()
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
    assert all(b.device.type == "cpu" and torch.equal(a, b) for a, b in zip(before, after))


# ---- folders of pictures

def picture(path, size=8, kind=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size, size), (200, 10, 30)).save(path, kind)
    return path


def found(root, **options):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        names = [p.relative_to(root).as_posix() for p in image_paths(root, **options)]
    return names, [str(w.message) for w in said]


def test_hidden_folders_are_left_out_without_a_word(tmp_path):
    hidden = ".ipynb_checkpoints/cat-checkpoint.png", ".Trash-1000/files/dog.png", "a/.b/c/d.png"
    for name in ("cat.png", *hidden): picture(tmp_path/name)
    assert found(tmp_path) == (["cat.png"], [])
    assert found(tmp_path/".Trash-1000") == (["files/dog.png"], [])    # the root may be hidden


def test_every_format_that_pillow_reads(tmp_path):
    kinds = {"a.png": "PNG", "b.webp": "WEBP", "c.bmp": "BMP", "d.tiff": "TIFF", "e.jfif": "JPEG",
        "f.gif": "GIF", "g.tga": "TGA", "h.ppm": "PPM", "i.JPG": "JPEG", "j.ico": "ICO"}
    for name, kind in kinds.items(): picture(tmp_path/name, 16, kind)
    names, said = found(tmp_path)
    assert names == sorted(kinds) and not said
    assert len(ImageFolder(tmp_path, 8)) == len(kinds)
    assert not {".eps", ".mpg", ".h5", ".wmf"} & set(picture_formats())


def test_what_is_left_out_is_counted_and_said_once(tmp_path):
    picture(tmp_path/"cat.png")
    for name in ("raw.heic", "more.heic", "labels.csv", "README"): (tmp_path/name).write_text("x")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        ImageFolder(tmp_path, 8)
    assert len(said) == 1 and said[0].filename == __file__
    text = str(said[0].message)
    assert all(s in text for s in ("2 files *.heic", "1 file *.csv", "1 file without ending"))


def test_runs_do_not_train_on_what_runs_wrote(tmp_path):
    picture(tmp_path/"cat.png")
    picture(tmp_path/"run"/"samples"/"step-00000010.png")
    picture(tmp_path/"run"/"other.png")
    (tmp_path/"run"/"checkpoint-00000010").mkdir()
    (tmp_path/"run"/"checkpoint-00000010"/"training.json").write_text("{}")
    picture(tmp_path/"done"/"picture.png")
    for name in ("model_index.json", "training.json", "history.json"):
        (tmp_path/"done"/name).touch()
    names, said = found(tmp_path)
    assert names == ["cat.png"] and len(said) == 1 and "2 folders of training runs" in said[0]
    both = [tmp_path/"run", str(tmp_path/"done")]
    assert found(tmp_path, exclude=both) == (["cat.png"], [])      # named by the caller: not said
    with pytest.warns(UserWarning, match="1 folder of training runs"):
        assert len(ImageFolder(tmp_path, 8, exclude=tmp_path/"done").paths) == 1


def test_the_data_folder_may_be_the_output_folder(tmp_path):
    "`--data F --out F`: the pictures in it count, the samples do not."
    picture(tmp_path/"cat.png")
    picture(tmp_path/"samples"/"step-00000010.png")
    assert found(tmp_path, exclude=[tmp_path])[0] == ["cat.png"]


def test_folders_with_nearly_our_names_are_kept(tmp_path):
    names = ["checkpoint-notes/a.png", "my-checkpoint-00000010/b.png", "samples/cat.png",
        "samples/step-00000010.png"]
    for name in names: picture(tmp_path/name)
    (tmp_path/"my-checkpoint-00000010"/"training.json").write_text("{}")
    assert found(tmp_path)[0] == names


def test_pictures_are_found_after_the_program_has_moved(tmp_path, monkeypatch):
    (tmp_path/"pets").mkdir()
    Image.new("L", (8, 8), 255).save(tmp_path/"pets"/"cat.png")
    monkeypatch.chdir(tmp_path)
    pets = ImageFolder("pets", 8)
    before = pets.fingerprint()
    monkeypatch.chdir("/")
    assert (pets[0] == 1).all() and pets.source == "pets" and pets.fingerprint() == before


def test_linked_folders_once_and_no_circles(tmp_path):
    picture(tmp_path/"far"/"bird.png")
    picture(tmp_path/"root"/"a"/"cat.png")
    link = lambda where, to: where.symlink_to(to, target_is_directory=True)
    link(tmp_path/"root"/"linked", tmp_path/"far")
    link(tmp_path/"root"/"linked-again", tmp_path/"far")
    link(tmp_path/"root"/"a"/"circle", tmp_path/"root")
    link(tmp_path/"root"/"a"/"above", tmp_path)
    (tmp_path/"root"/"gone.png").symlink_to(tmp_path/"nowhere.png")
    names, said = found(tmp_path/"root")
    assert names == ["a/cat.png", "linked/bird.png"] and "1 file *.png" in said[0]
    link(tmp_path/"entrance", tmp_path/"root")
    assert found(tmp_path/"entrance")[0] == names                      # the root may be a link


def broken(path):
    "Files that make decoders fail in different ways: name -> bytes."
    picture(path/"whole.png", 32)
    picture(path/"whole.jpg", 32)
    picture(path/"whole.tif", 32)
    png, jpg, tif = ((path/f"whole.{e}").read_bytes() for e in ("png", "jpg", "tif"))
    for p in path.iterdir(): p.unlink()
    chunk = lambda kind, body: struct.pack(">I", len(body)) + kind + body + struct.pack(
        ">I", zlib.crc32(kind+body))
    too_long = zlib.compress(b"x"*(PngImagePlugin.MAX_TEXT_CHUNK + 1))
    comment = chunk(b"zTXt", b"Comment\0\0" + too_long)
    huge = chunk(b"IHDR", struct.pack(">2I5B", 200_000, 200_000, 8, 2, 0, 0, 0))
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0"    # an entry that stops
    marker = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    return {"empty.png": b"", "cut.png": png[:-30], "text.png": png[:33] + comment + png[33:],
        "bomb.png": png[:8] + huge + png[33:], "exif.jpg": jpg[:2] + marker + jpg[2:200],
        "cut.jpg": jpg[:len(jpg)//2], "tags.tif": tif[:8] + b"\xff"*40, "page.gif": b"<html>",
        "riff.webp": b"RIFF", "zeros.bmp": b"BM" + bytes(60)}


@pytest.mark.parametrize("name", ["empty.png", "cut.png", "text.png", "bomb.png", "exif.jpg",
    "cut.jpg", "tags.tif", "page.gif", "riff.webp", "zeros.bmp"])
def test_damaged_pictures_are_named_or_skipped(tmp_path, name):
    (tmp_path/name).write_bytes(broken(tmp_path)[name])
    with pytest.raises(ValueError, match=rf"{name} cannot be read as an image.*on_error='skip'"):
        ImageFolder(tmp_path, 8)[0]
    fine = read_image(picture(tmp_path/"fine.png"), (8, 8))
    with pytest.warns(UserWarning) as said:
        images = ImageFolder(tmp_path, 8, on_error="skip").images
    at_start = name != "cut.png"                                       # which has a sound header
    words = f"skipped 1 of 2 files: {tmp_path/name}" if at_start else "fine.png stands in for it"
    assert any(words in str(w.message) for w in said) and len(images) == 2 - at_start
    assert all(torch.equal(image, fine) for image in images)


@pytest.mark.parametrize("error", [RecursionError("deep"), struct.error("unpack"),
    OverflowError("big"), KeyError("tag"), AttributeError("no"), MemoryError(), IndexError("list"),
    SyntaxError("bad")])
def test_whatever_a_decoder_raises(tmp_path, monkeypatch, error):
    path = picture(tmp_path/"x.png")
    def fails(*args, **kwargs): raise error
    monkeypatch.setattr(ImageFile.ImageFile, "load", fails)
    with pytest.raises(ValueError, match=r"x\.png cannot be read as an image \(.+\)"):
        read_image(path, (8, 8))


def test_none_of_the_files_can_be_read(tmp_path):
    for i in range(4): (tmp_path/f"{i}.png").write_bytes(b"RIFF")
    with pytest.raises(ValueError, match="holds 4 pictures, and none can be read"):
        ImageFolder(tmp_path, 8, on_error="skip")


def test_folder_of_photographs(tmp_path):
    "Large images in every orientation that a camera writes: all eight come out the same way up."
    base = torch.zeros(60, 90, 3, dtype=torch.uint8)
    base[:30, :45] = 255                                               # a white corner, top left
    upright, T = Image.fromarray(base.numpy()), Image.Transpose
    undo = {2: T.FLIP_LEFT_RIGHT, 3: T.ROTATE_180, 4: T.FLIP_TOP_BOTTOM, 5: T.TRANSPOSE,
        6: T.ROTATE_90, 7: T.TRANSVERSE, 8: T.ROTATE_270}
    for o in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = o
        turned = upright.transpose(undo[o]) if o in undo else upright
        turned.save(tmp_path/f"{o}.jpg", exif=exif, quality=95)
    for image in ImageFolder(tmp_path, (20, 30), flip=False):
        assert image[:, :8, :12].min() > 0.9
        assert image[:, 12:].max() < -0.9 and image[:, :, 18:].max() < -0.9


def test_gray_pictures_are_gray(tmp_path):
    "Whatever the files' format; one picture of color among the first makes a folder of color."
    shades = np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8)
    gray = Image.fromarray(shades)
    ways = {"l.png": gray, "rgb.png": gray.convert("RGB"), "rgb.jpg": gray.convert("RGB"),
        "la.png": gray.convert("LA"), "p.gif": gray.convert("P"), "one.png": gray.convert("1"),
        "deep.png": Image.fromarray(shades.astype(np.uint16)*257)}
    for name, im in ways.items(): im.save(tmp_path/name)
    assert ImageFolder(tmp_path, 16).shape == (1, 16, 16)
    assert ImageFolder(tmp_path, 16, channels=3).shape == (3, 16, 16)
    Image.fromarray(np.dstack([shades, shades, 255-shades])).save(tmp_path/"m.webp", lossless=True)
    assert ImageFolder(tmp_path, 16).shape == (3, 16, 16)


def test_16_bit_png(tmp_path):
    "A 16-bit gray file written byte by byte, as other programs write it."
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind+body))
    rows = b"".join(b"\0" + struct.pack(">4H", 0, 257, 32768, 65535) for _ in range(4))
    header = chunk(b"IHDR", struct.pack(">2I5B", 4, 4, 16, 0, 0, 0, 0))
    body = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path/"deep.png").write_bytes(body)
    assert read_image(tmp_path/"deep.png", (4, 4), 1)[0, 0].tolist() == [0, 1, 128, 255]


# ---- data sets of torch

seed = torch.Generator().manual_seed(0)
raw = torch.randint(0, 256, (6, 3, 4, 5), generator=seed, dtype=torch.uint8)
floats = to_model(raw)


class Items:
    "A data set whose items are made by a function of their number."
    def __init__(self, make): self.make = make
    def __len__(self): return 6
    def __getitem__(self, i): return self.make(i)


@pytest.mark.parametrize("dataset", [raw, floats, floats.half(), floats.double(), list(raw),
    raw.numpy(), TensorDataset(floats), TensorDataset(raw, torch.arange(6)),
    Subset(ImageDataset(raw), range(6)), Items(lambda i: (raw[i].numpy(), "dog")),
    Items(lambda i: {"pixel_values": floats[i], "label": i}),
    Items(lambda i: [Image.fromarray(raw[i].movedim(0, -1).numpy()), 3])],
    ids=lambda d: type(d).__name__)
def test_whatever_holds_images_by_number(dataset):
    served = as_dataset(dataset)
    assert served.shape == (3, 4, 5) and len(served) == 6
    batch = served.batch(torch.tensor([4, 0, 4]))
    assert batch.dtype == torch.float32 and torch.allclose(batch, floats[[4, 0, 4]], atol=1e-3)


def test_random_items_follow_the_generator_and_leave_the_global_one_alone():
    noisy = as_dataset(Items(lambda i: (floats[i] + torch.rand(())/10).clamp(-1, 1)))
    torch.manual_seed(5)
    before = torch.get_rng_state()
    draws = [noisy.batch([1, 2], torch.Generator().manual_seed(s)) for s in (0, 0, 1)]
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])


def test_names_that_the_trainer_relies_on():
    ds = load_fashion_mnist("test", root=Path(SLICE))
    g = torch.Generator().manual_seed(0)
    x = ds.batch(torch.randint(len(ds), (5,), generator=g), generator=g)
    assert x.shape == (5, *ds.shape) and x.dtype == torch.float32 and x.is_contiguous()
    assert -1 <= x.min() < x.max() <= 1
