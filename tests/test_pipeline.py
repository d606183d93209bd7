"The pipeline against diffusers', what it leaves behind, and what others may do with it meanwhile."
import contextlib
import io
import json
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from ddpm_edu import DDPMPipeline, DDPMScheduler, ImagePipelineOutput, UNet
from ddpm_edu.hub import bundled
from ddpm_edu.pipeline import evaluating
from ddpm_edu.pictures import numpy_to_pil, to_model_range, to_unit_range

diffusers = pytest.importorskip("diffusers")
diffusers.utils.logging.set_verbosity_error()

small = dict(sample_size=16, in_channels=3, out_channels=3, layers_per_block=1,
             block_out_channels=(16, 32), norm_num_groups=8, attention_head_dim=8,
             down_block_types=("DownBlock2D", "AttnDownBlock2D"),
             up_block_types=("AttnUpBlock2D", "UpBlock2D"))


def quiet(pipe):
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture
def pipe():
    torch.manual_seed(0)
    return quiet(DDPMPipeline(UNet(**small).eval(), DDPMScheduler()))


def seeds(*numbers): return [torch.Generator().manual_seed(n) for n in numbers]


@pytest.mark.parametrize("scheduler", [
    {}, {"variance_type": "fixed_large"}, {"prediction_type": "sample", "thresholding": True},
    {"beta_schedule": "squaredcos_cap_v2", "timestep_spacing": "trailing"},
    {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True,
     "timestep_spacing": "linspace"},
    {"num_train_timesteps": 300, "beta_end": 0.06, "clip_sample": False}], ids=str)
@pytest.mark.parametrize("list_of_generators", [False, True])
def test_same_images_as_diffusers_through_a_saved_folder(tmp_path, scheduler, list_of_generators):
    torch.manual_seed(1)
    ours = quiet(DDPMPipeline(UNet(**small), DDPMScheduler(**scheduler)))
    ours.save_pretrained(tmp_path)
    theirs = quiet(diffusers.DDPMPipeline.from_pretrained(tmp_path))
    generator = (lambda: seeds(3, 4)) if list_of_generators else (lambda: seeds(3)[0])
    options = dict(batch_size=2, num_inference_steps=20, output_type="np")
    a, b = (p(generator=generator(), **options).images for p in (ours, theirs))
    assert np.abs(a - b).max() <= 1e-4
    options["output_type"] = "pil"
    a, b = (p(generator=generator(), **options).images for p in (ours, theirs))
    for x, y in zip(a, b): assert np.abs(np.asarray(x).astype(int) - np.asarray(y)).max() <= 1


def test_a_folder_that_diffusers_saved_opens_here(tmp_path):
    torch.manual_seed(2)
    scheduler = diffusers.DDPMScheduler(variance_type="fixed_large")
    theirs = quiet(diffusers.DDPMPipeline(diffusers.UNet2DModel(**small).eval(), scheduler))
    theirs.save_pretrained(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours = quiet(DDPMPipeline.from_pretrained(tmp_path))
    assert ours.scheduler.config.variance_type == "fixed_large"
    options = dict(num_inference_steps=10, output_type="np")
    a, b = (p(generator=seeds(5)[0], **options).images for p in (ours, theirs))
    assert np.abs(a - b).max() <= 1e-4


def test_our_folder_says_what_diffusers_says(tmp_path):
    "Both libraries write the same entries for the same objects, so each finds all that it needs."
    torch.manual_seed(0)
    DDPMPipeline(UNet(**small), DDPMScheduler()).save_pretrained(tmp_path/"ours")
    theirs = diffusers.DDPMPipeline(diffusers.UNet2DModel(**small), diffusers.DDPMScheduler())
    theirs.save_pretrained(tmp_path/"theirs")
    for file in ("model_index.json", "scheduler/scheduler_config.json"):
        ours, theirs = (json.loads((tmp_path/who/file).read_text()) for who in ("ours", "theirs"))
        assert ours == {**theirs, "_diffusers_version": "0.42.1"}
    file = "unet/config.json"
    mine, other = (json.loads((tmp_path/who/file).read_text()) for who in ("ours", "theirs"))
    for name, value in other.items():
        if name not in mine: assert value is None, f"{name} is missing"
        elif name != "_diffusers_version": assert mine[name] == value, name


def test_flat_folder_of_the_oldest_checkpoints(tmp_path, pipe):
    pipe.save_pretrained(tmp_path)
    for part in ("unet", "scheduler"):
        for f in (tmp_path/part).iterdir(): f.rename(tmp_path/f.name)
        (tmp_path/part).rmdir()
    again = quiet(DDPMPipeline.from_pretrained(tmp_path))
    options = dict(num_inference_steps=3, output_type="pt")
    a, b = (p(generator=seeds(0)[0], **options).images for p in (pipe, again))
    assert torch.equal(a, b)


def test_sampling_leaves_nothing_behind(pipe):
    "The network trains as before after sampling: no inference tensor in a cache, no mode changed."
    pipe.unet.train()
    pipe(num_inference_steps=2, generator=seeds(0)[0])
    assert all(m.training for m in pipe.unet.modules())
    x0, noise, t = torch.randn(2, 3, 16, 16), torch.randn(2, 3, 16, 16), torch.tensor([3, 500])
    x_t = pipe.scheduler.add_noise(x0.requires_grad_(), noise, t)
    (pipe.unet(x_t, t).sample - noise).pow(2).mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in pipe.unet.parameters())


