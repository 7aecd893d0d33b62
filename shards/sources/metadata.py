"""Metadata tables: tables inside a source's folders that describe the images there.

They are named ``metadata.csv``, ``.jsonl`` or ``.parquet`` and have a column ``file_name``, as in Hugging Face's
ImageFolder. They take precedence over folder names but must not contradict them: it is an error if the labels are
swapped throughout or if the splits differ.
"""

import posixpath
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace

import numpy as np

from shards.cli.wording import counted
from shards.errors import InputError
from shards.sources.class_names import Card
from shards.sources.columns import Unclear
from shards.sources.evidence import labels_by_folders, require_not_swapped
from shards.sources.files import SourceFiles
from shards.sources.labels import NO_LABEL
from shards.sources.layout import Folder, given_split
from shards.sources.lists import FOLDER_REMEDY, generators_of, labels_of, splits_of
from shards.sources.rows import LIST_SUFFIXES, TableRows, read_rows, table_file
from shards.sources.source_list import SourceRules

__all__ = ["METADATA_NAMES", "Described", "Metadata", "read_metadata"]

METADATA_NAMES = frozenset(f"metadata{suffix}" for suffix in LIST_SUFFIXES)
"""File names of metadata tables, which are read wherever they occur below the source's folder."""


@dataclass(frozen=True, slots=True)
class Described:
    """A metadata table's row about one image. Values that the table lacks are ``None`` or ``""``."""

    label: int | None
    generator: str
    group: str
    split: str
    """The split that the table gives, or else the one that the folder names give."""
    where: str
    """The table and row, as text for the user."""


@dataclass
class Metadata:
    """The rows of all metadata tables in a source."""

    images: dict[str, Described] = field(default_factory=dict)
    """Maps image paths in the source to rows."""
    notes: list[str] = field(default_factory=list)
    unclear: list[tuple[Unclear, list[str]]] = field(default_factory=list)
    """One pair for each table that gives no labels: (error that says why, the images that the table lists). These
    images may still be labelled by folder."""

    def settle(self, labelled: AbstractSet[str], has_both: bool) -> list[str]:
        """Returns notes on the tables that gave no labels.

        ``labelled`` holds all images that have a label, and ``has_both`` says whether these include both classes.
        If ``has_both`` is false, raises the error that kept the first of these tables from giving labels. Otherwise
        raises that of the first table with an unlabelled image, if there is one.
        """
        for error, paths in self.unclear:
            if not has_both or not labelled >= set(paths):
                raise error
        return [f"no labels from tables: {error}" for error, _ in self.unclear]


def read_metadata(
    files: SourceFiles,
    tables: Sequence[str],
    images: Sequence[str],
    rules: SourceRules,
    skipped: AbstractSet[str] = frozenset(),
) -> Metadata:
    """Reads the rows that ``tables`` contain about ``images``. Rows about ``skipped`` images are ignored.

    All three arguments hold names in ``files``. Raises ``InputError`` if a table cannot be read, or if tables
    contradict each other or the folder names.
    """
    found, known = Metadata(), frozenset(images)
    card = Card.beside(files) if tables else Card()
    evidence: list[tuple[int, str, str]] = []
    shown = ""
    for name in tables:
        shown = files.where(name)
        try:
            with table_file(files, name) as path:
                rows = read_rows(path, shown)
            evidence += _add(found, rows, name.rpartition("/")[0], known, skipped, rules, card)
        except Unclear as error:
            found.unclear.append((error, []))
    found.notes += require_not_swapped(
        np.array([label for label, _, _ in evidence], np.int8),
        labels_by_folders([path for _, path, _ in evidence], rules.words),
        "the names of the folders",
        FOLDER_REMEDY,
        shown if len(tables) == 1 else "the tables",
        lambda row: evidence[row][2],
    )
    return found


def _add(
    found: Metadata,
    rows: TableRows,
    folder: str,
    known: AbstractSet[str],
    skipped: AbstractSet[str],
    rules: SourceRules,
    card: Card,
) -> Iterator[tuple[int, str, str]]:
    """Adds a table's rows to ``found``. For each image, yields (label, path, text that says where its row is)."""
    there = known | skipped
    paths = [_within(folder, name, there) for name in rows.texts(rows.columns.path)]
    named = [row for row, path in enumerate(paths) if path in known]
    if paths and not any(paths):
        first = rows.texts(rows.columns.path)[0]
        raise Unclear(
            f"none of the files listed in {rows.shown} exists, for example {first!r}: write paths relative to its own "
            "folder"
        )
    if missing := paths.count(""):
        found.notes.append(f"{counted(missing, 'row')} of {rows.shown} without an image in the folder")
    labels = np.full(len(paths), NO_LABEL, np.int8)
    if rows.columns.labels and paths:
        try:
            labels, notes = labels_of(rows, rules, card)
            found.notes += notes
        except Unclear as error:
            found.unclear.append((error, [paths[row] for row in named]))
    generators, splits = generators_of(rows, labels), splits_of(rows, rules)
    groups = rows.texts(rows.columns.group)
    by_folder: dict[str, str] = {}
    for row in named:
        path, where = paths[row], rows.where(row)
        above = path.rpartition("/")[0]
        if above not in by_folder:
            by_folder[above] = _split_of(above, rules)
        split = _same_split(splits[row], by_folder[above], above, where)
        label = None if labels[row] == NO_LABEL else int(labels[row])
        described = Described(label, generators[row], groups[row].strip(), split, where)
        before = found.images.setdefault(path, described)
        if replace(before, where=where) != described:
            raise InputError(f"{before.where} and {where} describe {path} differently: keep one row")
        yield int(labels[row]), path, where


def _within(folder: str, name: str, known: AbstractSet[str]) -> str:
    """Resolves ``name``, as given by a table in ``folder``, to a path in ``known``. Returns ``""`` if there is none."""
    for form in (name, name.replace("\\", "/")):
        if (path := posixpath.normpath(posixpath.join(folder, form))) in known:
            return path
    return ""


def _split_of(folder: str, rules: SourceRules) -> str:
    names: Folder = tuple(folder.split("/"))
    return given_split(names, {name: rules.words.of_name(name) for name in names}, rules)


def _same_split(by_table: str, by_folder: str, folder: str, where: str) -> str:
    if by_table and by_folder and by_table != by_folder:
        raise InputError(
            f"{where}: its split is {by_table}, but its folder {folder}/ says {by_folder}: correct the table, or draw "
            "all splits with --no-given-split"
        )
    return by_table or by_folder
