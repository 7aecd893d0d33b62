"""What the words of a data set mean: names of folders, of files, and values of labels, in one table.

A name is taken apart into words of letters; numbers and words without a meaning of their own, such as
``images``, are left out. It has a meaning only where every word that is left has one: ``0_real``,
``AI_generated_images`` and ``train-fake`` have, ``real_vs_fake`` and ``imagenet_ai`` have none.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from shards.errors import InputError
from shards.manifest.schema import CLASS_NAMES, SPLITS

__all__ = [
    "CERTAIN",
    "CLASS_WORDS",
    "FILLERS",
    "SPLIT_WORDS",
    "Meaning",
    "Words",
    "denies",
    "letters_of",
    "parse_labels",
    "plain_label",
]

_REAL = (
    "real",
    "reals",
    "realart",
    "nature",
    "natural",
    "photo",
    "photos",
    "photograph",
    "photographs",
    "human",
    "authentic",
    "genuine",
    "pristine",
    "original",
)
_GENERATED = (
    "generated",
    "fake",
    "fakes",
    "ai",
    "aigc",
    "aigenerated",
    "aiart",
    "aiartdata",
    "synthetic",
    "synth",
    "synthesized",
    "artificial",
)
CLASS_WORDS = dict.fromkeys(_REAL, 0) | dict.fromkeys(_GENERATED, 1)
"""Word in lower case → label."""

CERTAIN = {"real": 0, "generated": 1, "fake": 1}
"""Words that name a class wherever they stand; ``photo``, ``human`` or ``ai`` may also name a scene."""

_NEGATIONS = frozenset({"no", "non", "not", "un", "without"})

SPLIT_WORDS = {name: name for name in SPLITS} | {
    "val": "valid",
    "validation": "valid",
    "training": "train",
    "testing": "test",
}
"""Word in lower case → split."""

FILLERS = frozenset(
    [
        "image",
        "images",
        "img",
        "imgs",
        "picture",
        "pictures",
        "pic",
        "pics",
        "data",
        "dataset",
        "datasets",
        "set",
        "file",
        "files",
        "all",
        "sample",
        "samples",
        "jpg",
        "jpeg",
        "png",
        "webp",
    ]
)
"""Words of names that say nothing about what lies below."""

_WORD = re.compile(r"[^\W\d_]+")
_SAME_LABELS = {"true": "1", "1.0": "1", "false": "0", "0.0": "0"}


def letters_of(name: str) -> list[str]:
    """The words of a name in lower case, without numbers and marks."""
    return _WORD.findall(name.lower())


def plain_label(text: str) -> str:
    """A label's text, in lower case, as ``0`` or ``1`` where it is another way to write these: JSON
    and tables have true and false, and 1.0 where another row has no number."""
    return _SAME_LABELS.get(text, text)


def denies(words: Sequence[str]) -> bool:
    """Whether words of a name say that it is not of a class, as in ``not_fake``."""
    return not _NEGATIONS.isdisjoint(words) and not CLASS_WORDS.keys().isdisjoint(words)


@dataclass(frozen=True, slots=True)
class Meaning:
    """What one name says."""

    label: int | None = None
    split: str = ""
    is_given: bool = False
    """The label is one that the person gave for this very name."""
    is_filler: bool = False
    """It has no word that could name anything, such as a generator."""

    def __bool__(self) -> bool:
        """Whether it says anything."""
        return self.label is not None or bool(self.split)


@dataclass(frozen=True)
class Words:
    """The table, with the words that a person gave. Picklable."""

    given: Mapping[str, int] = field(default_factory=dict)
    """Word in lower case → label, as ``--label`` gives them. They go before the table."""
    matched: set[str] = field(default_factory=set, compare=False, repr=False)
    """Those of ``given`` that stood somewhere, as far as names and values have been asked for."""

    def given_label(self, text: str) -> int | None:
        """The label that the person gave for a text in lower case."""
        if text in self.given:
            self.matched.add(text)
        return self.given.get(text)

    def require_matched(self) -> None:
        """Raises ``InputError`` where a word that the person gave stands nowhere: it was misspelt, or means
        another source."""
        if missing := sorted(self.given.keys() - self.matched):
            word, label = missing[0], CLASS_NAMES[self.given[missing[0]]]
            raise InputError(
                f"--label {word}={label}: neither a folder nor a value of a label is called {word!r}: check how it "
                "is spelt, or leave it out"
            )

    def of_name(self, name: str) -> Meaning:
        """The meaning of a folder's name, or of a file's without its suffix."""
        plain = name.strip().lower()
        if (label := self.given_label(plain)) is not None:
            return Meaning(label, is_given=True)
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

    def of_value(self, text: str) -> int | None:
        """The label that a value of a table or of a tar's member means; a number means only what a
        person said that it means."""
        plain = text.strip().lower()
        for form in (plain, plain_label(plain)):
            if (label := self.given_label(form)) is not None:
                return label
        return self.of_name(plain).label

    def is_certain(self, name: str) -> bool:
        """Whether a name can mean nothing but a class, by words that have no other meaning or by the person's."""
        words = [word for word in letters_of(name) if word not in FILLERS and word not in SPLIT_WORDS]
        return self.of_name(name).is_given or (bool(words) and all(word in CERTAIN for word in words))

    def _label(self, word: str) -> int | None:
        given = self.given_label(word)
        return CLASS_WORDS.get(word) if given is None else given


def parse_labels(texts: Sequence[str]) -> dict[str, int]:
    """``["nature=real", "1=generated"]`` → ``{"nature": 0, "1": 1}``. ``InputError``."""
    labels: dict[str, int] = {}
    for text in texts:
        word, _, name = text.rpartition("=")
        plain, label = plain_label(word.strip().lower()), CLASS_WORDS.get(name.strip().lower())
        if not plain or label is None:
            raise InputError(f"--label {text}: give WORD={CLASS_NAMES[0]} or WORD={CLASS_NAMES[1]}")
        if labels.setdefault(plain, label) != label:
            raise InputError(f"--label {text}: {word.strip()!r} was given both meanings")
    return labels
