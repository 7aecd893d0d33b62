"""What a tar made elsewhere says about its samples: real or generated, by what, in which group.

A rule says where a value stands: ``cls`` and ``txt`` in the member of that extension, ``json:KEY``
in a field of the ``.json`` member (``json:meta.model`` goes one deeper), ``folder`` in the folders
of the member's name, ``tar`` in the name of the tar, ``list`` in a CSV or Parquet list by key.
"""

import csv
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from shards.command import InputError
from shards.parquet_file import open_parquet
from shards.regular_file import require_regular
from shards.rejection import RejectedImage
from shards.schema import SPLITS
from shards.sources import LABELS, UNKNOWN_GENERATOR
from shards.tar_listing import TarMember, TarSample

__all__ = ["Description", "LabelRules", "choose_rules", "read_key_list", "split_of_name"]

Read = Callable[[TarMember], bytes]

_DEFAULT_VALUES = {**LABELS, "0": 0, "1": 1}
_SPLIT_WORDS = {name: name for name in SPLITS} | {"val": "valid", "validation": "valid"}
_JSON_LABEL_KEYS = ("label", "class_name")
_LIST_COLUMNS = ("key", "label", "generator", "group", "split")
_EXTENSION_RULES = ("cls", "txt")


@dataclass(frozen=True, slots=True)
class Description:
    """What is said about a sample."""

    label: int
    generator: str
    group: str
    split: str
    """``""`` where nothing is said."""


