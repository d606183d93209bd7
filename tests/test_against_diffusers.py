"""One checkpoint, two libraries: random configurations of every part, through saved folders.

`python tests/test_against_diffusers.py --sample 300` runs a larger sweep and prints the errors."""
import random
import sys
import tempfile
import warnings

import pytest
import torch

from ddpm_edu import DDPMPipeline, DDPMScheduler, UNet
from ddpm_edu.unet import unet_config
from test_scheduler import random_configuration as random_scheduler
from test_unet import inputs, relative
from test_unet import one_thread      # noqa: F401, a fixture
from test_unet import random_configuration as random_unet

diffusers = pytest.importorskip("diffusers")
diffusers.utils.logging.set_verbosity_error()
diffusers.utils.logging.disable_progress_bar()
pytestmark = pytest.mark.filterwarnings("ignore:with num_train_timesteps")


def image_scheduler(rng):
    "A scheduler for a network that predicts no variance."
    while (config := random_scheduler(rng))["variance_type"].startswith("learned"): pass
    return config


def same_weights(a, b):
    "Has the network of one pipeline every tensor of the other's?"
    mine = a.unet.state_dict()
    return all(torch.equal(v, mine[k]) for k, v in b.unet.state_dict().items())


def seeds(first, n): return [torch.Generator().manual_seed(first + i) for i in range(n)]


def fix_count(ours, theirs, n):
    "diffusers' `trailing` sometimes has one timestep too many or too few; then it is told which."
    ours.set_timesteps(n)
    theirs.set_timesteps(n)
    if len(theirs.timesteps) != n: theirs.set_timesteps(timesteps=ours.timesteps.tolist())
    assert torch.equal(ours.timesteps, theirs.timesteps)


def whole_loop(seed):
    """From noise to the end with a smooth function in place of the network: worst relative error of
    all x_t and guesses."""
    rng, config, worst = random.Random(seed), None, 0.
    config = random_scheduler(rng)
    ours, theirs = DDPMScheduler(**config), diffusers.DDPMScheduler(**config)
    fix_count(ours, theirs, rng.randint(1, min(30, config["num_train_timesteps"])))
    learned = config["variance_type"].startswith("learned")
    def network(x, t):
        said = torch.tanh(x + t/1000)
        return torch.cat([said, torch.sigmoid(x)], 1) if learned else said
    g = torch.Generator().manual_seed(seed)
    a = b = torch.randn(2, 3, 6, 5, generator=g)
    for t in ours.timesteps:
        noise = lambda: torch.Generator().manual_seed(int(t))
        out_a, out_b = (s.step(network(x, t), t, x, generator=noise())
                        for s, x in ((ours, a), (theirs, b)))
        if not out_b.prev_sample.isfinite().all(): break    # diffusers has divided by zero
        names = ("prev_sample", "pred_original_sample")
        pairs = [(getattr(out_a, k), getattr(out_b, k)) for k in names]
        worst = max(worst, *(relative(*pair) for pair in pairs))
        a, b = out_a.prev_sample, out_b.prev_sample
    return worst


def unet_through_folders(seed):
    "Ours saved, opened there, saved there, opened here: worst relative error of the predictions."
    config = random_unet(seed)
    torch.manual_seed(seed)
    x, t, labels = inputs(config, seed)
    with tempfile.TemporaryDirectory() as d, torch.no_grad():
        ours = UNet(**config).eval()
        ours.save_pretrained(f"{d}/ours")
        theirs = diffusers.UNet2DModel.from_pretrained(f"{d}/ours").eval()
        theirs.save_pretrained(f"{d}/theirs")
        again = UNet.from_pretrained(f"{d}/theirs")
        assert again.config == ours.config
        here, there, back = (net(x, t, labels).sample for net in (ours, theirs, again))
    return max(relative(here, there), relative(back, there))


def training_gradients(seed):
    """One training loss (equation (14)), one backward pass: worst difference of a gradient,
    relative to the largest."""
    # relu's kink turns rounding into a jump, and random frequencies magnify the rounding of t
    config = random_unet(seed) | dict(act_fn="silu", dropout=0.)
    if config["time_embedding_type"] == "fourier": config["time_embedding_type"] = "positional"
    config["out_channels"] = config["in_channels"]
    torch.manual_seed(seed)
    ours = UNet(**config)
    theirs = diffusers.UNet2DModel(**config)
    theirs.load_state_dict(ours.state_dict())
    x0, _, labels = inputs(config, seed)
    t, noise = torch.tensor([5, 800]), torch.randn(x0.shape)
    grads = []
    for net, scheduler in ((ours, DDPMScheduler()), (theirs, diffusers.DDPMScheduler())):
        predicted = net(scheduler.add_noise(x0, noise, t), t, labels).sample
        (predicted - noise).square().mean().backward()
        grads.append({k: p.grad for k, p in net.named_parameters() if p.grad is not None})
    assert grads[0].keys() == grads[1].keys()
    largest = max(v.abs().max() for v in grads[1].values())
    return max((v - grads[1][k]).abs().max()/largest for k, v in grads[0].items()).item()


