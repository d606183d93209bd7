"What saving and loading a network refuse. What a damaged file is told is in appendix D5."
from pathlib import Path

import torch
from torch import nn

from ddpm_edu.config import register_to_config
from ddpm_edu.weight_files import find_weights, numbers_to_save, weights_file
from ddpm_edu.weights import ModelMixin, check_dtype


class Net(ModelMixin):
    @register_to_config
    def __init__(self, width=3):
        super().__init__()
        self.lin = nn.Linear(2, width)


net = Net()
with torch.device("meta"): empty = Net()
half, sparse = torch.float16, {"a": torch.eye(3).to_sparse()}
words = {"a": "text"}
nan = float("nan")


def saved(folder, **options):
    net.save_pretrained(folder, **options)
    return folder


def gone(folder):
    saved(folder)
    (Path(folder)/weights_file()).unlink()
    return folder


ROWS = [
    ("Net.from_pretrained(saved('{tmp}'), variant='no')", FileNotFoundError,
     ("no weights at", "the folder has diffusion_pytorch_model.safetensors", "variant=...")),
    ("Net.from_pretrained(saved('{tmp}/\\udcff'))", ValueError,
     ("cannot be opened", "is not UTF-8", "rename the folder")),
    ("Net.from_pretrained(saved('{tmp}', variant='fp16'))", OSError,
     "Error no file named diffusion_pytorch_model.bin found in directory"),
    ("Net.from_pretrained(gone('{tmp}'))", FileNotFoundError, "is the download complete?"),
    ("Net.from_pretrained(saved('{tmp}', safe_serialization=False), use_safetensors=True)",
     FileNotFoundError, "the folder has diffusion_pytorch_model.bin"),
    ("Net.from_pretrained(saved('{tmp}'), use_safetensors='yes')", ValueError, "use_safetensors"),
    ("Net.from_pretrained(saved('{tmp}'), width=5)", ValueError,
     ("does not fit the network's configuration", "lin.weight has shape (3, 2), not (5, 2)")),
    ("Net.from_pretrained(saved('{tmp}'), dtype=torch.int8)", TypeError, "torch.int8"),
    ("Net.from_pretrained(saved('{tmp}'), dtype='float61')", ValueError, "Did you mean 'float64'?"),
    ("Net.from_pretrained(saved('{tmp}'), dtype=half, torch_dtype=torch.float32)", ValueError,
     "two names of one argument"),
    ("Net.from_pretrained(saved('{tmp}'), variant='../x')", ValueError, "variant must be letters"),
    ("Net.from_pretrained(saved('{tmp}'), wdith=3)", TypeError, "Did you mean 'width'?"),
    ("Net.from_pretrained(saved('{tmp}'), device_map='auto')", ValueError, ".to(device)"),
    ("net.save_pretrained('{tmp}', variant='../x')", ValueError, "variant must be letters"),
    ("net.save_pretrained('{tmp}', dtype=torch.int8)", TypeError, "torch.int8"),
    *[(f"net.save_pretrained('{{tmp}}', max_shard_size={bad})", ValueError,
       ("max_shard_size must be a number of bytes above 0", f"got {bad}"))
      for bad in ("0", "-1", "'0GB'", "'-5MB'", "True", "nan", "None")],
    ("net.save_pretrained('{tmp}', max_shard_size='many')", ValueError,
     ("max_shard_size must be", "'500MB'", "'many'")),
    ("net.save_pretrained('{tmp}', safe_serialisation=False)", TypeError, "'safe_serialisation'"),
    ("empty.save_pretrained('{tmp}')", ValueError, ("lin.weight", "meta device")),
    ("numbers_to_save(sparse)", ValueError, ("a cannot be saved", "sparse")),
    ("numbers_to_save(words)", ValueError, ("a cannot be saved", "str")),
    ("numbers_to_save({'a': torch.zeros(2, dtype=torch.complex64)})", ValueError, "complex64"),
    ("find_weights('{tmp}', variant=3)", ValueError, "variant must be letters"),
    ("check_dtype('float8')", ValueError, "dtype must be one of"),
]
