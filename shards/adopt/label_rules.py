"""Rules for determining the label, generator and group of each sample in a tar made elsewhere.

A rule names the place from which a value is read:

- ``cls`` and ``txt``: the member with this extension.
- ``json:KEY``: a field of the ``.json`` member, possibly nested (``json:meta.model``).
- ``folder``: the folders in the member's path.
- ``tar``: the name of the tar or one of its folders.
- ``list``: the row with the sample's key in a CSV or Parquet list.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from shards.adopt.key_list import KeyList
from shards.adopt.label_words import IndicatedLabel, LabelWords
from shards.adopt.listing import TarMember, TarSample
from shards.adopt.tar_names import NamedTar
from shards.errors import InputError
from shards.images.rejection import RejectedImage
from shards.sources.columns import LABEL_COLUMNS, plain_name
from shards.sources.evidence import labels_by_generators
from shards.sources.source_list import UNKNOWN_GENERATOR
from shards.sources.word_table import CERTAIN, CLASS_WORDS, denied
from shards.sources.words import answered_class, asked_class, plain_label, truth_of, words_of_field

__all__ = ["Description", "Hint", "LabelRules", "SampleTexts", "TarLabels"]

Read = Callable[[TarMember], bytes]

JSON_LABEL_KEYS = ("label", "class_name")
MEMBER_RULES = ("cls", *(f"json:{key}" for key in JSON_LABEL_KEYS))
"""Rules that read a label from a member. When the rule has to be guessed, these win ties against ``folder`` and
``tar``."""


@dataclass(frozen=True, slots=True)
class Description:
    """A sample's label, generator, group and split."""

    label: int
    generator: str
    group: str
    split: str
    """The split given by a list; ``""`` if there is none."""
    text: str
    """The text from which the label was read."""


@dataclass(frozen=True, slots=True)
class Hint:
    """The label that a sample would have under a rule other than the one in force."""

    rule: str
    label: int | None
    """The label, or ``None`` if the value that the rule reads is not a label."""
    certain: bool
    """Whether the value was read from a member and unambiguously denotes a class. False for numbers, and for hints from
    folder, tar or field names."""
    plain: bool = False
    """Whether the hint comes from a folder, tar or field whose name unambiguously denotes a class."""


@dataclass(frozen=True)
class LabelRules:
    """A run's rules for labels, generators and groups. Picklable."""

    label: str
    """Rule for labels: ``cls``, ``txt``, ``json:KEY``, ``folder``, ``tar`` or ``list``."""
    generator: str = ""
    """Rule for generators: ``txt``, ``json:KEY``, or ``""`` for none. A generator from a folder or a list takes
    precedence."""
    group: str = ""
    words: LabelWords = field(default_factory=LabelWords)
    listed: KeyList = field(default_factory=KeyList)


class SampleTexts:
    """Reads texts from a sample's members. The ``.json`` member is parsed once, on first use."""

    def __init__(self, sample: TarSample, read: Read) -> None:
        self.sample, self._read = sample, read
        self._json: Any = None

    def value(self, rule: str) -> str | None:
        """Returns the text that ``rule`` reads from the members, or ``None`` if there is none.

        Raises ``RejectedImage`` if the ``.json`` member is not JSON.
        """
        extension, _, path = rule.partition(":")
        member = self.sample.members.get(extension)
        if member is None:
            return None
        if not path:
            return self._read(member).decode("utf-8", "replace").strip()
        found = self._document(member)
        for name in path.split("."):
            found = found.get(name) if isinstance(found, dict) else None
        if found is None or isinstance(found, (dict, list)):
            return None
        return str(found).lower() if isinstance(found, bool) else str(found)

    def fields(self) -> list[str]:
        """Returns the field names in the ``.json`` member, or ``[]`` if there is none or it is not a JSON object."""
        member = self.sample.members.get("json")
        try:
            document = self._document(member) if member is not None else None
        except RejectedImage:
            return []
        return list(document) if isinstance(document, dict) else []

    def _document(self, member: TarMember) -> Any:
        if self._json is None:
            try:
                self._json = json.loads(self._read(member))
            except (ValueError, RecursionError):
                raise RejectedImage("no_label", f"{member.name} is not JSON") from None
        return self._json


