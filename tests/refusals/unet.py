"What the network refuses: options, options that do not fit each other, and inputs."
import torch

from ddpm_edu import UNet
from ddpm_edu.unet import unet_config

TWO = dict(in_channels=2, out_channels=1, block_out_channels=(4, 8), norm_num_groups=2,
           layers_per_block=1, attention_head_dim=4,
           down_block_types=("DownBlock2D", "AttnDownBlock2D"),
           up_block_types=("AttnUpBlock2D", "UpBlock2D"))
PLAIN = dict(down_block_types=("DownBlock2D",)*2, up_block_types=("UpBlock2D",)*2)
EITHER = (ValueError, TypeError)


def net(**options): return UNet(**TWO | options)


four = UNet(in_channels=1, out_channels=1, block_out_channels=(4,)*4, norm_num_groups=2,
            layers_per_block=1, add_attention=False,
            down_block_types=("DownBlock2D",)*4, up_block_types=("UpBlock2D",)*4)
images = torch.zeros(3, 1, 8, 16)
classed = net(in_channels=1, num_class_embeds=3)
fourier = net(time_embedding_type="fourier")
half = net(in_channels=1).half()

# each option for itself: values that no network can have, as they are written
OPTIONS = dict(
    sample_size=["0", "(8, 8, 8)", "(8, 0)", "2**16 + 1", "8.", "'28'"],
    in_channels=["0", "-1", "2**14 + 1", "None", "True"],
    out_channels=["0", "-3", "2**14 + 1"],
    center_input_sample=["'no'", "1"],
    time_embedding_type=["'learned'", "None"],
    time_embedding_dim=["0", "2**14 + 1"],
    freq_shift=["'1'", "float('nan')", "2"],
    flip_sin_to_cos=["0"],
    down_block_types=["'DownBlock2D'", "()", "('DownBlock2D', 'CrossAttnDownBlock2D')",
                      "('DownBlock2D', 'UpBlock2D')"],
    mid_block_type=["'UNetMidBlock2DCrossAttn'"],
    up_block_types=["'UpBlock2D'", "()", "('UpBlock2D', 'DownBlock2D')"],
    block_out_channels=["8", "()", "(10**9, 10**9)", "(4, 8.)", "(0, 8)", "(2,)*17",
                        "(4, 2**14 + 2)"],
    layers_per_block=["0", "65", "1.5"],
    mid_block_scale_factor=["0", "'2'"],
    downsample_padding=["-1", "2"],
    downsample_type=["'fir'"],
    upsample_type=["'fir'"],
    dropout=["-0.1", "1.", "'0'"],
    act_fn=["'Silu'", "'tanh'", "None"],
    attention_head_dim=["0", "2**14 + 1"],
    norm_num_groups=["0", "None"],
    attn_norm_num_groups=["0", "3"],
    norm_eps=["0.", "-1e-5"],
    resnet_time_scale_shift=["'spatial'"],
    add_attention=["None"],
    num_class_embeds=["0", "2**20 + 1"],
    class_embed_type=["'timestep'", "'identity'"],
    num_train_timesteps=["1000"],
)

ROWS = [(f"net({name}={value})", EITHER, name)
        for name, values in OPTIONS.items() for value in values]
