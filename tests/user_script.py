"""What a user types: every name of the README, a callback, schedulers, training. Read by type checkers, never run.

tests/test_editors.py asks pyright and mypy for errors in it, and there must be none."""
from pathlib import Path

import torch
from torch import Tensor

from ddpm_edu import DDPMPipeline, DDPMScheduler, ImagePipelineOutput, UNet
from ddpm_edu.data import ImageFolder, load_fashion_mnist
from ddpm_edu.forward_process import NoiseSchedule, make_betas
from ddpm_edu.plots import make_grid
from ddpm_edu.training import TrainConfig, Trainer, eval_loss, training_loss
from ddpm_edu.unet import unet_config
from ddpm_edu.variational_bound import vlb_terms

# The README's first lines.
pipe = DDPMPipeline.from_pretrained("fashion-mnist")
seed = torch.manual_seed(0)
images = pipe(batch_size=16, num_inference_steps=1000, generator=seed).images
images[0].save("garment.png")
first, *_ = pipe(batch_size=4, output_type="np", return_dict=False)
print(first.shape, pipe.device, pipe.dtype, pipe.components["unet"])


def look_on(pipe: DDPMPipeline, step: int, t: int, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    "A callback that keeps what it sees and changes nothing."
    return {"sample": tensors["sample"].clamp(-1, 1)}


generators = [torch.Generator().manual_seed(i) for i in range(4)]
out: ImagePipelineOutput = pipe(4, generator=generators, callback_on_step_end=look_on)
grid = make_grid(pipe(4, output_type="pt").images, ncols=2)
grid.save("grid.png")
pipe.set_progress_bar_config(disable=True)
pipe.to("cpu").save_pretrained("folder", variant="fp16", max_shard_size="500MB")
other = DDPMPipeline.from_pipe(pipe, scheduler=DDPMScheduler(beta_schedule="squaredcos_cap_v2"))
untrained = DDPMPipeline.from_config("cifar10")
there: Path = DDPMPipeline.download("google/ddpm-cifar10-32", revision="main")

# The loop written out.
scheduler = DDPMScheduler(num_train_timesteps=1000, variance_type="fixed_large")
scheduler = DDPMScheduler.from_config(scheduler.config, timestep_spacing="trailing")
scheduler = DDPMScheduler.from_pretrained("folder", subfolder="scheduler")
unet = UNet(sample_size=28, in_channels=1, out_channels=1, block_out_channels=(32, 64, 64, 64))
unet = UNet.from_pretrained("folder", subfolder="unet", dtype=torch.float16)
unet = UNet(**unet_config("fashion-mnist"))
scheduler.set_timesteps(50)
x = torch.randn(4, 1, 28, 28)
noise = torch.zeros_like(x)
for t in scheduler.timesteps:
    noise = unet(x, t).sample
    x = scheduler.step(noise, t, x, generator=seed).prev_sample
prev_sample, x0 = scheduler.step(noise, 0, x, return_dict=False)
noisy: Tensor = scheduler.add_noise(x0, torch.randn_like(x0), torch.tensor([1, 2, 3, 4]))
v: Tensor = scheduler.get_velocity(x0, torch.randn_like(x0), torch.tensor([1, 2, 3, 4]))
print(scheduler.config.beta_start, scheduler.betas.shape, len(scheduler), unet.num_parameters())
guess: Tensor = unet.forward(x, 3).sample
unet.enable_gradient_checkpointing()
unet.save_pretrained("elsewhere", safe_serialization=True)

# The mathematics.
schedule = NoiseSchedule(make_betas("linear", T=100))
mean, variance = schedule.q_posterior(x0, x, torch.tensor([3, 2, 1, 4]))
print((mean + variance).shape, schedule.snr[0].item())
terms = vlb_terms(unet, x0, schedule)
print(terms.total.mean().item(), terms.L_0.shape)

# Training.
garments = load_fashion_mnist("train")
folder = ImageFolder("pictures", size=32, channels=3)
config = TrainConfig(steps=1000, batch_size=64, lr=1e-3, mixed_precision="bf16")
trainer = Trainer(unet, scheduler, garments, "my-model", config, progress_bar=False)
history = trainer.train(resume=True)
print(history[-1]["loss"], eval_loss(unet, scheduler, x0) + 1)
loss: Tensor = training_loss(unet, scheduler, x0, torch.tensor([1, 2, 3, 4]), torch.randn_like(x0))
loss.backward()
trainer.pipeline().save_pretrained("my-model")
