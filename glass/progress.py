"""Progress of an epoch: a bar in a terminal, a line now and then in a log file."""

import logging
import sys
import time
from types import TracebackType

from tqdm import tqdm

__all__ = ["ProgressDisplay"]

logger = logging.getLogger(__name__)

LOG_EVERY_S = 30.0
"""Seconds between two lines where stderr is no terminal: a bar would fill the log file."""


class ProgressDisplay:
    """Shows steps done of ``total``; used as a context."""

    def __init__(self, title: str, *, total: int, done: int = 0, shown: bool = True) -> None:
        self._title, self._total, self._done, self._shown = title, total, done, shown
        terminal = shown and sys.stderr.isatty()
        self._bar = tqdm(
            desc=title, total=total, initial=done, disable=not terminal, leave=False, unit="step"
        )
        self._logs = shown and not terminal
        self._last_line = time.monotonic()

    def __enter__(self) -> "ProgressDisplay":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.close()

    def advance(self, **seen: float) -> None:
        """One more step; ``seen`` may hold loss, images_per_s and wait_share (0 … 1)."""
        self._done += 1
        self._bar.update(1)
        if not seen:
            return
        text = (
            f"loss {seen['loss']:.4f}, {seen['images_per_s']:.0f} images/s,"
            f" {seen['wait_share']:.0%} waiting for data"
        )
        self._bar.set_postfix_str(text, refresh=False)
        if self._logs and time.monotonic() - self._last_line >= LOG_EVERY_S:
            self._last_line = time.monotonic()
            logger.info("%s, step %d/%d: %s", self._title, self._done, self._total, text)
