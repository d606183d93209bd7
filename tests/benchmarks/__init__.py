"Speed and memory against diffusers, both sides in one process, interleaved. One table: `python -m tests.benchmarks`."