class TarLabels:
    """Applies a run's rules to the samples in one tar."""

    def __init__(self, rules: LabelRules, tar: NamedTar) -> None:
        self._rules, self._tar, self._words = rules, tar, rules.words
        self._known_as = rules.listed.names_of(tar)
        self._by_tar = rules.words.of_tar(tar.below)
        self._by_folders: dict[str, IndicatedLabel | None] = {}

    def require_wanted(self, key: str) -> None:
        """Raises ``RejectedImage`` for a sample in a folder that the user excluded with ``--skip``."""
        if any(map(self._words.is_skipped, key.split("/")[:-1])):
            raise RejectedImage("no_label", "in a folder excluded by --skip")

    def describe(self, texts: SampleTexts) -> Description:
        """Returns a sample's label, generator, group and split.

        Raises ``RejectedImage`` if the label rule finds no value. Raises ``InputError`` if the value is not a label, if
        the folder or tar names contain words for both classes, or if the rule is ``tar`` and they contain none.
        """
        rules, key = self._rules, texts.sample.key
        row: Mapping[str, str] = {}
        written: str | None
        said: IndicatedLabel | None = None
        if rules.label == "list":
            row = rules.listed.row(key, self._known_as)
            written = row.get("label")
        elif rules.label in ("folder", "tar"):
            said = self._of_folders(texts) if rules.label == "folder" else self._by_tar
            self._require_one_class(said, key)
            written = said.word if said else None
        else:
            written = texts.value(rules.label)
        if written is None:
            raise RejectedImage("no_label", f"--label-from {rules.label} finds no label")
        where = f"{self._tar.name}, sample {key!r}"
        label = self._label(written, where) if said is None or said.label is None else said.label
        generator = row.get("generator") or (said.generator if said else "") or texts.value(rules.generator) or ""
        group = row.get("group") or texts.value(rules.group) or ""
        generator = (generator or UNKNOWN_GENERATOR) if label else ""
        return Description(label, generator, group, row.get("split", ""), written.strip())

    def _require_one_class(self, said: IndicatedLabel | None, key: str) -> None:
        if said is not None and said.clash:
            raise InputError(
                f"{self._tar.name}, sample {key!r}: its names stand for both classes ({said.clash}): use --label "
                "WORD=real or --label WORD=generated to say which word counts, or take labels from elsewhere with "
                "--label-from"
            )
        if said is None and self._rules.label == "tar":
            raise InputError(
                f"{self._tar.name}: neither its name nor its folders name a class: use --label WORD=real or --label "
                "WORD=generated to say what one of their words means, or take labels from elsewhere with --label-from"
            )

    def _label(self, written: str, where: str) -> int:
        rules = self._rules
        label = rules.words.of_value(written)
        if label is None:
            shown = repr(written[:60])
            raise InputError(
                f"{where}: the label {shown} means neither real nor generated: use --label VALUE=real and --label "
                "VALUE=generated to say what the values mean, or take labels from elsewhere with --label-from"
            )
        plain = written.strip().lower()
        if (
            rules.label.startswith("json:")
            and plain_label(plain) in ("0", "1")
            and {"0", "1"}.isdisjoint(map(plain_label, rules.words.values))  # the user gave neither
            and not _one_is_generated(rules.label)
        ):
            raise InputError(
                f"{where}: {rules.label} is {written[:60]}, where 1 or true may mean real: say what it means with "
                f"--label, for example --label {_yes(plain)}=real --label {_no(plain)}=generated"
            )
        return label

    def hints(self, texts: SampleTexts) -> Iterator[Hint]:
        """Yields a hint for each rule, other than the one in force, that finds a label or other value."""
        rules = self._rules
        for rule in (*MEMBER_RULES, "txt"):
            try:
                written = None if rule == rules.label else texts.value(rule)
            except RejectedImage:
                continue
            if written is None or (rule == "txt" and written.lower() not in CERTAIN):
                continue
            yield Hint(rule, rules.words.of_value(written), written.lower() in CERTAIN)
        if rules.generator.startswith("json:") and rules.generator != rules.label:
            named = labels_by_generators([texts.value(rules.generator) or ""])
            yield Hint(rules.generator, int(named[0]), False)
        for name in texts.fields():
            if f"json:{name}" != rules.label and (asked := answered_class(name)) is not None:
                truth = truth_of(texts.value(f"json:{name}") or "")
                if truth is not None:
                    yield Hint(f"json:{name}", asked if truth else 1 - asked, False, plain=True)
        said = self._of_folders(texts)
        if rules.label != "folder" and said is not None and said.label is not None and not said.word.isdecimal():
            yield Hint("folder", said.label, False, said.is_certain)
        by_tar = self._by_tar
        if rules.label != "tar" and by_tar is not None and by_tar.label is not None:
            yield Hint("tar", by_tar.label, False, by_tar.is_certain)

    def votes(self, rule: str, texts: SampleTexts) -> int:
        """Returns how well ``rule`` fits a sample: 2 for an unambiguous label, 1 for an ambiguous one, 0 for none.

        Names that contain words for both classes count as ambiguous. Any ``.cls`` member counts as unambiguous.
        """
        if rule == "cls":
            return 2 * ("cls" in texts.sample.members)
        if rule in ("folder", "tar"):
            said = self._of_folders(texts) if rule == "folder" else self._by_tar
            return 0 if said is None else 1 + said.is_certain
        try:
            written = texts.value(rule) or ""
        except RejectedImage:
            return 0
        return 0 if self._words.of_value(written) is None else 1 + self._words.is_certain(written)

    def _of_folders(self, texts: SampleTexts) -> IndicatedLabel | None:
        folder = texts.sample.key.rpartition("/")[0]
        if folder not in self._by_folders:
            self._by_folders[folder] = self._words.of_folders(folder.split("/")) if folder else None
        return self._by_folders[folder]


def _one_is_generated(rule: str) -> bool:
    """Whether the value 1 means generated in the field that ``rule`` reads, judging by the field's name.

    True for ``label`` and ``meta.isAI``; false for ``is_real``, ``not_fake`` and ``score``.
    """
    names = rule.removeprefix("json:").split(".")
    words = [word for name in names for word in words_of_field(name)]
    if denied(words) or any(CLASS_WORDS.get(word) == 0 for word in words):
        return False
    asked = asked_class(names[-1])
    return asked == 1 or (asked is None and plain_name(names[-1]) in map(plain_name, LABEL_COLUMNS))


def _yes(text: str) -> str:
    return "true" if text in ("true", "false") else "1"


def _no(text: str) -> str:
    return "false" if text in ("true", "false") else "0"
