"""How a command comes quickly to its work, and leaves the cores to those who have work.

Both are for programs of this project alone: what imports its packages sets its process up itself.
"""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["let_waiting_threads_sleep", "without_collecting"]

_OF_THE_USER = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def let_waiting_threads_sleep() -> None:
    """Makes threads of torch sleep while they wait for one another. Must be called before torch is imported; does
    nothing if the environment says how they wait.

    GNU's OpenMP lets them spin for milliseconds, on cores that threads of the loader, or another program, could use: a
    first verdict on a busy machine took 1.5 s of processor more (docs/LOG.md, 2026-11-29).
    """
    if not any(os.environ.get(name) for name in _OF_THE_USER):
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"


@contextmanager
def without_collecting() -> Iterator[None]:
    """Context manager: switches off Python's cyclic garbage collector, for imports: they leave no garbage, and it
    takes a sixth of their time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
