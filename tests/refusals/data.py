"What the loaders of data refuse: bytes for floats, damaged files, folders without pictures."
import gzip
import shutil
import struct
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, IterableDataset

from ddpm_edu.data import FILES, SLICE, ImageDataset, ImageFolder, load_fashion_mnist
from ddpm_edu.data import read_idx, to_model, to_uint8
from ddpm_edu.hub_pictures import PictureItems, load_from_hub
from ddpm_edu.images import as_dataset

raw = torch.zeros(6, 3, 4, 5, dtype=torch.uint8)
ds = ImageDataset(raw)
idx = b"\0\0\x08\x02" + struct.pack(">2I", 300, 2) + bytes(600)
zipped = gzip.compress(idx)
one_bit_wrong = bytes([*zipped[:20], zipped[20] ^ 1, *zipped[21:]])


def file(path, body):
    "A file with these bytes."
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(body)
    return Path(path)


class Lost:
    "A data set whose file is gone."
    def __len__(self): return 3
    def __getitem__(self, i): raise KeyError("lost")


def folder(path, *names):
    "A folder with files of these names that hold an x."
    for name in names: file(Path(path)/name, b"x")
    Path(path).mkdir(exist_ok=True)
    return path


def tiff(path, values):
    "A folder with one picture of 32 bits."
    kind = np.float32 if isinstance(values[0][0], float) else np.int32
    Image.fromarray(np.array(values, kind)).save(Path(path)/"gray.tif")
    return path


def fashion(path, labels=None):
    "The two files of the test images, with other labels or without."
    for name in FILES["test"]: shutil.copy(SLICE/name, path)
    other = Path(path)/FILES["test"][1]
    if labels is None: other.unlink()
    else:
        header = b"\0\0\x08\x01" + struct.pack(">I", len(labels))
        other.write_bytes(gzip.compress(header + labels))
    return path


class Stream(IterableDataset):
    def __iter__(self): return iter(raw)


class DatasetDict(dict): "As the library datasets calls its parts."


class NoPictures:
    "A data set of texts."
    column_names = ["text"]


