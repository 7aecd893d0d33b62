"""Loader statistics: counts of what the loader did, and the time spent in each stage."""

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["LoaderStats"]


class LoaderStats:
    """Thread-safe counters and timers.

    Times are in seconds and summed over threads, so with two threads they can grow by two seconds per second. Only
    ``wait_s`` is measured in a single thread: it is how long the training step waited for batches.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._reasons: dict[str, Counter[str]] = {kind: Counter() for kind in ("fallback", "failed", "on_host")}
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def count(self, name: str, amount: int = 1) -> None:
        """Adds ``amount`` to the counter ``name``: ``batches``, ``samples``, ``windowed``, ``full``, ``bytes_read``,
        …"""
        with self._lock:
            self._counts[name] += amount

    def reason(self, kind: str, reason: str, amount: int = 1) -> None:
        """Adds ``amount`` to the count of ``reason``. ``kind`` says what the reason explains:

        - ``fallback``: why a sample was decoded whole although windows were requested.
        - ``failed``: why a sample could not be decoded.
        - ``on_host``: why a sample was not decoded by DALI or nvJPEG.
        """
        with self._lock:
            self._reasons[kind][reason] += amount

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Context manager: adds the duration of its block to the total of stage ``name`` (such as ``read``, ``splice``,
        ``decode`` or ``wait``)."""
        start = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self._seconds[name] += time.perf_counter() - start

    def snapshot(self) -> dict[str, Any]:
        """Returns all counters, times (as ``NAME_s``) and counts by reason, as plain numbers."""
        with self._lock:
            return {
                **dict(self._counts),
                **{f"{name}_s": seconds for name, seconds in self._seconds.items()},
                **{kind: dict(reasons) for kind, reasons in self._reasons.items()},
            }
