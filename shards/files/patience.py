"""Reading what a disk or a network file system may give at the next try.

``EIO`` and ``ESTALE`` are often gone a second later: a server came back, a cable was put in again.
So such a read is tried again, after pauses that double; only then is it said to have failed.
"""

from collections.abc import Callable
from typing import TypeVar

from shards.files.clock import Clock
from shards.machine_trouble import disk_failed, is_passing

__all__ = ["TRIES", "patiently", "read_or_end"]

T = TypeVar("T")

TRIES = 5
_FIRST_PAUSE_S = 0.1

CLOCK = Clock()
"""Of this process; tests bring their own."""


def patiently(read: Callable[[], T]) -> T:
    """What ``read()`` returns, asked up to ``TRIES`` times where the disk fails, over a second and
    a half.

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
    """What ``read()`` returns of the file ``path``, on which all further work hangs: asked for
    :func:`patiently`, and ``MachineTrouble`` where the disk fails at every try. So nobody calls a
    file damaged that could not be read."""
    try:
        return patiently(read)
    except OSError as error:
        if not is_passing(error):
            raise
        raise disk_failed(path, f"{error.strerror or error}, {TRIES} times") from error
