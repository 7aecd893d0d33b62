"""The files of a data set, and a check that two data sets have the same."""

from collections.abc import Mapping
from pathlib import Path

from shards.build.plan import PLAN_NAME

__all__ = ["assert_same_files", "contents"]


def contents(folder: Path) -> dict[str, bytes]:
    """Name → bytes of each file directly in a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def assert_same_files(found: Path | Mapping[str, bytes], expected: Path | Mapping[str, bytes]) -> None:
    """Requires two data sets, or their ``contents``, to be equal except for the plan, which records when the sources
    were written."""
    one, other = (contents(place) if isinstance(place, Path) else dict(place) for place in (found, expected))
    assert sorted(one) == sorted(other)
    assert [name for name in one if name != PLAN_NAME and one[name] != other[name]] == []
