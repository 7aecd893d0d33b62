"""Reads the files of a data set, and checks that two data sets have the same files."""

from collections.abc import Mapping
from pathlib import Path

from shards.build.plan import PLAN_NAME

__all__ = ["assert_same_files", "contents"]


def contents(folder: Path) -> dict[str, bytes]:
    """Returns name → bytes of each file directly in ``folder``."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def assert_same_files(found: Path | Mapping[str, bytes], expected: Path | Mapping[str, bytes]) -> None:
    """Asserts that two data sets, given as folders or as their ``contents``, have equal files. The plan is not
    compared, because it records when the sources were last changed."""
    one, other = (contents(place) if isinstance(place, Path) else dict(place) for place in (found, expected))
    assert sorted(one) == sorted(other)
    assert [name for name in one if name != PLAN_NAME and one[name] != other[name]] == []
