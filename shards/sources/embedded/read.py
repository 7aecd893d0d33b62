"""Reads tables with embedded images: Parquet files, and folders written by ``datasets.save_to_disk``.

Labels, generators and splits are taken from the tables' columns. If no column gives labels, they are taken from folder
and file names, as for a folder of images.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa

from shards.cli.wording import counted
from shards.errors import InputError
from shards.images.formats import FILE_SUFFIXES
from shards.manifest.schema import CLASS_NAMES
from shards.sources.class_names import Card, ClassNames
from shards.sources.columns import Columns, Unclear, find_columns
from shards.sources.embedded.files import EmbeddedFiles, row_name
from shards.sources.embedded.find import FoundTable, Listed, folder_of, look_into, missing_parts, saved_tables
from shards.sources.embedded.table_file import TABLE_SUFFIXES
from shards.sources.evidence import labels_by_folders, require_not_swapped
from shards.sources.files import SCRATCH_NAME, SourceFiles
from shards.sources.labels import NO_LABEL
from shards.sources.layout import Folder, given_split, named_generator, read_layout
from shards.sources.lists import FOLDER_REMEDY, generators_of, labels_of, splits_of
from shards.sources.note_file import note_beside, notes_among
from shards.sources.rows import TableRows
from shards.sources.source_list import SOURCE_SCHEMA, UNKNOWN_GENERATOR, SourceList, SourceRules, sorted_table

__all__ = ["read_embedded"]

_MOST_SHOWN = 3
_OF_IMAGES = frozenset({*FILE_SUFFIXES, *TABLE_SUFFIXES, ".csv", ".jsonl", ".zip", ".tar", ".gz"})
"""Suffixes of files that may hold or describe images."""


class _Rows(TableRows):
    """The rows of several tables, concatenated."""

    def __init__(self, shown: str, tables: Sequence[FoundTable], files: SourceFiles) -> None:
        """Raises ``InputError`` if two tables' schemas give a column different class names."""
        names = list(dict.fromkeys(name for table in tables for name in table.texts.column_names))
        everywhere = [name for name in names if all(name in table.texts.column_names for table in tables)]
        found = find_columns(names, shown)
        columns = Columns("", find_columns(everywhere, shown).labels, found.generator, found.group, found.split)
        joined = {name: pa.chunked_array([_column(table, name) for table in tables]) for name in columns.names}
        super().__init__(shown, "row", columns, pa.table(joined), _class_names(tables, files))
        self.starts = list(accumulate((table.images.num_rows for table in tables), initial=0))
        """The first row of each table, and the number of all rows."""
        self._names = [files.where(table.images.name) for table in tables]

    @property
    def num_rows(self) -> int:
        return self.starts[-1]

    def where(self, row: int) -> str:
        table = bisect_right(self.starts, row) - 1
        return f"{self._names[table]}, row {row - self.starts[table] + 1:,}"

    def texts(self, column: str) -> list[str]:
        return super().texts(column) if column else [""] * self.num_rows


def _column(table: FoundTable, name: str) -> pa.Array:
    """Returns the column ``name`` of a table, or a column of empty strings if the table has no such column."""
    if name in table.texts.column_names:
        return table.texts.column(name).combine_chunks()
    return pa.array([""] * table.images.num_rows, pa.string())


def _class_names(tables: Sequence[FoundTable], files: SourceFiles) -> ClassNames:
    found: dict[str, tuple[Mapping[str, str], str]] = {}
    for table in tables:
        for column, names in table.class_names.items():
            before, where = found.setdefault(column, (names, table.images.name))
            if before != names:
                raise InputError(
                    f"{files.where(table.images.name)} names the classes of its column {column} differently from "
                    f"{files.where(where)}: correct one of them, or build a data set of each"
                )
    return {column: names for column, (names, _) in found.items()}


def read_embedded(
    files: SourceFiles, names: Sequence[str], rules: SourceRules, listed: Sequence[Listed] = ()
) -> SourceList | None:
    """Reads the images embedded in the tables ``names``. Returns ``None`` if no table has an image column.

    ``listed`` holds the files in the tables' folder; it is empty if the source is a single table. Raises ``InputError``
    if a table cannot be read, if labels cannot be determined or contradict each other, or if a class is missing.
    """
    wanted = saved_tables(files, names, {name for name, _ in listed})
    tables = look_into(files, wanted)
    if not tables:
        return None
    shown = files.where(tables[0].images.name) if len(tables) == 1 else files.where("").rstrip("/")
    rows = _Rows(shown, tables, files)
    columns, notes = _described(tables, rows, rules, Card.beside(files))
    if (classes := set(columns["label"])) != {0, 1}:
        only = f"{CLASS_NAMES[min(classes)]} images only" if classes else "no images with a label"
        raise InputError(f"{shown} has {only}: a detector needs both real and generated ones")
    taken = {table.images.name: table.images for table in tables}
    used = {path.rpartition("/")[0] for path in columns["path"]}
    taken = {name: table for name, table in taken.items() if name in used}
    megabytes = sum(table.num_bytes for table in taken.values()) / 1e6
    notes.append(
        f"images inside {counted(len(taken), 'file')}: unpacked to {SCRATCH_NAME} in the data set's folder while it is "
        f"built, {megabytes:,.0f} MB"
    )
    notes += (missing_parts(wanted) if listed else []) + _skipped_note(listed, {table.images.name for table in tables})
    note_files = notes_among(files, (name for name, _ in listed)) if listed else note_beside(files)
    return SourceList(EmbeddedFiles(files, taken), sorted_table(columns), notes=notes, note_files=note_files)


