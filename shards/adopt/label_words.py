"""Recognises words for the two classes in tar members and in the names of folders and tars.

The words come from ``shards.sources.words``. By default, 0 means real and 1 means generated, as in the output of most
programs. The user can override this, and other text in the samples may contradict it (see
``shards.adopt.label_evidence``).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import PurePosixPath

from shards.manifest.schema import CLASS_NAMES
from shards.sources.word_table import (
    CERTAIN,
    CLASS_WORDS,
    SPLIT_WORDS,
    denied,
    letters_of,
    may_be_generated,
    sounds_like,
)
from shards.sources.words import Meaning, Words, plain_label

__all__ = ["IndicatedLabel", "LabelWords", "split_of_name"]

_NETWORKS = frozenset({"realesrgan", "realesrnet", "realsr", "realbasicvsr", "realvis", "realisticvision"})
"""Network names that begin with a word for a class. In them, that word does not count as a label."""
_LONGEST = 100  # characters of a label, to exclude captions


@dataclass(frozen=True, slots=True)
class IndicatedLabel:
    """The label indicated by folder names or by a tar's name."""

    word: str
    """The name, or the word in it, that indicates the label."""
    label: int | None
    """The label, or ``None`` if the names indicate both classes."""
    is_certain: bool = False
    """Whether the word unambiguously denotes a class, or was given by the user."""
    generator: str = ""
    clash: str = ""
    """The conflicting names and their classes, as text for the user; ``""`` if there is no conflict."""


