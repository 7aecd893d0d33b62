"""Reads sample members from memory-mapped tars without copying, at the offsets given in the manifest."""

import mmap
import os
import resource
import threading
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shards.errors import InputError, is_passing, require_sound_machine
from shards.files.patience import patiently
from shards.files.regular_file import open_regular
from shards.manifest.stored_views import global_view_header

__all__ = ["FailedDisk", "MappedShards", "UnreadableMember", "global_view_header", "read_global_view"]

Bytes = npt.NDArray[np.uint8]

MAX_MAPPED = 8192
"""Maximum number of open memory maps, far below Linux's default limit of 65,530 per process. The least recently used
map is dropped first."""

_SHARE_OF_FILES = 4
"""Each :class:`MappedShards` may keep open 1 / ``_SHARE_OF_FILES`` of the files that the process may open. A data set
needs up to two such objects: one for images and one for other members. So at least half of the files remain for
everything else."""


class UnreadableMember(Exception):
    """A member is outside its tar or differs from its description in the manifest; the message names it."""


class FailedDisk(UnreadableMember):
    """The disk failed to deliver a shard, even after several tries."""


class MappedShards:
    """The tars of a data set, each mapped when it is first read. Safe to use from several threads."""

    def __init__(self, paths: list[Path]) -> None:
        """``paths[k]`` is the tar of the shard with index k."""
        self._paths = paths
        self._maps: OrderedDict[int, Bytes] = OrderedDict()
        self._failed: set[int] = set()
        """Shards that the disk failed to deliver at the last attempt."""
        self._max_mapped = _maps_allowed()
        self._lock = threading.Lock()

    def member(self, shard: int, offset: int, length: int) -> Bytes:
        """Returns a read-only view of ``length`` bytes at ``offset`` of the shard.

        If a file is truncated while it is mapped, touching the missing part would kill the process. So the file's size
        is checked each time (2 µs). Raises:

        - ``UnreadableMember`` if the bytes are outside the file;
        - ``FailedDisk`` if the disk fails to deliver the file;
        - ``InputError`` if the file cannot be read for another reason (e.g. it was deleted);
        - ``MachineTrouble`` if the machine is at fault (e.g. it cannot open more files).
        """
        data = self._map(shard)
        size = min(data.size, _size_now(self._paths[shard], data.size))
        if not 0 <= offset <= offset + length <= size:
            name = self._paths[shard].name
            raise UnreadableMember(
                f"{name}: bytes {offset:,}…{offset + length:,} are outside the file of {size:,} bytes"
            )
        return data[offset : offset + length]

    def renew(self, shard: int) -> bool:
        """Does nothing and returns False: a local shard is the original, so there is nowhere to fetch it from again."""
        return False

    def close(self) -> None:
        """Drops the memory maps. Each file is unmapped when the last view of it is dropped."""
        with self._lock:
            self._maps.clear()

    def _map(self, shard: int) -> Bytes:
        with self._lock:
            if shard in self._maps:
                self._maps.move_to_end(shard)
                return self._maps[shard]
            self._maps[shard] = self._mapped(shard)
            if len(self._maps) > self._max_mapped:
                self._maps.popitem(last=False)
            return self._maps[shard]

    def _mapped(self, shard: int) -> Bytes:
        """Maps a shard. If the disk fails to deliver the shard, tries again several times. Once all tries have failed,
        later calls try only once, so that the shard's other samples need not wait as long."""
        path = self._paths[shard]
        try:
            data = _mapped(path) if shard in self._failed else patiently(lambda: _mapped(path))
        except OSError as error:
            require_sound_machine(error, path)
            if not is_passing(error):
                raise InputError(f"cannot read shard {path}: {error}; run glass verify on its folder") from error
            self._failed.add(shard)
            raise FailedDisk(f"{path.name}: {error.strerror or error}") from error
        self._failed.discard(shard)
        return data


def _mapped(path: Path) -> Bytes:
    """Returns the contents of a file as a memory map. For an empty file, which cannot be mapped, returns an empty
    array; the file then counts as truncated."""
    with open_regular(path) as file:
        if not os.fstat(file.fileno()).st_size:
            return np.zeros(0, np.uint8)
        return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)


def _maps_allowed() -> int:
    """Returns the maximum number of maps that one :class:`MappedShards` may keep.

    Python's ``mmap`` holds a file descriptor for each map, and many systems allow only 1,024 of them by default. So
    this function raises the limit as far as needed and permitted, and returns its share (``_SHARE_OF_FILES``) of the
    new limit.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _SHARE_OF_FILES * MAX_MAPPED
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):  # a system that forbids it leaves the limit as it is
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    if soft == resource.RLIM_INFINITY:
        return MAX_MAPPED
    return max(1, min(MAX_MAPPED, soft // _SHARE_OF_FILES))


def _size_now(path: Path, mapped: int) -> int:
    """Returns the current size of a file. If the file was deleted, returns ``mapped``, the size of its memory map,
    which stays intact."""
    try:
        return os.stat(path).st_size
    except OSError:
        return mapped


def read_global_view(member: Bytes, header: bytes, out: Bytes) -> None:
    """Copies a stored global view into ``out`` (S, S, 3).

    The header is compared as bytes rather than parsed: shards are untrusted, and parsing costs 30 µs. Raises
    ``UnreadableMember`` if ``member`` is not a uint8 array of the shape that ``header`` states.
    """
    start = len(header)
    if member.size != start + out.size or member[:start].tobytes() != header:
        raise UnreadableMember("the stored global view is not an array of the size in the manifest")
    out.reshape(-1)[:] = member[start:]
