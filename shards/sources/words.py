"""Interprets folder, file and column names, and label values.

A name is split into alphabetic words. Numbers and fillers (words such as ``images``, which say nothing) are ignored.
The name has a meaning only if all remaining words do: ``0_real``, ``AI_generated_images`` and ``train-fake`` have one,
whereas ``real_vs_fake`` and ``imagenet_ai`` do not.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from shards.errors import InputError
from shards.manifest.schema import CLASS_NAMES
from shards.sources.columns import LABEL_COLUMNS, plain_name
from shards.sources.word_table import (
    CERTAIN,
    CLASS_WORDS,
    FILLERS,
    NEGATIONS,
    SPLIT_WORDS,
    denied,
    is_glued_denial,
    letters_of,
)

__all__ = [
    "Meaning",
    "Words",
    "answered_class",
    "asked_class",
    "parse_labels",
    "plain_label",
    "truth_of",
    "words_of_field",
]

_SAME_LABELS = {"true": "1", "1.0": "1", "false": "0", "0.0": "0"}
_TRUTH = {"1": True, "yes": True, "0": False, "no": False}
_OF_LABELS = frozenset(map(plain_name, LABEL_COLUMNS))


def plain_label(text: str) -> str:
    """Normalises a lower-case label: returns ``0`` or ``1`` for other spellings of these, and any other text unchanged.

    Such spellings are ``false`` and ``true`` in JSON and tables, and ``0.0`` and ``1.0`` in a number column with
    missing values.
    """
    return _SAME_LABELS.get(text, text)


def words_of_field(name: str) -> list[str]:
    """The words in a column or field name, in lower case: ``isNotFake`` → ``["is", "not", "fake"]``."""
    return letters_of(re.sub(r"([a-z])([A-Z])", r"\1 \2", name))


def asked_class(name: str) -> int | None:
    """Returns the class denoted by the values 1, yes and true in a column or field called ``name``, such as ``isReal``.

    Returns ``None`` if the name denotes no class or negates one.
    """
    words = [word for word in words_of_field(name) if word != "is"]
    forms = () if denied(words) else (" ".join(words), plain_name(name).removeprefix("is"))
    return next((label for form in forms if (label := Words().of_name(form).label) is not None), None)


@cache
def answered_class(name: str) -> int | None:
    """Returns the class that the value 1 denotes in a field called ``name``, or ``None`` if the name is ambiguous.

    A name is unambiguous if it is a known name of a label column (``is_fake``) or negates a class (``not_fake``). A
    field ``human``, in contrast, may say what the picture shows.
    """
    if plain_name(name) in _OF_LABELS:
        return asked_class(name)
    words = [word for word in words_of_field(name) if word != "is"]
    of_classes = all(word in CERTAIN or word in NEGATIONS or is_glued_denial(word) for word in words)
    return 1 - denied(words).pop() if of_classes and len(denied(words)) == 1 else None


def truth_of(text: str) -> bool | None:
    """Parses a boolean, such as ``yes`` in a column ``is_fake``. Returns ``None`` if the text is not a boolean."""
    return _TRUTH.get(plain_label(text.strip().lower()))


@dataclass(frozen=True, slots=True)
class Meaning:
    """The meaning of one name."""

    label: int | None = None
    split: str = ""
    is_given: bool = False
    """Whether the user gave a label for the name as a whole, rather than for one of its words."""
    is_filler: bool = False
    """Whether the name consists only of fillers, and thus cannot be the name of a generator or a scene."""

    def __bool__(self) -> bool:
        """Whether the name denotes a class or a split."""
        return self.label is not None or bool(self.split)


@dataclass(frozen=True)
class Words:
    """The built-in words plus those that the user gave. Picklable."""

    given: Mapping[str, int] = field(default_factory=dict)
    """Maps lower-case words to labels, from ``--label``. These words take precedence over the built-in ones."""
    skipped: frozenset[str] = frozenset()
    """Lower-case names of folders whose images are skipped, from ``--skip``."""
    matched: set[str] = field(default_factory=set, compare=False, repr=False)
    """The words of ``given`` and ``skipped`` that have occurred in names and values so far."""

    def given_label(self, text: str) -> int | None:
        """The label that the user gave for a text in lower case; ``None`` if there is none."""
        if text in self.given:
            self.matched.add(text)
        return self.given.get(text)

    def is_skipped(self, folder: str) -> bool:
        """Whether to skip the images in and below a folder with this name."""
        plain = folder.strip().lower()
        if plain in self.skipped:
            self.matched.add(plain)
        return plain in self.skipped

    def require_matched(self) -> None:
        """Raises ``InputError`` if a word given with ``--label`` or ``--skip`` occurs nowhere in the source.

        Such a word is misspelt, or is meant for another source.
        """
        if missing := sorted(self.given.keys() - self.matched):
            word, label = missing[0], CLASS_NAMES[self.given[missing[0]]]
            raise InputError(
                f"--label {word}={label}: no folder and no label is called {word!r}: check the spelling, or leave it "
                "out"
            )
        if missing := sorted(self.skipped - self.matched):
            raise InputError(
                f"--skip {missing[0]}: no folder of images below the source is called {missing[0]!r}: check the "
                "spelling, or leave it out"
            )

    def of_name(self, name: str) -> Meaning:
        """Returns the meaning of a folder name, or of a file name without its suffix."""
        plain = name.strip().lower()
        if (label := self.given_label(plain)) is not None:
            return Meaning(label, is_given=True)
        if "=" in plain:
            return self._of_partition(*plain.split("=", 1))
        words = [word for word in letters_of(plain) if word not in FILLERS]
        joined = "".join(words)
        if (label := self.given_label(joined)) is not None:
            return Meaning(label, is_given=True)
        if joined in CLASS_WORDS:
            return Meaning(CLASS_WORDS[joined])
        labels = {label for word in words if (label := self._label(word)) is not None}
        splits = {SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS}
        known = all(self._label(word) is not None or word in SPLIT_WORDS for word in words)
        if not words or not known or len(labels) > 1 or len(splits) > 1:
            return Meaning(is_filler=not words)
        return Meaning(next(iter(labels), None), next(iter(splits), ""))

    def _of_partition(self, column: str, value: str) -> Meaning:
        """Returns the meaning of a folder ``COLUMN=VALUE``, as in Hive and Spark: ``label=fake``, ``is_fake=0``."""
        if plain_name(column) == "split":
            return Meaning(split=self.of_name(value).split)
        if plain_name(column) not in _OF_LABELS:
            return Meaning()
        label, truth = self.of_value(value), truth_of(value)
        if truth is not None and (asked := asked_class(column)) is not None:
            label = asked if truth else 1 - asked
        return Meaning(label)

    def of_value(self, text: str) -> int | None:
        """Returns the label that a value in a table or tar member denotes, or ``None`` if it denotes none.

        A number denotes a label only if the user gave it a class.
        """
        plain = text.strip().lower()
        for form in (plain, plain_label(plain)):
            if (label := self.given_label(form)) is not None:
                return label
        return self.of_name(plain).label

    def is_certain(self, name: str) -> bool:
        """Whether a name unambiguously denotes a class: its words have no other meaning, or the user defined it."""
        words = [word for word in letters_of(name) if word not in FILLERS and word not in SPLIT_WORDS]
        return self.of_name(name).is_given or (bool(words) and all(word in CERTAIN for word in words))

    def _label(self, word: str) -> int | None:
        given = self.given_label(word)
        return CLASS_WORDS.get(word) if given is None else given


def parse_labels(texts: Sequence[str]) -> dict[str, int]:
    """Parses ``["nature=real", "1=generated"]`` to ``{"nature": 0, "1": 1}``.

    Raises ``InputError`` if a text does not have this form, or if a word is given both classes.
    """
    labels: dict[str, int] = {}
    for text in texts:
        word, _, name = text.rpartition("=")
        plain, label = plain_label(word.strip().lower()), CLASS_WORDS.get(name.strip().lower())
        if not plain or label is None:
            raise InputError(f"--label {text}: give WORD={CLASS_NAMES[0]} or WORD={CLASS_NAMES[1]}")
        if labels.setdefault(plain, label) != label:
            raise InputError(f"--label {text}: {word.strip()!r} was given both meanings: leave one of them out")
    return labels
