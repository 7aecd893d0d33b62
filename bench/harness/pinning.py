"""Chooses the cores that a measured process may use, and the number of threads that each library may start."""

import os
from pathlib import Path

from shards.errors import InputError

__all__ = ["choose_cores", "pin_process", "thread_environment"]

# One image is one thread's work in every method, so a library must not split an image further:
# with 2 threads × 2 OpenMP threads, four would fight over two cores.
ONE_THREAD_LIBRARIES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


def choose_cores(threads: int) -> list[int]:
    """Chooses ``threads`` logical CPUs from those that this process may use. One CPU on every physical core is chosen
    before a second one on any core.

    Raises ``InputError`` if there are fewer CPUs than threads.
    """
    available = sorted(os.sched_getaffinity(0))
    if threads > len(available):
        raise InputError(
            f"--threads {threads}: this process may use only {len(available)} CPUs; give at most that many"
        )
    first_of_core: list[int] = []
    second_of_core: list[int] = []
    seen: set[str] = set()
    for cpu in available:
        siblings = _siblings(cpu)
        (second_of_core if siblings in seen else first_of_core).append(cpu)
        seen.add(siblings)
    return (first_of_core + second_of_core)[:threads]


def _siblings(cpu: int) -> str:
    path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:  # containers may hide the topology: treat each CPU as a core
        return str(cpu)


def thread_environment(threads: int) -> dict[str, str]:
    """Environment variables that limit Numba to ``threads`` threads and every other library to one.

    They must be set before the measured process imports anything.
    """
    limits = dict.fromkeys(ONE_THREAD_LIBRARIES, "1")
    return {**limits, "NUMBA_NUM_THREADS": str(threads)}


def pin_process(cores: list[int]) -> None:
    """Pins this process, and all threads and processes that it starts later, to ``cores``."""
    os.sched_setaffinity(0, cores)