def test_interrupted_sampling_restores_the_mode(pipe):
    pipe.unet.train()
    def stop(*args): raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt): pipe(num_inference_steps=3, callback_on_step_end=stop)
    assert pipe.unet.training


def test_image_is_independent_of_its_batch(pipe):
    options = dict(num_inference_steps=8, output_type="pt")
    together = pipe(batch_size=3, generator=seeds(1, 2, 3), **options).images
    for i, seed in enumerate((1, 2, 3)):
        alone = pipe(batch_size=1, generator=seeds(seed), **options).images
        assert (together[i] - alone[0]).abs().max() < 1e-4
    assert (together[0] - together[1]).abs().max() > 0.01                        # negative control


def test_global_random_state_is_left_alone_with_a_generator(pipe):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    pipe(num_inference_steps=3, generator=seeds(9)[0])
    assert torch.equal(before, torch.get_rng_state())
    pipe(num_inference_steps=3)
    assert not torch.equal(before, torch.get_rng_state())                        # negative control


def test_non_square_images():
    torch.manual_seed(0)
    wide = quiet(DDPMPipeline(UNet(**{**small, "sample_size": (8, 24)}), DDPMScheduler()))
    assert wide(num_inference_steps=1, output_type="np").images.shape == (1, 8, 24, 3)
    assert wide(num_inference_steps=1).images[0].size == (24, 8)


def test_damaged_parts_of_a_folder(tmp_path, pipe):
    pipe.save_pretrained(tmp_path)
    config = tmp_path/"unet"/"config.json"
    entries = json.loads(config.read_text())
    for change, message in (({"block_out_channels": [16, 64]}, "does not fit"),
                            ({"block_out_channels": [10**9, 10**9]}, ""),
                            ({"class_embed_type": "timestep"}, "class_embed_type")):
        config.write_text(json.dumps({**entries, **change}))
        with pytest.raises(ValueError, match=message): DDPMPipeline.from_pretrained(tmp_path)
    config.write_text(json.dumps({**entries, "new_option": 1}))
    with pytest.warns(UserWarning, match="new_option"): DDPMPipeline.from_pretrained(tmp_path)


def test_saving_over_a_file_or_an_older_model(tmp_path, pipe):
    (tmp_path/"file").write_text("precious")
    with pytest.raises(NotADirectoryError): pipe.save_pretrained(tmp_path/"file")
    assert (tmp_path/"file").read_text() == "precious"
    pipe.save_pretrained(tmp_path/"model")
    (tmp_path/"model"/"notes.txt").write_text("mine")
    pipe.save_pretrained(tmp_path/"model")
    assert (tmp_path/"model"/"notes.txt").read_text() == "mine"
    names = sorted(p.name for p in (tmp_path/"model").iterdir())
    assert names == ["model_index.json", "notes.txt", "scheduler", "unet"]


def test_a_name_that_leads_nowhere(tmp_path):
    with pytest.raises(OSError, match="go online once"):
        DDPMPipeline.from_pretrained("nobody/nothing", cache_dir=tmp_path, local_files_only=True)


def test_bundled_pipeline_is_small_and_works_in_both_libraries():
    assert "fashion-mnist" in bundled()
    from ddpm_edu.hub import ASSETS
    folder = ASSETS/"fashion-mnist"
    assert sum(f.stat().st_size for f in folder.rglob("*.safetensors")) <= 4_000_000
    ours = quiet(DDPMPipeline.from_pretrained("fashion-mnist"))
    theirs = quiet(diffusers.DDPMPipeline.from_pretrained(folder, torch_dtype=torch.float32))
    assert ours.dtype == torch.float32 and not ours.unet.training
    options = dict(batch_size=2, num_inference_steps=15, output_type="np")
    a, b = (p(generator=seeds(0)[0], **options).images for p in (ours, theirs))
    assert np.abs(a - b).max() <= 1e-4 and a.std() > 0.1


