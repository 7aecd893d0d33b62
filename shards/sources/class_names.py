"""Finds the class names for numeric labels, in a file's own schema or in its data set's card.

The ``datasets`` library writes class names to the schema of a Parquet file. A card, the ``README.md`` of a data set on
the Hugging Face hub, has them in its YAML front matter. Both are untrusted input: anything that is malformed or too
large yields no names.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

import yaml

from shards.errors import InputError, disk_failed
from shards.images.rejection import RejectedImage
from shards.sources.files import LocalFiles, SourceFiles, StoredFiles

__all__ = ["Card", "ClassNames", "names_in_card", "names_in_schema"]

ClassNames = Mapping[str, Mapping[str, str]]
"""Maps each column to a mapping from its values, as text, to class names."""

_CARD = "README.md"
_MAX_FRONT_MATTER = 1 << 18  # characters; the largest cards, with hundreds of configurations, have 100,000
_MAX_CLASSES = 10_000
_ODD_YAML = (yaml.YAMLError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RecursionError)
"""Errors that PyYAML raises for text that is not YAML or has invalid tags or dates."""


class _WithoutAliases(yaml.SafeLoader):
    """A YAML loader that rejects aliases (``*name``, which repeats the node marked ``&name``).

    With aliases, 256 kilobytes can name so many columns that reading them would take years. Skipping only the parts
    that use aliases would be wrong, because a skipped data set configuration could contradict another one.
    """

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("an alias")
        return super().compose_node(parent, index)


def names_in_schema(metadata: Mapping[bytes, bytes] | None) -> ClassNames:
    """Returns the class names in an Arrow schema's metadata, where ``datasets`` stores them under ``huggingface``."""
    try:
        features = json.loads((metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return {}
    found = {}
    for column, feature in features.items() if isinstance(features, dict) else ():
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel":
            found[column] = _numbered(feature.get("names"))
    return {column: names for column, names in found.items() if names}


def names_in_card(text: str) -> ClassNames:
    """Returns the class names in the front matter of a data set's card, or none if it uses YAML aliases.

    A column is left out if two data set configurations give it different names.
    """
    front, _, rest = text.removeprefix("\ufeff").lstrip("\n").removeprefix("---\n").partition("\n---")
    if not rest or len(front) > _MAX_FRONT_MATTER or not text.lstrip("\ufeff\n").startswith("---\n"):
        return {}
    try:
        document = yaml.load(front, _WithoutAliases)
    except _ODD_YAML:
        return {}
    found: dict[str, Mapping[str, str]] = {}
    contested = set()
    for column, names in _features(document):
        if found.setdefault(column, names) != names:
            contested.add(column)
    return {column: names for column, names in found.items() if column not in contested}


def _features(document: Any) -> Iterator[tuple[str, Mapping[str, str]]]:
    about = document.get("dataset_info") if isinstance(document, dict) else None
    for configuration in about if isinstance(about, list) else [about]:
        features = configuration.get("features") if isinstance(configuration, dict) else None
        for feature in features if isinstance(features, list) else []:
            kind = feature.get("dtype") if isinstance(feature, dict) else None
            label = kind.get("class_label") if isinstance(kind, dict) else None
            names = _numbered(label.get("names")) if isinstance(label, dict) else {}
            if names:
                yield str(feature.get("name"))[:200], names


def _numbered(names: object) -> dict[str, str]:
    """Converts a list of names, or a mapping from numbers to names, to ``{number as text: name}``. Returns ``{}`` for
    anything else.

    A name may be a boolean, because YAML reads ``no`` and ``yes`` as booleans.
    """
    pairs: Any = enumerate(names) if isinstance(names, list) else names.items() if isinstance(names, dict) else ()
    found: dict[str, str] = {}
    for number, name in pairs:
        if not isinstance(name, str | bool | int) or not str(number).isdecimal() or len(found) >= _MAX_CLASSES:
            return {}
        found[str(number)] = str(name)[:200]
    return found


@dataclass(frozen=True, slots=True)
class Card:
    """The class names in a data set's card."""

    names: ClassNames = field(default_factory=dict)
    shown: str = ""
    """Path or URL of the card, as shown in messages."""

    @staticmethod
    def beside(files: SourceFiles) -> "Card":
        """Reads the card (``README.md``) in the folder of ``files``, or else the one in the folder above it.

        Returns an empty card if neither gives class names. Raises ``MachineTrouble`` if the disk fails while a card is
        read.
        """
        for place in (files, _above(files)):
            if place is None:
                continue
            try:
                text = place.read(_CARD)[: 4 * _MAX_FRONT_MATTER].decode("utf-8", "replace").replace("\r\n", "\n")
            except (RejectedImage, InputError) as error:  # a missing card is not an error: numbers then have no meaning
                if isinstance(error, RejectedImage) and error.reason == "io":
                    raise disk_failed(place.where(_CARD), error.detail) from error
                continue
            if names := names_in_card(text):
                return Card(names, place.where(_CARD))
        return Card()

    def joined_to(self, schema: ClassNames, shown: str) -> ClassNames:
        """Returns the class names in a file's ``schema``, plus those in this card for columns that the schema lacks.

        Raises ``InputError`` if the schema and the card contradict each other. ``shown`` is the file's name in
        messages.
        """
        for column in schema.keys() & self.names.keys():
            for value in sorted(schema[column].keys() & self.names[column].keys()):
                own, other = schema[column][value], self.names[column][value]
                if own.strip().lower() != other.strip().lower():
                    raise InputError(
                        f"{shown}: {value} in the column {column} is {own!r} according to the file, but {other!r} "
                        f"according to {self.shown}: correct one of them"
                    )
        return {**self.names, **schema}


def _above(files: SourceFiles) -> SourceFiles | None:
    if isinstance(files, LocalFiles):
        return LocalFiles(files.root.absolute().parent)
    if not isinstance(files, StoredFiles):
        return None
    url = files.url.rstrip("/").rpartition("/")[0]
    return replace(files, url=url) if urlsplit(url).netloc else None
