"""The meaning of words in a data set: names of folders, files and columns, and values of labels.

A name is split into words of letters. Numbers and fillers (words that say nothing, such as ``images``) are ignored. The
name has a meaning only if every remaining word has one: ``0_real``, ``AI_generated_images`` and ``train-fake`` have a
meaning, ``real_vs_fake`` and ``imagenet_ai`` do not.
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
    """Converts other spellings of ``0`` and ``1`` in a label, given in lower case, to ``0`` and ``1``.

    JSON and tables write ``true`` and ``false``, and a column with missing numbers holds ``1.0``.
    """
    return _SAME_LABELS.get(text, text)


def words_of_field(name: str) -> list[str]:
    """The words in the name of a column or field, in lower case: ``isNotFake`` → ``["is", "not", "fake"]``."""
    return letters_of(re.sub(r"([a-z])([A-Z])", r"\1 \2", name))


def asked_class(name: str) -> int | None:
    """The class that 1, yes or true stands for in a column or field called ``name``, such as ``isReal``.

    ``None`` for a name that means no class, or denies one.
    """
    words = [word for word in words_of_field(name) if word != "is"]
    forms = () if denied(words) else (" ".join(words), plain_name(name).removeprefix("is"))
    return next((label for form in forms if (label := Words().of_name(form).label) is not None), None)


@cache
def answered_class(name: str) -> int | None:
    """The class that the value 1 stands for in a field, if its ``name`` is clear.

    A name is clear if it may be the name of a column of labels (``is_fake``), or denies a class (``not_fake``).
    ``None`` for all other names: a field ``human`` may say what a picture shows.
    """
    if plain_name(name) in _OF_LABELS:
        return asked_class(name)
    words = [word for word in words_of_field(name) if word != "is"]
    of_classes = all(word in CERTAIN or word in NEGATIONS or is_glued_denial(word) for word in words)
    return 1 - denied(words).pop() if of_classes and len(denied(words)) == 1 else None


def truth_of(text: str) -> bool | None:
    """The truth value of a text, such as ``yes`` in a column ``is_fake``; ``None`` if the text is no truth value."""
    return _TRUTH.get(plain_label(text.strip().lower()))


@dataclass(frozen=True, slots=True)
class Meaning:
    """The meaning of one name."""

    label: int | None = None
    split: str = ""
    is_given: bool = False
    """Whether the user gave the label for this name, and not only for one of its words."""
    is_filler: bool = False
    """Whether the name consists of fillers, so that it cannot be the name of a generator or a scene."""

    def __bool__(self) -> bool:
        """Whether the name means a class or a split."""
        return self.label is not None or bool(self.split)


@dataclass(frozen=True)
class Words:
    """The table of words, with the words that the user gave. Can be pickled."""

    given: Mapping[str, int] = field(default_factory=dict)
    """Word in lower case → label, from ``--label``. These words take precedence over the table."""
    skipped: frozenset[str] = frozenset()
    """Names of folders, in lower case, whose images are skipped, from ``--skip``."""
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
        """Raises ``InputError`` if a word of ``--label`` or ``--skip`` occurs nowhere in the source.

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
        """The meaning of the name of a folder, or of a file without its suffix."""
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
        """The meaning of a folder ``COLUMN=VALUE``, as Hive and Spark name them: ``label=fake``, ``is_fake=0``."""
        if plain_name(column) == "split":
            return Meaning(split=self.of_name(value).split)
        if plain_name(column) not in _OF_LABELS:
            return Meaning()
        label, truth = self.of_value(value), truth_of(value)
        if truth is not None and (asked := asked_class(column)) is not None:
            label = asked if truth else 1 - asked
        return Meaning(label)

    def of_value(self, text: str) -> int | None:
        """The label that a value in a table, or in a member of a tar, stands for; ``None`` if it stands for none.

        A number stands for a label only if the user gave it a class.
        """
        plain = text.strip().lower()
        for form in (plain, plain_label(plain)):
            if (label := self.given_label(form)) is not None:
                return label
        return self.of_name(plain).label

    def is_certain(self, name: str) -> bool:
        """Whether a name can only mean a class, because its words have no other meaning or the user gave it a class."""
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
