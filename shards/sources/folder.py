"""Finds the images below a folder, and labels them by metadata tables in it and by folder names. Opens no image."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import PurePosixPath

from shards.cli.wording import counted
from shards.errors import InputError
from shards.images.formats import FILE_SUFFIXES
from shards.manifest.schema import CLASS_NAMES
from shards.sources.archives.files import PackedFiles
from shards.sources.archives.find import FoundArchives, is_archive_name, without_archive_suffix
from shards.sources.embedded.table_file import TABLE_SUFFIXES
from shards.sources.files import LocalFiles, SourceFiles, Stamp
from shards.sources.layout import Folder, Layout, named_generator, read_layout
from shards.sources.metadata import METADATA_NAMES, Described, read_metadata
from shards.sources.note_file import NOTE_NAME, notes_among
from shards.sources.rows import LIST_SUFFIXES
from shards.sources.source_list import SOURCE_SCHEMA, SourceList, SourceRules, sorted_table

__all__ = ["read_folder"]

_MOST_SHOWN = 5


@dataclass
class _Found:
    """The files below a folder, by kind."""

    images: list[str] = field(default_factory=list)
    stamps: dict[str, Stamp] = field(default_factory=dict)
    misnamed: list[str] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)
    """Maps suffixes to the number of skipped files."""
    first_archive: str = ""
    """The first skipped archive; ``""`` if none was skipped."""
    tables: list[str] = field(default_factory=list)
    """Tables that describe images in the folders, see ``shards.sources.metadata``."""
    lists: list[str] = field(default_factory=list)
    """Lists that were skipped, and tables that were skipped although they may have embedded images."""
    dataset_notes: list[str] = field(default_factory=list)
    """Files with notes, see ``shards.sources.note_file``."""
    packed_tables: list[str] = field(default_factory=list)
    """Lists, and tables that may have embedded images, that were skipped because they are in archives."""
    skipped: frozenset[str] = frozenset()
    """Images in folders that the user excluded with ``--skip``."""


def read_folder(
    files: SourceFiles, rules: SourceRules | None = None, listed: Iterable[tuple[str, Stamp | None]] | None = None
) -> SourceList:
    """Finds the images below a folder, at any depth. Labels come from metadata tables in it and from folder names.

    Images that are labelled by neither a table nor a folder name are skipped, with a note. ``listed`` holds the files
    below the folder, if the caller has already listed them. Raises ``InputError`` if a class is missing or if names
    contradict each other, and ``OSError`` if a folder cannot be read.
    """
    rules, root = rules or SourceRules(), files.where("").rstrip("/")
    listed = files.walk("") if listed is None else listed
    archives = FoundArchives(files.root) if isinstance(files, LocalFiles) else None
    found = _sorted_out(listed if archives is None else archives.opened_among(listed))
    if archives is not None and archives.archives:
        files = archives.files
    if isinstance(files, PackedFiles):  # the user cannot give a list inside an archive
        found.packed_tables = [name for name in found.lists if name in files.members]
        found.lists = [name for name in found.lists if name not in files.members]
    skipped = _skip(found, rules)
    metadata = read_metadata(files, found.tables, found.images, rules, found.skipped)
    tables = metadata.images
    silent = [path for path in found.images if path not in tables or tables[path].label is None]
    layout = read_layout(Counter(map(_folder_of, silent)), rules)
    columns: dict[str, list] = {name: [] for name in SOURCE_SCHEMA.names}
    for path in found.images:
        if (row := _row(path, layout, tables.get(path), rules)) is not None:
            for name, value in zip(SOURCE_SCHEMA.names, row, strict=True):
                columns[name].append(value)
    settled = metadata.settle(set(columns["path"]), set(columns["label"]) == {0, 1})
    _require_both_classes(root, columns["label"], found, layout, rules)
    notes = metadata.notes + settled + layout.notes() + skipped
    if found.passed_over:
        notes.append(_skipped_note(found.passed_over))
    if found.packed_tables:
        notes.append(f"skipped {_packed(found.packed_tables)}: to have it read, unpack the archive")
    notes += archives.notes if archives is not None else []
    note_files = notes_among(files, found.dataset_notes)
    return SourceList(files, sorted_table(columns), found.misnamed, notes, found.stamps, note_files)


def _skip(found: _Found, rules: SourceRules) -> list[str]:
    """Removes from ``found`` the files in folders that the user excluded. Returns a note on the images among them."""
    if not rules.words.skipped:
        return []

    def within(path: str) -> str | None:
        return next(filter(rules.words.is_skipped, _folder_of(path)), None)

    skipped = {path: name for path in found.images if (name := within(path)) is not None}
    found.skipped = frozenset(skipped)
    found.images = [path for path in found.images if path not in found.skipped]
    found.tables, found.misnamed, found.dataset_notes = (
        [path for path in paths if within(path) is None]
        for paths in (found.tables, found.misnamed, found.dataset_notes)
    )
    counts = Counter(skipped.values())
    names = ", ".join(f"{name}/ ({counted(counts[name], 'image')})" for name in sorted(counts))
    return [f"skipped because of --skip: {names}"] if names else []


def _folder_of(path: str) -> Folder:
    """Returns the folders above a file. An archive counts as a folder named after it, without its suffix."""
    return tuple(map(_plain_folder, path.split("/")[:-1]))


@cache
def _plain_folder(name: str) -> str:
    return without_archive_suffix(name)


def _row(
    path: str, layout: Layout, table: Described | None, rules: SourceRules
) -> tuple[str, int, str, str, str] | None:
    """Returns an image's row of ``SOURCE_SCHEMA``, from its metadata table or its folders; ``None`` if unlabelled."""
    folder = _folder_of(path)
    if table is not None and table.label is not None:
        generator = table.generator or named_generator(folder, rules)
        return path, table.label, generator if table.label else "", table.group, table.split
    place = layout.places[folder]
    if place.label is None:
        return None
    if table is None:
        return path, place.label, place.generator, "", place.split
    generator = table.generator or place.generator
    return path, place.label, generator if place.label else "", table.group, table.split


