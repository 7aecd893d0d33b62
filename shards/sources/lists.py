"""Reads lists of images in CSV, JSON lines or Parquet, with columns for paths, labels and, optionally, other data."""

import os
import posixpath
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shards.cli.wording import counted
from shards.errors import InputError
from shards.manifest.schema import CLASS_NAMES, SPLITS
from shards.sources.class_names import Card
from shards.sources.columns import plain_name
from shards.sources.evidence import labels_by_folders, labels_by_generators, labels_swapped, require_not_swapped
from shards.sources.files import LocalFiles, SourceFiles
from shards.sources.labels import NO_LABEL, read_labels
from shards.sources.layout import named_generator
from shards.sources.note_file import note_beside
from shards.sources.rows import TableRows, read_rows
from shards.sources.source_list import SourceList, SourceRules, sorted_table
from shards.sources.word_table import SPLIT_WORDS

__all__ = ["FOLDER_REMEDY", "generators_of", "labels_of", "read_list", "splits_of"]

FOLDER_REMEDY = "what the names of the folders mean"
_SPLITS = SPLIT_WORDS | {"": ""}
_REAL_GENERATORS = {"", "real"}


def read_list(path: Path, files: SourceFiles, rules: SourceRules) -> SourceList:
    """Reads a list of images. Its paths are relative to the list's folder, which is the root of ``files``.

    Raises ``InputError`` for a mistake in the list, naming the line if possible.
    """
    shown = files.where(path.name)
    if rules.words.skipped:
        name = min(rules.words.skipped)
        raise InputError(
            f"--skip {name} leaves out folders, but a list names each image: leave its rows out of {shown}"
        )
    rows = read_rows(path, shown)
    if not rows.table.num_rows:
        raise InputError(f"{shown} lists no images")
    labels, notes = labels_of(rows, rules, Card.beside(files))
    paths = [_path(name, rows.where(row), files) for row, name in enumerate(rows.texts(rows.columns.path))]
    hints = labels_by_folders(paths, rules.words)
    notes += require_not_swapped(labels, hints, "the names of the folders", FOLDER_REMEDY, shown, rows.where)
    generators, splits = generators_of(rows, labels), splits_of(rows, rules)
    if not (labels != NO_LABEL).any():
        raise InputError(f"{notes[0]}: a detector needs images of both classes")
    if len(classes := set(labels.tolist()) - {NO_LABEL}) == 1:
        raise InputError(
            f"{shown} lists {CLASS_NAMES[classes.pop()]} images only: a detector needs images of both classes"
        )
    if not files.has_any(paths):
        raise InputError(
            f"none of the files listed in {shown} exists, for example {paths[0]!r}: write paths relative to the "
            f"list's own folder, {files.where('').rstrip('/')}, with / between folders"
        )
    columns: dict[str, list] = {
        "path": paths,
        "label": labels.tolist(),
        "generator": [
            name or named_generator(tuple(path.split("/")[:-1]), rules) if label else ""
            for name, path, label in zip(generators, paths, labels, strict=True)
        ],
        "group": [group.strip() for group in rows.texts(rows.columns.group)],
        "split": splits,
    }
    taken = np.flatnonzero(labels != NO_LABEL)
    table = sorted_table({name: [values[row] for row in taken] for name, values in columns.items()})
    if again := _listed_again(table, shown):
        notes.append(again)
    return SourceList(files, table, notes=notes, note_files=note_beside(files))


def labels_of(rows: TableRows, rules: SourceRules, card: Card) -> tuple[np.ndarray, list[str]]:
    """Returns a table's labels and notes on them, as :func:`read_labels` does.

    Class names are taken from the table's schema and from ``card``. Raises the same errors as :func:`read_labels`, and
    ``InputError`` if the generator column shows that the labels are swapped.
    """
    class_names = card.joined_to(rows.class_names, rows.shown)
    labels, notes = read_labels(rows.table, rows.columns.labels, rules.words, class_names, rows.shown, rows.where)
    if any(column in card.names and column not in rows.class_names for column in rows.columns.labels):
        notes.append(f"names of the classes from {card.shown}")
    column = rows.columns.generator
    if column and labels_swapped(labels, labels_by_generators(_generator_names(rows))):
        raise InputError(
            f"{rows.shown}: every image with a {column} is labelled real, and every image without one generated, so "
            "the labels are swapped: use --label to say what the values mean, or rename the column"
        )
    return labels, notes


