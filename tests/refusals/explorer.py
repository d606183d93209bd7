"What the explorers refuse, and the panel that they share."
import torch

from ddpm_edu import DDPMPipeline, DDPMScheduler
from ddpm_edu.explorer import Explorer
from ddpm_edu.explorers import ScoreExplorer, SamplerExplorer, UNetExplorer
from ddpm_edu.explorers_formulas import (
    BoundExplorer, ForwardExplorer, PosteriorExplorer, explore_posterior)
from ddpm_edu.forward_process import NoiseSchedule, make_betas
from ddpm_edu.toys import GaussianMixture

x0 = torch.zeros(2, 1, 8, 8)
points = torch.zeros(3, 2)
ring = GaussianMixture.ring(3)
pipe = DDPMPipeline.from_pretrained("fashion-mnist")
garment = torch.zeros(1, 1, 28, 28)


def silent(x, t): return 0*x


class Point(Explorer):
    "The smallest explorer: a slider and a menu."
    def __init__(self): super().__init__(x=range(1, 11), side=("upper", "lower"))
    def allowed(self, name, others):
        return range(1, 6) if name == "x" and others["side"] == "lower" else self.controls[name]


ROWS = [
    # the panel
    ("Point().setting(11)", ValueError, "x must be between 1 and 10, got 11"),
    ("Point().setting(6, 'lower')", ValueError, "x must be between 1 and 5, got 6"),
    ("Point().setting(1.5)", TypeError, "x must be a whole number"),
    ("Point().setting(1, 'left')", ValueError,
     "side must be one of 'upper', 'lower'; got 'left'"),
    ("Point().setting(1, 'uper')", ValueError, "Did you mean 'upper'?"),
    ("Point().setting(1, 'upper', 3)", TypeError, "2 controls (x, side), got 3 values"),
    ("Point().png(y=3)", ValueError, "control must be one of 'x', 'side'; got 'y'"),
    ("Point().panel(frames=[])", ValueError, "frames is empty"),
    ("Point().panel(frames=[0])", ValueError, "x must be between 1 and 10, got 0"),
    ("Explorer().numbers()", NotImplementedError, "child class"),
    ("Explorer().make_figure()", NotImplementedError, "child class"),
    ("Explorer().draw(0)", NotImplementedError, "child class"),
    # forward
    ("ForwardExplorer(x0).state(1000)", ValueError, "t must be between 0 and 999, got 1000"),
    ("ForwardExplorer(x0).state(-1)", ValueError, "t must be between 0 and 999, got -1"),
    ("ForwardExplorer(x0).state(3, 'lineal')", ValueError, "Did you mean 'linear'?"),
    ("ForwardExplorer(x0.byte())", ValueError, ("images", "torch.uint8")),
    ("ForwardExplorer(x0[0])", ValueError, "(B, C, H, W)"),
    ("ForwardExplorer(x0.expand(2, 2, 8, 8))", ValueError, "C = 1 or 3"),
    ("ForwardExplorer(x0[:0])", ValueError, "floating-point"),
    ("ForwardExplorer(x0 + 1.1)", ValueError, "values in [-1, 1], got [1.1, "),
    ("ForwardExplorer(x0 + float('nan'))", ValueError, "got [nan"),
    ("ForwardExplorer('x')", ValueError, ("images must be", "str")),
    ("ForwardExplorer(x0, bins=0)", ValueError, "bins must be at least 1"),
    # posterior
    ("PosteriorExplorer().state(0)", ValueError, "t must be between 1 and 19, got 0"),
    ("PosteriorExplorer(NoiseSchedule([0.5]))", ValueError, "at least 2 timesteps"),
    ("explore_posterior(frames=[20])", ValueError, "t must be between 1 and 19, got 20"),
    # bound
    ("BoundExplorer(silent, points, count=0)", ValueError, "count must be at least 1"),
    ("BoundExplorer(silent, points.long())", TypeError, "x0 must hold"),
    # score
    ("ScoreExplorer(GaussianMixture([[0.], [1.]], 1.))", ValueError, "must lie in the plane"),
    ("ScoreExplorer(ring, steps=0)", ValueError, "steps must be at least 1"),
    ("ScoreExplorer(ring, particles=0)", ValueError, "particles must be at least 1"),
    ("ScoreExplorer(ring, steps=60).setting(61)", ValueError,
     "steps must be between 0 and 60, got 61"),
    # sampler
    ("SamplerExplorer(silent, DDPMScheduler(), (5, 2)).state(26)", ValueError,
     "step must be between 0 and 25, got 26"),
    ("SamplerExplorer(silent, DDPMScheduler(), (5, 2)).state(0, 9)", ValueError,
     "seed must be one of"),
    ("SamplerExplorer(silent, DDPMScheduler(), (5, 3))", ValueError,
     "shape must be (B, C, H, W)"),
    ("SamplerExplorer(silent, DDPMScheduler())", ValueError,
     ("shape", "the model is no pipeline")),
    ("SamplerExplorer(silent, shape=(5, 2))", ValueError, ("scheduler", "DDPMScheduler")),
    ("SamplerExplorer(silent, DDPMScheduler(), (5, 2), steps=(1001,))", ValueError,
     "(num_train_timesteps)"),
    ("SamplerExplorer(silent, DDPMScheduler(), (5, 2), seeds=0)", ValueError,
     "seeds must be at least 1"),
    # network
    ("UNetExplorer(pipe.unet, garment.expand(4, 1, 28, 28))", ValueError,
     "image must be one image"),
    ("UNetExplorer(pipe.unet, garment).setting(99)", ValueError, "block must be between 0"),
]
