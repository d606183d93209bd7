"Speed and memory against diffusers, interleaved in one process: `python -m tests.benchmarks`."
