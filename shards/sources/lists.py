"""Lists of images in CSV, JSON lines or Parquet: a column of paths, one of labels, and what else is there."""

import csv
import json
import os
import posixpath
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shards.cli.wording import counted
from shards.errors import InputError
from shards.files.limits import limit
from shards.files.parquet_file import open_parquet
from shards.files.regular_file import require_regular
from shards.manifest.schema import CLASS_NAMES, SPLITS
from shards.sources.columns import PATH_COLUMNS, ClassNames, Columns, find_columns, read_labels
from shards.sources.files import LocalFiles, SourceFiles
from shards.sources.source_list import UNKNOWN_GENERATOR, SourceList, SourceRules, lacking_classes, sorted_table
from shards.sources.words import SPLIT_WORDS

__all__ = ["LIST_SUFFIXES", "ListRows", "read_list", "read_rows"]

LIST_SUFFIXES = (".csv", ".jsonl", ".parquet")
_SPLITS = SPLIT_WORDS | {"": ""}
_NO_GENERATOR = {"", "real"}
_PLACE = "\0place"
"""Column of the line or row that each row stands in."""


class ListRows:
    """The rows of a list as columns of texts, and where each stands."""

    def __init__(self, shown: str, unit: str, columns: Columns, table: pa.Table) -> None:
        self.shown, self.columns, self.table = shown, columns, table
        self._unit = unit

    def where(self, row: int) -> str:
        """The place of a row, for a person."""
        return f"{self.shown}, {self._unit} {self.table.column(_PLACE)[row].as_py()}"

    def texts(self, column: str) -> list[str]:
        """The values of a column, ``""`` in all rows where there is no such column."""
        return self.table.column(column).to_pylist() if column else [""] * self.table.num_rows


def read_list(path: Path, files: SourceFiles, rules: SourceRules, class_names: ClassNames) -> SourceList:
    """The images of a list. Paths in it are relative to the folder that the list lies in, which is
    that of ``files``. Raises ``InputError`` naming the line at fault."""
    shown = files.where(path.name)
    rows = read_rows(path, shown)
    if not rows.table.num_rows:
        raise InputError(f"{shown} lists no images")
    labels, notes = read_labels(rows.table, rows.columns.labels, rules.words, class_names, shown, rows.where)
    if len(classes := set(labels.tolist())) == 1:
        raise InputError(f"{shown} lists {CLASS_NAMES[classes.pop()]} images only: a detector needs both")
    paths = [_path(name, rows.where(row), files) for row, name in enumerate(rows.texts(rows.columns.path))]
    generators = rows.texts(rows.columns.generator)
    splits = rows.texts(rows.columns.split)
    for row, split in enumerate(splits):
        if split.strip().lower() not in _SPLITS:
            raise InputError(f"{rows.where(row)}: split {split!r} is none of {', '.join(SPLITS)}")
        if not labels[row] and generators[row].strip().lower() not in _NO_GENERATOR:
            generators[row] = _no_generator(generators[row], rows, row)
    table = sorted_table(
        {
            "path": paths,
            "label": labels.tolist(),
            "generator": [
                (name.strip() or UNKNOWN_GENERATOR) if label else ""
                for name, label in zip(generators, labels, strict=True)
            ],
            "group": [group.strip() for group in rows.texts(rows.columns.group)],
            "split": [_SPLITS[split.strip().lower()] if rules.given_split else "" for split in splits],
        }
    )
    if not files.has_any(paths):
        raise InputError(
            f"none of the files listed in {shown} exists, such as {paths[0]!r}: paths in "
            f"a list are relative to the list's own folder, {files.where('').rstrip('/')}, and have"
            " / between folders"
        )
    notes += lacking_classes(table.column("split").to_pylist(), table.column("label").to_pylist())
    if again := _listed_again(table, shown):
        notes.append(again)
    return SourceList(files, table, notes=notes)


def _no_generator(name: str, rows: ListRows, row: int) -> str:
    if rows.columns.generator.lower() == "generator":
        raise InputError(f"{rows.where(row)}: a real image has generator {name!r}: leave it empty")
    return ""  # "model" and the like may name a camera


def _listed_again(table: pa.Table, shown: str) -> str:
    """A note on paths that a list holds more than once, empty where there is none.

    Raises ``InputError`` where two rows of a path differ.
    """
    paths = table.column("path").combine_chunks()  # sorted
    same = pc.equal(paths.slice(1), paths.slice(0, max(len(paths) - 1, 0))).to_numpy(False)
    places = np.flatnonzero(same)
    if not len(places):
        return ""
    one, other = table.take(places), table.take(places + 1)
    for name in table.column_names:
        differ = np.flatnonzero(pc.not_equal(one[name], other[name]).to_numpy())
        if len(differ):
            rows = [half.slice(int(differ[0]), 1).to_pylist()[0] for half in (one, other)]
            values = " and ".join(_shown_value(row, name) for row in rows)
            raise InputError(f"{shown} lists {rows[0]['path']!r} twice, with {name} {values}: keep one row")
    first = paths[int(places[0])].as_py()
    return (
        f"{counted(len(places), 'row')} of {shown} name an image again that stands there already, "
        f"such as {first!r}: each makes a sample more"
    )


