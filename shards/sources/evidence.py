"""Detects that the labels of a table are swapped, by comparing them with other evidence.

A program that numbers folders by their names writes 0 for ``fake`` and 1 for ``real``. The numbers alone do not show
which of them means ``real``. Other data often do: words in the folder of an image, or the column that names its
generator.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from shards.cli.wording import counted
from shards.errors import InputError
from shards.sources.word_table import denied, letters_of
from shards.sources.words import Words

__all__ = ["FolderHints", "labels_by_folders", "labels_by_generators", "labels_swapped", "require_not_swapped"]

_NO_GENERATOR = frozenset({"", "none", "nan", "null", "n/a", "-"})


def labels_swapped(labels: np.ndarray, hints: np.ndarray) -> bool:
    """Whether labels are swapped: in all rows with a label and a hint, the two differ, and the hints have both classes.

    ``labels`` and ``hints`` are (rows,), with -1 for a row that has none.
    """
    both = (hints >= 0) & (labels >= 0)
    return bool(both.any()) and bool((hints[both] != labels[both]).all()) and len(np.unique(hints[both])) > 1


class FolderHints(NamedTuple):
    """Labels of images according to the names of their folders."""

    labels: np.ndarray
    """(rows,) int8; -1 if the names give no label or name both classes."""
    certain: np.ndarray
    """(rows,) bool: whether the label comes from a word that can only mean a class."""

    def repeated(self, counts: np.ndarray) -> "FolderHints":
        """A copy in which entry i occurs ``counts[i]`` times; ``counts`` is (rows,) int."""
        return FolderHints(np.repeat(self.labels, counts), np.repeat(self.certain, counts))


def labels_by_folders(paths: Sequence[str], words: Words) -> FolderHints:
    """The label of each path according to the names of its folders."""
    known: dict[str, tuple[int, bool]] = {}
    found = FolderHints(np.full(len(paths), -1, np.int8), np.zeros(len(paths), bool))
    for row, path in enumerate(paths):
        folder = path.rpartition("/")[0]
        if folder not in known:
            named = [name for name in folder.split("/") if words.of_name(name).label is not None]
            said = {words.of_name(name).label for name in named}
            label = said.pop() if len(said) == 1 else None
            label = None if any(label in denied(letters_of(name)) for name in folder.split("/")) else label
            known[folder] = (-1, False) if label is None else (label, any(words.is_certain(name) for name in named))
        found.labels[row], found.certain[row] = known[folder]
    return found


def labels_by_generators(names: Sequence[str]) -> np.ndarray:
    """(rows,) int8: 1 for each row that names a generator; 0 for a row without one, or with a word for real images."""
    words = Words()
    known: dict[str, int] = {}
    for name in set(names):
        plain = name.strip().lower()
        known[name] = int(plain not in _NO_GENERATOR and words.of_value(plain) != 0)
    return np.array([known[name] for name in names], np.int8)


def require_not_swapped(
    labels: np.ndarray, hints: FolderHints, by: str, remedy: str, shown: str, where: Callable[[int], str]
) -> list[str]:
    """A note on rows whose label differs from their hint; none if there are no such rows.

    Raises ``InputError`` if labels are swapped: every label differs from its hint, and the hints have both classes or
    are all from words that can only mean a class. Messages call the table ``shown``, the origin of the hints ``by`` and
    row i ``where(i)``. They suggest ``--label`` or, as another remedy, ``remedy``.
    """
    both = (hints.labels >= 0) & (labels >= 0)
    differ = np.flatnonzero(both & (hints.labels != labels))
    if not len(differ):
        return []
    text = (
        f"labels of {shown} differ from {by} in {len(differ):,} of {counted(int(both.sum()), 'row')}, for example "
        f"{where(int(differ[0]))}"
    )
    if labels_swapped(labels, hints.labels) or (len(differ) == both.sum() and hints.certain[both].all()):
        raise InputError(
            f"{text}: real and generated are swapped: use --label to say what the values mean, or {remedy}"
        )
    return [text]