def test_compile_is_a_choice_and_keeps_up_with_the_weights(pipe, monkeypatch):
    "With the compiler's front end alone: the same images, one translation, no stale weights."
    made, real = [], torch.compile
    eager = lambda net: made.append(net) or real(net, backend="eager")
    monkeypatch.setattr(torch, "compile", eager)
    options = dict(batch_size=2, num_inference_steps=3, output_type="pt")
    draw = lambda compile: pipe(generator=seeds(1)[0], compile=compile, **options).images
    assert not made and (draw(True) - draw(False)).abs().max() < 1e-5 and len(made) == 1
    with torch.no_grad(): pipe.unet.conv_out.bias.add_(0.5)
    assert (draw(True) - draw(False)).abs().max() < 1e-5 and len(made) == 1
    torch.manual_seed(5)
    pipe.unet = UNet(**small).eval()
    assert (draw(True) - draw(False)).abs().max() < 1e-5 and len(made) == 2
    assert pipe.unet.training is False and "_translated" not in pipe.components


def draw(pipe, steps, seed=0, **options):
    options = {"output_type": "pt", "generator": seeds(seed)[0], **options}
    return pipe(num_inference_steps=steps, **options).images


@pytest.fixture
def noisy():
    "A pipeline whose network would draw other images, and never the same, in training mode."
    torch.manual_seed(0)
    return quiet(DDPMPipeline(UNet(**small, dropout=0.4).train(), DDPMScheduler()))


def test_threads_that_share_a_pipeline(noisy):
    "Each gets the images that it gets alone, and the last one to finish restores the mode."
    alone = {n: draw(noisy, n) for n in (3, 40)}
    wrong, errors, ready = [], [], threading.Barrier(3)
    def work(n, times):
        ready.wait()
        for _ in range(times):
            try:
                if not torch.equal(draw(noisy, n), alone[n]): wrong.append(n)
            except Exception as error: errors.append(error)
    threads = [threading.Thread(target=work, args=a) for a in ((3, 12), (3, 12), (40, 1))]
    for t in threads: t.start()
    for t in threads: t.join()
    assert not wrong and not errors and all(m.training for m in noisy.unet.modules())


def test_a_preview_from_the_callback(noisy):
    "A call within a call, with other steps, and one that fails."
    alone = draw(noisy, 8)
    def preview(pipe, i, t, state):
        if i == 2: draw(pipe, 3, seed=1)
        if i == 4:
            fails = lambda *told: 1/0
            with pytest.raises(ZeroDivisionError): draw(pipe, 2, callback_on_step_end=fails)
        assert not any(m.training for m in pipe.unet.modules())
    assert torch.equal(draw(noisy, 8, callback_on_step_end=preview), alone)
    assert all(m.training for m in noisy.unet.modules())


def test_the_last_to_leave_restores_the_mode():
    "Whatever the order, also for parts that two networks share, also after an error."
    shared = torch.nn.Dropout()
    a = torch.nn.Sequential(shared, torch.nn.Linear(2, 2)).train()
    b = torch.nn.Sequential(shared, torch.nn.Dropout()).train()
    a[1].eval()
    before = [m.training for net in (a, b) for m in net.modules()]
    first, second = evaluating(a), evaluating(b)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert a.training and not shared.training and not b.training
    second.__exit__(None, None, None)
    assert [m.training for net in (a, b) for m in net.modules()] == before
    with pytest.raises(KeyboardInterrupt), evaluating(a), evaluating(b): raise KeyboardInterrupt
    assert [m.training for net in (a, b) for m in net.modules()] == before


def test_a_call_leaves_the_scheduler_alone(pipe):
    pipe.scheduler.set_timesteps(timesteps=[900, 5])
    draw(pipe, 3)
    assert pipe.scheduler.timesteps.tolist() == [900, 5]
    theirs = pipe.scheduler = diffusers.DPMSolverMultistepScheduler()
    before = {k: str(v) for k, v in vars(theirs).items()}
    draw(pipe, 3)
    assert {k: str(v) for k, v in vars(theirs).items()} == before