@dataclass(frozen=True)
class LabelWords:
    """The words that denote classes, including those given by the user. Picklable."""

    values: Mapping[str, int] = field(default_factory=dict)
    """Maps each lower-case text to the label that the user gave it."""
    skipped: frozenset[str] = frozenset()
    """Lower-case names of folders whose images are skipped."""

    @cached_property
    def _table(self) -> Words:
        return Words(self.values, self.skipped)

    def is_skipped(self, folder: str) -> bool:
        """See :meth:`shards.sources.words.Words.is_skipped`."""
        return self._table.is_skipped(folder)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        """Maps the numbers 0 and 1, as text, to labels.

        By default, 0 is real and 1 is generated. If the user gave a class to a single number, and it is 0 or 1, the
        other of the two gets the other class.
        """
        given = [text for text in self.values if plain_label(text).isdecimal()]
        if len(given) == 1 and (number := plain_label(given[0])) in ("0", "1"):
            label = self.values[given[0]]
            return {number: label, str(1 - int(number)): 1 - label}
        return {"0": 0, "1": 1}

    def of_value(self, written: str) -> int | None:
        """Returns the label that a text denotes, or ``None`` if it does not denote one."""
        plain = written.strip().lower()
        if len(plain) > _LONGEST:
            return None
        number = plain_label(plain)
        for form in (plain, number):
            if (label := self._table.given_label(form)) is not None:
                return label
        if number in self._numbers:
            self._table.matched.update(self.values.keys() & {"0", "1"})  # one implies the other
            return self._numbers[number]
        return self._table.of_value(plain)

    def require_matched(self) -> None:
        """See :meth:`shards.sources.words.Words.require_matched`."""
        self._table.require_matched()

    def is_certain(self, written: str) -> bool:
        """Whether a text unambiguously denotes a class. Also true for 0, 1 and words given by the user."""
        plain = written.strip().lower()
        return self._table.is_certain(plain[:_LONGEST]) or plain in self.values or plain_label(plain) in self._numbers

    def of_folders(self, folders: Sequence[str], with_numbers: bool = True) -> IndicatedLabel | None:
        """Returns the label indicated by the folder names in ``folders``, or ``None`` if they indicate none.

        If the names contradict each other, the result's ``label`` is ``None``. If no name contains a word for a class
        and ``with_numbers`` is true, the first folder named 0, 1, or another number that the user gave indicates the
        label.
        """
        meanings = [self._table.of_name(name) for name in folders]
        named = [place for place, name in enumerate(folders) if meanings[place].label is not None]
        worded = [place for place in named if not folders[place].isdecimal()]
        chosen = [place for place in worded if meanings[place].is_given] or worded
        if not chosen and with_numbers:
            chosen = [p for p, name in enumerate(folders) if name.isdecimal() and self.of_value(name) is not None][:1]
            return self._indicated_by(folders, meanings, chosen[0]) if chosen else None
        if len({meanings[place].label for place in chosen}) > 1:
            clash = " and ".join(
                f"{folders[place]} = {CLASS_NAMES[meanings[place].label or 0]}" for place in dict.fromkeys(chosen)
            )
            return IndicatedLabel(folders[chosen[0]], None, clash=clash)
        if chosen and meanings[chosen[0]].label == 0 and not meanings[chosen[0]].is_given:
            for name in filter(may_be_generated, folders[chosen[-1] + 1 :]):
                return IndicatedLabel(name, None, clash=f"{folders[chosen[0]]} = {CLASS_NAMES[0]} and {name}")
        if chosen and self._is_denied(folders, meanings, meanings[chosen[0]].label):
            return None
        return self._indicated_by(folders, meanings, chosen[0]) if chosen else None

    def _is_denied(self, folders: Sequence[str], meanings: Sequence[Meaning], label: int | None) -> bool:
        """Whether one folder's name negates the class ``label`` that another one denotes, as in ``ai/not_ai``."""
        names = [name for name, meaning in zip(folders, meanings, strict=True) if not meaning.is_given]
        return any(label in denied(letters_of(name)) for name in names)

    def _indicated_by(self, folders: Sequence[str], meanings: Sequence[Meaning], place: int) -> IndicatedLabel:
        """Returns the label and generator indicated by ``folders``, where ``folders[place]`` indicates the label.

        The generator is the first folder below it whose name denotes neither a class nor a split. Names made up of
        fillers (meaningless words such as ``images``) are skipped.
        """
        names = [
            folders[below]
            for below in range(place + 1, len(folders))
            if not meanings[below] and not meanings[below].is_filler
        ]
        name = folders[place]
        return IndicatedLabel(name, self.of_value(name), self.is_certain(name), names[0] if names else "")

    def of_tar(self, below: str) -> IndicatedLabel | None:
        """Returns the label indicated by a tar's file name or, failing that, by its folders; ``None`` if neither does.

        ``below`` is the tar's path. Numbers are not treated as labels here, because shards and their folders are often
        numbered.
        """
        *folders, name = below.split("/")
        stem = PurePosixPath(name).stem.lower()
        words = [word for word in re.split(r"[^a-z]+", stem) if word]
        for form in (stem, stem.rstrip("-_.0123456789")):
            if (label := self._table.given_label(form)) is not None:
                return IndicatedLabel(form, label, is_certain=True)
        if (
            denied(words) or sounds_like(words) or "=" in stem
        ):  # then folders say nothing either, since the name may deny them
            return None
        given = {word: label for word in words if (label := self._table.given_label(word)) is not None}
        found = given or {
            word: CERTAIN[word]
            for word, following in pairwise([*words, ""])
            if word in CERTAIN and word + following not in _NETWORKS
        }
        if len(set(found.values())) > 1:
            return IndicatedLabel(
                stem, None, clash=" and ".join(f"{word} = {CLASS_NAMES[y]}" for word, y in found.items())
            )
        if found:
            return IndicatedLabel(*found.popitem(), is_certain=True)
        if (label := self._table.of_name(stem).label) is not None:
            return IndicatedLabel(next((word for word in words if CLASS_WORDS.get(word) == label), stem), label)
        return self.of_folders(folders, with_numbers=False)


def split_of_name(tar: str) -> str | None:
    """Returns the split that a tar's file name begins with, as in ``train-000.tar`` or ``val_3.tar``.

    If there is none, returns the split indicated by its folder names, or ``None`` if they indicate none or several.
    """
    *folders, name = tar.split("/")
    begins = SPLIT_WORDS.get(re.split(r"[^a-z]+", name.lower())[0])
    named = {split for folder in folders if (split := Words().of_name(folder).split)}
    return begins or (named.pop() if len(named) == 1 else None)
