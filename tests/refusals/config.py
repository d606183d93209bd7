"What objects that remember their arguments refuse."
from dataclasses import dataclass

from ddpm_edu import DDPMScheduler, UNet
from ddpm_edu.config import Config, ConfigMixin, Output, register_to_config
from ddpm_edu.unet import unet_config


class Toy(ConfigMixin):
    config_name, diffusers_name, refused_config = "toy_config.json", "BigToy", {"engine": None}

    @register_to_config
    def __init__(self, size=3, layers=(1, 2)): pass


@dataclass
class Pair(Output):
    sample: int
    extra: int | None = None


toy, scheduler, unet = Toy(), DDPMScheduler(), UNet(**unet_config("tiny"))
cfg, pair = Config(dropout=0.1, channels=(32, 64)), Pair(1, 2)
nan = float("nan")

ROWS = [
    ("cfg.update(dropout=1)", TypeError,
     ("config is frozen", "from_config(obj.config, name=value)")),
    ("cfg.pop('dropout')", TypeError, "config is frozen"),
    ("cfg.__setitem__('dropout', 1)", TypeError, "config is frozen"),
    ("cfg.dropuot", AttributeError, "'dropuot'; its entries are dropout, channels"),
    ("Toy(engine='v8')", ValueError, ("engine='v8' is not supported", "leave it at None")),
    ("Toy(wheels=4)", TypeError, "Toy() has no argument 'wheels'. It has size, layers"),
    ("Toy(1, 2, 3)", TypeError, "too many positional arguments"),
    ("Toy.from_config({'engine': 'v8'})", ValueError, "engine='v8' is not supported"),
    ("Toy.from_config({'_class_name': 'Plane'})", ValueError, ("'Plane'", "it reads 'BigToy'")),
    ("Toy.from_config({'_class_name': ['BigToy']})", ValueError, "cannot stand in for"),
    ("Toy.from_config('toy')", TypeError, ("dict of arguments", "from_pretrained")),
    ("Toy.from_config({}, sise=4)", TypeError, ("'sise'", "Did you mean 'size'?")),
    ("Toy(nan).to_json_string()", ValueError, ("size=nan", "cannot be saved as JSON")),
    ("Toy(Toy).to_json_string()", ValueError, ("size=<class", "cannot be saved as JSON")),
    ("toy.register_to_config(sise=4)", TypeError, ("'sise'", "Did you mean 'size'?")),
    ("toy.wings", AttributeError, "'Toy' object has no attribute 'wings'"),
    ("DDPMScheduler(beta_shedule='linear')", TypeError, "Did you mean 'beta_schedule'?"),
    ("DDPMScheduler.from_config({}, beta_shedule='linear')", TypeError,
     "Did you mean 'beta_schedule'?"),
    ("scheduler.register_to_config(beta_end=2)", ValueError, "beta_end"),
    ("scheduler.register_to_config(beta_edn=0.3)", TypeError, "Did you mean 'beta_end'?"),
    ("UNet(blok_out_channels=(8, 16))", TypeError, "Did you mean 'block_out_channels'?"),
    ("unet.register_to_config(dropout=0.5)", ValueError,
     ("dropout of a finished network stays 0.0, got 0.5", "from_config(net.config, dropout=...)")),
    ("unet.register_to_config(sample_size='large')", (ValueError, TypeError), "sample_size"),
    ("unet.register_to_config(drupout=0.5)", TypeError, "Did you mean 'dropout'?"),
    ("pair.pop('extra')", TypeError, ("fields of Pair are fixed", "out.name = value")),
    ("pair.update(extra=3)", TypeError, "fields of Pair are fixed"),
    ("pair.__delitem__('extra')", TypeError, "fields of Pair are fixed"),
    ("pair.__setitem__('extrar', 1)", TypeError, "Did you mean 'extra'?"),
]
