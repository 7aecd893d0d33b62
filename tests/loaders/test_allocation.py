"""Memory that a decoder frees is kept for the next image, unless the user's environment sets other thresholds."""

import platform
import resource
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from shards.allocation import keep_freed_memory, return_freed_memory

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="thresholds are glibc's")
ROUNDS, BLOCK = 40, 4 << 20
"""Number of rounds, and size in bytes of a block: 4 MB, as much as Pillow uses for an image of one megapixel."""
FEWEST = 2 * BLOCK // (2 << 20)
"""Minimum number of page faults per round if the kernel has to provide two new blocks. It is 4 with huge pages of 2 MB,
which NumPy requests and some machines grant; with pages of 4 KB it is 2,048."""


def faults_of_reuse() -> float:
    """Returns the number of page faults per round. In each round, a thread allocates, fills and frees two blocks, as a
    loader does for images."""

    def fill(rounds):
        before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
        for _ in range(rounds):
            held = [np.ones(BLOCK, np.uint8) for _ in range(2)]
            del held
        return (resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before) / rounds

    with ThreadPoolExecutor(1) as pool:
        pool.submit(fill, 3).result()
        return pool.submit(fill, ROUNDS).result()


@pytest.fixture
def untouched(monkeypatch):
    """Removes malloc's thresholds from the environment during a test. Afterwards, restores them to the values that all
    test processes use."""
    for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"):
        monkeypatch.delenv(name, raising=False)
    yield monkeypatch
    monkeypatch.undo()
    keep_freed_memory()


def test_freed_blocks_are_kept_for_the_next_image(untouched):
    return_freed_memory()
    assert faults_of_reuse() >= FEWEST  # the counter counts
    keep_freed_memory()
    assert faults_of_reuse() < 1


def test_a_threshold_of_the_user_stays(untouched):
    return_freed_memory()
    untouched.setenv("MALLOC_TRIM_THRESHOLD_", "65536")
    keep_freed_memory()
    assert faults_of_reuse() >= FEWEST
