"""Reads an image table in CSV, JSON lines or Parquet: the columns whose names have a known meaning, as strings."""

import csv
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, TextIO

import pyarrow as pa

from shards.errors import InputError
from shards.files.limits import limit
from shards.files.outputs import cannot_write
from shards.files.parquet_file import open_parquet
from shards.files.regular_file import require_regular
from shards.images.rejection import RejectedImage
from shards.sources.class_names import ClassNames, names_in_schema
from shards.sources.columns import PATH_COLUMNS, Columns, Unclear, find_columns
from shards.sources.embedded.reading import reading
from shards.sources.files import LocalFiles, SourceFiles

__all__ = ["LIST_SUFFIXES", "TableRows", "csv_reader", "is_text_or_number", "read_rows", "table_file", "text_of"]

LIST_SUFFIXES = (".csv", ".jsonl", ".parquet")
_PLACE = "\0place"
"""Name of an added column, which holds the line or row number of each row in the file."""

_SEPARATORS = (",", ";", "\t", "|")
_LONGEST_HEADER = 1 << 16  # characters

Record = Mapping[str, Any]


class TableRows:
    """The rows of a table as columns of strings, with the line or row number of each row in the file."""

    def __init__(self, shown: str, unit: str, columns: Columns, table: pa.Table, class_names: ClassNames) -> None:
        self.shown, self.columns, self.table = shown, columns, table
        self.class_names = class_names
        """Names of classes in the schema of the file."""
        self._unit = unit

    def where(self, row: int) -> str:
        """Returns where row ``row`` is in its file, as text for the user: the file's name and a line or row number."""
        return f"{self.shown}, {self._unit} {self.table.column(_PLACE)[row].as_py()}"

    def texts(self, column: str) -> list[str]:
        """The values in a column; ``""`` for all rows if there is no such column."""
        return self.table.column(column).to_pylist() if column else [""] * self.table.num_rows


@contextmanager
def table_file(files: SourceFiles, name: str) -> Iterator[Path]:
    """Context manager: yields a local path to one of a source's tables, downloading it if necessary.

    Raises ``InputError`` if the table cannot be read.
    """
    if isinstance(files, LocalFiles):
        yield files.root / name
        return
    try:
        data = files.read(name)
    except RejectedImage as error:
        raise InputError(f"{files.where(name)} cannot be read: {error.detail}") from error
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / PurePosixPath(name).name
        try:
            path.write_bytes(data)
        except OSError as error:
            raise InputError(cannot_write(path, error)) from error
        yield path


