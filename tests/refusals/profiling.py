"What the stopwatch of a pipeline refuses."
from ddpm_edu import DDPMPipeline
from ddpm_edu.profiling import profile_sampling

tiny = DDPMPipeline.from_config("tiny")

ROWS = [
    ("profile_sampling('fashion-mnist')", TypeError,
     ("profile_sampling needs a DDPMPipeline", "got str", "from_pipe")),
    ("profile_sampling(tiny, batch_size=0)", ValueError, "batch_size must be at least 1"),
    ("profile_sampling(tiny, bacth_size=2)", TypeError, "bacth_size"),
]
