"""Shows an epoch's progress, as a bar in a terminal or as lines in a log file, and explains long waits."""

import logging
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from tqdm import tqdm

from shards.cli.progress import LOG_EVERY_S
from shards.cli.wording import pace, percent

__all__ = ["AFTER_S", "ProgressDisplay", "duration", "report_if_slow"]

logger = logging.getLogger(__name__)

AFTER_S = 1.0
"""Seconds after which :func:`report_if_slow` logs why the user has to wait."""


class ProgressDisplay:
    """Shows how many of an epoch's ``total`` steps are done, and the whole run's remaining time.

    ``later`` is the total number of steps in later epochs.
    """

    def __init__(self, title: str, *, total: int, done: int = 0, later: int = 0, shown: bool = True) -> None:
        self._title, self._total, self._done, self._later = title, total, done, later
        self._timed_from: tuple[int, float] | None = None
        terminal = shown and sys.stderr.isatty()
        self._bar = tqdm(desc=title, total=total, initial=done, disable=not terminal, leave=False, unit=" steps")
        self._logs = shown and not terminal
        self._last_line = time.monotonic()

    def __enter__(self) -> "ProgressDisplay":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def advance(self, **seen: float) -> None:
        """Counts one more step. To update the displayed text, too, pass ``loss``, ``images_per_s`` and ``wait_share``
        (0 … 1). Steps that take minutes get a line in a log without them.
        """
        self._done += 1
        self._bar.update(1)
        if self._timed_from is None:  # the first step warms up: its time is not typical
            self._timed_from = self._done, time.monotonic()
        text = ""
        if seen:
            text = (
                f": loss {seen['loss']:.4f}, {pace(seen['images_per_s'])},"
                f" {percent(seen['wait_share'], 0)} waiting for data"
            )
            self._bar.set_postfix_str(text[2:] + self._left(), refresh=False)
        quiet_s = time.monotonic() - self._last_line
        if self._logs and quiet_s >= (LOG_EVERY_S if seen else 4 * LOG_EVERY_S):
            self._last_line = time.monotonic()
            logger.info("%s, step %d/%d%s%s", self._title, self._done, self._total, text, self._left())

    def _left(self) -> str:
        """Returns the remaining time as text, estimated from the pace of all steps but the first; empty if there was
        only one.
        """
        first, since = self._timed_from or (self._done, 0.0)
        steps = self._done - first
        if not steps:
            return ""
        pace = (time.monotonic() - since) / steps
        epoch = pace * (self._total - self._done)
        if not self._later:
            return f", {duration(epoch)} left"
        whole = epoch + pace * self._later
        return f", {duration(epoch)} left in this epoch, {duration(whole)} in the whole run"


@contextmanager
def report_if_slow(what: str) -> Iterator[None]:
    """Context manager: logs ``what`` once if the code inside takes longer than ``AFTER_S``."""
    timer = threading.Timer(AFTER_S, logger.info, ("%s …", what))
    timer.daemon = True  # an interrupt need not wait for it
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def duration(seconds: float) -> str:
    """Formats an estimated duration coarsely: ``40 s``, ``12 min``, ``3 h 20 min``, ``2 d 5 h``.

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
