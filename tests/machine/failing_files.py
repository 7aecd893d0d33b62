"""Openings of files that fail as a disk or a system does, and pauses that take no time."""

import os
from pathlib import Path
from typing import Any

import pytest

from shards.files import patience
from shards.files.patience import Clock

__all__ = ["fail_openings", "note_pauses"]

_OPEN, _OPEN_BY_NUMBER = Path.open, os.open


def fail_openings(monkeypatch: pytest.MonkeyPatch, name: str, number: int, times: int = 10**6) -> list[str]:
    """The next ``times`` openings of files of this name raise the ``OSError`` of that number; returns the list of those
    that did. What an earlier call let fail is well again."""
    failed: list[str] = []

    def fail_once_more(path: Any) -> None:
        is_meant = isinstance(path, str | os.PathLike) and Path(path).name == name
        if is_meant and len(failed) < times:
            failed.append(str(path))
            raise OSError(number, os.strerror(number), str(path))

    def open_or_fail(path: Path, *arguments: Any, **named: Any) -> Any:
        fail_once_more(path)
        return _OPEN(path, *arguments, **named)

    def open_by_number_or_fail(path: Any, *arguments: Any, **named: Any) -> int:
        fail_once_more(path)
        return _OPEN_BY_NUMBER(path, *arguments, **named)

    monkeypatch.setattr(Path, "open", open_or_fail)
    monkeypatch.setattr(os, "open", open_by_number_or_fail)
    return failed


def note_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """From now on nothing waits; returns the list of pauses that are asked for."""
    asked: list[float] = []
    monkeypatch.setattr(patience, "CLOCK", Clock(sleep=asked.append))
    return asked
