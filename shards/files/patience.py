"""Retries reads that failed because of a disk or a network file system.

``EIO`` and ``ESTALE`` are often gone a second later: a server is back, a cable is plugged in again. So such a read is
tried again, after pauses that double, before it counts as failed.
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
    """The time and randomness that waiting needs. Tests replace them."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], object] = time.sleep
    chance: random.Random = field(default_factory=random.Random)
    """Seeded by the system's randomness, because host and process may be the same in several containers."""


CLOCK = Clock()
"""The clock of this process. Tests replace it."""


def patiently(read: Callable[[], T]) -> T:
    """Returns ``read()``, calling it up to ``TRIES`` times over a second and a half while the disk fails.

    Raises the last error of the disk, and any other error of ``read`` at once.
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

    For files that all further work depends on: raises ``MachineTrouble`` if the disk fails at every try, so that a file
    that could not be read is never reported as damaged. Other errors pass unchanged.
    """
    try:
        return patiently(read)
    except OSError as error:
        if not is_passing(error):
            raise
        raise disk_failed(path, f"{error.strerror or error}, {TRIES} times") from error
