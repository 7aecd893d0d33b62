"""Finds the tables with embedded images among a source's files, and reads their other columns."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath

import pyarrow as pa

from shards.errors import InputError
from shards.files.json_file import parse_json
from shards.files.limits import limit
from shards.images.formats import FILE_SUFFIXES
from shards.images.rejection import RejectedImage
from shards.sources.class_names import ClassNames, names_in_schema
from shards.sources.columns import find_columns
from shards.sources.embedded.columns import image_column
from shards.sources.embedded.files import ImageTable
from shards.sources.embedded.reading import reading
from shards.sources.embedded.table_file import TABLE_SUFFIXES, open_table
from shards.sources.files import SourceFiles, Stamp
from shards.sources.layout import Folder
from shards.sources.rows import is_text_or_number, text_of
from shards.sources.words import Words

__all__ = ["FoundTable", "Listed", "folder_of", "look_into", "missing_parts", "saved_tables", "tables_among"]

Listed = tuple[str, Stamp | None]
"""``(file name, stamp)``. The stamp is ``None`` if the listing gave none."""

_FEW_IMAGES = 100
"""A folder with more image files than this is read as a folder of images, even if it contains tables. With fewer, the
image files may just be illustrations for a data set card."""
_STATE = "state.json"
_LEAST_BYTES = 1 << 14
"""Tables with at least this many bytes per row are assumed to hold images. All others are searched for an image."""
_OF_MANY = re.compile(r"(.*?)[-_.]?\b\d+-of-(\d+)(?:-[0-9a-f]{16})?")
"""Matches ``train-00000-of-00042``, with or without the fingerprint that the Hugging Face hub used to append."""
_NUMBER = re.compile(r"[-_.]?\d+")
_PART = re.compile(r"(part|shard|chunk|batch|file|parquet)s?([-_.\d].*)?")

_NOT_INSIDE = (
    "its column of images holds only paths to files on its author's machine: write it again with the images inside "
    "(datasets does so in push_to_hub and save_to_disk), or give the folder of the files"
)
"""The end of an error message about a table without embedded images. It gives the cause and the remedy."""


@dataclass(frozen=True)
class FoundTable:
    """A table with an image column, and its other columns."""

    images: ImageTable
    texts: pa.Table
    """The other columns whose names have a known meaning, such as labels, as strings."""
    class_names: ClassNames
    is_empty: bool = False
    """Whether none of its rows holds an image."""


def tables_among(listed: Iterable[Listed]) -> tuple[list[str], list[Listed]]:
    """Returns the names of the tables among a folder's ``listed`` files, and all entries read from ``listed``.

    Once more than ``_FEW_IMAGES`` image files have been seen, stops reading ``listed`` and returns no names. Opens no
    table.
    """
    names: list[str] = []
    seen: list[Listed] = []
    images = 0
    for name, stamp in listed:
        seen.append((name, stamp))
        suffix = PurePosixPath(name).suffix.lower()
        images += suffix in FILE_SUFFIXES
        if images > _FEW_IMAGES:
            return [], seen
        if suffix in TABLE_SUFFIXES:
            names.append(name)
    return names, seen


def saved_tables(files: SourceFiles, names: Sequence[str], listed: AbstractSet[str]) -> list[str]:
    """Returns the tables that belong to the data set, sorted: those in ``names``, except for caches.

    In a folder written by ``save_to_disk`` of the ``datasets`` library, only the tables named in the state file belong
    to the data set; any others are caches left behind by ``map()``. Raises ``InputError`` if a table named in the state
    file is missing.
    """
    found: set[str] = set()
    folders = {name.removesuffix(_STATE) for name in listed if PurePosixPath(name).name == _STATE}
    for folder in sorted(folders):
        try:
            state = parse_json(files.read(f"{folder}{_STATE}")[: limit("MAX_JSON_BYTES")])
            parts = [f"{folder}{part['filename']}" for part in state["_data_files"]]
        except (RejectedImage, ValueError, LookupError, TypeError) as error:
            raise InputError(
                f"{files.where(folder + _STATE)} was not written by save_to_disk ({error}): download it again"
            ) from error
        if missing := [part for part in parts if part not in listed]:
            raise InputError(
                f"{files.where(missing[0])} is missing, but named in {_STATE} beside it: download it again"
            )
        found.update(parts)
    for name in names:
        folder, file = name[: len(name) - len(PurePosixPath(name).name)], PurePosixPath(name).name
        if folder not in folders and not file.startswith("cache-"):
            found.add(name)
    return sorted(found)


def missing_parts(names: Iterable[str]) -> list[str]:
    """Returns a note for each set of tables named like ``NAME-00001-of-00042`` that is incomplete in ``names``."""
    parts: Counter[tuple[str, int]] = Counter()
    for name in names:
        path = PurePosixPath(name)
        if found := _OF_MANY.fullmatch(path.stem):
            parts[(str(path.parent / found[1]), int(found[2][:9]))] += 1
    return [
        f"found only {count:,} of the {total:,} tables {name}-…-of-{total:05d}"
        for (name, total), count in parts.items()
        if count < total
    ]


def folder_of(name: str, words: Words) -> Folder:
    """Returns the folder names on a table's path, followed by the table's own name as if it were a folder.

    Numbers and words such as ``part`` are removed from the file name. If the file name ends with a split, the split
    becomes a separate folder: ``ai-train`` → ``ai``, ``train``.
    """
    path = PurePosixPath(name)
    numbered = _OF_MANY.fullmatch(path.stem)
    stem = _NUMBER.sub("", numbered[1] if numbered else path.stem) if not _PART.fullmatch(path.stem.lower()) else ""
    first, _, last = stem.rpartition("-")
    names = [first, last] if words.of_name(last).split and not words.of_name(stem) else [stem]
    return (*path.parts[:-1], *filter(None, names))


def look_into(files: SourceFiles, names: Sequence[str]) -> list[FoundTable]:
    """Opens the tables ``names`` and returns those with an image column.

    Raises ``InputError`` if a table cannot be read, or if no row of any table holds an image. A single row without an
    image, as written by img2dataset, is not an error here: the build rejects it.
    """
    with ThreadPoolExecutor(files.at_once or 1) as pool:
        found = [table for table in pool.map(lambda name: _look_into(files, name), names) if table is not None]
    if found and all(table.is_empty for table in found):
        raise InputError(f"no row of {files.where(found[0].images.name)} holds an image: {_NOT_INSIDE}")
    return found


def _look_into(files: SourceFiles, name: str) -> FoundTable | None:
    # Request the stamp here, as when the images are read, since a listing may give a different one.
    shown, stamp = files.where(name), files.stamp(name)
    with open_table(files, name) as table, reading(shown):  # catches values that are not UTF-8, impossible dates
        columns = find_columns([field.name for field in table.schema if is_text_or_number(field.type)], shown)
        images = image_column(table.schema, shown, bool(columns.path))
        if not images:
            return None
        wanted = [column for column in columns.names if column != columns.path]
        texts: dict[str, list[str]] = {column: [] for column in wanted}
        num_rows = 0
        for batch in table.texts(wanted):
            num_rows += batch.num_rows
            for column in wanted:
                texts[column] += map(text_of, batch.column(column).to_pylist())
        num_bytes = table.num_bytes()
        is_empty = num_bytes < num_rows * _LEAST_BYTES and all(
            batch.null_count == len(batch) for batch in table.images(images)
        )
        found = ImageTable(name, images, num_rows, num_bytes, stamp or (num_bytes, 0))
        arrays = {column: pa.array(values, pa.string()) for column, values in texts.items()}
        return FoundTable(found, pa.table(arrays), names_in_schema(table.schema.metadata), is_empty)