SAMPLERS = ["DDIMScheduler", "PNDMScheduler", "LMSDiscreteScheduler", "EulerDiscreteScheduler",
            "EulerAncestralDiscreteScheduler", "HeunDiscreteScheduler", "KDPM2DiscreteScheduler",
            "DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler", "DEISMultistepScheduler",
            "UniPCMultistepScheduler", "LCMScheduler", "TCDScheduler"]


def by_hand(unet, scheduler, steps, seed):
    "The loop as the manual of diffusers shows it, with diffusers' own network and sampler."
    scheduler.set_timesteps(steps)
    generator = seeds(seed)[0]
    x = torch.randn(1, 3, 16, 16, generator=generator)*scheduler.init_noise_sigma
    takes = scheduler.step.__code__.co_varnames[:scheduler.step.__code__.co_argcount]
    noise = {"generator": generator} if "generator" in takes else {}
    for t in scheduler.timesteps:
        with torch.no_grad(): eps = unet(scheduler.scale_model_input(x, t), t).sample
        x = scheduler.step(eps, t, x, **noise).prev_sample
    return to_unit_range(x)


@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_of_diffusers(pipe, name):
    "Swapped in by `from_config`: diffusers' images; a callback; a picture to begin with."
    sampler = getattr(diffusers, name)
    pipe.scheduler = sampler.from_config(pipe.scheduler.config)
    theirs = diffusers.UNet2DModel.from_config(dict(pipe.unet.config)).eval()
    theirs.load_state_dict(pipe.unet.state_dict())
    expected = by_hand(theirs, sampler.from_config(pipe.scheduler.config), 6, seed=1)
    told = []
    look = lambda pipe, i, t, state: told.append((t, state))
    drawn = draw(pipe, 6, seed=1, callback_on_step_end=look)
    assert (drawn - expected).abs().max() < 1e-3
    assert len(told) >= 6 and all(state["sample"].shape == (1, 3, 16, 16) for _, state in told)
    assert all(isinstance(t, (int, float)) for t, _ in told)
    redrawn = draw(pipe, 6, start=torch.zeros(1, 3, 16, 16), strength=0.5)
    assert redrawn.isfinite().all() and redrawn.shape == (1, 3, 16, 16)


def test_a_pipeline_is_saved_with_another_sampler(pipe, tmp_path):
    pipe.scheduler = diffusers.DDIMScheduler.from_config(pipe.scheduler.config)
    pipe.save_pretrained(tmp_path)
    assert pipe.config.scheduler == ["diffusers", "DDIMScheduler"]
    for kind in (DDPMPipeline, diffusers.DiffusionPipeline):
        again = quiet(kind.from_pretrained(tmp_path))
        assert type(again.scheduler) is diffusers.DDIMScheduler
        assert (draw(again, 3) - draw(pipe, 3)).abs().max() < 1e-4
    ours = DDPMPipeline.from_pretrained(tmp_path, scheduler=DDPMScheduler())
    assert type(ours.scheduler) is DDPMScheduler


class Halves:
    "The least that a sampler can be: no table of timesteps, no options, a tuple of one."
    def set_timesteps(self, n): self.timesteps = torch.linspace(900., 0., n)
    def step(self, model_output, timestep, sample): return (sample/2,)


def test_the_least_that_a_sampler_can_be(pipe):
    pipe.scheduler = Halves()
    told = []
    drawn = draw(pipe, 3, callback_on_step_end=lambda p, i, t, state: told.append((t, list(state))))
    assert told == [(900., ["sample"]), (450., ["sample"]), (0., ["sample"])]
    start = torch.randn(1, 3, 16, 16, generator=seeds(0)[0])
    assert torch.equal(drawn, to_unit_range(start/8))
    assert draw(pipe, 1001).shape == drawn.shape                                 # it has no T


def test_tensors_of_the_callback_are_ordinary(pipe):
    "They can be kept, trained on, and differentiated, and what is kept does not change any more."
    kept, copies = [], []
    def guide(pipe, i, t, state):
        kept.append(state["sample"])
        copies.append(state["sample"].clone())
        x = state["sample"].requires_grad_()
        with torch.enable_grad(): slope, = torch.autograd.grad((x.mean() - 0.5)**2, x)
        return {**state, "sample": x - slope}                                    # with its graph
    guided = draw(pipe, 4, callback_on_step_end=guide)
    assert not guided.requires_grad and not guided.is_inference()
    assert all(torch.equal(a, b) for a, b in zip(kept, copies))
    torch.nn.Linear(16, 1)(kept[0].detach()).sum().backward()
    assert not torch.equal(guided, draw(pipe, 4))                                # negative control


