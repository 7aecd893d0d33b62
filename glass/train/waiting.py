"""A message before a silence: a wait of more than a second is reported with its reason."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["AFTER_S", "duration", "said_if_slow"]

logger = logging.getLogger(__name__)

AFTER_S = 1.0


@contextmanager
def said_if_slow(what: str) -> Iterator[None]:
    """Logs ``what``, once, where the block takes longer than a second."""
    timer = threading.Timer(AFTER_S, logger.info, ("%s …", what))
    timer.daemon = True  # an interrupt need not wait for it
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def duration(seconds: float) -> str:
    """In words, as exactly as a guess deserves: ``40 s``, ``12 min``, ``3 h 20 min``, ``2 d 5 h``.

    >>> duration(11_980)
    '3 h 20 min'
    """
    minutes = round(seconds / 60)
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if minutes < 100:
        return f"{minutes} min"
    hours = round(seconds / 3600)
    if hours < 48:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{hours // 24} d {hours % 24} h"
