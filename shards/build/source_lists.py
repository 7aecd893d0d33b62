"""Lists of images in CSV or Parquet: ``path,label[,generator,group,split]``."""

import csv
import os
import posixpath
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shards.build.source_files import LocalFiles, SourceFiles, StoredFiles
from shards.build.sources import (
    LABELS,
    SOURCE_SCHEMA,
    UNKNOWN_GENERATOR,
    SourceList,
    plain_label,
    read_folder,
    sorted_table,
)
from shards.build.split import SPLIT_WORDS, lacking_classes
from shards.cli.wording import counted
from shards.errors import InputError
from shards.files.archives import archive_kind, unpack_first
from shards.files.file_names import within
from shards.files.outputs import cannot_write
from shards.files.parquet_file import open_parquet
from shards.files.regular_file import require_regular
from shards.manifest.schema import CLASS_NAMES, SPLITS
from shards.store.folder import as_url

__all__ = ["read_sources"]

_REQUIRED, _OPTIONAL = ("path", "label"), ("generator", "group", "split")
_SPLITS = SPLIT_WORDS | {"": ""}
_LABELS = LABELS | {"0": 0, "1": 1}
"""A list's labels; ``plain_label`` takes 1.0 and true for 1."""
_NO_GENERATOR = {"", "real"}

_MAX_LIST_BYTES = 64 << 30  # of a list on a web server, whatever length that claims

_SUFFIXES = (".csv", ".parquet")


def read_sources(location: str | Path) -> SourceList:
    """The images that SRC names: a folder, or a ``.csv`` or ``.parquet`` list; on this machine, or
    in a store where ``location`` is a URL.

    Raises ``InputError`` for everything that is neither, and for mistakes in a list.
    """
    if (url := as_url(location)) is not None:
        return _read_stored(url)
    source = Path(location)
    if source.is_dir():
        try:
            return read_folder(LocalFiles(source))
        except OSError as error:
            raise InputError(f"{error.filename} cannot be read: {error.strerror}") from error
    if not source.exists():
        raise InputError(f"{source} does not exist: give a folder of images or a list of them")
    if source.suffix.lower() not in _SUFFIXES:
        raise InputError(_neither(source))
    return _read_list(source, LocalFiles(source.parent))


def _neither(source: Path) -> str:
    kind = archive_kind(source)
    if kind == "tar":
        return (
            f"{source} is a tar: unpack it to a folder, or, where it is a WebDataset shard, give it"
            " to scripts.index_shards"
        )
    if kind:
        return unpack_first(source, kind, "a folder")
    return f"{source} is neither a folder nor a .csv or .parquet list"


def _read_stored(url: str) -> SourceList:
    """The images below a URL, or in the list that it names, which is fetched first."""
    if not url.lower().endswith(_SUFFIXES):
        return read_folder(StoredFiles(url))
    folder, _, name = url.rpartition("/")
    files = StoredFiles(folder)
    with tempfile.TemporaryDirectory() as scratch:
        path = within(Path(scratch), name)
        try:
            files.remote.stream(name, path, files.remote.size(name), _MAX_LIST_BYTES)
        except OSError as error:
            raise InputError(cannot_write(path, error)) from error
        return _read_list(path, files)


def _read_list(path: Path, files: SourceFiles) -> SourceList:
    """The images of a list. Paths in it are relative to the folder that the list lies in, which is
    that of ``files``.

    Labels are ``real``, ``generated``, ``fake``, 0 or 1. Raises ``InputError`` naming the line.
    """
    shown = files.where(path.name)
    read_rows = _csv_rows if path.suffix.lower() == ".csv" else _parquet_rows
    rows = read_rows(path, shown)
    columns: dict[str, list] = {name: [] for name in SOURCE_SCHEMA.names}
    for where, row in rows:
        _append(columns, f"{shown}, {where}", row, files)
    labels = set(columns["label"])
    if not labels:
        raise InputError(f"{shown} lists no images")
    if len(labels) == 1:
        (label,) = labels
        raise InputError(f"{shown} lists {CLASS_NAMES[label]} images only: a detector needs both")
    if not files.has_any(columns["path"]):
        raise InputError(
            f"none of the files listed in {shown} exists, such as {columns['path'][0]!r}: paths in "
            f"a list are relative to the list's own folder, {files.where('').rstrip('/')}, and have"
            " / between folders"
        )
    table = sorted_table(columns)
    notes = [
        f"labels of {shown}: 0 = real ({columns['label'].count(0):,}), 1 = generated ({columns['label'].count(1):,})"
    ]
    notes += lacking_classes(columns["split"], columns["label"])
    if again := _listed_again(table, shown):
        notes.append(again)
    return SourceList(files, table, notes=notes)


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


