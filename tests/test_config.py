"""Things that have diffusers' names follow its protocol: configurations that are handed from class
to class, outputs that are dictionaries, networks that its tools save; and configs that are true."""
import copy
import os
import pickle
import subprocess
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import diffusers
import pytest
import torch
from accelerate.utils import convert_outputs_to_fp32, send_to_device
from diffusers.training_utils import EMAModel
from torch.utils import _pytree

from ddpm_edu import DDPMPipeline, DDPMScheduler, UNet
from ddpm_edu.config import SAMPLER_OPTIONS, ConfigMixin, Output, register_to_config
from ddpm_edu.scheduler import COMPATIBLE
from ddpm_edu.unet import unet_config

pytestmark = pytest.mark.filterwarnings("ignore:.*__array.*:DeprecationWarning")
SAMPLERS = [name for name in diffusers.DDPMScheduler._compatibles if "SDE" not in name]


@pytest.fixture
def unet():
    torch.manual_seed(0)
    return UNet(**unet_config("tiny")).eval()


@pytest.fixture
def asked(): return torch.randn(2, 1, 8, 8), torch.tensor([3, 4])


@dataclass
class Pair(Output):
    sample: torch.Tensor
    extra: torch.Tensor | None = None


def test_outputs_are_dictionaries(unet, asked):
    said = unet(*asked)
    assert isinstance(said, dict) and list(said) == ["sample"] and "sample" in said
    assert said["sample"] is said.sample is said[0] is said[:1][0] is next(iter(said.values()))
    assert len(said) == 1 and said.to_tuple() == (said.sample,) and dict(said.items()) == {**said}
    two = Pair(said.sample, said.sample + 1)
    assert list(two) == ["sample", "extra"] and list(Pair(said.sample)) == ["sample"]
    two.extra = said.sample + 2
    assert two["extra"] is two[1] is two.extra
    two["sample"] = two.extra
    assert two.sample is two[0]


def test_outputs_are_copied_whole(unet, asked):
    with torch.no_grad(): said = Pair(unet(*asked).sample)
    for twin in (copy.copy(said), copy.deepcopy(said), pickle.loads(pickle.dumps(said))):
        assert type(twin) is Pair and list(twin) == ["sample"] and twin.extra is None
        assert torch.equal(twin.sample, said.sample)


@pytest.mark.parametrize("strict", [False, True])
def test_the_network_can_be_exported(unet, asked, tmp_path, strict):
    program = torch.export.export(unet, asked, strict=strict)
    torch.export.save(program, tmp_path/"network.pt2")
    again = torch.export.load(tmp_path/"network.pt2").module()(*asked)
    assert type(again) is type(unet(*asked)) and torch.allclose(again.sample, unet(*asked).sample)


def test_torchs_trees_and_accelerate_see_the_tensors(unet, asked):
    said = unet(*asked)
    assert [leaf is said.sample for leaf in _pytree.tree_leaves(said)] == [True]
    double = _pytree.tree_map(lambda v: 2*v, Pair(torch.ones(2), torch.ones(3)))
    assert type(double) is Pair and double.extra.tolist() == [2, 2, 2]
    half = unet.to(torch.bfloat16)
    full = convert_outputs_to_fp32(lambda: half(asked[0].bfloat16(), asked[1]))()
    assert full.sample.dtype == torch.float32 and type(full) is type(said)
    assert send_to_device(said, "meta").sample.is_meta

    @dataclass
    class Opaque: sample: torch.Tensor
    leaf, = _pytree.tree_leaves(Opaque(torch.ones(1)))     # negative control: opaque to the tools
    assert not isinstance(leaf, torch.Tensor)


def test_a_changed_configuration_is_what_is_computed():
    scheduler = DDPMScheduler()
    before = scheduler.betas.clone()
    scheduler.register_to_config(beta_end=0.05, variance_type="fixed_large")
    other = DDPMScheduler(beta_end=0.05, variance_type="fixed_large")
    assert scheduler.config == other.config and torch.equal(scheduler.betas, other.betas)
    assert not torch.equal(scheduler.betas, before)
    x, noise = torch.ones(1, 1, 4, 4), torch.manual_seed
    a, b = (s.step(x, 500, x, generator=noise(0)).prev_sample for s in (scheduler, other))
    assert torch.equal(a, b)
    with pytest.raises(ValueError, match="beta_end"): scheduler.register_to_config(beta_end=3)
    assert torch.equal(scheduler.betas, other.betas)       # refused: nothing changed


