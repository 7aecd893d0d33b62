"""Makes commands start faster, and keeps idle threads from occupying cores that other threads need.

These functions change process-wide settings, so only this project's own commands call them. A program that imports the
project's packages must configure its own process.
"""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["let_waiting_threads_sleep", "without_collecting"]

_OF_THE_USER = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def let_waiting_threads_sleep() -> None:
    """Makes torch's threads sleep while they wait for one another. Must be called before torch is imported.

    By default, GNU OpenMP makes waiting threads spin for milliseconds, on cores that the loader's threads or other
    programs could use. On a busy machine, this made a first verdict cost 1.5 s more CPU time (docs/LOG.md, 2026-11-29).
    Does nothing if the environment already sets the wait policy.
    """
    if not any(os.environ.get(name) for name in _OF_THE_USER):
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"


@contextmanager
def without_collecting() -> Iterator[None]:
    """Context manager for imports: switches off Python's cyclic garbage collector.

    The collector takes a sixth of the import time, and finds no garbage.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
