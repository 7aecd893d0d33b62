"""Infers the meanings of an image table's columns from their names.

An image table is either a list of image files, or a file with embedded images.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from shards.errors import InputError

__all__ = ["LABEL_COLUMNS", "PATH_COLUMNS", "Columns", "Unclear", "find_columns", "plain_name"]

PATH_COLUMNS = ("path", "file_name", "file", "file_path", "image_path", "image_name", "image", "img", "img_path")
"""Names of file-path columns. If a table has several, the one that comes first here is used."""
LABEL_COLUMNS = (
    *("label", "labels", "label_str", "label_a", "class", "class_name", "label_name", "target", "ground_truth"),
    *("is_fake", "fake", "is_generated", "generated", "is_ai", "ai_generated", "is_ai_generated", "is_synthetic"),
    *("synthetic", "is_real", "real", "real/fake"),
)
"""Names of label columns. If there are several, they must agree."""
_GENERATOR_COLUMNS = ("generator", "generator_name", "model", "model_name", "source_model")


class Unclear(InputError):
    """Raised if a table lacks required information, such as labels, that another table or the folders may provide."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of a table's columns by meaning; ``""`` (or an empty tuple, for labels) if there is no such column."""

    path: str = ""
    labels: tuple[str, ...] = ()
    generator: str = ""
    group: str = ""
    split: str = ""

    @property
    def names(self) -> list[str]:
        """The names of all columns with a known meaning."""
        return [name for name in (self.path, *self.labels, self.generator, self.group, self.split) if name]


def plain_name(column: str) -> str:
    """A column's name without case and punctuation: ``isfake`` for ``is_fake``, ``isFake`` and ``Is Fake``."""
    return re.sub(r"[\W_]+", "", column.lower())


def find_columns(names: Sequence[str], shown: str = "the table") -> Columns:
    """Identifies columns by their names, ignoring case and punctuation.

    ``shown`` is the table's name in messages. Raises ``InputError`` if two columns with the same meaning differ only in
    case and punctuation.
    """
    known: dict[str, list[str]] = {}
    for name in names:
        known.setdefault(plain_name(name), []).append(name)

    def first(*candidates: str) -> str:
        return next((_only(known[plain], shown) for c in candidates if (plain := plain_name(c)) in known), "")

    labels = [found for name in LABEL_COLUMNS if (found := first(name))]
    return Columns(first(*PATH_COLUMNS), tuple(labels), first(*_GENERATOR_COLUMNS), first("group"), first("split"))


def _only(names: Sequence[str], shown: str) -> str:
    if len(names) > 1:
        raise InputError(f"{shown} has two columns called {' and '.join(names[:2])}: remove one of them")
    return names[0]