def whole_pipeline(seed):
    """Images of a random network and scheduler, through a saved folder: worst difference of a pixel
    in [0, 1]."""
    rng = random.Random(seed)
    config, scheduler = random_unet(seed), image_scheduler(rng)
    config |= dict(sample_size=rng.choice([8, (8, 16)]), out_channels=config["in_channels"],
                   num_class_embeds=None, time_embedding_type="positional")
    for name in ("down_block_types", "up_block_types"): config[name] = config[name][:3]
    config["block_out_channels"] = config["block_out_channels"][:3]
    torch.manual_seed(seed)
    batch, n = rng.randint(1, 3), rng.randint(1, min(8, scheduler["num_train_timesteps"]))
    with tempfile.TemporaryDirectory() as d:
        ours = DDPMPipeline(UNet(**config), DDPMScheduler(**scheduler))
        if rng.random() < 0.5:
            ours.save_pretrained(d)
            theirs = diffusers.DDPMPipeline.from_pretrained(d)
        else:                                                              # made there, opened here
            theirs = diffusers.DDPMPipeline(diffusers.UNet2DModel(**config).eval(),
                                            diffusers.DDPMScheduler(**scheduler))
            theirs.save_pretrained(d)
            ours = DDPMPipeline.from_pretrained(d)
    fix_count(ours.scheduler, theirs.scheduler, n)
    # its own call would count wrong again
    if len(theirs.scheduler.timesteps) != len(diffusers_timesteps(scheduler, n)): return 0.
    generator = (lambda: seeds(seed, batch)) if rng.random() < 0.5 else (lambda: seeds(seed, 1)[0])
    images = []
    for p in ours, theirs:
        p.set_progress_bar_config(disable=True)
        drawn = p(batch_size=batch, num_inference_steps=n, generator=generator(), output_type="np")
        images.append(torch.from_numpy(drawn.images))
    return (images[0] - images[1]).abs().max().item() if images[1].isfinite().all() else 0.


def diffusers_timesteps(config, n):
    s = diffusers.DDPMScheduler(**config)
    s.set_timesteps(n)
    return s.timesteps


SWEEPS = {
    "whole loops": (whole_loop, 60, 1e-5),
    "networks through folders": (unet_through_folders, 25, 1e-5),
    "gradients of the training loss": (training_gradients, 25, 1e-5),
    "whole pipelines": (whole_pipeline, 30, 1e-4),
}


@pytest.mark.parametrize("name, seed", [(k, i) for k, v in SWEEPS.items() for i in range(v[1])])
def test_agrees(name, seed):
    measure, _, limit = SWEEPS[name]
    assert measure(1000 + seed) <= limit


def test_the_sweep_can_fail():
    "Negative control: a network or a scheduler that is slightly off is noticed."
    torch.manual_seed(0)
    config = unet_config("tiny")
    ours, theirs = UNet(**config), diffusers.UNet2DModel(**config | dict(norm_eps=1e-3))
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 1, 8, 8)
    with torch.no_grad(): assert relative(ours(x, 5).sample, theirs(x, 5).sample) > 1e-4
    a, b = (DDPMScheduler(variance_type=v) for v in ("fixed_small", "fixed_large"))
    ends = [s.step(x, 5, x, generator=seeds(1, 1)[0]).prev_sample for s in (a, b)]
    assert relative(*ends) > 1e-4


OLD = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


