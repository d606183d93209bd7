"What the pipeline refuses: its call, its pictures, its folders."
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ddpm_edu import DDPMPipeline, DDPMScheduler, UNet
from ddpm_edu.model_index import check_device, check_index
from ddpm_edu.pictures import to_model_range
from ddpm_edu.unet import unet_config

torch.manual_seed(0)
tiny = DDPMPipeline(UNet(**unet_config("tiny")), DDPMScheduler())
anysize = DDPMPipeline(UNet(**{**unet_config("tiny"), "sample_size": None}), DDPMScheduler())
five = DDPMPipeline(UNet(**{**unet_config("tiny"), "in_channels": 5}), DDPMScheduler())
three = DDPMPipeline(UNet(**{**unet_config("tiny"), "num_class_embeds": 3}), DDPMScheduler())
for pipe in (tiny, anysize, five, three): pipe.set_progress_bar_config(disable=True)
good = tiny.index()
x = torch.zeros(1, 1, 8, 8)
gray = Image.new("L", (8, 8))


def call(pipe=tiny, **options): return pipe(**{"num_inference_steps": 2, **options})


def answer(given): return call(callback_on_step_end=lambda *told: given)


def saved(folder, change=None, text=None):
    "Load a folder whose index says something else."
    tiny.save_pretrained(folder)
    index = Path(folder)/"model_index.json"
    index.write_text(json.dumps({**good, **(change or {})}) if text is None else text)
    return DDPMPipeline.from_pretrained(folder)


def without_index(folder):
    tiny.save_pretrained(folder)
    (Path(folder)/"model_index.json").unlink()
    return DDPMPipeline.from_pretrained(folder)


def no_such_copy(folder):
    tiny.save_pretrained(folder)
    return DDPMPipeline.from_pretrained(folder, variant="fp8")