ROWS = [
    # call, error, words of the message
    ("to_model(raw.float())", TypeError, "bytes (uint8, 0..255), got torch.float32"),
    ("to_uint8(raw)", TypeError, "floating point with values in [-1, 1], got torch.uint8"),
    ("ds[6]", IndexError, "between -6 and 5, got 6"),
    ("ds[-7]", IndexError, "between -6 and 5, got -7"),
    ("ImageDataset(raw.float())", ValueError, ("(N, C, H, W)", "torch.float32")),
    ("ImageDataset(raw[0])", ValueError, ("(N, C, H, W)", "(3, 4, 5)")),
    ("ImageDataset(raw.tolist())", ValueError, ("images must be a tensor", "list")),
    ("ImageDataset(raw, torch.arange(5))", ValueError, ("one for each image", "(5,)")),
    ("ImageDataset(raw, flip=1)", TypeError, "flip must be True or False"),
    # files in IDX format
    ("read_idx(file('{tmp}/cut.gz', zipped[:-20]))", ValueError, ("cut.gz", "is damaged")),
    ("read_idx(file('{tmp}/bit.gz', one_bit_wrong))", ValueError, ("bit.gz", "is damaged")),
    ("read_idx(file('{tmp}/page.gz', b'<html>'))", ValueError, ("page.gz", "is damaged")),
    ("read_idx(file('{tmp}/empty.idx', b''))", ValueError, ("empty.idx", "nothing")),
    ("read_idx(file('{tmp}/page.idx', b'<!DOC'))", ValueError, ("page.idx", "3c 21 44 4f")),
    ("read_idx(file('{tmp}/ints.idx', b'\\0\\0\\x0c\\x01' + bytes(8)))", ValueError, "00 00 0c 01"),
    ("read_idx(file('{tmp}/head.idx', idx[:10]))", ValueError, ("head.idx", "not an IDX file")),
    ("read_idx(file('{tmp}/short.idx', idx[:-1]))", ValueError,
        ("short.idx", "promises 600 values, it holds 599")),
    ("read_idx(file('{tmp}/long.idx', idx + b'x'))", ValueError, "it holds 601"),
    # Fashion-MNIST
    ("load_fashion_mnist('tset')", ValueError, "Did you mean 'test'?"),
    ("load_fashion_mnist('test', download=1)", TypeError, "download must be True or False"),
    ("load_fashion_mnist('test', root='{tmp}')", FileNotFoundError,
        "has no t10k-images-idx3-ubyte.gz and no t10k-labels-idx1-ubyte.gz; put the files there"),
    ("load_fashion_mnist('test', root=fashion('{tmp}'))", FileNotFoundError,
        "has no t10k-labels-idx1-ubyte.gz;"),
    ("load_fashion_mnist('test', root=fashion('{tmp}', bytes(3)))", ValueError,
        "labels of shape (3,)"),
    # folders of pictures
    ("ImageFolder('{tmp}/gone', 8)", FileNotFoundError, ("root=", "is not a folder")),
    ("ImageFolder(folder('{tmp}'), 8)", ValueError, "holds no .png, .jpg or other picture"),
    ("ImageFolder(folder('{tmp}', 'a.heic', 'b.heic'), 8)", ValueError, "it holds 2 files *.heic"),
    ("ImageFolder(folder('{tmp}', 'a.gif'), 8)", ValueError,
        ("a.gif cannot be read as an image", "remove it, or pass on_error='skip'")),
    ("ImageFolder(folder('{tmp}', 'a.gif'), 8, on_error='skip')", ValueError,
        "holds 1 picture, and none can be read"),
    ("ImageFolder('{tmp}', 8, channels=4)", ValueError, "channels must be one of None, 1, 3"),
    ("ImageFolder('{tmp}', 8, on_error='skpi')", ValueError, "Did you mean 'skip'?"),
    ("ImageFolder('{tmp}', 10**6)", ValueError,
     ("size must have at most 67,108,864 pixels", "got 1000000x1000000")),
    ("ImageFolder('{tmp}', (1, 2**26 + 1))", ValueError, "got 67108865x1"),
    ("ImageFolder(b'pictures', 8)", TypeError, ("root must name", "b'pictures'", "os.fsdecode")),
    *[(f"ImageFolder(tiff('{{tmp}}', {values}), 1)[0]", ValueError, ("gray.tif", words))
      for values, words in (("[[0, 70000]]", "its grays must be between 0 and 65535, got 70000"),
                            ("[[-5, 9]]", "got -5"), ("[[0., 0.5]]", "floating point"))],
    ("ImageFolder('{tmp}', 8, exclude=None)", TypeError, ("exclude must name a", "got None")),
    ("ImageFolder('{tmp}', 8, exclude=['a', 5])", TypeError, ("exclude must name", "got 5")),
    ("ImageFolder(tiff('{tmp}', [[0, 9]]), 1).batch([-2])", IndexError,
     ("indices must be between -1 and 0", "got [-2]")),
    ("ImageFolder(tiff('{tmp}', [[0, 9]]), 1).batch([0, 1])", IndexError, "got [0, 1]"),
    ("ImageFolder('{tmp}', 0)", ValueError, "size must be at least 1"),
    ("ImageFolder('{tmp}', (8, 8, 8))", ValueError, "a pair (H, W)"),
    ("ImageFolder(folder('{tmp}', 'a.png'), 8, flip=1)", TypeError, "flip must be True or False"),
    ("ImageFolder('{tmp}', 8, cache_bytes=-1)", ValueError, "cache_bytes must be at least 0"),
    # what is no data set
    ("as_dataset(DataLoader(ds))", TypeError, ("dataset must be", "pass its .dataset")),
    ("as_dataset(Stream())", TypeError, ("dataset must be", "the IterableDataset Stream")),
    ("as_dataset(DatasetDict(train=raw))", TypeError, ("a DatasetDict", "['train']")),
    ("PictureItems(NoPictures(), 8)", ValueError, ("has no column of pictures", "text")),
    ("PictureItems(NoPictures(), 8, channels=2)", ValueError, "channels must be one of None, 1, 3"),
    ("as_dataset(iter(raw))", TypeError, ("dataset must be", "map-style")),
    ("as_dataset('{tmp}')", TypeError, ("dataset must be", "ImageFolder(")),
    ("as_dataset({0: raw})", TypeError, ("dataset must be", "got dict")),
    ("as_dataset(None)", TypeError, ("dataset must be", "NoneType")),
    ("as_dataset([])", ValueError, "dataset holds no images"),
    ("as_dataset(raw[:0])", ValueError, "dataset holds no images"),
    ("as_dataset(raw.float() + 200)", ValueError,
        ("dataset[0] has values from 200 to 200", "[-1, 1]")),
    ("as_dataset(raw.float()*torch.nan)", ValueError, "dataset[0] has values from nan"),
    ("as_dataset(raw.long())", TypeError,
        ("dataset[0] must be floating point or uint8", "got torch.int64")),
    ("as_dataset(raw[:, 0, 0])", ValueError, ("dataset[0] must have the shape (C, H, W)", "(5,)")),
    ("as_dataset(['cat.png'])", TypeError, "dataset[0] holds no image but a str"),
    ("as_dataset([{'picture': raw[0]}])", TypeError, ("dataset[0] is a dict without", "'picture'")),
    ("as_dataset([raw[0], raw[0, :, 1:]]).batch([0, 1])", ValueError,
        ("dataset[1] has the shape (3, 3, 5)", "one size")),
    # which images: no mask, no share, no slice
    ("ds.batch(torch.tensor([True, False]))", TypeError, ("indices", "got bools", "nonzero()")),
    ("ds.batch([0.5])", TypeError, ("indices must be whole numbers", "float32s")),
    ("ds[0:2]", TypeError, ("i must be a whole number", "use batch(numbers)")),
    ("to_uint8(torch.full((3,), float('nan')))", ValueError, ("x holds NaN", "no shade")),
    ("to_model(raw.numpy())", TypeError, ("images must be a tensor of bytes", "a ndarray")),
    ("as_dataset([torch.zeros(1, 0, 4)])", ValueError, ("dataset[0]", "(C, H, W)", "(1, 0, 4)")),
    ("as_dataset(Lost())", ValueError, ("dataset[0] raised KeyError", "lost")),
    ("ImageFolder('', 8)", TypeError, ("root must name a file or a folder", "got ''")),
    ("ImageFolder(None, 8)", TypeError, ("root must name a file or a folder", "got None")),
    ("ImageDataset(raw, flip=True).batch([0], 0)", TypeError, ("generator", "got 0")),
]