def _append(columns: dict[str, list], where: str, row: dict[str, str], files: SourceFiles) -> None:
    """Checks one row of a list and adds it to ``columns``."""
    name, label = row["path"], _LABELS.get(plain_label(row["label"].strip().lower()))
    generator, split = row["generator"].strip(), row["split"].strip().lower()
    if not name or "\0" in name:
        raise InputError(f"{where}: the path is empty or holds a zero byte")
    if label is None:
        raise InputError(f"{where}: label {row['label']!r} is none of real, generated, fake, 0 and 1")
    if split not in _SPLITS:
        raise InputError(f"{where}: split {row['split']!r} is none of {', '.join(SPLITS)}")
    if not label and generator.lower() not in _NO_GENERATOR:
        raise InputError(f"{where}: a real image has generator {generator!r}: leave it empty")
    path = _relative(name, where, files)
    if "\\" in path:
        _require_no_other_system(path, where, files)
    columns["path"].append(path)
    columns["label"].append(label)
    columns["generator"].append((generator or UNKNOWN_GENERATOR) if label else "")
    columns["group"].append(row["group"].strip())
    columns["split"].append(_SPLITS[split])


def _require_no_other_system(path: str, where: str, files: SourceFiles) -> None:
    """``InputError`` where backslashes part folders: here they are letters of a name."""
    slashes = path.replace("\\", "/")
    if not files.has_any([path]) and files.has_any([slashes]):
        raise InputError(f"{where}: {path!r} is written with backslashes, as on Windows: write {slashes!r}")


def _relative(name: str, where: str, files: SourceFiles) -> str:
    """The path that a row names. A list in a store may name what lies beside or below it: where
    else, its reader's credentials may reach and its writer's do not."""
    if isinstance(files, LocalFiles):
        if os.path.isabs(name):
            name = os.path.relpath(files.root / name, files.root)
        return os.path.normpath(name).replace(os.sep, "/")
    normal = posixpath.normpath(name)
    if normal == ".." or normal.startswith(("../", "/")):
        raise InputError(
            f"{where}: {name!r} leads out of the list's folder, {files.where('')}: move the list "
            "to a folder above its images"
        )
    return normal


def _check_columns(shown: str, names: list[str]) -> None:
    missing = [name for name in _REQUIRED if name not in names]
    if missing:
        raise InputError(
            f"{shown} has no column {missing[0]!r}: its columns must be {','.join(_REQUIRED)}[,{','.join(_OPTIONAL)}]"
        )


def _csv_rows(path: Path, shown: str) -> Iterator[tuple[str, dict[str, str]]]:
    """("line 7", row) for every row; the line is that of the file, header included."""
    wanted = _REQUIRED + _OPTIONAL
    try:
        require_regular(path)
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or []]
            _check_columns(shown, list(reader.fieldnames))
            for row in reader:
                if None in row or None in row.values():
                    raise InputError(f"{shown}, line {reader.line_num}: has another number of fields than the header")
                yield f"line {reader.line_num}", {name: row.get(name) or "" for name in wanted}
    except UnicodeDecodeError as error:
        raise InputError(f"{shown} is not UTF-8 text ({error.reason})") from error
    except csv.Error as error:
        raise InputError(f"{shown} is not a CSV file: {error}") from error
    except OSError as error:
        raise InputError(f"{shown} cannot be read: {error.strerror}") from error


def _parquet_rows(path: Path, shown: str) -> Iterator[tuple[str, dict[str, str]]]:
    """("row 7", row) for every row, counted from 1."""
    wanted = _REQUIRED + _OPTIONAL
    try:
        with open_parquet(path) as file:
            names = file.schema_arrow.names
            _check_columns(shown, names)
            present = [name for name in wanted if name in names]
            number = 0
            for batch in file.iter_batches(columns=present):
                for row in batch.to_pylist():
                    number += 1
                    yield f"row {number}", {name: _text(row.get(name)) for name in wanted}
    except (OSError, pa.ArrowException, ValueError, TypeError) as error:
        raise InputError(f"{shown} is not a Parquet file that can be read: {error}") from error


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(int(value))
    return "" if value is None else str(value)
