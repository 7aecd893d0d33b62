"""Labels, generators and groups of the samples of a tar made elsewhere, by rules.

A rule names the place of a value: ``cls`` and ``txt`` in the member of that extension, ``json:KEY``
in a field of the ``.json`` member (``json:meta.model`` goes one deeper), ``folder`` in the folders
of the member's name, ``tar`` in the name of the tar or of a folder that it lies in, ``list`` in a
CSV or Parquet list by key.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from shards.adopt.key_list import KeyList
from shards.adopt.listing import TarMember, TarSample
from shards.adopt.tar_names import NamedTar
from shards.errors import InputError
from shards.images.rejection import RejectedImage
from shards.sources.source_list import UNKNOWN_GENERATOR
from shards.sources.words import SPLIT_WORDS, plain_label

__all__ = ["Description", "Hint", "LabelRules", "SampleTexts", "TarLabels", "split_of_name"]

LABELS = {"real": 0, "generated": 1, "fake": 1}

Read = Callable[[TarMember], bytes]

JSON_LABEL_KEYS = ("label", "class_name")
MEMBER_RULES = ("cls", *(f"json:{key}" for key in JSON_LABEL_KEYS))
"""Rules that are tried where none is given, before the names of folders and tars."""


@dataclass(frozen=True, slots=True)
class Description:
    """Label, generator, group and split of a sample."""

    label: int
    generator: str
    group: str
    split: str
    """``""`` where none is given."""
    text: str
    """The text that the label was read from."""


@dataclass(frozen=True, slots=True)
class Hint:
    """A sample's label by another rule than the one in force."""

    rule: str
    label: int | None
    """``None`` for a value that is no label."""
    certain: bool
    """A word for a class where labels stand; a number may mean anything, a folder's name too."""


@dataclass(frozen=True)
class LabelRules:
    """The rules of a run. Picklable."""

    label: str
    """``cls``, ``txt``, ``json:KEY``, ``folder``, ``tar`` or ``list``."""
    generator: str = ""
    """``txt``, ``json:KEY`` or ``""``; folders and lists bring theirs along."""
    group: str = ""
    values: Mapping[str, int] = field(default_factory=dict)
    """Meanings of values that the person gave: text in lower case → label."""
    listed: KeyList = field(default_factory=KeyList)

    @property
    def words(self) -> dict[str, int]:
        """Names of folders → label."""
        return {**LABELS, "0": 0, "1": 1, **self.values}

    def label_of(self, written: str) -> int | None:
        """The label that a text means, ``None`` where it means none."""
        plain = written.strip().lower()
        for form in (plain, plain_label(plain)):
            if form in self.words:
                return self.words[form]
        return None


class SampleTexts:
    """Values in members of a sample; a member is read and parsed when it is first asked for."""

    def __init__(self, sample: TarSample, read: Read) -> None:
        self.sample, self._read = sample, read
        self._json: Any = None

    def value(self, rule: str) -> str | None:
        """The text by ``cls``, ``txt`` or ``json:KEY``; ``None`` where there is none. Raises
        ``RejectedImage`` where the ``.json`` member is no JSON."""
        extension, _, path = rule.partition(":")
        member = self.sample.members.get(extension)
        if member is None:
            return None
        if not path:
            return self._read(member).decode("utf-8", "replace").strip()
        if self._json is None:
            try:
                self._json = json.loads(self._read(member))
            except (ValueError, RecursionError):
                raise RejectedImage("no_label", f"{member.name} is not JSON") from None
        found = self._json
        for name in path.split("."):
            found = found.get(name) if isinstance(found, dict) else None
        if found is None or isinstance(found, (dict, list)):
            return None
        return str(found).lower() if isinstance(found, bool) else str(found)