def generators_of(rows: TableRows, labels: np.ndarray) -> list[str]:
    """Returns the generator of each row; ``""`` for real images and for rows that name no generator.

    Raises ``InputError`` if a real image has an entry in a column called ``generator``.
    """
    column = rows.columns.generator
    found = []
    for row, name in enumerate(_generator_names(rows)):
        is_real = name.strip().lower() in _REAL_GENERATORS
        if labels[row] == 0 and not is_real and plain_name(column) == "generator":  # a "model" may be a camera
            raise InputError(f"{rows.where(row)}: a real image has the generator {name!r}: leave it empty")
        found.append("" if is_real or labels[row] == 0 else name.strip())
    return found


def _generator_names(rows: TableRows) -> list[str]:
    """Returns the values in the generator column. Numbers are replaced by their names in the file's schema, if any."""
    column = rows.columns.generator
    names = rows.class_names.get(column, {})
    return [names.get(value.strip(), value) for value in rows.texts(column)]


def splits_of(rows: TableRows, rules: SourceRules) -> list[str]:
    """The split of each row, ``""`` if none is given. Raises ``InputError`` for an unknown split."""
    if not rules.given_split:
        return [""] * rows.table.num_rows
    found = []
    for row, split in enumerate(rows.texts(rows.columns.split)):
        if (plain := split.strip().lower()) not in _SPLITS:
            raise InputError(
                f"{rows.where(row)}: split {split!r} is not one of {', '.join(SPLITS)}: rename it, or draw all splits "
                "with --no-given-split"
            )
        found.append(_SPLITS[plain])
    return found


def _listed_again(table: pa.Table, shown: str) -> str:
    """Returns a note on paths that occur more than once in a list, or ``""`` if there are none.

    Raises ``InputError`` if two rows with the same path differ.
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
    repeat = f"{shown} {'repeats' if len(places) == 1 else 'repeat'} an image"
    return f"{counted(len(places), 'row')} of {repeat}, for example {first!r}: each becomes another sample"


def _shown_value(row: dict[str, Any], name: str) -> str:
    return CLASS_NAMES[row[name]] if name == "label" else repr(row[name])


def _path(name: str, where: str, files: SourceFiles) -> str:
    """Returns the path given in a row, normalised. Raises ``InputError`` if it is not valid.

    A list in a store may only refer to files in or below its own folder. Otherwise, its author could make the reader's
    credentials fetch files to which the author has no access.
    """
    if not name or "\0" in name:
        raise InputError(f"{where}: the path is empty or contains a zero byte")
    if isinstance(files, LocalFiles):
        if os.path.isabs(name):
            name = os.path.relpath(files.root / name, files.root)
        path = os.path.normpath(name).replace(os.sep, "/")
    else:
        path = posixpath.normpath(name)
        if path == ".." or path.startswith(("../", "/")):
            raise InputError(
                f"{where}: {name!r} is outside of the list's folder, {files.where('')}: move the list to a folder "
                "above its images"
            )
    if "\\" in path:
        _require_no_other_system(path, where, files)
    return path


def _require_no_other_system(path: str, where: str, files: SourceFiles) -> None:
    """Raises ``InputError`` if a path uses backslashes as separators. On Linux, a backslash is part of a name."""
    slashes = path.replace("\\", "/")
    if not files.has_any([path]) and files.has_any([slashes]):
        raise InputError(f"{where}: {path!r} has backslashes, as on Windows: write {slashes!r}")