def _described(
    tables: Sequence[FoundTable], rows: _Rows, rules: SourceRules, card: Card
) -> tuple[dict[str, list], list[str]]:
    """Returns the columns of ``SOURCE_SCHEMA`` for all labelled rows, and notes on how the tables were interpreted."""
    folders = [folder_of(table.images.name, rules.words) for table in tables]
    labels, notes, unclear = _labels(rows, folders, rules, card)
    bounds = list(pairwise(rows.starts))
    silent = [place for place, (start, stop) in enumerate(bounds) if (labels[start:stop] == NO_LABEL).all()]
    counts: Counter[Folder] = Counter()
    for place in silent:
        counts[folders[place]] += tables[place].images.num_rows
    layout = read_layout(counts, rules)
    generators, splits = generators_of(rows, labels), splits_of(rows, rules)
    groups = rows.texts(rows.columns.group)
    columns: dict[str, list] = {name: [] for name in SOURCE_SCHEMA.names}
    for place, (start, stop) in enumerate(bounds):
        folder, name = folders[place], tables[place].images.name
        by_folder = layout.places[folder] if place in silent else None
        generator = by_folder.generator if by_folder else named_generator(folder, rules)
        split = given_split(folder, {part: rules.words.of_name(part) for part in folder}, rules)
        for row in range(start, stop):
            label = labels[row] if by_folder is None else by_folder.label
            if label is None or label == NO_LABEL:
                continue
            if splits[row] and split and splits[row] != split:
                raise InputError(
                    f"{rows.where(row)}: its split is {splits[row]}, but the name of the file or its folder says "
                    f"{split}: rename it, or draw all splits with --no-given-split"
                )
            columns["path"].append(row_name(name, row - start))
            columns["label"].append(int(label))
            columns["generator"].append((generators[row] or generator or UNKNOWN_GENERATOR) if label else "")
            columns["group"].append(groups[row].strip())
            columns["split"].append(splits[row] or split)
    if unclear is not None:
        is_silent = any(layout.places[folder].label is None for folder in counts)
        if set(columns["label"]) != {0, 1} or (rows.columns.labels and is_silent):
            raise unclear
        if rows.columns.labels:
            notes.append(f"no labels from columns: {unclear}")
    return columns, notes + (layout.notes() if counts else [])


def _labels(
    rows: _Rows, folders: Sequence[Folder], rules: SourceRules, card: Card
) -> tuple[np.ndarray, list[str], Unclear | None]:
    """Returns the labels given by the label columns, notes on how these were interpreted, and an error or ``None``.

    The labels are an int8 array of shape (rows,). If the columns do not determine them, all are ``NO_LABEL``, there are
    no notes, and the error is the ``Unclear`` that says why.
    """
    try:
        labels, notes = labels_of(rows, rules, card)
    except Unclear as error:
        return np.full(rows.num_rows, NO_LABEL, np.int8), [], error
    shown = ["/".join((*folder, "")) for folder in folders]
    counts = np.diff(rows.starts)
    hints = labels_by_folders(shown, rules.words).repeated(counts)
    by = "the names of folders and files"
    return labels, notes + require_not_swapped(labels, hints, by, FOLDER_REMEDY, rows.shown, rows.where), None


def _skipped_note(listed: Sequence[Listed], tables: set[str]) -> list[str]:
    """Returns a note on ``listed`` files that were skipped although they may hold or describe images.

    Returns ``[]`` if there are none.
    """
    others = [name for name, _ in listed if name not in tables]
    kinds = Counter(suffix for name in others if (suffix := PurePosixPath(name).suffix.lower()) in _OF_IMAGES)
    if not kinds:
        return []
    shown = ", ".join(f"{suffix} {count:,}" for suffix, count in kinds.most_common(_MOST_SHOWN))
    return [f"skipped {counted(kinds.total(), 'file')} beside the tables with images ({shown})"]