class TarLabels:
    """The rules of a run, applied to the samples of one tar."""

    def __init__(self, rules: LabelRules, tar: NamedTar) -> None:
        self._rules, self._tar = rules, tar
        self._words = rules.words
        self._known_as = rules.listed.names_of(tar)

    def describe(self, texts: SampleTexts) -> Description:
        """Raises ``RejectedImage`` where the rule finds nothing about a sample, ``InputError`` where its value
        is neither real nor generated."""
        rules, key = self._rules, texts.sample.key
        row: Mapping[str, str] = {}
        written: str | None
        folder_generator = ""
        if rules.label == "list":
            row = rules.listed.row(key, self._known_as)
            written = row.get("label")
        elif rules.label == "folder":
            written, folder_generator = self._folder(key.split("/")[:-1])
        elif rules.label == "tar":
            written, folder_generator = self.tar_word()
            if not written:
                raise InputError(
                    f"{self._tar.name}: its name and folders say neither label, or both: take "
                    "labels from elsewhere with --label-from"
                )
        else:
            written = texts.value(rules.label)
        if written is None:
            raise RejectedImage("no_label", f"nothing by the rule {rules.label}")
        label = self._label(written, f"{self._tar.name}, sample {key!r}")
        generator = row.get("generator") or folder_generator or texts.value(rules.generator) or ""
        group = row.get("group") or texts.value(rules.group) or ""
        generator = (generator or UNKNOWN_GENERATOR) if label else ""
        return Description(label, generator, group, row.get("split", ""), written.strip())

    def _label(self, written: str, where: str) -> int:
        rules = self._rules
        label = rules.label_of(written)
        if label is None:
            known = ", ".join(f"{text!r}" for text in self._words)
            raise InputError(
                f"{where}: the label {written[:60]!r} is none of {known}: say with --real and "
                "--generated what the values mean, or take them from elsewhere with --label-from"
            )
        plain = written.strip().lower()
        if (
            rules.label.startswith("json:")
            and plain_label(plain) in ("0", "1")
            and not {plain, plain_label(plain)} & set(rules.values)
            and _asks_for_real(rules.label)
        ):
            raise InputError(
                f"{where}: {rules.label} is {written[:60]}, where 1 or true may mean real: say so with"
                f" --real and --generated, such as --real {_yes(plain)} --generated {_no(plain)}"
            )
        return label

    def hints(self, texts: SampleTexts) -> Iterator[Hint]:
        """A sample's label by the other rules."""
        rules = self._rules
        for rule in (*MEMBER_RULES, "txt"):
            try:
                written = None if rule == rules.label else texts.value(rule)
            except RejectedImage:
                continue
            if written is None or (rule == "txt" and written.lower() not in LABELS):
                continue
            yield Hint(rule, rules.label_of(written), written.lower() in LABELS)
        folders = texts.sample.key.split("/")[:-1]
        words = {LABELS[name.lower()] for name in folders if name.lower() in LABELS}
        if rules.label != "folder" and len(words) == 1:
            yield Hint("folder", words.pop(), False)
        if rules.label not in ("tar", "folder") and (word := self.tar_word()[0]):
            yield Hint("tar", self._words[word.lower()], False)

    def says(self, rule: str, texts: SampleTexts) -> bool:
        """Whether a rule that nobody asked for finds a label of a sample."""
        if rule == "cls":
            return "cls" in texts.sample.members
        if rule == "folder":
            return self._folder(texts.sample.key.split("/")[:-1])[0] is not None
        if rule == "tar":
            return bool(self.tar_word()[0])
        try:
            return self._rules.label_of(texts.value(rule) or "") is not None
        except RejectedImage:
            return False

    def _folder(self, folders: Sequence[str]) -> tuple[str | None, str]:
        """(folder that is a label, folder right below it)."""
        for place, name in enumerate(folders):
            if name.lower() in self._words:
                return name, folders[place + 1] if place + 1 < len(folders) else ""
        return None, ""

    def tar_word(self) -> tuple[str, str]:
        """(word in the name of the tar that is a label, "") or, where that has none, (folder that
        the tar lies in and that is a label, folder right below it); ``("", "")`` for none.

        Numbers are no labels here: shards and folders of shards are numbered.
        """
        *folders, name = self._tar.below.split("/")
        words = {word: label for word, label in self._words.items() if not word.isdecimal()}
        found = {words[word]: word for word in re.split(r"[^a-z]+", PurePosixPath(name).stem.lower()) if word in words}
        if found:
            return (found.popitem()[1], "") if len(found) == 1 else ("", "")
        inside = [name for name in folders if name.lower() in words]
        if len({words[name.lower()] for name in inside}) != 1:
            return "", ""
        place = folders.index(inside[0])
        return inside[0], folders[place + 1] if place + 1 < len(folders) else ""


def _asks_for_real(rule: str) -> bool:
    """Whether the field that a rule names is one like ``is_real`` or ``isReal``."""
    field_name = rule.rpartition(".")[2].rpartition(":")[2]
    return "real" in [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", field_name)]


def _yes(text: str) -> str:
    return "true" if text in ("true", "false") else "1"


def _no(text: str) -> str:
    return "false" if text in ("true", "false") else "0"


def split_of_name(tar: str) -> str | None:
    """The split that the name of a tar begins with: ``train-000.tar``, ``val_3.tar``."""
    return SPLIT_WORDS.get(re.split(r"[^a-z]+", PurePosixPath(tar).name.lower())[0])