ROWS = [
    # call, error, words of the message
    ("DDPMPipeline(DDPMScheduler(), tiny.unet)", TypeError,
     "the order is DDPMPipeline(unet, scheduler)"),
    ("DDPMPipeline(tiny.unet, None)", TypeError,
     "scheduler must be an object with the method 'step'"),
    ("call(class_labels=0)", ValueError,
     ("class_labels must be None", "without classes (num_class_embeds)", "got 0")),
    ("call(three, class_labels=3)", ValueError,
     ("class_labels must be between 0 and 2", "num_class_embeds=3", "got 3")),
    ("call(three, class_labels=[0, -1], batch_size=2)", ValueError, "between 0 and 2"),
    ("call(three, class_labels=torch.zeros(2), batch_size=2)", TypeError, "a whole number"),
    ("call(three, class_labels=True)", TypeError, "class_labels must be a whole number"),
    ("call(three, class_labels='boot')", TypeError, "class_labels must be a whole number"),
    ("call(three, class_labels=[0, 1, 2], batch_size=2)", ValueError,
     ("class_labels must be one number, or 2, one for each image", "got 3")),
    ("tiny.register_modules(unett=tiny.unet)", ValueError, ("'unett'", "Did you mean 'unet'?")),
    ("setattr(tiny, 'unet', None)", TypeError,
     ("unet must be an object with the method 'forward', got NoneType", "del pipe.unet")),
    ("setattr(tiny, 'scheduler', tiny.unet)", TypeError,
     ("scheduler must be an object with the method 'step', got UNet", "(unet, scheduler)")),
    ("tiny.set_progress_bar_config(disabled=True)", TypeError,
     ("set_progress_bar_config() has no argument 'disabled'", "Did you mean 'disable'?")),
    ("tiny.set_progress_bar_config(total=3)", TypeError, "has no argument 'total'"),
    ("tiny.progress_bar()", ValueError, "iterable or total"),
    ("call(batch_size=0)", ValueError, "batch_size must be at least 1"),
    ("call(batch_size='4')", TypeError, "batch_size must be a whole number"),
    ("call(num_inference_steps=0)", ValueError, "num_inference_steps must be between 1 and 1000"),
    ("call(num_inference_steps=1001)", ValueError, "(num_train_timesteps), got 1001"),
    ("call(num_inference_steps=10.)", TypeError, "num_inference_steps must be a whole number"),
    ("call(output_type='jpg')", ValueError, "output_type must be one of 'pil', 'np', 'pt'"),
    ("call(output_type='PIL')", ValueError, "output_type must be one of"),
    ("call(return_dict=0)", TypeError, "return_dict must be True or False"),
    ("call(compile=1)", TypeError, "compile must be True or False"),
    ("call(five)", ValueError, ("output_type='pil'", "in_channels", "got 5")),
    ("call(batch_size=3, generator=[torch.Generator()])", ValueError, "each of the 3 images"),
    ("call(generator=42)", TypeError, "torch.manual_seed"),
    ("call(callback_on_step_end=3)", TypeError, "callback_on_step_end must be a function"),
    ("call(anysize)", ValueError, "sample_size is None"),
    # where to begin
    ("call(start_timestep=0)", ValueError, "start_timestep=0 needs start"),
    ("call(strength=0.5)", ValueError, "strength=0.5 needs start"),
    ("call(start=torch.zeros(2, 1, 8, 8))", ValueError,
     "start must have shape (1, 1, height, width)"),
    ("call(start=torch.zeros(1, 3, 8, 8))", ValueError,
     ("start must have shape (1, 1", "(1, 3, 8, 8)")),
    ("call(start=torch.zeros(1, 8, 8))", ValueError, "start must have shape"),
    ("call(start=x.byte())", TypeError, "start must hold"),
    ("call(start=x, start_timestep=3)", ValueError, "start_timestep must be one of the timesteps"),
    ("call(start=x, start_timestep=False)", ValueError, ("start_timestep must be", "got False")),
    ("call(start=x, start_timestep=0, strength=0.5)", ValueError, "pass one of the two"),
    ("call(start=x, strength=0)", ValueError, "strength must be a finite number in (0, 1]"),
    ("call(start=x, strength=1.5)", ValueError, "strength must be a finite number in (0, 1]"),
    ("call(start=x, strength='half')", TypeError, "strength must be a number"),
    ("call(start=x, strength=0.1)", ValueError,
     ("strength=0.1", "not a single step", "0.5 or more")),
    ("call(start=x+2, strength=0.5)", ValueError, ("[2, 2]", "clean image, in [-1, 1]")),
    ("call(start=gray)", ValueError, ("how much of it", "strength=0.5")),
    ("call(start=gray.convert('RGB'), strength=0.5)", ValueError,
     ("'RGB'", "picture.convert('L')")),
    ("call(start=gray.resize((4, 8)), strength=0.5)", ValueError,
     ("4x8", "picture.resize((8, 8))")),
    ("call(start=[gray, gray.resize((4, 8))], strength=0.5)", ValueError, ("one size", "(4, 8)")),
    ("call(start=[gray]*2, strength=0.5, batch_size=3)", ValueError, "batch_size=3 images"),
    ("call(start=[], strength=0.5)", TypeError, "an empty list"),
    ("call(start='cat.png', strength=0.5)", TypeError, ("a Pillow image", "got a str")),
    ("call(start=[np.zeros((8, 8, 1))], strength=0.5)", TypeError, "got a ndarray"),
    ("call(start=np.zeros((8, 8)), strength=0.5)", ValueError,
     ("(H, W, 1)", "channels last", "(8, 8)")),
    ("call(start=np.zeros((1, 8, 8)), strength=0.5)", ValueError, "channels last"),
    ("call(start=np.zeros((8, 8, 1), int), strength=0.5)", TypeError, ("uint8", "int64")),
    ("call(start=np.full((8, 8, 1), -1.), strength=0.5)", ValueError,
     ("[-1, -1]", "lie in [0, 1]")),
    ("call(start=np.full((8, 8, 1), np.nan), strength=0.5)", ValueError, "lie in [0, 1]"),
    ("to_model_range(gray.convert('1'), 1)", ValueError, "picture.convert('L')"),
    # what a callback may answer
    ("answer({'latents': x})", ValueError, ("'latents'", "did you mean 'sample'")),
    ("answer({'pred_original_sample': x})", ValueError, ("'pred_original_sample'", "no effect")),
    ("answer(x)", TypeError, ('{"sample": x}', "got a Tensor")),
    ("answer({'sample': x[..., :4]})", ValueError,
     ("must have shape (1, 1, 8, 8)", "(1, 1, 8, 4)")),
    ("answer({'sample': x.byte()})", TypeError, "callback_on_step_end's sample must hold"),
    # folders
    ("check_index({**good, '_class_name': 'DDIMPipeline'}, 'here')", ValueError,
     ("here", "_class_name is 'DDIMPipeline'")),
    ("check_index({**good, 'unet': ['diffusers', 'UNet2DConditionModel']}, 'here')", ValueError,
     "'UNet2DConditionModel'], but"),
    ("check_index({**good, 'scheduler': ['diffusers', 'AutoencoderKL']}, 'here')", ValueError,
     "'DDPMScheduler'"),
    ("check_index({**good, 'scheduler': ['os', 'BackgroundScheduler']}, 'here')", ValueError,
     "'os'"),
    ("check_index({**good, 'unet': None}, 'here')", ValueError, "unet is None"),
    ("check_index({**good, 'scheduler': 'DDPM'}, 'here')", ValueError, "scheduler is 'DDPM'"),
    ("check_index({**good, 'unet': ['../evil', 'UNet2DModel']}, 'here')", ValueError, "'../evil'"),
    ("check_index({**good, 'vae': ['diffusers', 'AutoencoderKL']}, 'here')", ValueError,
     "does not know: vae"),
    ("saved('{tmp}', text='[]')", ValueError, "JSON object"),
    ("saved('{tmp}', text='{{')", ValueError, "not valid JSON"),
    ("saved('{tmp}', {'scheduler': ['os', 'system']})", ValueError, "'system'"),
    ("saved('{tmp}', {'scheduler': ['diffusers', 'NoScheduler']})", ValueError,
     "no scheduler 'NoScheduler'"),
    ("without_index('{tmp}')", FileNotFoundError, "no model_index.json"),
    ("no_such_copy('{tmp}')", FileNotFoundError, "no weights at"),
    ("check_device('auto')", ValueError, ("device_map", "'auto'", "'cuda'")),
    ("check_device({'unet': 0})", ValueError, "device_map must be None or the name of one device"),
    ("DDPMPipeline.from_pretrained('fashion-mnits')", FileNotFoundError,
     "Did you mean 'fashion-mnist'?"),
    ("DDPMPipeline.from_pretrained('fashion-mnist', varient='fp16')", TypeError,
     "has no argument 'varient'. Did you mean 'variant'?"),
    ("tiny.save_pretrained('{tmp}', repoid='x')", TypeError, "Did you mean 'repo_id'?"),
    # without weights
    ("DDPMPipeline.from_config('cifar')", ValueError, "Did you mean 'cifar10'?"),
    ("DDPMPipeline.from_config({'vae': {}})", TypeError, "config must be one of"),
    ("DDPMPipeline.from_pipe(tiny, vae=None)", TypeError, "vae"),
]
