"The pipeline against diffusers', what it leaves behind, and what it refuses."
import json
import warnings

import numpy as np
import pytest
import torch

from ddpm_edu import DDPMPipeline, DDPMScheduler, UNet
from ddpm_edu.hub import bundled

diffusers = pytest.importorskip("diffusers")
diffusers.utils.logging.set_verbosity_error()

small = dict(sample_size=16, in_channels=3, out_channels=3, layers_per_block=1, block_out_channels=(16, 32), norm_num_groups=8, attention_head_dim=8,
             down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"))


def quiet(pipe):
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture
def pipe():
    torch.manual_seed(0)
    return quiet(DDPMPipeline(UNet(**small).eval(), DDPMScheduler()))


def seeds(*numbers): return [torch.Generator().manual_seed(n) for n in numbers]


@pytest.mark.parametrize("scheduler", [{}, {"variance_type": "fixed_large"}, {"beta_schedule": "squaredcos_cap_v2", "timestep_spacing": "trailing"},
    {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "linspace"}, {"prediction_type": "sample", "thresholding": True},
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
    pil_a, pil_b = (p(generator=generator(), **{**options, "output_type": "pil"}).images for p in (ours, theirs))
    assert all(np.abs(np.asarray(x).astype(int) - np.asarray(y)).max() <= 1 for x, y in zip(pil_a, pil_b))


def test_a_folder_that_diffusers_saved_opens_here(tmp_path):
    torch.manual_seed(2)
    theirs = quiet(diffusers.DDPMPipeline(diffusers.UNet2DModel(**small).eval(), diffusers.DDPMScheduler(variance_type="fixed_large")))
    theirs.save_pretrained(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours = quiet(DDPMPipeline.from_pretrained(tmp_path))
    assert ours.scheduler.config.variance_type == "fixed_large"
    a, b = (p(generator=seeds(5)[0], num_inference_steps=10, output_type="np").images for p in (ours, theirs))
    assert np.abs(a - b).max() <= 1e-4


def test_our_folder_says_what_diffusers_says(tmp_path):
    "The two libraries write the same entries for the same objects, so each finds all it needs in the other's folder."
    torch.manual_seed(0)
    DDPMPipeline(UNet(**small), DDPMScheduler()).save_pretrained(tmp_path/"ours")
    diffusers.DDPMPipeline(diffusers.UNet2DModel(**small), diffusers.DDPMScheduler()).save_pretrained(tmp_path/"theirs")
    for file in ("model_index.json", "scheduler/scheduler_config.json"):
        assert json.loads((tmp_path/"ours"/file).read_text()) == {**json.loads((tmp_path/"theirs"/file).read_text()), "_diffusers_version": "0.42.1"}
    mine, other = (json.loads((tmp_path/who/"unet/config.json").read_text()) for who in ("ours", "theirs"))
    for name, value in other.items():
        if name not in mine: assert value is None, f"{name} is missing"
        elif name != "_diffusers_version": assert mine[name] == value, name


def test_flat_folder_of_the_oldest_checkpoints(tmp_path, pipe):
    pipe.save_pretrained(tmp_path)
    for part in ("unet", "scheduler"):
        for f in (tmp_path/part).iterdir(): f.rename(tmp_path/f.name)
        (tmp_path/part).rmdir()
    again = quiet(DDPMPipeline.from_pretrained(tmp_path))
    a, b = (p(generator=seeds(0)[0], num_inference_steps=3, output_type="pt").images for p in (pipe, again))
    assert torch.equal(a, b)


def test_sampling_leaves_nothing_behind(pipe):
    "The network trains as before after sampling: no inference tensor stays in a cache, no mode is changed."
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


@pytest.mark.parametrize("options, message", [
    (dict(batch_size=0), "batch_size"), (dict(batch_size=-1), "batch_size"), (dict(batch_size=1.5), "batch_size"), (dict(batch_size="4"), "batch_size"),
    (dict(num_inference_steps=0), "num_inference_steps"), (dict(num_inference_steps=1001), "num_inference_steps"), (dict(num_inference_steps=10.), "num_inference_steps"),
    (dict(num_inference_steps=None), "num_inference_steps"), (dict(output_type="jpeg"), "output_type"), (dict(output_type=None), "output_type"),
    (dict(batch_size=3, generator=seeds(1)), "generator"), (dict(batch_size=1, generator=[]), "generator"), (dict(generator=42), "generator"),
    (dict(start_timestep=5), "start"), (dict(start=torch.zeros(2, 3, 16, 16), start_timestep=999), "start")], ids=str)
def test_bad_calls(pipe, options, message):
    with pytest.raises((ValueError, TypeError), match=message): pipe(**{"num_inference_steps": 2, **options})


def test_bad_folders(tmp_path, pipe):
    pipe.save_pretrained(tmp_path)
    index = tmp_path/"model_index.json"
    good = json.loads(index.read_text())
    for bad, message in (("[]", "JSON object"), ("{", "not valid JSON"), (json.dumps({**good, "_class_name": "DDIMPipeline"}), "DDIMPipeline"),
                         (json.dumps({**good, "unet": ["diffusers", "UNet2DConditionModel"]}), "UNet2DConditionModel"), (json.dumps({**good, "scheduler": ["os", "system"]}), "system")):
        index.write_text(bad)
        with pytest.raises(ValueError, match=message): DDPMPipeline.from_pretrained(tmp_path)
    index.write_text(json.dumps(good))
    config = tmp_path/"unet"/"config.json"
    entries = json.loads(config.read_text())
    config.write_text(json.dumps({**entries, "block_out_channels": [16, 64]}))
    with pytest.raises(ValueError, match="does not fit"): DDPMPipeline.from_pretrained(tmp_path)
    config.write_text(json.dumps({**entries, "block_out_channels": [10**9, 10**9]}))
    with pytest.raises(ValueError): DDPMPipeline.from_pretrained(tmp_path)
    config.write_text(json.dumps({**entries, "class_embed_type": "timestep"}))
    with pytest.raises(ValueError, match="class_embed_type"): DDPMPipeline.from_pretrained(tmp_path)
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
    assert sorted(p.name for p in (tmp_path/"model").iterdir()) == ["model_index.json", "notes.txt", "scheduler", "unet"]


def test_names_that_lead_nowhere(monkeypatch, tmp_path):
    with pytest.raises(FileNotFoundError, match="Did you mean 'fashion-mnist'"): DDPMPipeline.from_pretrained("fashion-mnits")
    with pytest.raises(OSError, match="go online once"): DDPMPipeline.from_pretrained("nobody/nothing", cache_dir=tmp_path, local_files_only=True)


def test_bundled_pipeline_is_small_and_works_in_both_libraries():
    assert "fashion-mnist" in bundled()
    from ddpm_edu.hub import ASSETS
    folder = ASSETS/"fashion-mnist"
    assert sum(f.stat().st_size for f in folder.rglob("*.safetensors")) <= 4_000_000
    ours, theirs = quiet(DDPMPipeline.from_pretrained("fashion-mnist")), quiet(diffusers.DDPMPipeline.from_pretrained(folder, torch_dtype=torch.float32))
    assert ours.dtype == torch.float32 and not ours.unet.training
    a, b = (p(batch_size=2, generator=seeds(0)[0], num_inference_steps=15, output_type="np").images for p in (ours, theirs))
    assert np.abs(a - b).max() <= 1e-4 and a.std() > 0.1


def test_compile_is_a_choice_and_keeps_up_with_the_weights(pipe, monkeypatch):
    "With the compiler's front end alone: the same images, one translation for a network, and no stale weights."
    made, real = [], torch.compile
    monkeypatch.setattr(torch, "compile", lambda net, **options: made.append(net) or real(net, backend="eager", **options))
    draw = lambda compile: pipe(batch_size=2, num_inference_steps=3, generator=seeds(1)[0], output_type="pt", compile=compile).images
    assert not made and (draw(True) - draw(False)).abs().max() < 1e-5 and len(made) == 1
    with torch.no_grad(): pipe.unet.conv_out.bias.add_(0.5)
    assert (draw(True) - draw(False)).abs().max() < 1e-5 and len(made) == 1
    torch.manual_seed(5)
    pipe.unet = UNet(**small).eval()
    assert (draw(True) - draw(False)).abs().max() < 1e-5 and len(made) == 2
    assert pipe.unet.training is False and "_translated" not in pipe.components