def _sorted_out(listed: Iterable[tuple[str, Stamp | None]]) -> _Found:
    found = _Found()
    for path, stamp in listed:
        suffix = PurePosixPath(path).suffix.lower()
        if PurePosixPath(path).name.lower() in METADATA_NAMES and _is_utf8(path):
            found.tables.append(path)
        elif PurePosixPath(path).name == NOTE_NAME and _is_utf8(path):
            found.dataset_notes.append(path)
        elif suffix not in FILE_SUFFIXES:
            found.passed_over[suffix] += 1
            found.first_archive = found.first_archive or (path if is_archive_name(path) else "")
            if suffix in (*LIST_SUFFIXES, *TABLE_SUFFIXES):
                found.lists.append(path)
        elif not _is_utf8(path):
            found.misnamed.append(path.encode("utf-8", "backslashreplace").decode())
        else:
            found.images.append(path)
            if stamp is not None:
                found.stamps[path] = stamp
    return found


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # Python decodes invalid bytes of file names to surrogates
        return False
    return True


def _require_both_classes(root: str, labels: Sequence[int], found: _Found, layout: Layout, rules: SourceRules) -> None:
    if set(labels) == {0, 1}:
        return
    if found.first_archive and not labels:
        raise InputError(_only_archives(root, found.first_archive))
    if found.packed_tables and not labels:
        raise InputError(
            f"{root} holds {_packed(found.packed_tables)}, and no images with a class: unpack the archive, and "
            "give the folder or the list"
        )
    if not found.images:
        raise InputError(f"{root} has no image files: {_what_to_give(root)}")
    if given := _given_for_source(root, rules):
        raise InputError(
            f"--label {given}: {root} itself has this name, but only names of folders in it count: give the folder "
            "that holds the folders of both classes"
        )
    if not labels:
        lists = [name for name in found.lists if name.lower().endswith(LIST_SUFFIXES)]
        listed = f"the list {root}/{lists[0]}, which is in that folder," if lists else "a list"
        raise InputError(
            f"{root} has {counted(len(found.images), 'image')}, but no folder name says real or "
            f"generated{_held(layout)}: use --label NAME=real and --label NAME=generated to say what the names mean, "
            f"or give {listed} with the columns path,label"
        )
    name, other = CLASS_NAMES[min(labels)], CLASS_NAMES[1 - min(labels)]
    silent = _held(layout)
    raise InputError(
        f"{root} has {name} images only{silent}: a detector needs both classes, so add {other} images, or use --label "
        f"NAME={other} to say which folders hold them"
    )


def _given_for_source(root: str, rules: SourceRules) -> str:
    """Returns ``NAME=CLASS`` if ``--label`` names the source itself and nothing in it, else ``""``."""
    name, words = PurePosixPath(root).name.lower(), rules.words
    return f"{name}={CLASS_NAMES[words.given[name]]}" if name in words.given.keys() - words.matched else ""


def _only_archives(root: str, first: str) -> str:
    if first.lower().endswith(".tar"):
        return (
            f"{root} holds tars, for example {first}, and no images with a class: make a data set of the tars with "
            f"glass index '{root}'; if glass build made them, they are a data set already"
        )
    return f"{root} holds archives, for example {first}, and no images with a class: unpack them first"


def _packed(tables: Sequence[str]) -> str:
    return f"{counted(len(tables), 'table')} in an archive, for example {tables[0]}"


def _what_to_give(root: str) -> str:
    return f"give the folder that holds the images of both classes, such as {root}/real and {root}/generated"


def _held(layout: Layout) -> str:
    """Returns a clause that lists the folders whose names indicate no class, or ``""`` if there are none."""
    names = dict.fromkeys(
        "/".join(folder[:2]) + "/" for folder, place in layout.places.items() if place.label is None and folder
    )
    shown = ", ".join(sorted(names)[:_MOST_SHOWN]) + (" …" if len(names) > _MOST_SHOWN else "")
    return f" (it holds {shown})" if names else ""


def _skipped_note(suffixes: Counter[str]) -> str:
    kinds = ", ".join(f"{suffix or 'no extension'} {count:,}" for suffix, count in suffixes.most_common(_MOST_SHOWN))
    return f"skipped {counted(suffixes.total(), 'file')} without an image extension ({kinds})"
