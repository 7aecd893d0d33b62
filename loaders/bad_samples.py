"""A log of the samples that could not be read or decoded. Each is listed once, with its shard and the reason."""

import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["BadSample", "BadSampleLog", "bad_sample_rows"]

MAX_DETAIL = 300
"""Maximum length, in characters, of a decoder's message in :func:`bad_sample_rows`."""


@dataclass(frozen=True, slots=True)
class BadSample:
    """A record of a sample that was masked because it could not be read. It contains no timestamps, so identical runs
    produce identical records."""

    shard: str
    sample_key: str
    reason: str
    """A short fixed phrase: ``checksum``, ``undecodable``, ``unreadable member``, …"""
    detail: str
    """The decoder's message."""
    epoch: int
    """The epoch in which the loader first failed to read the sample; 0 if the loader does not shuffle."""


class BadSampleLog:
    """The bad samples that one loader found in its process. Safe to use from several threads."""

    def __init__(self) -> None:
        self._found: dict[str, BadSample] = {}
        self._lock = threading.Lock()

    def add(self, samples: Iterable[BadSample]) -> None:
        """Records samples. A sample that is already recorded keeps its first reason."""
        with self._lock:
            for sample in samples:
                self._found.setdefault(sample.sample_key, sample)

    def since(self, count: int) -> list[BadSample]:
        """The samples recorded after the first ``count``, in order of discovery."""
        with self._lock:
            if len(self._found) == count:
                return []
            return list(self._found.values())[count:]


def bad_sample_rows(found: Iterable[BadSample], split: str) -> list[dict[str, Any]]:
    """Returns one dict per bad sample of ``split``, ready for JSON: the fields of :class:`BadSample` (``detail`` cut to
    ``MAX_DETAIL`` characters) and ``split``."""
    return [{"split": split, **asdict(bad), "detail": bad.detail[:MAX_DETAIL]} for bad in found]
