"""Samples that gave no pixels: each noted once, with where it lies and why."""

import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["BadSample", "BadSampleLog", "bad_sample_rows"]

MAX_DETAIL = 300
"""Characters of a decoder's words that :func:`bad_sample_rows` keeps."""


@dataclass(frozen=True, slots=True)
class BadSample:
    """A sample that was masked. Holds no times, so that equal runs note the same."""

    shard: str
    sample_key: str
    reason: str
    """A short fixed phrase: ``checksum``, ``undecodable``, ``unreadable member``, …"""
    detail: str
    """The decoder's words."""
    epoch: int
    """In which it was met first."""


class BadSampleLog:
    """The bad samples that one loader met in its process. Safe to use from several threads."""

    def __init__(self) -> None:
        self._found: dict[str, BadSample] = {}
        self._lock = threading.Lock()

    def add(self, samples: Iterable[BadSample]) -> None:
        """Notes samples; one that was noted before keeps its first reason."""
        with self._lock:
            for sample in samples:
                self._found.setdefault(sample.sample_key, sample)

    def since(self, count: int) -> list[BadSample]:
        """All but the first ``count``, in the order in which they were met."""
        with self._lock:
            if len(self._found) == count:
                return []
            return list(self._found.values())[count:]


def bad_sample_rows(found: Iterable[BadSample], split: str) -> list[dict[str, Any]]:
    """Bad samples of ``split`` as plain values, for JSON."""
    return [{"split": split, **asdict(bad), "detail": bad.detail[:MAX_DETAIL]} for bad in found]
