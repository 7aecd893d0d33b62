"""The images that SRC names, whatever SRC is: a folder or a list, here or in a store."""

import tempfile
from pathlib import Path

from shards.errors import InputError
from shards.files.archives import archive_kind, unpack_first
from shards.files.file_names import within
from shards.files.outputs import cannot_write
from shards.sources.files import LocalFiles, StoredFiles
from shards.sources.folder import read_folder
from shards.sources.lists import read_list
from shards.sources.rows import LIST_SUFFIXES
from shards.sources.source_list import SourceList, SourceRules
from shards.store.folder import as_url

__all__ = ["read_sources"]

_MAX_LIST_BYTES = 64 << 30  # of a list on a web server, whatever length that claims


def read_sources(location: str | Path, rules: SourceRules | None = None) -> SourceList:
    """The images that ``location`` names: a folder, or a list by its suffix; on this machine, or in a
    store where it is a URL.

    Raises ``InputError`` for everything that is neither, and for what cannot be told.
    """
    rules = rules or SourceRules()
    if (url := as_url(location)) is not None:
        return _read_stored(url, rules)
    source = Path(location)
    if source.is_dir():
        try:
            return read_folder(LocalFiles(source), rules)
        except OSError as error:
            raise InputError(f"{error.filename} cannot be read: {error.strerror}") from error
    if not source.exists():
        raise InputError(f"{source} does not exist: give a folder of images or a list of them")
    if source.suffix.lower() not in LIST_SUFFIXES:
        raise InputError(_neither(source))
    return read_list(source, LocalFiles(source.parent), rules)


def _neither(source: Path) -> str:
    kind = archive_kind(source)
    if kind == "tar":
        return (
            f"{source} is a tar: unpack it to a folder, or, where it is a WebDataset shard, give it"
            " to scripts.index_shards"
        )
    if kind:
        return unpack_first(source, kind, "a folder")
    return f"{source} is neither a folder nor a .csv, .jsonl or .parquet list"


def _read_stored(url: str, rules: SourceRules) -> SourceList:
    """The images below a URL, or in the list that it names, which is fetched first."""
    if not url.lower().endswith(LIST_SUFFIXES):
        return read_folder(StoredFiles(url), rules)
    folder, _, name = url.rpartition("/")
    files = StoredFiles(folder)
    with tempfile.TemporaryDirectory() as scratch:
        path = within(Path(scratch), name)
        try:
            files.remote.stream(name, path, files.remote.size(name), _MAX_LIST_BYTES)
        except OSError as error:
            raise InputError(cannot_write(path, error)) from error
        return read_list(path, files, rules)
