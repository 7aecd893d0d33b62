"""Which columns of a table of images mean what, and what the values of its labels mean.

Tables come as lists beside images and as files that hold the images. A label is never guessed: a word
has the meaning that ``shards.sources.words`` knows, a number the one that a person, the name of its
column, or the names of the classes in the file or in its card give it. Columns that contradict each
other are refused.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from shards.errors import InputError
from shards.manifest.schema import CLASS_NAMES
from shards.sources.words import Words, plain_label

__all__ = ["LABEL_COLUMNS", "PATH_COLUMNS", "Columns", "find_columns", "read_labels"]

PATH_COLUMNS = ("path", "file_name", "filename", "file", "filepath", "file_path", "image_path", "image", "img")
"""Names of columns of files' paths, the first that is there counts."""
LABEL_COLUMNS = (
    *("label", "labels", "class", "class_name", "label_name", "target", "is_fake", "fake", "is_generated"),
    *("generated", "is_ai", "ai_generated", "is_synthetic", "is_real", "real", "real/fake", "real_fake"),
)
"""Names of columns of labels; where several are there, they have to agree."""
_GENERATOR_COLUMNS = ("generator", "model", "model_name", "generator_name", "source_model")
_MOST_VALUES = 12

ClassNames = Mapping[str, Mapping[str, str]]
"""Column → value → name of the class, as a file's schema or card gives it."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a table by what they mean; ``""`` for none."""

    path: str = ""
    labels: tuple[str, ...] = ()
    generator: str = ""
    group: str = ""
    split: str = ""

    @property
    def names(self) -> list[str]:
        """All of them."""
        return [name for name in (self.path, *self.labels, self.generator, self.group, self.split) if name]


def find_columns(names: Sequence[str]) -> Columns:
    """The columns among ``names``, whatever their case."""
    known = {name.strip().lower(): name for name in reversed(names)}  # of two alike, the first

    def first(*candidates: str) -> str:
        return next((known[name] for name in candidates if name in known), "")

    return Columns(
        first(*PATH_COLUMNS),
        tuple(known[name] for name in LABEL_COLUMNS if name in known),
        first(*_GENERATOR_COLUMNS),
        first("group"),
        first("split"),
    )


@dataclass(frozen=True)
class _Read:
    """What a column of labels says."""

    column: str
    values: pa.DictionaryArray
    meanings: Mapping[str, int]
    """Value → label, of the values that mean one."""
    by: str
    """Where the meanings come from, for a person."""

    @property
    def unknown(self) -> list[str]:
        """Values without a meaning."""
        return [value for value in self.values.dictionary.to_pylist() if value not in self.meanings]

    @property
    def labels(self) -> np.ndarray:
        """(rows,) int8; every value has a meaning."""
        of_value = np.array([self.meanings[v] for v in self.values.dictionary.to_pylist()], np.int8)
        return of_value[np.asarray(self.values.indices)]


def read_labels(
    table: pa.Table,
    columns: Sequence[str],
    words: Words,
    class_names: ClassNames,
    shown: str,
    where: Callable[[int], str],
) -> tuple[np.ndarray, list[str]]:
    """((rows,) int8 labels, notes on what the values mean) from the columns of labels of a table of texts.

    ``shown`` is the table for a person, and ``where`` gives the place of a row. Raises ``InputError`` where no
    column says what it means, and where two columns contradict each other.
    """
    if not columns:
        raise InputError(
            f"{shown} has no column of labels, such as {', '.join(LABEL_COLUMNS[:5])}: its columns are "
            f"{', '.join(table.column_names[:20])}"
        )
    read = [_read(table.column(name), name, words, class_names.get(name, {})) for name in columns]
    clear = [r for r in read if not r.unknown]
    if not clear:
        raise InputError(_without_meaning(read[0], where))
    chosen = clear[0]
    labels = chosen.labels
    for other in clear[1:]:
        if len(differ := np.flatnonzero(other.labels != labels)):
            row = int(differ[0])
            first, second = (f"{r.column} {r.values[row].as_py()!r} (by {r.by})" for r in (chosen, other))
            raise InputError(
                f"{where(row)}: {first} and {second} contradict each other: say what the values mean "
                "with --label VALUE=real and --label VALUE=generated, or take one of the columns out"
            )
    counts = dict(zip(*np.unique(np.asarray(chosen.values.indices), return_counts=True), strict=True))
    parts = [
        f"{value} = {CLASS_NAMES[chosen.meanings[value]]} ({counts.get(place, 0):,})"
        for place, value in enumerate(chosen.values.dictionary.to_pylist()[:_MOST_VALUES])
    ]
    return labels, [f"labels by {chosen.column} ({chosen.by}): {', '.join(parts)}"]


def _read(values: pa.ChunkedArray, column: str, words: Words, names: Mapping[str, str]) -> _Read:
    encoded = values.combine_chunks().dictionary_encode()
    found = encoded.dictionary.to_pylist()
    given = {v: words.given[w] for v in found if (w := plain_label(v.strip().lower())) in words.given}
    if given:
        if len(found) == 2 and len(given) == 1:  # of two classes, one says the other
            (value, label) = next(iter(given.items()))
            given[next(v for v in found if v != value)] = 1 - label
        return _Read(column, encoded, {**_spoken({v: v for v in found}, words), **given}, "--label")
    if named := _spoken({v: names.get(v, "") for v in found}, words):
        return _Read(column, encoded, named, "names of the classes in the file")
    if spoken := _spoken({v: v for v in found}, words):
        return _Read(column, encoded, spoken, "words")
    if (asked := _asked_for(column, words)) is None:
        return _Read(column, encoded, {}, "")
    truth = {"1": asked, "0": 1 - asked}
    told = {v: truth[w] for v in found if (w := plain_label(v.strip().lower())) in truth}
    return _Read(column, encoded, told, "the column's name")


def _spoken(texts: Mapping[str, str], words: Words) -> dict[str, int]:
    """Of value → text: value → label, where the text is a word for one."""
    labels = {value: words.of_value(text) for value, text in texts.items()}
    return {value: label for value, label in labels.items() if label is not None}


def _asked_for(column: str, words: Words) -> int | None:
    """The class for which 1 stands in a column like ``is_fake`` or ``generated``."""
    return words.of_name(column.lower().removeprefix("is_")).label


def _without_meaning(read: _Read, where: Callable[[int], str]) -> str:
    unknown = read.unknown
    of_first = read.values.dictionary.to_pylist().index(unknown[0])
    row = int(np.flatnonzero(np.asarray(read.values.indices) == of_first)[0])
    listed = ", ".join(repr(value[:40]) for value in unknown[:_MOST_VALUES])
    listed += " …" if len(unknown) > _MOST_VALUES else ""
    example = " ".join(f"--label {value[:40]}={name}" for value, name in zip(unknown, CLASS_NAMES, strict=False))
    return (
        f"{where(row)}: nothing says what the values {listed} of the column {read.column} mean: say so, such as "
        f"{example} (or the other way round)"
    )