def test_notes_are_kept_and_change_nothing(unet, tmp_path):
    unet.register_to_config(sample_size=16, test_attribute=5, _note="mine")
    assert unet.config.sample_size == 16
    with pytest.warns(FutureWarning, match="config.test_attribute"): assert unet.test_attribute == 5
    with pytest.raises(AttributeError, match="^'UNet' object has no attribute 'does_not_exist'$"):
        getattr(unet, "does_not_exist")
    unet.save_pretrained(tmp_path)
    assert UNet.load_config(tmp_path)["test_attribute"] == 5


@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_of_diffusers_and_back(name):
    "Silently, nothing lost, and with the numbers that diffusers' own scheduler would hand over."
    options = dict(beta_schedule="squaredcos_cap_v2", variance_type="fixed_large")
    ours, kind = DDPMScheduler(**options), getattr(diffusers, name)
    there = kind.from_config(ours.config)
    theirs = kind.from_config(diffusers.DDPMScheduler(**options).config)
    public = lambda s: {k: v for k, v in s.config.items() if not k.startswith("_")}
    shared = {k for k in public(theirs) if k in public(there)}
    assert {k: there.config[k] for k in shared} == {k: theirs.config[k] for k in shared}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        back = DDPMScheduler.from_config(there.config)
    assert {k: v for k, v in back.config.items() if k in ours.config} == ours.config


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name in COMPATIBLE])
def test_every_samplers_folder(tmp_path, name):
    "A file says more than an object made of ours: all of the sampler's own options."
    theirs = getattr(diffusers, name)(beta_end=0.03)
    theirs.save_pretrained(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours = DDPMScheduler.from_pretrained(tmp_path)
    assert ours.config.beta_end == 0.03
    ours.save_pretrained(tmp_path/"ours")
    again = type(theirs).from_pretrained(tmp_path/"ours")
    own = {k for k in theirs.config if k in SAMPLER_OPTIONS}
    assert {k: again.config[k] for k in own} == {k: theirs.config[k] for k in own}


def test_a_samplers_folder(tmp_path):
    diffusers.DPMSolverMultistepScheduler(solver_order=3).save_pretrained(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours = DDPMScheduler.from_pretrained(tmp_path)
    ours.save_pretrained(tmp_path)
    ours = DDPMScheduler.from_pretrained(tmp_path)
    assert diffusers.DPMSolverMultistepScheduler.from_config(ours.config).config.solver_order == 3
    with pytest.raises(ValueError, match="cannot stand in"):         # negative control: no relative
        DDPMScheduler.from_config({"_class_name": "FlowMatchEulerDiscreteScheduler"})


def test_moving_averages_of_diffusers(unet, tmp_path):
    average = EMAModel(unet.parameters(), decay=0.9, model_cls=UNet, model_config=unet.config)
    with torch.no_grad(): unet.conv_in.weight.add_(1)
    for _ in range(3): average.step(unet.parameters())
    average.save_pretrained(tmp_path)
    again = EMAModel.from_pretrained(tmp_path, UNet)
    assert (again.decay, again.optimization_step) == (0.9, 3)
    assert all(torch.equal(a, b) for a, b in zip(again.shadow_params, average.shadow_params))
    average.copy_to(unet.parameters())
    assert torch.equal(next(unet.parameters()), average.shadow_params[0])


def test_what_users_of_diffusers_pass(unet, tmp_path):
    unet.save_pretrained(tmp_path/"unet", is_main_process=True)
    UNet(**unet_config("tiny")).save_pretrained(tmp_path/"other", is_main_process=False)
    assert not (tmp_path/"other").exists()
    taken = dict(low_cpu_mem_usage=False, device_map=None, proxies=None, force_download=False,
                 use_auth_token=None, local_files_only=True, use_safetensors=True)
    taken |= dict(subfolder="unet", output_loading_info=True)
    again, info = UNet.from_pretrained(tmp_path, **taken)
    assert again.config == unet.config and set(map(len, info.values())) == {0}
    half = unet.to(torch.float16)
    half.save_pretrained(tmp_path/"half")
    assert UNet.from_pretrained(tmp_path/"half", torch_dtype="auto").dtype == torch.float16
    assert UNet.from_config(tmp_path/"unet").config == UNet.from_config(str(tmp_path/"unet")).config
    entries, rest = UNet.load_config(tmp_path/"unet", return_unused_kwargs=True, other=1)
    assert rest == {"other": 1} and UNet.get_config_dict(tmp_path/"unet") == entries


@pytest.mark.parametrize("ours,theirs", [(UNet, diffusers.UNet2DModel),
                                         (DDPMScheduler, diffusers.DDPMScheduler)])
def test_what_a_file_gives_besides_its_entries(ours, theirs, tmp_path):
    "In diffusers' order: the entries, the options left over, the commit of the hub's cache."
    (ours(**unet_config("tiny")) if ours is UNet else ours()).save_pretrained(tmp_path)
    for ask in ({}, {"return_unused_kwargs": True}, {"return_commit_hash": True},
                {"return_unused_kwargs": True, "return_commit_hash": True}):
        rest = {"other": 1} if "return_unused_kwargs" in ask else {}
        here, there = (kind.load_config(tmp_path, **ask, **rest) for kind in (ours, theirs))
        entries = here[0] if ask else here
        assert entries["_class_name"] == theirs.__name__
        assert (here[1:] == there[1:]) if ask else isinstance(there, dict)
    cache = tmp_path/"snapshots"/"abc123"
    cache.mkdir(parents=True)
    for name in os.listdir(tmp_path):
        if (tmp_path/name).is_file(): os.link(tmp_path/name, cache/name)
    assert ours.load_config(cache, return_commit_hash=True)[1] == "abc123"
    assert ours._deprecated_kwargs == ()


def test_loading_by_the_argument_that_diffusers_names(unet, tmp_path):
    DDPMPipeline(unet, DDPMScheduler(beta_end=0.03)).save_pretrained(tmp_path)
    options = {"pretrained_model_name_or_path": tmp_path}
    half = {"unet": torch.bfloat16, "default": torch.float16}
    for kinds, dtype in ((half, torch.bfloat16), ({"default": torch.float16}, torch.float16)):
        again = DDPMPipeline.from_pretrained(**options, torch_dtype=kinds)
        assert again.dtype == dtype and again.scheduler.config.beta_end == 0.03
    assert UNet.from_pretrained(**options, subfolder="unet").config == unet.config
    assert DDPMScheduler.from_pretrained(**options, subfolder="scheduler").config.beta_end == 0.03
    assert DDPMScheduler.load_config(**options, subfolder="scheduler")["beta_end"] == 0.03
    for load in (DDPMPipeline.from_pretrained, UNet.from_pretrained, DDPMScheduler.load_config,
                 lambda: DDPMScheduler.from_config(None)):
        with pytest.raises(TypeError, match="name_or_path must be a folder.*got None"): load()
    unet.save_pretrained(tmp_path/"new", save_function=torch.save, is_main_process=True)
    assert UNet.from_pretrained(tmp_path/"new").config == unet.config


def test_weights_of_another_shape_may_stay_random(unet, tmp_path):
    "As with diffusers: refused, unless the caller asks; then all that fits is loaded."
    unet.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="^Cannot load .*conv_in.weight"):
        UNet.from_pretrained(tmp_path, in_channels=3)
    with pytest.warns(UserWarning, match="conv_in.weight, conv_out.weight, conv_out.bias have ano"):
        wide, found = UNet.from_pretrained(tmp_path, in_channels=3, out_channels=2,
            ignore_mismatched_sizes=True, output_loading_info=True, device_map={"": "cpu"})
    misfits = ["conv_in.weight", "conv_out.weight", "conv_out.bias"]
    assert found["mismatched_keys"] == misfits and wide.conv_in.weight.std() > 0
    for name, value in unet.state_dict().items():
        assert name in misfits or torch.equal(wide.state_dict()[name], value), name
    assert wide(torch.randn(2, 3, 8, 8), 1).sample.shape == (2, 2, 8, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = UNet.from_pretrained(tmp_path, ignore_mismatched_sizes=True)
    assert torch.equal(again.conv_out.weight, unet.conv_out.weight)


class Toy(ConfigMixin):
    @register_to_config
    def __init__(self, a=2, b=(2, 5), c=None, path=None): pass


def test_what_a_class_remembers():
    assert Toy(1, c=6, path=Path("x")/"y").config == {"a": 1, "b": (2, 5), "c": 6, "path": "x/y"}
    assert Toy(_name_or_path="elsewhere").config == Toy().config
    nested = Toy(c={"deep": [torch.ones(2), {"more": 1.5}]}).config.c
    assert nested == {"deep": ((1.0, 1.0), {"more": 1.5})}
    made, unused = Toy.from_config({"a": 3, "z": 1}, return_unused_kwargs=True)
    assert (made.config.a, unused) == (3, {"z": 1})
    assert Toy.extract_init_dict({"a": 3, "_note": 1}) == ({"a": 3}, {}, {})


def test_no_folder_named_tilde(tmp_path):
    "No HOME and no entry in the password file: neither a download nor a save makes a folder `~`."
    script = """
import os, pwd
def nobody(uid): raise KeyError("uid not found")
pwd.getpwuid = nobody
from ddpm_edu import DDPMScheduler
from ddpm_edu.hub import find_folder
for attempt in (lambda: DDPMScheduler().save_pretrained("~/model"), lambda: find_folder("~/model"),
                lambda: find_folder("someone/something")):
    try: attempt()
    except OSError as e: print(e)
print(os.listdir())
"""
    gone = ("HOME", "HF_HOME", "XDG_CACHE_HOME", "HF_HUB_CACHE")
    env = {k: v for k, v in os.environ.items() if k not in gone}
    env |= {"HF_ENDPOINT": "http://127.0.0.1:9", "TMPDIR": tempfile.gettempdir(),
            "PYTHONPATH": os.environ.get("PYTHONPATH", "") or str(Path(__file__).parent.parent)}
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script], cwd=tmp_path, env=env,
                          capture_output=True, text=True)
    *said, files = done.stdout.splitlines()
    assert files == "[]" and done.stdout.count("no home folder is known") == 2, done
    assert "cannot load 'someone/something'" in said[-1]


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    DDPMScheduler(beta_end=0.03).save_pretrained("~/model")
    assert DDPMScheduler.from_pretrained("~/model").config.beta_end == 0.03
    assert (tmp_path/"model").is_dir() and not Path("~").exists()


class Hands(DDPMScheduler):
    "Hands its options on, without a record of its own."
    def __init__(self, **options): super().__init__(**options)


class Adds(DDPMScheduler):
    "Has an option more."
    @register_to_config
    def __init__(self, extra=1, **options): super().__init__(**options)


class Fixes(DDPMScheduler):
    "Has decided about an option of its parent."
    @register_to_config
    def __init__(self, extra=1): super().__init__(clip_sample=False)


@pytest.mark.parametrize("kind,given", [(Hands, dict(clip_sample=False)), (Fixes, dict(extra=3)),
    (Adds, dict(extra=3, clip_sample=False))])
def test_a_subclass_keeps_the_options_of_its_parent(tmp_path, kind, given):
    made = kind(**given)
    made.save_pretrained(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = kind.from_pretrained(tmp_path)
    for s in (made, again, copy.deepcopy(made)):
        assert not s.limit and not s.config.clip_sample and len(s.config) >= 15
        assert s.config.get("extra") == given.get("extra")
    assert again.config == made.config
    x = torch.zeros(1, 1, 4, 4)
    assert made.step(x, 0, x).prev_sample.shape == x.shape
