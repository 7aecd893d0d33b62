"""Evidence beside a table's labels, to find labels that are swapped.

A program that numbers folders in the order of their names writes 0 for ``fake`` and 1 for ``real``. The number does
not show it, but often something beside it does: the words of the folder that an image lies in, the column that names
its generator.
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
    """Whether ``hints`` contradict ``labels`` in every row that has both, and do so for rows of both classes: the
    labels are then swapped. Both are (rows,), with -1 for none."""
    both = (hints >= 0) & (labels >= 0)
    return bool(both.any()) and bool((hints[both] != labels[both]).all()) and len(np.unique(hints[both])) > 1


class FolderHints(NamedTuple):
    """What the names of folders say about the images in them."""

    labels: np.ndarray
    """(rows,) int8, -1 for none or both."""
    certain: np.ndarray
    """(rows,) bool: by a word that can mean nothing but a class."""

    def repeated(self, counts: np.ndarray) -> "FolderHints":
        """Each entry as often as ``counts``, (rows,) int, says."""
        return FolderHints(np.repeat(self.labels, counts), np.repeat(self.certain, counts))


def labels_by_folders(paths: Sequence[str], words: Words) -> FolderHints:
    """What the names of the folders of each path say."""
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
    """(rows,) int8: the label that the name of a generator says: 1 where there is one."""
    words = Words()
    known: dict[str, int] = {}
    for name in set(names):
        plain = name.strip().lower()
        known[name] = int(plain not in _NO_GENERATOR and words.of_value(plain) != 0)
    return np.array([known[name] for name in names], np.int8)


def require_not_swapped(
    labels: np.ndarray, hints: FolderHints, by: str, remedy: str, shown: str, where: Callable[[int], str]
) -> list[str]:
    """A note on rows whose label differs from their hint; none if no row does.

    Raises ``InputError`` if all rows with a hint differ, in both classes or by hints that can mean nothing else: the
    labels are then swapped. In messages, ``shown`` is the table, ``by`` is where the hints come from, ``where`` gives
    the place of a row, and ``remedy`` is a further thing that the user can do.
    """
    both = (hints.labels >= 0) & (labels >= 0)
    differ = np.flatnonzero(both & (hints.labels != labels))
    if not len(differ):
        return []
    text = (
        f"labels of {shown} differ from {by} in {counted(len(differ), 'row')} of {int(both.sum()):,}, such as "
        f"{where(int(differ[0]))}"
    )
    if labels_swapped(labels, hints.labels) or (len(differ) == both.sum() and hints.certain[both].all()):
        raise InputError(f"{text}: they are swapped: say what the values mean with --label, or {remedy}")
    return [text]
