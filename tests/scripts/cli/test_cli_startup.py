"""How a command starts: waiting threads sleep, and the garbage collector is off during imports."""

import gc
import os
import re
import subprocess
import sys

import pytest

from shards.cli.startup import without_collecting

POLICY = re.compile(r"OMP_WAIT_POLICY ?= ?'(\w+)'")


LOADS_TORCH = "from shards.cli.command import run_command\nrun_command(lambda: __import__('torch') and 0)"
LOADS_OPENMP = """
import ctypes, importlib.util, pathlib
from shards.cli.command import run_command
folder = pathlib.Path(importlib.util.find_spec("torch").origin).parent
library, *_ = [*folder.glob("lib/libgomp*"), *folder.parent.glob("torch.libs/libgomp*")]
run_command(lambda: ctypes.CDLL(str(library)) and 0)
"""
"""Loads the OpenMP library that torch loads, but without torch."""


@pytest.mark.parametrize(
    ("program", "chosen", "policy"),
    [
        pytest.param(LOADS_TORCH, {}, "PASSIVE", marks=pytest.mark.slow),
        (LOADS_OPENMP, {}, "PASSIVE"),
        (LOADS_OPENMP, {"OMP_WAIT_POLICY": "active"}, "ACTIVE"),
    ],
    ids=["nothing set, torch", "nothing set", "set"],
)
def test_threads_of_torch_sleep_while_they_wait_unless_the_person_chose(program, chosen, policy):
    """The OpenMP library prints how its threads wait, because ``OMP_DISPLAY_ENV`` is set."""
    clean = {k: v for k, v in os.environ.items() if k not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**clean, **chosen, "OMP_DISPLAY_ENV": "TRUE"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert POLICY.findall(done.stderr) == [policy]


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_as_it_was_afterwards(enabled):
    def failing_import():
        with without_collecting():
            assert not gc.isenabled()
            raise ImportError

    before = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        with pytest.raises(ImportError):
            failing_import()
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if before else gc.disable)()
