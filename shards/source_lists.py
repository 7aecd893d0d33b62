"""Lists of images in CSV or Parquet: ``path,label[,generator,group,split]``."""

import csv
import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from shards.command import InputError
from shards.parquet_file import open_parquet
from shards.schema import CLASS_NAMES, SPLITS
from shards.sources import (
    LABELS,
    SOURCE_SCHEMA,
    UNKNOWN_GENERATOR,
    SourceList,
    read_folder,
    sorted_table,
)

__all__ = ["read_list", "read_sources"]

_REQUIRED, _OPTIONAL = ("path", "label"), ("generator", "group", "split")
_SPLIT_NAMES = {name: name for name in SPLITS} | {"val": "valid", "validation": "valid", "": ""}
_LABELS = LABELS | {"0": 0, "1": 1}
_NO_GENERATOR = {"", "real"}


def read_sources(source: Path) -> SourceList:
    """The images that SRC names: a folder, or a ``.csv`` or ``.parquet`` list.

    Raises ``InputError`` for everything that is neither, and for mistakes in a list.
    """
    if source.is_dir():
        try:
            return read_folder(source)
        except OSError as error:
            raise InputError(f"{error.filename} cannot be read: {error.strerror}") from error
    if not source.exists():
        raise InputError(f"{source} does not exist: give a folder of images or a list of them")
    if source.suffix.lower() not in (".csv", ".parquet"):
        raise InputError(f"{source} is neither a folder nor a .csv or .parquet list")
    return read_list(source)


def read_list(path: Path) -> SourceList:
    """The images of a list. Paths in it are relative to the folder that the list lies in.

    Labels are ``real``, ``generated``, ``fake``, 0 or 1. Raises ``InputError`` naming the line.
    """
    rows = _csv_rows(path) if path.suffix.lower() == ".csv" else _parquet_rows(path)
    columns: dict[str, list] = {name: [] for name in SOURCE_SCHEMA.names}
    for where, row in rows:
        _append(columns, f"{path}, {where}", row, path.parent)
    labels = set(columns["label"])
    if not labels:
        raise InputError(f"{path} lists no images")
    if len(labels) == 1:
        (label,) = labels
        raise InputError(f"{path} lists {CLASS_NAMES[label]} images only: a detector needs both")
    if not any(os.path.exists(path.parent / name) for name in columns["path"]):
        raise InputError(
            f"none of the files listed in {path} exists: paths in a list are relative to the "
            f"list's own folder, {path.parent}"
        )
    return SourceList(path.parent, sorted_table(columns))


def _append(columns: dict[str, list], where: str, row: dict[str, str], folder: Path) -> None:
    """Checks one row of a list and adds it to ``columns``."""
    name, label = row["path"], _LABELS.get(row["label"].strip().lower())
    generator, split = row["generator"].strip(), row["split"].strip().lower()
    if not name or "\0" in name:
        raise InputError(f"{where}: the path is empty or holds a zero byte")
    if label is None:
        raise InputError(
            f"{where}: label {row['label']!r} is none of real, generated, fake, 0 and 1"
        )
    if split not in _SPLIT_NAMES:
        raise InputError(f"{where}: split {row['split']!r} is none of {', '.join(SPLITS)}")
    if not label and generator.lower() not in _NO_GENERATOR:
        raise InputError(f"{where}: a real image has generator {generator!r}: leave it empty")
    relative = os.path.relpath(folder / name, folder) if os.path.isabs(name) else name
    columns["path"].append(os.path.normpath(relative).replace(os.sep, "/"))
    columns["label"].append(label)
    columns["generator"].append((generator or UNKNOWN_GENERATOR) if label else "")
    columns["group"].append(row["group"].strip())
    columns["split"].append(_SPLIT_NAMES[split])


def _check_columns(path: Path, names: list[str]) -> None:
    missing = [name for name in _REQUIRED if name not in names]
    if missing:
        raise InputError(
            f"{path} has no column {missing[0]!r}: its columns must be "
            f"{','.join(_REQUIRED)}[,{','.join(_OPTIONAL)}]"
        )


def _csv_rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """("line 7", row) for every row; the line is that of the file, header included."""
    wanted = _REQUIRED + _OPTIONAL
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or []]
            _check_columns(path, list(reader.fieldnames))
            for row in reader:
                if None in row or None in row.values():
                    raise InputError(
                        f"{path}, line {reader.line_num}: has another number of fields than the "
                        "header"
                    )
                yield f"line {reader.line_num}", {name: row.get(name) or "" for name in wanted}
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text ({error.reason})") from error
    except csv.Error as error:
        raise InputError(f"{path} is not a CSV file: {error}") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


def _parquet_rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """("row 7", row) for every row, counted from 1."""
    wanted = _REQUIRED + _OPTIONAL
    try:
        with open_parquet(path) as file:
            names = file.schema_arrow.names
            _check_columns(path, names)
            present = [name for name in wanted if name in names]
            number = 0
            for batch in file.iter_batches(columns=present):
                for row in batch.to_pylist():
                    number += 1
                    yield f"row {number}", {name: _text(row.get(name)) for name in wanted}
    except (OSError, pa.ArrowException, ValueError, TypeError) as error:
        raise InputError(f"{path} is not a Parquet file that can be read: {error}") from error


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(int(value))
    return "" if value is None else str(value)
