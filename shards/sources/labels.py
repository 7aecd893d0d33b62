"""Interprets the values in a table's label columns.

Labels are never guessed. Words have the meaning given in ``shards.sources.words``. The meaning of a number comes from
its class name in the file or in the data set's card. If it has none, the column name decides, and failing that, the
user. It is an error if two columns give different labels, or if the user and the file assign a number to different
classes.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from shards.cli.wording import counted
from shards.errors import InputError
from shards.manifest.schema import CLASS_NAMES
from shards.sources.class_names import ClassNames
from shards.sources.columns import LABEL_COLUMNS, Unclear
from shards.sources.evidence import labels_swapped
from shards.sources.words import Words, asked_class, plain_label, truth_of

__all__ = ["NO_LABEL", "read_labels"]

NO_LABEL = -1
"""The value that marks a row without a label in a label array."""

_MOST_VALUES = 12
_EMPTY = frozenset({"", "nan", "none", "null"})
_NUMBER = re.compile(r"[-+]?\d+(\.\d*)?|true|false")


@dataclass(frozen=True)
class _Column:
    """The contents and meaning of a label column."""

    name: str
    values: pa.DictionaryArray
    texts: Mapping[str, str]
    """Maps each value to its class name in the file or the card. A value without such a name is mapped to itself.
    Values that are not labels, such as "nan", are left out."""
    meanings: Mapping[str, int]
    """Maps values to labels, omitting values whose meaning is unknown."""
    by: str
    """Where the meanings come from, as text for the user."""
    contested: str = ""
    """A value whose class as given by the user contradicts ``meanings``; ``""`` if there is none."""

    @property
    def unknown(self) -> list[str]:
        """Values of ``texts`` whose meaning is unknown."""
        return [value for value in self.texts if value not in self.meanings]

    @property
    def is_clear(self) -> bool:
        return bool(self.meanings) and not self.unknown

    @property
    def labels(self) -> np.ndarray:
        """The labels as an int8 array of shape (rows,), with ``NO_LABEL`` for a value that has no meaning."""
        found = self.values.dictionary.to_pylist()
        of_value = np.array([self.meanings.get(value, NO_LABEL) for value in found], np.int8)
        return of_value[np.asarray(self.values.indices)]

    def row_of(self, value: str) -> int:
        """Returns the index of the first row that contains ``value``."""
        return int(np.flatnonzero(np.asarray(self.values.indices) == self.values.dictionary.index(value).as_py())[0])

    def shown(self, value: str) -> str:
        """Text for the user: ``value``, and its class name if it has one."""
        text = self.texts.get(value, value)
        return repr(value[:40]) if text == value else f"{value[:40]!r} ({text[:40]!r})"


def read_labels(
    table: pa.Table,
    columns: Sequence[str],
    words: Words,
    class_names: ClassNames,
    shown: str,
    where: Callable[[int], str],
) -> tuple[np.ndarray, list[str]]:
    """Reads the label ``columns`` of a string table. Returns the labels and notes on what the values mean.

    The labels are an int8 array of shape (rows,), with ``NO_LABEL`` for a row without a label. In messages, ``shown``
    stands for the table and ``where(i)`` for row i. Raises ``Unclear`` if no column's values have a known meaning, and
    ``InputError`` if two columns, or a column and the user, contradict each other.
    """
    if not columns:
        raise Unclear(
            f"{shown} has no column of labels: add one called label with the values real and generated, or name yours "
            f"{', '.join(LABEL_COLUMNS[1:5])}, is_fake or is_real; or give the folder of the images, if the names of "
            "its folders, such as real/ and fake/, tell the classes apart"
        )
    read = [_read(table.column(name), name, words, class_names.get(name, {}), shown) for name in columns]
    clear = [column for column in read if column.is_clear]
    _require_as_given(read, clear, where)
    if not clear and not any(column.texts for column in read):
        return np.full(table.num_rows, NO_LABEL, np.int8), [f"{shown} has no labels in {_listed(columns)}"]
    if not clear:
        raise Unclear(_without_meaning(read, where))
    labels = clear[0].labels
    for other in clear[1:]:
        _require_same(clear[0], other, labels, where)
        labels = np.where(labels == NO_LABEL, other.labels, labels)
    for other in read:
        if not other.is_clear and labels_swapped(labels, other.labels):
            raise InputError(
                f"{shown}: its columns {clear[0].name} and {other.name} contradict each other: remove one of them"
            )
    notes = [f"labels of {shown} by column {clear[0].name} ({clear[0].by}): {_counts(clear[0])}"]
    if len(empty := np.flatnonzero(labels == NO_LABEL)):
        notes.append(f"skipped {counted(len(empty), 'row')} without a label, for example {where(int(empty[0]))}")
    return labels, notes


def _read(values: pa.ChunkedArray, column: str, words: Words, names: Mapping[str, str], shown: str) -> _Column:
    """Interprets a column's values.

    Raises ``InputError`` if the class names contradict the column name.
    """
    encoded = values.combine_chunks().dictionary_encode()
    texts = {}
    for value in encoded.dictionary.to_pylist():
        plain = plain_label(value.strip().lower())
        if plain not in _EMPTY and not (names and plain.startswith("-")):  # datasets writes -1 for no label
            texts[value] = names.get(plain, value)
    own = {value: label for value, text in texts.items() if (label := _spoken(text, column, words)) is not None}
    worded = [value for value, text in texts.items() if _word(text, words) is not None]
    if turned := [value for value in worded if _spoken(value, column, words) == 1 - own[value]]:
        raise InputError(
            f"{shown}: {turned[0]} in the column {column} is {texts[turned[0]]!r} according to the names of its "
            "classes, but the other class according to the column's own name: correct one of the two"
        )
    said = _labels_given(texts, words)
    contested = next((value for value in own if said.get(value, own[value]) != own[value]), "")
    spoken = [texts[value] for value in worded]
    if said.keys() - own.keys() or any(text.strip().lower() in words.given for text in spoken):
        by = "--label"
    else:
        by = "the names of its classes" if spoken and names else "words" if spoken else "the column's name"
    return _Column(column, encoded, texts, {**said, **own}, by, contested)


def _word(text: str, words: Words) -> int | None:
    """Returns the label that a word denotes, or ``None`` for a number or any other word."""
    return None if _NUMBER.fullmatch(plain_label(text.strip().lower())) else words.of_value(text)


def _spoken(text: str, column: str, words: Words) -> int | None:
    """Returns the label that a value denotes, or ``None`` if it denotes none.

    A word denotes a label by itself; a number or boolean does so only in combination with its column name.
    """
    if (label := _word(text, words)) is not None:
        return label
    truth, asked = truth_of(text), asked_class(column)
    return None if asked is None or truth is None else asked if truth else 1 - asked


def _labels_given(texts: Mapping[str, str], words: Words) -> dict[str, int]:
    """Returns the labels of the numbers whose class the user gave, keyed by value.

    If the user gave only one of 0 and 1 a class, the other one denotes the other class.
    """
    numbers = {}
    for value, text in texts.items():
        for form in (text, value):
            if _NUMBER.fullmatch(plain := plain_label(form.strip().lower())):
                numbers[value] = plain
                break
    said = {value: label for value, number in numbers.items() if (label := words.given_label(number)) is not None}
    binary = [number for number in ("0", "1") if number in words.given]
    if len(binary) == 1 and set(numbers.values()) <= {"0", "1"}:
        label = words.given[binary[0]]
        words.matched.update(binary)
        said = {value: label if number == binary[0] else 1 - label for value, number in numbers.items()}
    return said


def _require_as_given(read: Sequence[_Column], clear: Sequence[_Column], where: Callable[[int], str]) -> None:
    """Raises ``InputError`` if the user and the file assign a number to different classes.

    Does nothing if all meanings in another column come from the user, since the user may have meant that column.
    """
    contested = next((column for column in clear if column.contested), None)
    if contested is None or any(column.by == "--label" for column in clear):
        return
    value = contested.contested
    label = contested.meanings[value]
    raise InputError(
        f"{where(contested.row_of(value))}: {contested.shown(value)} in the column {contested.name} means "
        f"{CLASS_NAMES[label]} according to {contested.by}, but --label says {CLASS_NAMES[1 - label]}: leave --label "
        "out, or, if the file is wrong, rename the column or its classes"
    )


def _require_same(chosen: _Column, other: _Column, labels: np.ndarray, where: Callable[[int], str]) -> None:
    differ = np.flatnonzero((other.labels != labels) & (other.labels != NO_LABEL) & (labels != NO_LABEL))
    if len(differ):
        row = int(differ[0])
        first, second = (f"{c.name} {c.shown(c.values[row].as_py())} (by {c.by})" for c in (chosen, other))
        raise InputError(
            f"{where(row)}: {first} and {second} contradict each other: use --label VALUE=real and --label "
            "VALUE=generated to say what the values mean, or remove one of the columns"
        )


def _counts(column: _Column) -> str:
    counts = np.bincount(np.asarray(column.values.indices), minlength=len(column.values.dictionary))
    parts = [
        f"{value[:40]}{'' if (text := column.texts[value]) == value else f' ({text[:40]})'} = "
        f"{CLASS_NAMES[column.meanings[value]]} ({counts[place]:,})"
        for place, value in enumerate(column.values.dictionary.to_pylist())
        if value in column.meanings
    ]
    return ", ".join(parts[:_MOST_VALUES]) + (" …" if len(parts) > _MOST_VALUES else "")


def _without_meaning(read: Sequence[_Column], where: Callable[[int], str]) -> str:
    column = min((column for column in read if column.texts), key=lambda column: len(column.unknown))
    unknown = column.unknown
    listed = ", ".join(column.shown(value) for value in unknown[:_MOST_VALUES])
    listed += " …" if len(unknown) > _MOST_VALUES else ""
    example = " ".join(f"--label {value[:40]}={name}" for value, name in zip(unknown, CLASS_NAMES, strict=False))
    return (
        f"{where(column.row_of(unknown[0]))}: the meaning of {listed} in the column {column.name} is unknown: give "
        f"it, for example with {example}, or the other way round"
    )


def _listed(names: Sequence[str]) -> str:
    return ("the column " if len(names) == 1 else "the columns ") + " and ".join(names)
