"""Retries reads that fail because of a disk or network file system.

The causes of errors such as ``EIO`` and ``ESTALE`` are often gone a second later: a server is back, or a cable is
plugged in again. So a read that fails in this way is repeated several times, with a pause that doubles each time. Only
then is the failure reported.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from shards.errors import disk_failed, is_passing

__all__ = ["TRIES", "Clock", "patiently", "read_or_end"]

T = TypeVar("T")

TRIES = 5
_FIRST_PAUSE_S = 0.1


@dataclass
class Clock:
    """The clock, sleep function and random number generator for retries. Tests replace them."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], object] = time.sleep
    chance: random.Random = field(default_factory=random.Random)
    """Seeded from system entropy, because several containers may have the same host name and process id."""


CLOCK = Clock()
"""The clock that all retries in this process use. Tests replace it."""


def patiently(read: Callable[[], T]) -> T:
    """Returns ``read()``. If the disk fails, retries within a second and a half, with at most ``TRIES`` calls in all.

    Raises the disk's error if the last call fails too. Any other error of ``read`` is raised at once.
    """
    for attempt in range(TRIES - 1):
        try:
            return read()
        except OSError as error:
            if not is_passing(error):
                raise
        CLOCK.sleep(_FIRST_PAUSE_S * 2**attempt)
    return read()


def read_or_end(path: object, read: Callable[[], T]) -> T:
    """Returns ``read()``, which reads the file ``path``, with the retries of :func:`patiently`.

    Use it for files on which all further work depends. If the disk fails on every try, raises ``MachineTrouble``, so
    that a file that could not be read is never reported as damaged. Other errors pass unchanged.
    """
    try:
        return patiently(read)
    except OSError as error:
        if not is_passing(error):
            raise
        raise disk_failed(path, f"{error.strerror or error}, {TRIES} times") from error
