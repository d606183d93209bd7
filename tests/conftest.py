"""The tests run in as many processes as there are cores (pytest-xdist, see pyproject.toml).

Each process computes with one thread: two that fight for the same cores are ten times slower.
Tests that share something expensive (the built site, a wheel) stay in one process: xdist 3.8
cannot do so with pytest 9.2, which is why settings.ini asks for an older one."""
import os

import pytest

TOGETHER = {"test_site", "test_jupyterlab", "test_wheel", "test_release", "test_editors"}

if "PYTEST_XDIST_WORKER" in os.environ: os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.hookimpl(tryfirst=True)                            # before xdist looks at the marks
def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.stem in TOGETHER: item.add_marker(pytest.mark.xdist_group(item.path.stem))
