"""Makes commands start quickly, and makes waiting threads leave the cores to threads that have work.

Only programs of this project call these functions. Other code that imports its packages must set up its process itself.
"""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["let_waiting_threads_sleep", "without_collecting"]

_OF_THE_USER = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def let_waiting_threads_sleep() -> None:
    """Makes torch's threads sleep while they wait for one another. Must be called before torch is imported.

    GNU's OpenMP makes them spin for milliseconds on cores that threads of the loader, or other programs, could use: a
    first verdict on a busy machine took 1.5 s more processor time (docs/LOG.md, 2026-11-29). Does nothing if the
    environment already sets how they wait.
    """
    if not any(os.environ.get(name) for name in _OF_THE_USER):
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"


@contextmanager
def without_collecting() -> Iterator[None]:
    """Context manager that switches off Python's cyclic garbage collector, for imports.

    Imports leave no garbage, and the collector takes a sixth of their time.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