def garment():
    "A clean image as a tensor in [-1, 1], and the same as a picture."
    x = torch.rand(1, 3, 16, 16, generator=seeds(7)[0])
    pixels = (255*x).round().to(torch.uint8)
    picture = Image.fromarray(pixels[0].movedim(0, -1).numpy())
    return pixels.float()/127.5 - 1, picture


def test_strength_noises_a_clean_image_as_diffusers_does(pipe):
    "The picture at the timestep of that strength, with the generator's first noise; then steps."
    x0, picture = garment()
    for strength, visited in ((0.5, [4, 3, 2, 1, 0]), (1., list(range(9, -1, -1))), (0.19, [0])):
        scheduler, generator = diffusers.DDPMScheduler(), seeds(3)[0]
        scheduler.set_timesteps(10)
        ts = [100*k for k in visited]
        noise = torch.randn(x0.shape, generator=generator)
        x = scheduler.add_noise(x0, noise, torch.tensor(ts[:1]))
        for t in ts:
            with torch.no_grad(): eps = pipe.unet(x, t).sample
            x = scheduler.step(eps, t, x, generator=generator).prev_sample
        seen = []
        options = dict(strength=strength, callback_on_step_end=lambda p, i, t, s: seen.append(t))
        drawn = draw(pipe, 10, seed=3, start=picture, **options)
        assert seen == ts and (drawn - to_unit_range(x)).abs().max() < 1e-4


def test_all_kinds_of_pictures_begin_alike(pipe):
    x0, picture = garment()
    pixels = np.asarray(picture)
    kinds = [picture, [picture], pixels, pixels[None], pixels/255, (pixels/255).astype("float32"),
             (pixels[None]/255).astype("float16"), x0]
    images = [draw(pipe, 4, start=kind, strength=0.5, batch_size=2) for kind in kinds]
    for image in images[1:]: assert (image - images[0]).abs().max() < 2e-3
    assert (images[0][0] - images[0][1]).abs().max() > 0.01               # each has its noise
    black = [draw(pipe, 4, start=0*pixels, strength=0.5, batch_size=2)]
    assert (black[0] - images[0]).abs().max() > 0.05                             # negative control
    two = draw(pipe, 4, start=[picture, picture.rotate(180)], strength=0.5, batch_size=2)
    assert torch.equal(two[:1], images[0][:1]) and not torch.equal(two[1:], images[0][1:])
    late = draw(pipe, 4, start=picture, start_timestep=250, batch_size=2)        # the same place
    assert torch.equal(late, images[0])


def test_pictures_there_and_back():
    for mode, channels in (("L", 1), ("RGB", 3), ("RGBA", 4)):
        picture = Image.effect_noise((7, 5), 80).convert(mode)
        x = to_model_range(picture, channels)
        assert x.shape == (1, channels, 5, 7) and x.min() >= -1 and x.max() <= 1
        back, = numpy_to_pil(to_unit_range(x).movedim(1, -1).numpy())
        assert back.mode == mode and back.tobytes() == picture.tobytes()


def test_what_code_written_for_diffusers_calls(pipe, tmp_path):
    "Names and habits of diffusers' pipelines that have nothing to do with the images."
    pipe.save_pretrained(tmp_path)
    again = DDPMPipeline.from_pretrained(tmp_path, low_cpu_mem_usage=False, device_map=None)
    assert DDPMPipeline.from_pretrained(tmp_path, device_map="cpu").device.type == "cpu"
    assert again.to("cpu", silence_dtype_warnings=True) is again and again.to(None) is again
    assert again.to(dtype=torch.float64, device="cpu").dtype == torch.float64
    assert again.to(torch_device := torch.device("cpu"), torch.float32).device == torch_device
    assert again.name_or_path == str(tmp_path) and pipe.name_or_path is None
    taken = dict(custom_pipeline=None, custom_revision=None, max_memory=None)
    third = DDPMPipeline.from_pretrained(tmp_path, device_map={"": "cpu"}, **taken)
    assert third.device.type == "cpu"
    assert DDPMPipeline.from_pipe(again, torch_dtype=torch.bfloat16).dtype == torch.bfloat16
    assert DDPMPipeline.from_pipe(again).dtype == again.dtype == torch.bfloat16
    again.register_modules(unet=pipe.unet)
    assert again.unet is pipe.unet and set(again.components) == {"unet", "scheduler"}
    images = draw(pipe, 2)
    for size in ("auto", "max", 1, None):
        pipe.enable_attention_slicing(size)
        assert torch.allclose(draw(pipe, 2), images, atol=1e-5)
    pipe.disable_attention_slicing()
    out = pipe(num_inference_steps=2, generator=seeds(0)[0], output_type="numpy")
    assert np.array_equal(out[0], out.images) and np.array_equal(out["images"], out.images)
    assert isinstance(out, ImagePipelineOutput) and out.images.shape == (1, 16, 16, 3)
    assert pipe.numpy_to_pil(out.images)[0].size == (16, 16)