def _shown_value(row: dict[str, Any], name: str) -> str:
    return CLASS_NAMES[row[name]] if name == "label" else repr(row[name])


def _path(name: str, where: str, files: SourceFiles) -> str:
    """The path that a row names. A list in a store may name what lies beside or below it: where
    else, its reader's credentials may reach and its writer's do not."""
    if not name or "\0" in name:
        raise InputError(f"{where}: the path is empty or holds a zero byte")
    if isinstance(files, LocalFiles):
        if os.path.isabs(name):
            name = os.path.relpath(files.root / name, files.root)
        path = os.path.normpath(name).replace(os.sep, "/")
    else:
        path = posixpath.normpath(name)
        if path == ".." or path.startswith(("../", "/")):
            raise InputError(
                f"{where}: {name!r} leads out of the list's folder, {files.where('')}: move the list "
                "to a folder above its images"
            )
    if "\\" in path:
        _require_no_other_system(path, where, files)
    return path


def _require_no_other_system(path: str, where: str, files: SourceFiles) -> None:
    """``InputError`` where backslashes part folders: here they are letters of a name."""
    slashes = path.replace("\\", "/")
    if not files.has_any([path]) and files.has_any([slashes]):
        raise InputError(f"{where}: {path!r} is written with backslashes, as on Windows: write {slashes!r}")


def read_rows(path: Path, shown: str) -> ListRows:
    """The columns of a list that mean something. Raises ``InputError`` where it has no column of paths,
    and naming the line that cannot be read."""
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return _parquet_rows(path, shown)
    return _text_rows(path, shown, _csv_records if suffix == ".csv" else _json_records)


def _found(shown: str, names: list[str]) -> Columns:
    columns = find_columns(names)
    if not columns.path:
        raise InputError(
            f"{shown} has no column of paths, such as {', '.join(PATH_COLUMNS[:4])}: its columns are "
            f"{', '.join(names[:20])}"
        )
    return columns


def _text_rows(path: Path, shown: str, records: Any) -> ListRows:
    columns: Columns | None = None
    values: dict[str, list[Any]] = {}
    most = limit("MAX_LIST_ROWS")
    try:
        require_regular(path)
        with path.open(encoding="utf-8-sig", newline="") as file:
            for place, record in records(file, shown):
                if columns is None:
                    columns = _found(shown, list(record))
                    values = {name: [] for name in (*columns.names, _PLACE)}
                if len(values[_PLACE]) >= most:
                    raise InputError(f"{shown} has more rows than GLASS_MAX_LIST_ROWS={most}")
                for name in columns.names:
                    values[name].append(_text(record.get(name)))
                values[_PLACE].append(place)
    except UnicodeDecodeError as error:
        raise InputError(f"{shown} is not UTF-8 text ({error.reason})") from error
    except csv.Error as error:
        raise InputError(f"{shown} is not a CSV file: {error}") from error
    except OSError as error:
        raise InputError(f"{shown} cannot be read: {error.strerror}") from error
    return ListRows(shown, "line", columns or Columns(), pa.table(values) if values else pa.table({_PLACE: []}))


def _csv_records(file: Any, shown: str) -> Iterator[tuple[int, dict[str, str]]]:
    """(line, header included; row) of a CSV file."""
    reader = csv.DictReader(file, strict=True)
    reader.fieldnames = [name.strip() for name in reader.fieldnames or []]
    _found(shown, list(reader.fieldnames))  # also of a list without rows
    for row in reader:
        if None in row or None in row.values():
            raise InputError(f"{shown}, line {reader.line_num}: has another number of fields than the header")
        yield reader.line_num, row


def _json_records(file: Any, shown: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, object) of a file of JSON lines."""
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{shown}, line {number}: is not JSON ({error})") from error
        if not isinstance(record, dict):
            raise InputError(f"{shown}, line {number}: is no JSON object")
        yield number, record


def _parquet_rows(path: Path, shown: str) -> ListRows:
    values: dict[str, list[str]] = {}
    try:
        with open_parquet(path) as file:
            columns = _found(shown, file.schema_arrow.names)
            values = {name: [] for name in columns.names}
            for batch in file.iter_batches(columns=columns.names):
                for name in columns.names:
                    values[name] += map(_text, batch.column(name).to_pylist())
    except (OSError, pa.ArrowException, ValueError, TypeError) as error:
        raise InputError(f"{shown} is not a Parquet file that can be read: {error}") from error
    rows = len(values[columns.path])
    table = pa.table(
        {**{name: pa.array(texts, pa.string()) for name, texts in values.items()}, _PLACE: range(1, rows + 1)}
    )
    return ListRows(shown, "row", columns, table)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(int(value))
    return "" if value is None else str(value)
