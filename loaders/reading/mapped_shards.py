"""Members of samples, by the manifest's offsets, out of memory-mapped tars. Nothing is copied
here."""

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
"""Maps kept open, far below Linux's default of 65,530 per process; the one used longest ago goes
first."""

_SHARE_OF_FILES = 4
"""A map takes one of this many open files that the process may have: images and other members may
lie in two sets of tars, and half is left to all else."""


class UnreadableMember(Exception):
    """A member that lies outside its tar or differs from its description in the manifest; the message names it."""


class FailedDisk(UnreadableMember):
    """A shard that the disk fails to deliver, even after several tries."""


class MappedShards:
    """The tars of a data set, mapped when first touched. Safe to use from several threads."""

    def __init__(self, paths: list[Path]) -> None:
        """``paths[k]`` is the tar of shard number k."""
        self._paths = paths
        self._maps: OrderedDict[int, Bytes] = OrderedDict()
        self._failed: set[int] = set()
        """Shards that the disk failed to deliver at the last attempt."""
        self._max_mapped = _maps_allowed()
        self._lock = threading.Lock()

    def member(self, shard: int, offset: int, length: int) -> Bytes:
        """A read-only view of ``length`` bytes at ``offset`` of the shard.

        Raises ``UnreadableMember`` if they lie outside the file (``FailedDisk`` if the disk
        fails to deliver it), ``InputError`` if it is gone, and ``MachineTrouble``. A file that is
        cut off while it is mapped would end the process at the next touch of what is missing, so
        its size is asked for each time (2 µs).
        """
        data = self._map(shard)
        size = min(data.size, _size_now(self._paths[shard], data.size))
        if not 0 <= offset <= offset + length <= size:
            name = self._paths[shard].name
            raise UnreadableMember(f"{name}: bytes {offset}…{offset + length} lie outside its {size}")
        return data[offset : offset + length]

    def renew(self, shard: int) -> bool:
        """Whether there is a sound copy to map instead, after a checksum was wrong: never, these are the originals."""
        return False

    def close(self) -> None:
        """Forgets the maps; each is unmapped when the last view of it is dropped."""
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
        """Maps a shard, with patience the first time that the disk fails at it: the samples after
        that one need not wait as long again."""
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
    """The bytes of a file, none of one that is empty: what cannot be mapped, and is cut off like
    any other that is too short."""
    with open_regular(path) as file:
        if not os.fstat(file.fileno()).st_size:
            return np.zeros(0, np.uint8)
        return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)


def _maps_allowed() -> int:
    """How many maps one object may keep. Python's ``mmap`` holds a file descriptor for each, and
    many systems begin with 1,024 of them: the limit is raised as far as this process may, once, and
    what is in force then counts."""
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
    """The size of the file; that of its map where the name is gone, which leaves the map whole."""
    try:
        return os.stat(path).st_size
    except OSError:
        return mapped


def read_global_view(member: Bytes, header: bytes, out: Bytes) -> None:
    """Copies a stored global view into ``out`` (S, S, 3).

    The header is compared as bytes rather than parsed: shards are untrusted, and parsing costs 30
    µs. Raises ``UnreadableMember`` if it is another array.
    """
    start = len(header)
    if member.size != start + out.size or member[:start].tobytes() != header:
        raise UnreadableMember("the stored global view is not the array that the manifest promises")
    out.reshape(-1)[:] = member[start:]
