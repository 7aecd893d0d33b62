"""Simulates failures to open files, such as those of a broken disk, and makes pauses take no time."""

import os
from pathlib import Path
from typing import Any

import pytest

from shards.files import patience
from shards.files.patience import Clock

__all__ = ["fail_openings", "note_pauses"]

_OPEN, _OPEN_BY_NUMBER = Path.open, os.open


def fail_openings(monkeypatch: pytest.MonkeyPatch, name: str, number: int, times: int = 10**6) -> list[str]:
    """Makes the next ``times`` attempts to open a file called ``name`` raise an ``OSError`` with this ``number``.
    Replaces the failures set up by earlier calls. Returns a list that collects the paths of the failed attempts."""
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
    """Makes pauses take no time; returns a list that collects their lengths in seconds."""
    asked: list[float] = []
    monkeypatch.setattr(patience, "CLOCK", Clock(sleep=asked.append))
    return asked
