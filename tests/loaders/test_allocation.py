"""Memory that a decoder frees is kept for the next image, unless the user's environment sets other thresholds."""

import json
import os
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="thresholds are glibc's")
BLOCK = 4 << 20
"""Size in bytes of a block: 4 MB, as much as Pillow uses for an image of one megapixel."""
FEWEST = 2 * BLOCK // (2 << 20)
"""Minimum number of page faults per round if the kernel has to provide two new blocks. It is 4 with huge pages of 2 MB,
which NumPy requests and some machines grant; with pages of 4 KB it is 2,048."""
NAMES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_ARENA_MAX", "GLIBC_TUNABLES")

MEASURE = """
import json, os, resource, sys
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from shards.allocation import keep_freed_memory, return_freed_memory

def fill(rounds):
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    for _ in range(rounds):
        held = [np.ones(int(sys.argv[1]), np.uint8) for _ in range(2)]
        del held
    return (resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before) / rounds

def faults_of_reuse():
    with ThreadPoolExecutor(1) as pool:
        pool.submit(fill, 3).result()
        return pool.submit(fill, 10).result()

faults = []
for environment in (None, {}, {"MALLOC_TRIM_THRESHOLD_": "65536"}):
    return_freed_memory()
    if environment is not None:
        os.environ.update(environment)
        keep_freed_memory()
    faults.append(faults_of_reuse())
print(json.dumps(faults))
"""


@pytest.fixture(scope="module")
def faults_of_reuse() -> tuple[float, float, float]:
    """The numbers of page faults per round without ``keep_freed_memory()``, after it, and after it with a threshold
    that the user has set.

    In each round, a thread allocates, fills and frees two blocks, as a loader does for images. A process of its own
    measures: the heap of this one has holes in which a block may fit without any fault.
    """
    command = [sys.executable, "-c", MEASURE, str(BLOCK)]
    clean = {name: value for name, value in os.environ.items() if name not in NAMES}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=clean)
    before, after, with_threshold = json.loads(done.stdout)
    return before, after, with_threshold


def test_freed_blocks_are_kept_for_the_next_image(faults_of_reuse):
    before, after, _ = faults_of_reuse
    assert before >= FEWEST  # the counter counts
    assert after < 1


def test_a_threshold_of_the_user_stays(faults_of_reuse):
    *_, with_threshold = faults_of_reuse
    assert with_threshold >= FEWEST
