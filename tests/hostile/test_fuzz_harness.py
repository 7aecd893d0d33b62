"""The fuzz harness limits the CPU time of each mutation, and does not count the time that Numba spends on compiling."""

import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numba import njit

from tests.fuzz import fuzz_harness
from tests.fuzz.fuzz_harness import run_fuzz


class Compiles:
    """A target that compiles a kernel in every mutation except the first, which the harness does not measure."""

    def __init__(self, folder: Path) -> None:
        self._runs = 0

    def run(self, rng: np.random.Generator, counts: Counter[str]) -> None:
        self._runs += 1
        if self._runs == 1:
            return
        inner = njit(lambda x: x + 1)

        @njit
        def outer(x: int) -> int:
            for step in range(3):
                x += inner(x) * step
            return x

        began = time.process_time()
        outer(1)
        counts["compiled, ms"] += int(1000 * (time.process_time() - began))


class Works:
    def __init__(self, folder: Path) -> None: ...

    def run(self, rng: np.random.Generator, counts: Counter[str]) -> None:
        until = time.process_time() + 0.06
        while time.process_time() < until:
            pass


def test_compiling_counts_for_nothing(monkeypatch):
    monkeypatch.setattr(fuzz_harness, "LONGEST_S", 0.06)
    counts = run_fuzz(Compiles, range(1), seed=0)
    assert counts["compiled, ms"] > 60  # 130 on a quick machine


def test_work_counts(monkeypatch):
    monkeypatch.setattr(fuzz_harness, "LONGEST_S", 0.04)
    with pytest.raises(AssertionError, match=r"took 0\.1 s"):
        run_fuzz(Works, range(1), seed=0)