def test_the_bar_counts_the_steps_and_can_be_silent(pipe):
    pipe.set_progress_bar_config(disable=None)
    for options, seen in (({}, "5/5"), ({"disable": True}, "")):
        pipe.set_progress_bar_config(**options)
        with contextlib.redirect_stderr(io.StringIO()) as said: draw(pipe, 5)
        assert (seen in said.getvalue()) if seen else not said.getvalue()


def test_a_compiled_network_is_saved_as_it_is(pipe, tmp_path):
    images, plain = draw(pipe, 2), pipe.unet
    pipe.unet = torch.compile(plain, backend="eager")
    assert torch.allclose(draw(pipe, 2), images, atol=1e-5) and not plain.training
    pipe.save_pretrained(tmp_path)
    assert torch.equal(draw(quiet(DDPMPipeline.from_pretrained(tmp_path)), 2), images)


SAVED_BY_DIFFUSERS = """
import sys
{first}
assert ("diffusers" in sys.modules) == ({first!r} == "import diffusers"), "we do not import it"
import torch, diffusers, ddpm_edu
from ddpm_edu import DDPMPipeline, DDPMScheduler, UNet
from ddpm_edu.unet import unet_config
torch.manual_seed(0)
pipe = diffusers.DDPMPipeline(unet=UNet(**unet_config("tiny")), scheduler=DDPMScheduler())
pipe.save_pretrained(sys.argv[1])
images = []
for kind in (diffusers.DDPMPipeline, DDPMPipeline):
    again = kind.from_pretrained(sys.argv[1])
    assert type(again.unet) is UNet and type(again.scheduler) is DDPMScheduler
    for k, v in again.unet.state_dict().items(): assert torch.equal(v, pipe.unet.state_dict()[k])
    seed = torch.Generator().manual_seed(0)
    images.append(again(num_inference_steps=2, generator=seed, output_type="np").images)
assert abs(images[0] - images[1]).max() < 1e-5
"""


@pytest.mark.parametrize("first", ["import diffusers", "import ddpm_edu"])
def test_a_pipeline_of_diffusers_saves_our_parts(tmp_path, first):
    "With their weights, whichever library is imported first; and we import theirs for nobody."
    script = SAVED_BY_DIFFUSERS.format(first=first)
    command = [sys.executable, "-c", script, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path/"unet"/"diffusion_pytorch_model.safetensors").is_file()


def test_schedulers_are_swapped_and_swapped_back(pipe):
    ours = DDPMScheduler(beta_end=0.03, variance_type="fixed_large")
    for name in SAMPLERS:
        other = getattr(diffusers, name).from_config(ours.config)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")                    # options that only they have
            back = DDPMScheduler.from_config(other.config)
        assert back.config.beta_end == 0.03 and back.betas.equal(ours.betas), name


def test_images_that_are_no_numbers_are_said(tmp_path):
    "Pillow would show NaN as black, without a word."
    from ddpm_edu.many import sample_many
    from ddpm_edu.unet import unet_config
    pipe = DDPMPipeline(UNet(**unet_config("tiny")), DDPMScheduler())
    pipe.set_progress_bar_config(disable=True)
    pipe.unet.conv_out.bias.data.fill_(float("nan"))
    with pytest.warns(UserWarning, match="2 of 2 images hold NaN"):
        pipe(2, num_inference_steps=1, output_type="np")
    with pytest.raises(ValueError, match="images with NaN"), pytest.warns(UserWarning):
        sample_many(pipe, 1, tmp_path/"many", num_inference_steps=1)
    assert not list((tmp_path/"many").glob("*.png"))


def test_no_console_no_bar(monkeypatch):
    "A program without a console (pythonw, a service) has no sys.stderr."
    from ddpm_edu.unet import unet_config
    pipe = DDPMPipeline(UNet(**unet_config("tiny")), DDPMScheduler())
    monkeypatch.setattr("sys.stderr", None)
    assert len(pipe(num_inference_steps=1, output_type="pt").images) == 1
