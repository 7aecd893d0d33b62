"""Pillow warns of damaged metadata, which are no reason to bother anyone here."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["quiet"]

_lock = threading.RLock()


@contextmanager
def quiet() -> Iterator[None]:
    """Silences warnings. One thread at a time, because Python's filters belong to the process."""
    with _lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