@pytest.mark.parametrize("shape", ["linear", "conv"])
@pytest.mark.parametrize("kind", ["bin", "safetensors"])
@pytest.mark.parametrize("layout", ["folders", "flat"])
def test_checkpoints_of_2022(tmp_path, shape, kind, layout):
    """As diffusers 0.3 wrote them: other names in the attention, pickled, all files in one folder,
    a configuration with other keys."""
    import json
    from safetensors.torch import save_file
    torch.manual_seed(0)
    theirs = diffusers.DDPMPipeline(diffusers.UNet2DModel(**unet_config("tiny")).eval(),
                                    diffusers.DDPMScheduler(variance_type="fixed_large"))
    theirs.save_pretrained(tmp_path)
    unet, weights = tmp_path/"unet", {}
    for k, v in theirs.unet.state_dict().items():
        if "attentions" in k:
            for new, old in OLD.items(): k = k.replace(new, old)
            if v.ndim == 2 and shape == "conv": v = v[:, :, None, None]
        weights[k] = v.contiguous()
    assert any("query" in k for k in weights)
    (unet/"diffusion_pytorch_model.safetensors").unlink()
    if kind == "bin": torch.save(weights, unet/"diffusion_pytorch_model.bin")
    else: save_file(weights, unet/"diffusion_pytorch_model.safetensors")
    config = json.loads((unet/"config.json").read_text())
    for gone in ("dropout", "upsample_type", "downsample_type", "add_attention",
                 "attn_norm_num_groups"): config.pop(gone)
    (unet/"config.json").write_text(json.dumps(config | {"num_head_channels": None}))
    if layout == "flat":
        for part in ("unet", "scheduler"):
            for f in (tmp_path/part).iterdir(): f.rename(tmp_path/f.name)
            (tmp_path/part).rmdir()
    with pytest.warns(UserWarning) as caught: ours = DDPMPipeline.from_pretrained(tmp_path)
    text = " ".join(str(w.message) for w in caught)
    words = ("num_head_channels", "does not say", "dropout", "add_attention")
    assert all(w in text for w in words)
    assert len([w for w in caught if "num_head_channels" in str(w.message)]) == 1    # said once
    images = []
    for p in ours, theirs:
        p.set_progress_bar_config(disable=True)
        drawn = p(batch_size=2, num_inference_steps=5, generator=seeds(3, 1)[0], output_type="np")
        images.append(torch.from_numpy(drawn.images))
    assert (images[0] - images[1]).abs().max() < 1e-4


def test_shards_and_variants_both_ways(tmp_path):
    torch.manual_seed(0)
    ours = DDPMPipeline.from_config("tiny")
    ours.save_pretrained(tmp_path/"ours", max_shard_size="40KB", variant="v1")
    theirs = diffusers.DDPMPipeline.from_pretrained(tmp_path/"ours", variant="v1")
    theirs.save_pretrained(tmp_path/"theirs", max_shard_size="40KB")
    assert len(list((tmp_path/"theirs"/"unet").glob("*.safetensors"))) > 2
    theirs.save_pretrained(tmp_path/"pickled", safe_serialization=False)
    for folder in "theirs", "pickled":
        again = DDPMPipeline.from_pretrained(tmp_path/folder)
        assert same_weights(ours, again)
    ours.save_pretrained(tmp_path/"bin", safe_serialization=False, max_shard_size="40KB")
    there = diffusers.DDPMPipeline.from_pretrained(tmp_path/"bin", use_safetensors=False)
    assert same_weights(ours, there)


def test_resaving_leaves_one_model_for_diffusers(tmp_path):
    "Many pieces, then one file, in the same folder: diffusers must not find the old pieces."
    torch.manual_seed(0)
    first, second = DDPMPipeline.from_config("tiny"), DDPMPipeline.from_config("tiny")
    first.save_pretrained(tmp_path, max_shard_size="40KB")
    second.save_pretrained(tmp_path)
    theirs = diffusers.DDPMPipeline.from_pretrained(tmp_path)
    assert same_weights(second, theirs)


def test_pipe_of_diffusers_becomes_ours():
    torch.manual_seed(0)
    theirs = diffusers.DDPMPipeline(diffusers.UNet2DModel(**unet_config("tiny")).eval(),
                                    diffusers.DDPMScheduler())
    ours = DDPMPipeline.from_pipe(theirs, scheduler=DDPMScheduler())
    for p in ours, theirs: p.set_progress_bar_config(disable=True)
    a, b = (p(num_inference_steps=4, generator=seeds(0, 1)[0], output_type="np").images
            for p in (ours, theirs))
    assert ours.unet is theirs.unet and abs(a - b).max() < 1e-5


@pytest.mark.parametrize("name, value", {
    "class_embed_type": "timestep", "num_train_timesteps": 1000, "time_embedding_type": "learned",
    "down_block_types": ("SkipDownBlock2D",)*2, "up_block_types": ("ResnetUpsampleBlock2D",)*2,
    "mid_block_type": "UNetMidBlock2DSimpleCrossAttn", "resnet_time_scale_shift": "spatial",
    "downsample_type": "kernel", "act_fn": "prelu"}.items())
def test_options_of_diffusers_that_are_refused_by_name(name, value):
    from ddpm_edu.unet import UNet
    config = unet_config("tiny") | {name: value}
    with pytest.raises(ValueError, match=name): UNet.from_config(config)


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    n = int(sys.argv[sys.argv.index("--sample") + 1]) if "--sample" in sys.argv else None
    for name, (measure, default, limit) in SWEEPS.items():
        errors = sorted(measure(5000 + seed) for seed in range(n or default))
        middle = errors[len(errors)//2]
        print(f"{name:32} {len(errors):4} configurations: worst {errors[-1]:.1e}, "
              f"median {middle:.1e}, limit {limit:.0e}", flush=True)
