"What the codec refuses: images that are none, models without calibration, files of others."
import zlib

import torch
from PIL import Image

from ddpm_edu import DDPMPipeline
from ddpm_edu.code_files import pack, unpack
from ddpm_edu.progressive_coding import calibrate, decode, decode_steps, encode, psnr

TINY = {"unet": dict(sample_size=8, in_channels=1, out_channels=1, block_out_channels=(8, 8),
                     down_block_types=("DownBlock2D",)*2, up_block_types=("UpBlock2D",)*2,
                     norm_num_groups=4, layers_per_block=1)}


def made(**scheduler):
    "A small network that was never trained."
    pipe = DDPMPipeline.from_config({**TINY, "scheduler": scheduler})
    pipe.set_progress_bar_config(disable=True)
    return pipe


def ready():
    "The same, calibrated."
    pipe = made()
    calibrate(pipe, torch.zeros(2, 1, 8, 8))
    return pipe


def changed():
    "Calibrated, then trained further."
    pipe = ready()
    with torch.no_grad(): next(pipe.unet.parameters()).add_(1)
    return pipe


class Foreign: scheduler = object()


pipe = ready()
x = torch.zeros(1, 8, 8)
data = encode(pipe, x, 4)
newer = bytearray(pack(0, 1, []))
newer[1] = 0x30
newer[7] = zlib.crc32(newer[:7]) & 0xFF

ROWS = [
    # call, error, words of the message
    ("encode(made(), x)", ValueError, ("not calibrated", "calibrate(pipe, images)")),
    ("encode(changed(), x)", ValueError, ("other weights", "calibrate")),
    ("encode(Foreign(), x)", TypeError, ("pipe", "DDPMScheduler", "object")),
    ("encode(pipe, torch.zeros(1, 9, 8))", ValueError, ("image", "(1, 8, 8)", "(1, 9, 8)")),
    ("encode(pipe, torch.zeros(0, 1, 8, 8))", ValueError, ("image", "at least 1")),
    ("encode(pipe, [])", TypeError, ("image", "empty list")),
    ("encode(pipe, x + 2)", ValueError, ("image", "[-1, 1]", "127.5")),
    ("encode(pipe, x*float('nan'))", ValueError, ("image", "nan")),
    ("encode(pipe, x.byte())", TypeError, ("image", "uint8", "127.5")),
    ("encode(pipe, Image.new('RGB', (8, 8)))", ValueError, ("image", "'RGB'", "convert")),
    ("encode(pipe, Image.new('L', (9, 8)))", ValueError, ("image", "(1, 8, 8)")),
    ("calibrate(pipe, x, folder='{tmp}/nowhere')", FileNotFoundError,
     ("folder=", "nowhere", "save_pretrained")),
    ("encode(pipe, 'a.png')", TypeError, ("image", "str")),
    ("encode(pipe, x, max_bytes=511)", ValueError, ("max_bytes", "between 0 and 510")),
    ("encode(pipe, x, rmse=-1)", ValueError, ("rmse", "[0, 255]")),
    ("encode(pipe, x, effort=0)", ValueError, ("effort", "between 1 and 64")),
    ("encode(pipe, x, batch_size=0)", ValueError, ("batch_size", "at least 1")),
    ("encode(pipe, x, lossless=1)", TypeError, ("lossless", "True or False")),
    ("encode(pipe, x + 0.003, lossless=True)", ValueError, ("image", "bytes", "lossless=True")),
    ("encode(pipe, x, lossless=True)", ValueError, ("image", "bytes", "lossless=True")),
    ("calibrate(pipe, x + 2)", ValueError, ("images", "[-1, 1]")),
    ("calibrate(pipe, x, seed=-1)", ValueError, ("seed", "between 0 and")),
    ("decode(pipe, b'')", ValueError, ("data is empty", "begins with dd")),
    ("decode(pipe, b'x')", ValueError, ("begins with 78", "begins with dd")),
    ("decode(pipe, data[:7])", ValueError, ("7 bytes", "header's 8")),
    ("decode(pipe, b'\\x89PNG\\r\\n')", ValueError, ("PNG picture",)),
    ("decode(pipe, b'\\xff\\xd8\\xff\\xe0')", ValueError, ("JPEG picture",)),
    ("decode(pipe, bytes(newer))", ValueError, ("version 3", "reads 1 and 2")),
    ("decode(pipe, data[:-1] + b'!')", ValueError, ("damaged", "checksum of its body")),
    ("decode(pipe, data + b'!')", ValueError, ("damaged", "4 bytes", "there are 5")),
    ("decode(pipe, data[:7] + b'!' + data[8:])", ValueError, ("damaged header",)),
    ("decode(pipe, pack(0, 1, [1, 2]))", ValueError, ("another model", "0001", "force=True")),
    ("decode(pipe, 'file')", TypeError, ("data must be bytes", "read_bytes")),
    ("decode(pipe, [])", ValueError, ("at least one file",)),
    ("decode(pipe, data, 'png')", ValueError, ("output_type", "'pt'")),
    ("decode(pipe, data, force=1)", TypeError, ("force", "True or False")),
    ("decode_steps(pipe, None)", TypeError, ("data must be bytes",)),
    ("unpack(3)", TypeError, ("data must be bytes", "int")),
    ("psnr(x, x[0])", ValueError, ("b must have the shape",)),
]
