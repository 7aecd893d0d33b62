"""Fetches the description and the manifest of a data set in a store, and keeps them on the local disk.

``dataset.json`` is fetched every time a data set is opened. The manifest is kept in a folder whose name contains the
digests of the address and of ``dataset.json``. The manifest is therefore fetched only once per machine. When a data set
has been rebuilt, its manifest gets a new folder.
"""

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from shards.errors import InputError
from shards.files.atomic import atomic_path, write_bytes_atomic, write_text_atomic
from shards.files.limits import limit
from shards.files.locks import locked_file, names, open_shared
from shards.files.outputs import cannot_write
from shards.files.regular_file import open_regular
from shards.manifest.info import INFO_NAME, DatasetInfo, parse_info
from shards.store.cache import ShardCache
from shards.store.folder import RemoteFolder, RemoteUnavailable

__all__ = ["fetch_description", "name_of", "shard_cache"]


def fetch_description(remote: RemoteFolder, manifest_name: str) -> Path:
    """Fetches ``dataset.json`` and the manifest of a data set, and returns the local folder that holds them.

    Raises ``InputError`` if the store does not deliver them or they cannot be written to the disk.
    """
    try:
        description = remote.read(INFO_NAME, limit("MAX_JSON_BYTES"))
    except RemoteUnavailable as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise InputError(
                f"{remote} has no {INFO_NAME}, so it is not a finished data set: check the address, or run glass "
                "build, which also continues an interrupted build"
            ) from error
        raise
    info = parse_info(description, f"{remote}/{INFO_NAME}")  # refuse a bad description before the cache is touched
    parts = [hashlib.sha256(text).hexdigest()[:20] for text in (remote.url.encode(), description)]
    folder = remote.settings.folder / "datasets" / "-".join(parts)
    try:
        _use(folder)
        with locked_file(folder / ".lock"):
            if not (folder / _ADDRESS).exists():
                write_text_atomic(folder / _ADDRESS, str(remote))
            if not (folder / INFO_NAME).exists():
                _download(remote, manifest_name, folder / manifest_name)
                # Written last: its presence means that the folder is complete.
                write_bytes_atomic(folder / INFO_NAME, description)
                _require_its_own(info, remote, folder, manifest_name)
    except OSError as error:
        raise InputError(cannot_write(folder, error)) from error
    return folder


def _require_its_own(info: DatasetInfo, remote: RemoteFolder, folder: Path, manifest_name: str) -> None:
    """Raises ``InputError`` if the fetched manifest is not the one that was written with ``dataset.json``.

    Before raising, deletes the local ``dataset.json``, so that both files are fetched again the next time.
    """
    if info.describes(folder / manifest_name):
        return
    (folder / INFO_NAME).unlink()
    raise InputError(
        f"{remote}/{manifest_name} is not the one that its {INFO_NAME} describes: it is being written again, or is "
        "damaged; try again later, or build the data set again"
    )


def name_of(root: Path) -> str:
    """Returns the name of the data set in ``root``: the last part of its store address, or else the folder's name."""
    try:
        with open_regular(root / _ADDRESS) as file:
            address = file.read(_MOST_ADDRESS).decode(errors="replace")
    except OSError:
        address = ""
    return address.rstrip("/").rpartition("/")[2] or root.resolve().name


_ADDRESS, _MOST_ADDRESS = ".address", 4096
"""Name of the file in a data set's cache folder that holds the data set's address, and the maximum number of bytes to
read from it."""

_in_use: dict[Path, int] = {}
"""Maps each cache folder in use to an open descriptor. The descriptor's lock protects the folder from deletion until
this process ends, since the process may have mapped the manifest in it."""


def _use(folder: Path) -> None:
    """Creates ``folder`` if it is missing, and protects it from being deleted when the cache makes room."""
    while (descriptor := _in_use.get(folder)) is None or not names(folder, descriptor):
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            if (descriptor := open_shared(folder)) is not None:
                _in_use[folder] = descriptor
    os.utime(folder)


def _download(remote: RemoteFolder, name: str, path: Path) -> None:
    """Downloads the manifest ``name`` to ``path``.

    Other files in the cache are deleted only to make room for bytes that have actually arrived, never for the size that
    the store claims.
    """
    found, cache = remote.stat(name), shard_cache(remote)
    if found is None:
        raise InputError(f"{remote}/{name} is missing: run glass build again to write it")
    cache.require_fits(found.size or 0, f"{remote}/{name}")
    with atomic_path(path) as temporary, temporary.open("wb") as file:

        def grow(num_bytes: int) -> None:
            """Extends the file, so that other processes count it at this size towards the cache's limit."""
            more = num_bytes - os.fstat(file.fileno()).st_size
            with cache.room_for(more):
                file.truncate(num_bytes)

        if found.size is None or not remote.has_ranges(name):
            remote.stream(name, temporary, found.size, cache.max_bytes, grow)
            return
        for start, stop in remote.parts(found.size):
            data = remote.read_range(name, start, stop)
            grow(stop)
            file.write(data)


def shard_cache(remote: RemoteFolder) -> ShardCache:
    """Returns this machine's cache of whole shards, which all data sets share.

    Manifest and build folders also count towards its size limit. If space is needed, folders that no process uses are
    deleted.
    """
    folder = remote.settings.folder
    others = (folder / "datasets", folder / "builds")
    return ShardCache(folder / "shards", remote.settings.cache_bytes, others)