@dataclass(frozen=True)
class LabelRules:
    """The rules of a run."""

    label: str
    """``cls``, ``txt``, ``json:KEY``, ``folder``, ``tar`` or ``list``."""
    generator: str = ""
    """``txt``, ``json:KEY`` or ``""``; folders and lists bring theirs along."""
    group: str = ""
    values: Mapping[str, int] = field(default_factory=lambda: dict(_DEFAULT_VALUES))
    """Text in lower case → label."""
    listed: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Key → row of the list."""

    def describe(self, sample: TarSample, read: Read, tar: str) -> Description:
        """Applies the rules to a sample of the tar called ``tar``.

        Raises ``RejectedImage`` where nothing is said about it, ``InputError`` where a value is
        said that is neither real nor generated.
        """
        texts = _Texts(sample, read)
        row = self.listed.get(sample.key, {})
        folder_generator = ""
        if self.label == "list":
            said = row.get("label")
        elif self.label == "folder":
            said, folder_generator = self._folder(sample.key)
        elif self.label == "tar":
            said = self._tar_word(tar)
        else:
            said = texts.value(self.label)
        if said is None:
            raise RejectedImage("no_label", f"nothing by the rule {self.label}")
        label = self._label(said, f"{tar}, sample {sample.key!r}")
        generator = row.get("generator") or folder_generator or texts.value(self.generator) or ""
        group = row.get("group") or texts.value(self.group) or ""
        return Description(
            label, (generator or UNKNOWN_GENERATOR) if label else "", group, row.get("split", "")
        )

    def _label(self, said: str, where: str) -> int:
        label = self.values.get(said.strip().lower())
        if label is None:
            known = ", ".join(f"{text!r}" for text in self.values)
            raise InputError(
                f"{where}: the label {said[:60]!r} is none of {known}: say with --real and "
                "--generated what the values mean, or take them from elsewhere with --label-from"
            )
        return label

    def _folder(self, key: str) -> tuple[str | None, str]:
        """(folder that is a label, folder right below it)."""
        folders = key.split("/")[:-1]
        for place, name in enumerate(folders):
            if name.lower() in self.values:
                return name, folders[place + 1] if place + 1 < len(folders) else ""
        return None, ""

    def _tar_word(self, tar: str) -> str:
        """The word in the name of a tar that is a label. Numbers are not: shards are numbered."""
        words = re.split(r"[^a-z]+", Path(tar).stem.lower())
        found = {self.values[word]: word for word in words if word in self.values}
        if len(found) != 1:
            raise InputError(
                f"{tar}: its name says {'both labels' if found else 'neither label'}: take labels "
                "from elsewhere with --label-from"
            )
        return next(iter(found.values()))


class _Texts:
    """Values in members of a sample; a member is read and parsed when it is first asked for."""

    def __init__(self, sample: TarSample, read: Read) -> None:
        self._sample, self._read = sample, read
        self._json: Any = None

    def value(self, rule: str) -> str | None:
        """The text by ``cls``, ``txt`` or ``json:KEY``; ``None`` where there is none."""
        extension, _, path = rule.partition(":")
        member = self._sample.members.get(extension)
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


def choose_rules(
    label_from: str | None, generator_from: str | None, group_from: str | None,
    values: Mapping[str, int], first: TarSample, read: Read, tar: str,
) -> LabelRules:  # fmt: skip
    """The rules that a person asked for; what was not said is guessed from the first sample.

    Raises ``InputError`` for rules that do not exist, and where nothing can be guessed.
    """
    values = {**_DEFAULT_VALUES, **values}
    texts = _Texts(first, read)
    listed: dict[str, dict[str, str]] = {}
    if label_from is not None and label_from.lower().endswith((".csv", ".parquet")):
        listed, label = read_key_list(Path(label_from)), "list"
    elif label_from is not None:
        label = label_from
        _require_rule("--label-from", label, ("cls", "txt", "json:KEY", "folder", "tar"))
    else:
        label = _guess_label(LabelRules("folder", values=values), first, texts, tar)
    for flag, rule in (("--generator-from", generator_from), ("--group-from", group_from)):
        if rule is not None:
            _require_rule(flag, rule, ("txt", "json:KEY"))
    return LabelRules(
        label,
        generator_from or ("json:generator" if "json" in first.members else ""),
        group_from or ("json:group" if "json" in first.members else ""),
        values, listed,
    )  # fmt: skip


def _guess_label(rules: LabelRules, first: TarSample, texts: _Texts, tar: str) -> str:
    if "cls" in first.members:
        return "cls"
    for key in _JSON_LABEL_KEYS if "json" in first.members else ():
        if (texts.value(f"json:{key}") or "").strip().lower() in rules.values:
            return f"json:{key}"
    if rules._folder(first.key)[0] is not None:
        return "folder"
    if {word for word in re.split(r"[^a-z]+", Path(tar).stem.lower()) if word in rules.values}:
        return "tar"
    raise InputError(
        f"{tar}: nothing says whether sample {first.key!r} is real or generated (its members: "
        f"{', '.join(first.members)}): give --label-from cls, txt, json:KEY, folder, tar or a list"
    )


def _require_rule(flag: str, rule: str, allowed: tuple[str, ...]) -> None:
    kind = "json:KEY" if rule.startswith("json:") and len(rule) > 5 else rule
    if kind not in allowed:
        lists = " or a .csv or .parquet list" if flag == "--label-from" else ""
        raise InputError(f"{flag} {rule}: is none of {', '.join(allowed)}{lists}")


def split_of_name(tar: str) -> str | None:
    """The split that the name of a tar begins with: ``train-000.tar``, ``val_3.tar``."""
    return _SPLIT_WORDS.get(re.split(r"[^a-z]+", Path(tar).name.lower())[0])


def read_key_list(path: Path) -> dict[str, dict[str, str]]:
    """A list with columns ``key,label[,generator,group,split]`` → key → its row.

    Raises ``InputError`` for a list that cannot be read, and naming a key that comes twice or a
    split that does not exist.
    """
    listed: dict[str, dict[str, str]] = {}
    for row in _rows(path):
        key = row["key"]
        if key in listed:
            raise InputError(f"{path} lists the key {key!r} twice")
        split = row.get("split", "").strip().lower()
        if split and split not in _SPLIT_WORDS:
            raise InputError(f"{path}, key {key!r}: split {split!r} is none of {', '.join(SPLITS)}")
        listed[key] = {**row, "split": _SPLIT_WORDS.get(split, "")}
    if not listed:
        raise InputError(f"{path} lists no keys")
    return listed


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        if path.suffix.lower() == ".csv":
            require_regular(path)
            with path.open(encoding="utf-8-sig", newline="") as file:
                rows: list[dict[str, Any]] = list(csv.DictReader(file, strict=True))
        else:
            with open_parquet(path) as parquet:
                rows = parquet.read().to_pylist()
    except (OSError, ValueError, TypeError, csv.Error, pa.ArrowException) as error:
        raise InputError(f"--label-from {path}: cannot be read ({error})") from error
    missing = [name for name in ("key", "label") if rows and name not in rows[0]]
    if missing:
        columns = "key,label[,generator,group,split]"
        raise InputError(f"{path} has no column {missing[0]!r}: its columns must be {columns}")
    return [
        {name: str(row[name]) for name in _LIST_COLUMNS if row.get(name) not in (None, "")}
        | {"key": str(row["key"])}
        for row in rows
    ]