ROWS += [
    # options that do not fit each other
    ("net(block_out_channels=(4, 8, 8))", ValueError, "down_block_types must have 3 entries"),
    ("net(up_block_types=('UpBlock2D',))", ValueError, "up_block_types must have 2 entries"),
    ("net(block_out_channels=(4, 7))", ValueError, ("multiples of norm_num_groups=2", "got 7")),
    ("net(block_out_channels=(4, 2))", ValueError,
     ("at least attention_head_dim=4", "None gives one head")),
    # attention at the bottom, and on the way up alone
    ("net(block_out_channels=(8, 2), **PLAIN)", ValueError, "at least attention_head_dim=4"),
    ("net(block_out_channels=(2, 8), mid_block_type=None, "
     "down_block_types=PLAIN['down_block_types'], up_block_types=('UpBlock2D', 'AttnUpBlock2D'))",
     ValueError, "attention_head_dim=4 where there is attention, got 2"),
    ("net(attn_norm_num_groups=5)", ValueError,
     "attn_norm_num_groups must divide the last width 8"),
    ("net(block_out_channels=(2**14, 2**14))", ValueError, "would have about 6.2e+10 parameters"),
    ("net(freq_shift=2, mid_block_type=None)", ValueError, "freq_shift must be below 2"),
    ("net(num_class_embeds=2**20, time_embedding_dim=2**13)", ValueError, "num_class_embeds"),
    ("UNet(layers_per_blok=2)", TypeError, "layers_per_blok"),
    ("unet_config('cifar')", ValueError, "Did you mean 'cifar10'?"),
    # images
    ("four(torch.zeros(1, 1, 28, 28), 5)", ValueError,
     ("28x28, but 4 levels halve it 3 times", "multiples of 8; pad the images to 32x32")),
    ("four(torch.zeros(1, 1, 16, 20), 5)", ValueError,
     ("16x20, but 4 levels halve it 3 times", "16x24")),
    ("four(torch.zeros(1, 1, 12, 16), 5)", ValueError, "to 16x16"),
    ("four(torch.zeros(3, 2, 8, 8), 5)", ValueError,
     "sample must have shape (batch, 1, height, width), got (3, 2, 8, 8)"),
    ("four(images[0], 5)", ValueError, "(batch, 1, height, width), got (1, 8, 16)"),
    ("four([1.], 5)", TypeError, "sample must be a tensor, got list"),
    ("four(None, 5)", TypeError, "sample must be a tensor, got NoneType"),
    ("four(images.byte(), 5)", TypeError, ("torch.uint8", "127.5 - 1")),
    ("four(images.long(), 5)", TypeError, ("torch.int64", "127.5 - 1")),
    ("four(images.double(), 5)", TypeError,
     ("torch.float64", "torch.float32", "sample.to(unet.dtype)")),
    ("half(images, 5)", TypeError, ("torch.float32", "torch.float16", "sample.to(unet.dtype)")),
    # times
    ("four(images, torch.tensor([1, 2]))", ValueError, ("timestep", "(), (1,) or (3,)")),
    ("four(images, torch.ones(3, 1))", ValueError, ("timestep", "of shape (3, 1)")),
    ("four(images, torch.tensor(True))", ValueError, ("timestep", "torch.bool")),
    ("four(images, torch.tensor(1j))", ValueError, ("timestep", "torch.complex64")),
    ("four(images, '5')", TypeError, "timestep must be a number"),
    ("four(images, True)", TypeError, "timestep must be a number"),
    ("four(images, None)", TypeError, "timestep must be a number"),
    ("four(images, -1)", ValueError, ("timestep", "got -1")),
    ("four(images, float('nan'))", ValueError, ("timestep", "nan")),
    ("fourier(torch.zeros(1, 2, 8, 8), 0)", ValueError, ("timestep", "(0, inf)")),
    # classes
    ("four(images, 5, torch.zeros(3).long())", ValueError, "without num_class_embeds"),
    ("classed(images, 5)", ValueError, "class_labels must be a tensor of 3 whole numbers 0..2"),
    ("classed(images, 5, torch.zeros(2).long())", ValueError, "class_labels must be a tensor of 3"),
    ("classed(images, 5, torch.zeros(3))", ValueError, "class_labels must be a tensor of 3"),
    ("classed(images, 5, torch.tensor([0, 1, 3]))", ValueError,
     ("class_labels must be between 0 and 2", "num_class_embeds=3", "got 3")),
    ("classed(images, 5, torch.tensor([0, -1, 99]).int())", ValueError,
     ("class_labels must be between 0 and 2", "got -1")),
    ("classed(images, 5, [0, 1, 2])", ValueError, "class_labels must be a tensor of 3"),
]