def read_rows(path: Path, shown: str) -> TableRows:
    """Reads those columns of a table whose names have a known meaning. ``shown`` is the table's name in messages.

    Raises ``Unclear`` if it has no path column, and ``InputError`` if it cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return _parquet_rows(path, shown)
    return _text_rows(path, shown, _csv_records if suffix == ".csv" else _json_records)


def _found(shown: str, names: list[str]) -> Columns:
    columns = find_columns(names, shown)
    if not columns.path:
        raise Unclear(
            f"{shown} has no column of paths, such as {', '.join(PATH_COLUMNS[:4])}; its columns are "
            f"{', '.join(names[:20]) or 'none'}: rename the one that holds the paths"
        )
    return columns


def _text_rows(path: Path, shown: str, read: Callable[[TextIO, str], Iterator[tuple[int, Record]]]) -> TableRows:
    """Reads a CSV or JSON lines file. The rows need not have the same columns: any row may introduce a new one."""
    values: dict[str, list[str]] = {}
    places: list[int] = []
    others: dict[str, None] = {}
    most = limit("MAX_LIST_ROWS")
    try:
        require_regular(path)
        with path.open(encoding="utf-8-sig", newline="") as file:
            for place, record in read(file, shown):
                if len(places) >= most:
                    raise InputError(
                        f"{shown} has more rows than GLASS_MAX_LIST_ROWS={most}: split the list, or raise that variable"
                    )
                for name in record:
                    if name in values or name in others:
                        continue
                    if find_columns([name]).names:
                        values[name] = [""] * len(places)
                    else:
                        others[name] = None
                for name, column in values.items():
                    value = record.get(name)
                    if isinstance(value, dict | list):
                        kind = "an object" if isinstance(value, dict) else "a list"
                        raise Unclear(f"{shown}, line {place}: {name} is {kind}, but must be a text or a number")
                    column.append(text_of(value))
                places.append(place)
        columns = _found(shown, [*values, *others]) if places else Columns()
        table = pa.table({**_as_texts(values), _PLACE: pa.array(places, pa.int64())})
    except UnicodeError as error:  # also for lone surrogates, which JSON writes as \ud800
        raise InputError(f"{shown} is not UTF-8 text ({error})") from error
    except csv.Error as error:
        raise InputError(f"{shown} is not a CSV file: {error}") from error
    except OSError as error:
        raise InputError(f"{shown} cannot be read: {error.strerror}") from error
    return TableRows(shown, "line", columns, table, {})


def csv_reader(file: TextIO, is_header: Callable[[list[str]], bool]) -> "csv.DictReader[str]":
    """Returns a reader positioned behind the header of a CSV file. Names in the header are stripped of spaces.

    Uses the first separator for which ``is_header`` accepts the fields of the first line, or a comma if there is none.
    """
    first = file.readline(_LONGEST_HEADER)
    file.seek(0)
    for separator in _SEPARATORS:
        names = next(csv.reader([first], delimiter=separator), [])
        if is_header([name.strip() for name in names]):
            break
    else:
        separator = ","
    reader = csv.DictReader(file, strict=True, delimiter=separator)
    reader.fieldnames = [name.strip() for name in reader.fieldnames or []]
    return reader


def _csv_records(file: TextIO, shown: str) -> Iterator[tuple[int, Record]]:
    """Yields ``(line number, row)`` for each row of a CSV file. The header counts as a line."""
    reader = csv_reader(file, lambda names: bool(find_columns(names, shown).path))
    _found(shown, list(reader.fieldnames or []))  # checks tables without rows too, and names that occur twice
    for row in reader:
        if None in row or None in row.values():
            raise InputError(f"{shown}, line {reader.line_num}: not as many fields as in the header")
        yield reader.line_num, row


def _json_records(file: TextIO, shown: str) -> Iterator[tuple[int, Record]]:
    """Yields ``(line number, object)`` for each object in a JSON lines file."""
    most = limit("MAX_JSON_BYTES")
    number = 0
    while line := file.readline(most + 1):
        number += 1
        if len(line) > most:
            raise InputError(f"{shown}, line {number}: longer than GLASS_MAX_JSON_BYTES={most}")
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{shown}, line {number}: not JSON ({error})") from error
        if not isinstance(record, dict):
            raise InputError(f"{shown}, line {number}: not a JSON object")
        yield number, record


def _parquet_rows(path: Path, shown: str) -> TableRows:
    with reading(shown), open_parquet(path) as file:
        schema = file.schema_arrow
        columns = _found(shown, [field.name for field in schema if is_text_or_number(field.type)])
        values: dict[str, list[str]] = {name: [] for name in columns.names}
        for batch in file.iter_batches(columns=columns.names):
            for name in columns.names:
                values[name] += map(text_of, batch.column(name).to_pylist())
    places = pa.array(range(1, len(values[columns.path]) + 1), pa.int64())
    table = pa.table({**_as_texts(values), _PLACE: places})
    return TableRows(shown, "row", columns, table, names_in_schema(schema.metadata))


def is_text_or_number(kind: pa.DataType) -> bool:
    """Whether a column of this type can have a known meaning. Bytes (such as images), lists and objects cannot."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    binary = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)
    return not binary and not pa.types.is_nested(kind)


def _as_texts(values: Mapping[str, list[str]]) -> dict[str, pa.Array]:
    return {name: pa.array(texts, pa.string()) for name, texts in values.items()}


def text_of(value: object) -> str:
    """Converts a value from a table to text: booleans to ``1`` or ``0``, and ``None`` to ``""``."""
    if isinstance(value, bool):
        return str(int(value))
    return "" if value is None else str(value)
