"""Reads lists that map sample keys to labels: ``key,label[,tar,generator,group,split]``, in CSV or Parquet."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from shards.adopt.tar_names import NamedTar
from shards.errors import InputError
from shards.files.parquet_file import open_parquet
from shards.files.regular_file import require_regular
from shards.manifest.schema import SPLITS
from shards.sources.rows import csv_reader
from shards.sources.word_table import SPLIT_WORDS

__all__ = ["KeyList", "read_key_list"]

_COLUMNS = ("key", "label", "tar", "generator", "group", "split")
_SHOWN = "key,label[,tar,generator,group,split]"

Row = Mapping[str, str]


@dataclass(frozen=True)
class KeyList:
    """The rows of a label list."""

    path: Path = Path()
    rows: Mapping[tuple[str, str], Row] = field(default_factory=dict)
    """Maps each (tar, key) to its row. ``tar`` is the value in the ``tar`` column; ``""`` means any tar."""

    def row(self, key: str, names: Sequence[str]) -> Row:
        """Returns the row for the sample with this key, or an empty row if there is none.

        ``names`` is the result of :meth:`names_of` for the sample's tar.
        """
        for name in names:
            if (found := self.rows.get((name, key))) is not None:
                return found
        return {}

    def names_of(self, tar: NamedTar) -> list[str]:
        """Returns the values in the ``tar`` column that refer to this tar, followed by ``""``, which means any tar."""
        listed = {name for name, _ in self.rows}
        return [name for name in tar.known_as if name in listed] + [""]

    def require_clear(self, tars: Sequence[NamedTar]) -> None:
        """Raises ``InputError`` if a value in the ``tar`` column could refer to more than one of ``tars``."""
        known: dict[str, list[str]] = {}
        for tar in tars:
            for name in set(tar.known_as):
                known.setdefault(name, []).append(tar.name)
        for listed in sorted({name for name, _ in self.rows if name}):
            found = known.get(listed, [])
            if len(found) > 1:
                raise InputError(
                    f"{self.path}: the tar {listed!r} may be {found[0]} or {found[1]}: write the "
                    "folder in front of its name"
                )


def read_key_list(path: Path) -> KeyList:
    """Reads the label list at ``path``.

    Raises ``InputError`` if the list cannot be read, lacks a required column or has no rows. Also raises it if a key
    occurs twice or a split is unknown; the message then names the key.
    """
    rows: dict[tuple[str, str], Row] = {}
    for row in _rows(path):
        key = row["key"].removeprefix("./")
        place = (row.get("tar", "").strip().removeprefix("./"), key)
        if place in rows:
            of = f" of {place[0]}" if place[0] else ""
            advice = "" if place[0] else ": add a column tar that names the tar of each key"
            raise InputError(f"{path} lists the key {key!r}{of} twice{advice}")
        split = row.get("split", "").strip().lower()
        if split and split not in SPLIT_WORDS:
            raise InputError(f"{path}, key {key!r}: split {split!r} is not one of {', '.join(SPLITS)}")
        rows[place] = {**row, "split": SPLIT_WORDS.get(split, "")}
    if not rows:
        raise InputError(f"{path} lists no keys")
    return KeyList(path, rows)


def _rows(path: Path) -> Iterator[dict[str, str]]:
    try:
        if path.suffix.lower() == ".csv":
            require_regular(path)
            with path.open(encoding="utf-8-sig", newline="") as file:
                reader = csv_reader(file, {"key", "label"}.issubset)
                names, rows = list(reader.fieldnames or []), list[dict[str, Any]](reader)
        else:
            with open_parquet(path) as parquet:
                table = parquet.read()
                names, rows = table.column_names, table.to_pylist()
    except (OSError, ArithmeticError, ValueError, TypeError, csv.Error, pa.ArrowException) as error:
        raise InputError(f"--label-from {path}: cannot be read ({error})") from error
    if twice := [name for name in _COLUMNS if names.count(name) > 1]:
        raise InputError(f"{path} has two columns called {twice[0]!r}: remove one of them")
    missing = [name for name in ("key", "label") if rows and name not in rows[0]]
    if missing:
        raise InputError(f"{path} has no column {missing[0]!r}: its columns must be {_SHOWN}")
    for row in rows:
        filled = {name: str(row[name]) for name in _COLUMNS if row.get(name) not in (None, "")}
        yield filled | {"key": str(row["key"])}
