"""Whole shards from a store, which are fetched in parts into the local cache and then mapped like local shards.

The interface is that of :class:`loaders.reading.mapped_shards.MappedShards`, plus a method that announces the shards
that will be read next, so that they are in the cache when their first sample is read.
"""

import hashlib
import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from loaders.reading.closing import result_of, submitted
from loaders.reading.mapped_shards import UnreadableMember
from shards.manifest.dataset import ShardDataset
from shards.store.cache import ShardCache
from shards.store.folder import RemoteFolder

__all__ = ["CachedShards", "RemoteTar", "remote_tars"]

Bytes = npt.NDArray[np.uint8]

logger = logging.getLogger(__name__)

_DOWNLOADS = 2
"""Maximum number of shards downloaded at the same time. With two, connections that one shard no longer needs can
already fetch parts of the next."""


@dataclass(frozen=True)
class RemoteTar:
    """A tar in the store."""

    name: str
    sha256: str
    num_bytes: int


def remote_tars(dataset: ShardDataset, shards: list[str], *, sidecars: bool) -> list[RemoteTar]:
    """Returns one tar per shard, in the order of ``shards``: the tar that holds its images or, if ``sidecars`` is set,
    the tar that holds its other members."""
    infos = {info.name: info for info in dataset.info.shards}
    return [
        RemoteTar(info.sidecar, info.sidecar_sha256, info.sidecar_bytes)
        if sidecars and info.sidecar
        else RemoteTar(info.name, info.sha256, info.num_bytes)
        for info in (infos[name] for name in shards)
    ]


def _failed(future: "Future[Bytes]") -> bool:
    return future.cancelled() or future.exception() is not None


class CachedShards:
    """The tars of a remote data set, each fetched whole when it is first read or announced. Safe to use from several
    threads."""

    def __init__(self, remote: RemoteFolder, tars: list[RemoteTar], cache: ShardCache, parts: int = 1) -> None:
        """``tars[k]`` is the tar of the shard with index k. ``parts`` is the number of objects that share the cache on
        this machine."""
        self._remote, self._tars, self._cache = remote, tars, cache
        # Mapped files cannot be evicted, so they must leave room for others. If all tars fit, the
        # objects map the same files, and each may map them all.
        total, half = sum(tar.num_bytes for tar in tars), cache.max_bytes // 2
        self._room = half if total <= half else half // parts
        """Maximum number of bytes mapped, or requested ahead, at a time. A single shard may exceed it."""
        self._maps: OrderedDict[int, Future[Bytes]] = OrderedDict()
        self._lock = threading.Lock()
        self._downloads = ThreadPoolExecutor(_DOWNLOADS, thread_name_prefix="shard-download")
        self._parts = ThreadPoolExecutor(min(remote.settings.connections, 16), thread_name_prefix="shard-part")
        self._has_ranges: bool | None = None
        self._renewing = threading.Lock()
        self._renewed: dict[int, bool] = {}
        self.fetched = 0
        """Number of shards that this object brought into the cache."""

    def member(self, shard: int, offset: int, length: int) -> Bytes:
        """Returns a read-only view of ``length`` bytes at ``offset`` of the shard. Fetches the shard if it is not in
        the cache.

        Raises ``UnreadableMember`` if the bytes are outside the shard, and ``InputError`` if the store does not deliver
        it.
        """
        data = result_of(self._begin(shard))
        if not 0 <= offset <= offset + length <= data.size:
            name = self._tars[shard].name
            raise UnreadableMember(
                f"{name}: bytes {offset:,}…{offset + length:,} are outside the file of {data.size:,} bytes"
            )
        return data[offset : offset + length]

    def expect(self, shards: Iterable[int]) -> None:
        """Starts fetching ``shards`` in the given order. Stops at the first one that would not fit into this object's
        share of the cache."""
        room = self._room
        for shard in shards:
            room -= self._tars[shard].num_bytes
            if room < 0:
                return
            self._begin(shard)

    def renew(self, shard: int) -> bool:
        """Checks a shard's cached file after a checksum failure in one of its samples. If the file is damaged, fetches
        the shard again. Returns whether it was damaged. An object checks each shard only once."""
        tar = self._tars[shard]
        with self._renewing:
            if shard not in self._renewed:
                before = result_of(self._begin(shard))
                found = self._cache.drop_damaged(tar.sha256)
                # Another process may have put a sound file in place of the one that is mapped here.
                damaged = found or hashlib.sha256(before.data).hexdigest() != tar.sha256
                if damaged:
                    logger.warning(
                        "%s was damaged in the local cache (check that disk), so it was fetched again", tar.name
                    )
                    with self._lock:
                        self._maps.pop(shard, None)
                self._renewed[shard] = damaged
            return self._renewed[shard]

    def close(self) -> None:
        """Stops fetching and drops the memory maps. Each file is unmapped when the last view of it is dropped."""
        self._downloads.shutdown(cancel_futures=True)
        self._parts.shutdown(cancel_futures=True)
        with self._lock:
            self._maps.clear()

    def _begin(self, shard: int) -> "Future[Bytes]":
        with self._lock:
            found = self._maps.get(shard)
            # A failed download is repeated when the shard is next asked for.
            if found is not None and not (found.done() and _failed(found)):
                self._maps.move_to_end(shard)
                return found
            self._maps[shard] = begun = submitted(self._downloads, self._map, shard)
            self._forget_oldest(shard)
            return begun

    def _forget_oldest(self, newest: int) -> None:
        """Drops the least recently used maps until the others fit into this object's share of the cache. This is needed
        because the cache cannot evict a mapped file."""
        total = sum(self._tars[shard].num_bytes for shard in self._maps)
        for shard in list(self._maps):
            if total <= self._room or shard == newest:
                return
            if self._maps[shard].done():
                total -= self._tars[shard].num_bytes
                del self._maps[shard]

    def _map(self, shard: int) -> Bytes:
        tar = self._tars[shard]

        def fetch(path: Path) -> None:
            self._fetch(tar, path)

        name = f"{self._remote}/{tar.name}"
        data, fetched = self._cache.mapped(tar.sha256, tar.num_bytes, fetch, name)
        self.fetched += fetched
        return data

    def _fetch(self, tar: RemoteTar, path: Path) -> None:
        if self._has_ranges is None:
            self._has_ranges = self._remote.has_ranges(tar.name)
        if not self._has_ranges:
            grow = partial(self._cache.grow, path)
            self._remote.stream(tar.name, path, tar.num_bytes, tar.num_bytes, grow)
            return
        descriptor = os.open(path, os.O_WRONLY)

        def part(bounds: tuple[int, int]) -> None:
            data = self._remote.read_range(tar.name, *bounds)
            self._cache.grow(path, bounds[1])
            if os.pwrite(descriptor, data, bounds[0]) != len(data):
                raise OSError(f"{path} took only a part of the bytes written to it")

        try:
            begun: list[Future[None]] = []
            try:
                begun += (submitted(self._parts, part, p) for p in self._remote.parts(tar.num_bytes))
                for future in begun:
                    result_of(future)
            finally:  # no thread may write to the file once this function has returned
                for future in begun:
                    future.cancel()
                for future in begun:
                    if not future.cancelled():
                        future.exception()
        finally:
            os.close(descriptor)
