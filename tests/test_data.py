"Data: what needs the real files, other processes, or a bad network; the rest is asserted in nbs/appendix/A_data.ipynb."
import gzip
import hashlib
import http.server
import os
import struct
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest
import torch

from ddpm_edu import data
from ddpm_edu.data import FILES, MD5, SLICE, ImageDataset, ImageFolder, load_fashion_mnist, read_idx

# Seconds since 1970 at which the publishers compressed each file. Debian's package keeps the compressed data and drops time and name
# from the header; with both put back the file is, byte for byte, the published one.
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
    if hashlib.md5(raw).hexdigest() == MD5[path.name] or raw[3] != 0: return hashlib.md5(raw).hexdigest()
    header = b"\x1f\x8b\x08\x08" + struct.pack("<I", COMPRESSED[path.name]) + b"\0\x03" + path.name.removesuffix(".gz").encode() + b"\0"
    return hashlib.md5(header + raw[10:]).hexdigest()


@pytest.mark.parametrize("split", FILES)
def test_the_files_on_this_computer_are_the_published_ones(split):
    folder = next((d for d in data.data_folders() if all((d/f).is_file() for f in FILES[split])), None)
    if folder is None: pytest.skip("Fashion-MNIST is not on this computer")
    for name in FILES[split]: assert published(folder/name) == MD5[name]
    full = load_fashion_mnist(split)
    assert full.labels.bincount().tolist() == [len(full)//10]*10 and len(full) == {"train": 60_000, "test": 10_000}[split]


def test_the_slice_carries_its_license():
    text = "\n".join(p.read_text() for p in SLICE.iterdir() if p.suffix == ".md" or p.name == "LICENSE")
    assert "MIT" in text and "Zalando" in text and "without restriction" in text
    assert sum(p.stat().st_size for p in SLICE.iterdir()) < 4e6


@pytest.mark.parametrize("cut", [1, 1000, 400_000])
def test_interrupted_again_and_again(empty_world, monkeypatch, cut):
    "However often the connection breaks, the parts add up to the file, and no byte is sent twice."
    body = {f: (SLICE/f).read_bytes() for f in FILES["test"]}
    monkeypatch.setattr(data, "MD5", {f: hashlib.md5(b).hexdigest() for f, b in body.items()})
    sent = []

    class Breaks(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            content = body[self.path.strip("/")]
            start = int(self.headers.get("Range", "bytes=0-")[6:-1])
            stop = start + cut if len(sent) < 5 else len(content)
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content)-start))
            self.end_headers()
            self.wfile.write(content[start:stop])
            sent.append(len(content[start:stop]))
        def log_message(self, *args): pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Breaks)
    threading.Thread(target=server.serve_forever, kwargs=dict(poll_interval=0.01), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/"
    for _ in range(8):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            ds = load_fashion_mnist("test", urls=url)
        if not said: break
        assert "broke off" in str(said[0].message) and ds.source == str(SLICE)
    server.shutdown(); server.server_close()
    assert ds.source == str(data.cache_folder()) and len(ds) == 1000
    assert sum(sent) == sum(map(len, body.values()))
    assert sorted(p.name for p in data.cache_folder().iterdir()) == sorted(body)


def test_offline_falls_back_and_says_so(empty_world):
    with pytest.warns(UserWarning, match="slice that comes with ddpm_edu, 5,000 of 60,000 train images"):
        ds = load_fashion_mnist("train", urls="http://127.0.0.1:1/")
    assert len(ds) == 5000 and ds.labels.bincount().tolist() == [500]*10


def test_a_cache_that_cannot_be_written(empty_world, monkeypatch):
    (empty_world/"cache").write_text("a file where a folder should be")
    with pytest.warns(UserWarning, match="slice that comes with ddpm_edu"):
        assert load_fashion_mnist("test", urls="http://127.0.0.1:1/").source == str(SLICE)


def test_no_home(empty_world):
    "Containers run without HOME and with a user id that no one knows."
    code = "from ddpm_edu.data import load_fashion_mnist; print(len(load_fashion_mnist('test', download=False)))"
    env = {k: v for k, v in os.environ.items() if k != "HOME" and not k.startswith("XDG_CACHE")}
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], env=env, capture_output=True, text=True)
    assert done.stdout.strip() in ("1000", "10000"), done.stderr


def test_a_damaged_file_is_named(tmp_path):
    for name in FILES["test"]: (tmp_path/name).write_bytes((SLICE/name).read_bytes()[:-100])
    with pytest.raises(ValueError, match="t10k-images-idx3-ubyte.gz is damaged"): load_fashion_mnist("test", root=tmp_path)


def test_idx_of_any_number_of_dimensions(tmp_path):
    for shape in ((), (3,), (2, 3, 4, 5)):
        n = torch.Size(shape).numel()
        (tmp_path/"x.gz").write_bytes(gzip.compress(b"\0\0\x08" + bytes([len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + bytes(range(n))))
        assert read_idx(tmp_path/"x.gz").shape == shape and read_idx(tmp_path/"x.gz").flatten().tolist() == list(range(n))


def test_dataloader_workers():
    "The data set also works in torch's DataLoader, in other processes."
    ds = ImageDataset(torch.arange(24, dtype=torch.uint8).view(6, 1, 2, 2))
    batches = list(torch.utils.data.DataLoader(ds, batch_size=4, num_workers=1))
    assert torch.equal(torch.cat(batches), ds.batch(range(6))) and [len(b) for b in batches] == [4, 2]


def test_folder_of_photographs(tmp_path):
    "Large images in every orientation that a camera writes: all eight come out the same way up."
    from PIL import Image
    base = torch.zeros(60, 90, 3, dtype=torch.uint8)
    base[:30, :45] = 255                                                   # a white corner, top left
    upright = Image.fromarray(base.numpy())
    undo = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
            6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270}
    for o in range(1, 9):
        exif = Image.Exif(); exif[0x0112] = o
        (upright.transpose(undo[o]) if o in undo else upright).save(tmp_path/f"{o}.jpg", exif=exif, quality=95)
    ds = ImageFolder(tmp_path, (20, 30), flip=False)
    for image in ds: assert image[:, :8, :12].min() > 0.9 and image[:, 12:].max() < -0.9 and image[:, :, 18:].max() < -0.9


def test_unreadable_images_are_refused_not_guessed(tmp_path):
    for i, body in enumerate((b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0" + bytes(100), b"RIFF")): (tmp_path/f"{i}.png").write_bytes(body)
    with pytest.raises(ValueError, match=r"\.png cannot be read as an image.*on_error='skip'"): ImageFolder(tmp_path, 8)
    with pytest.raises(ValueError, match="none of the 4 files"): ImageFolder(tmp_path, 8, on_error="skip")


def test_16_bit_png(tmp_path):
    "A 16-bit gray file written byte by byte, as other programs write it."
    import zlib
    chunk = lambda kind, body: struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind+body))
    rows = b"".join(b"\0" + struct.pack(">4H", 0, 257, 32768, 65535) for _ in range(4))
    (tmp_path/"deep.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">2I5B", 4, 4, 16, 0, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
    assert data.read_image(tmp_path/"deep.png", (4, 4), 1)[0, 0].tolist() == [0, 1, 128, 255]


def test_names_that_the_trainer_relies_on():
    ds = load_fashion_mnist("test", root=Path(SLICE))
    g = torch.Generator().manual_seed(0)
    x = ds.batch(torch.randint(len(ds), (5,), generator=g), generator=g)
    assert x.shape == (5, *ds.shape) and x.dtype == torch.float32 and x.is_contiguous() and -1 <= x.min() < x.max() <= 1
