"""Reads the images of a source: a folder or a list, either local or in a store, or a local archive of a folder."""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, groupby
from pathlib import Path

import pyarrow as pa

from shards.cli.shown_url import as_url
from shards.cli.wording import counted
from shards.errors import InputError
from shards.files.archives import archive_kind
from shards.files.file_names import within
from shards.files.outputs import cannot_write
from shards.manifest.dataset import MANIFEST_NAME
from shards.manifest.info import INFO_NAME
from shards.sources.archives.find import FoundArchives, is_archive_name
from shards.sources.embedded.find import tables_among
from shards.sources.embedded.read import read_embedded
from shards.sources.embedded.table_file import TABLE_SUFFIXES
from shards.sources.files import LocalFiles, SourceFiles, Stamp, StoredFiles
from shards.sources.folder import read_folder
from shards.sources.links import notes_on_links
from shards.sources.lists import read_list
from shards.sources.rows import LIST_SUFFIXES
from shards.sources.source_list import UNKNOWN_GENERATOR, SourceList, SourceRules, notes_on_splits

__all__ = ["read_sources"]

_MAX_LIST_BYTES = 64 << 30  # maximum size of a list on a web server, whatever length the server claims


def read_sources(location: str | Path, rules: SourceRules | None = None) -> SourceList:
    """Reads the images of a source: a folder, an archive of a folder, or a list.

    ``location`` is a local path or, except for archives, a URL in a store. Lists are recognised by their suffix. Raises
    ``InputError`` if ``location`` is none of these, if labels or splits cannot be determined, or if a word given with
    ``--label`` or ``--skip`` occurs nowhere in the source.
    """
    rules = rules or SourceRules()
    sources = _read(location, rules)
    rules.words.require_matched()
    splits, labels = (sources.table.column(name).to_pylist() for name in ("split", "label"))
    further = [*notes_on_splits(splits, labels, "--no-given-split"), *_unknown_generators(sources.table, rules)]
    return replace(sources, notes=sources.notes + further)


def _unknown_generators(table: pa.Table, rules: SourceRules) -> list[str]:
    """Returns a note on generated images that have no folder at the level given by ``--generator-level``.

    Raises ``InputError`` if there is no folder at that level for any generated image.
    """
    if rules.generator_level is None:
        return []
    names = [name for name in table.column("generator").to_pylist() if name]
    if not (missing := names.count(UNKNOWN_GENERATOR)):
        return []
    text = (
        f"--generator-level {rules.generator_level}: no folder at that level for {missing:,} of "
        f"{counted(len(names), 'generated image')}"
    )
    if missing == len(names):
        raise InputError(f"{text}: count levels from 1, the folders right below the source")
    return [f"{text}, so their generator is unknown"]


def _read(location: str | Path, rules: SourceRules) -> SourceList:
    if (url := as_url(location)) is not None:
        return _read_stored(url, rules)
    if not str(location).strip():
        raise InputError("the source is an empty name: give a folder of images, an archive or a list of them")
    source = Path(location)
    if source.is_dir():
        try:
            return _read_folder(LocalFiles(source), rules)
        except OSError as error:
            raise InputError(f"{error.filename} cannot be read: {error.strerror}") from error
    if not source.exists():
        raise InputError(f"{source} does not exist: give a folder of images, an archive or a list of them")
    suffix, files = source.suffix.lower(), LocalFiles(source.parent)
    if suffix in TABLE_SUFFIXES and (found := read_embedded(files, [source.name], rules)) is not None:
        return found
    if suffix not in LIST_SUFFIXES:
        return _read_archive(source, rules)
    return read_list(source, files, rules)


def _read_folder(files: LocalFiles, rules: SourceRules) -> SourceList:
    again: list[tuple[str, str]] = []
    sources = _read_listed(files, files.walk("", lambda link, way: again.append((link, way))), rules)
    return replace(sources, notes=sources.notes + notes_on_links(files.root, again, rules.words))


def _read_listed(files: SourceFiles, listed: Iterator[tuple[str, Stamp | None]], rules: SourceRules) -> SourceList:
    """Reads the images embedded in a folder's tables or, if there are none, the folder's image files.

    ``listed`` yields all files below the folder, each folder's files together.
    """
    own: list[str] = []
    listed = _without_data_sets(files, listed, own)
    tables, seen = tables_among(listed)
    found = read_embedded(files, tables, rules, seen) if tables else None
    sources = read_folder(files, rules, chain(seen, listed)) if found is None else found
    return replace(sources, notes=sources.notes + [f"skipped the data set in {files.where(folder)}" for folder in own])


def _without_data_sets(
    files: SourceFiles, listed: Iterator[tuple[str, Stamp | None]], own: list[str]
) -> Iterator[tuple[str, Stamp | None]]:
    """Yields ``listed`` without the files of finished data sets, whose folders are appended to ``own``.

    A build may write its data set into the folder of its images, and may then be run again.
    """
    for folder, group in groupby(listed, lambda file: file[0].rpartition("/")[0]):
        inside = list(group)
        if not {INFO_NAME, MANIFEST_NAME}.issubset(name.rpartition("/")[2] for name, _ in inside):
            yield from inside
        elif folder:
            own.append(folder)
        else:
            raise InputError(f"{files.where('')} is a data set, which needs no build: give the folder of its images")


def _read_archive(source: Path, rules: SourceRules) -> SourceList:
    """Reads the images in an archive as if it were the folder from which it was made."""
    archives = FoundArchives(source)
    if archives.take("") is not None:
        sources = read_folder(archives.files, rules)
        return replace(sources, notes=sources.notes + archives.notes)
    if archive_kind(source) == "tar":
        raise InputError(f"{source} is a tar of samples with labels, as in WebDataset: give it to glass index")
    raise InputError(
        f"{source} is not a folder, a .zip, .tar or .tar.gz, or a {', '.join(LIST_SUFFIXES)} list: give one of these"
    )


def _read_stored(url: str, rules: SourceRules) -> SourceList:
    """Reads the images below a URL, or those of a list or table at that URL. A list is downloaded first."""
    if is_archive_name(url):
        raise InputError(f"{url} is an archive: download it first, and give the file or its folder")
    if not url.lower().endswith((*LIST_SUFFIXES, *TABLE_SUFFIXES)):
        files = StoredFiles(url)
        return _read_listed(files, files.walk(""), rules)
    folder, _, name = url.rpartition("/")
    files = StoredFiles(folder)
    is_table = name.lower().endswith(TABLE_SUFFIXES) and files.remote.has_ranges(name)
    if is_table and (found := read_embedded(files, [name], rules)) is not None:
        return found
    with tempfile.TemporaryDirectory() as scratch:
        path = within(Path(scratch), name)
        try:
            files.remote.stream(name, path, files.remote.size(name), _MAX_LIST_BYTES)
        except OSError as error:
            raise InputError(cannot_write(path, error)) from error
        return read_list(path, files, rules)
