"""Detects swapped labels in a table by comparing them with other evidence.

A program that numbers class folders alphabetically writes 0 for ``fake`` and 1 for ``real``. The number alone does not
show which class is ``real``, but other data often do: words in the path to an image, or a column that names the
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
    """Whether labels and hints differ in every row that has both, and the hints of these rows include both classes.

    ``labels`` and ``hints`` are arrays of shape (rows,), with -1 where there is none.
    """
    both = (hints >= 0) & (labels >= 0)
    return bool(both.any()) and bool((hints[both] != labels[both]).all()) and len(np.unique(hints[both])) > 1


class FolderHints(NamedTuple):
    """The labels that the images' folder names indicate."""

    labels: np.ndarray
    """(rows,) int8: -1 where the names indicate no label or contradict each other."""
    certain: np.ndarray
    """(rows,) bool: whether the label comes from a word that unambiguously denotes a class."""

    def repeated(self, counts: np.ndarray) -> "FolderHints":
        """Returns a copy with entry i repeated ``counts[i]`` times. ``counts`` is (rows,) int."""
        return FolderHints(np.repeat(self.labels, counts), np.repeat(self.certain, counts))


def labels_by_folders(paths: Sequence[str], words: Words) -> FolderHints:
    """Infers labels from the folder names in ``paths``."""
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
    """Infers labels from generator names: 0 for a missing name or a word for real images, 1 for any other name.

    Returns an int8 array of shape (rows,).
    """
    words = Words()
    known: dict[str, int] = {}
    for name in set(names):
        plain = name.strip().lower()
        known[name] = int(plain not in _NO_GENERATOR and words.of_value(plain) != 0)
    return np.array([known[name] for name in names], np.int8)


def require_not_swapped(
    labels: np.ndarray, hints: FolderHints, by: str, remedy: str, shown: str, where: Callable[[int], str]
) -> list[str]:
    """Returns a note on the rows whose label differs from their hint, or ``[]`` if there are none.

    Raises ``InputError`` if the labels are swapped: every label differs from its hint, and the hints either include
    both classes or all come from words that unambiguously denote a class. In messages, ``shown`` names the table,
    ``by`` the origin of the hints, and ``where(i)`` row i. The error message suggests ``--label`` and, as an
    alternative, ``remedy``.
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
