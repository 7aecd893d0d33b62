"""Reading again where a disk or a network file system may answer at the next try.

``EIO`` and ``ESTALE`` are often gone a second later: a server came back, a cable was put in again.
So such a read is tried again, after pauses that double, before it counts as failed.
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
    """Time and chance as waiting needs them; tests bring their own."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], object] = time.sleep
    chance: random.Random = field(default_factory=random.Random)
    """Not seeded by host and process: in containers of one image both may be the same."""


CLOCK = Clock()
"""The clock of this process; tests bring their own."""


def patiently(read: Callable[[], T]) -> T:
    """The result of ``read()``, called up to ``TRIES`` times where the disk fails, over a second and a half.

    Raises what ``read`` raises: the last of the disk's errors, and any other at once.
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
    """The result of ``read()`` of the file ``path``, on which all further work depends: asked for
    :func:`patiently`, and ``MachineTrouble`` if the disk fails at every try. So nobody calls a
    file damaged that could not be read."""
    try:
        return patiently(read)
    except OSError as error:
        if not is_passing(error):
            raise
        raise disk_failed(path, f"{error.strerror or error}, {TRIES} times") from error
