"""A data set opened once for many loaders: mapped shards, manifest columns, and the splicer's lookup tables.

The trials of a search differ in batch size and crops, but read the same files. A loader that is given an
:class:`OpenShards` opens nothing itself, and closing the loader leaves the :class:`OpenShards` open.
"""

from types import TracebackType

from loaders.reading.cached_shards import CachedShards, remote_tars
from loaders.reading.checksums import Checksums
from loaders.reading.mapped_shards import MappedShards
from loaders.reading.members import TarMembers
from loaders.reading.range_reader import RangeReader
from loaders.reading.sample_table import SampleTable
from shards.jpeg.splice.splicer import Splicer
from shards.manifest.dataset import ShardDataset
from shards.manifest.fetch import shard_cache
from shards.store.folder import RemoteFolder
from shards.store.settings import processes_here

__all__ = ["OpenShards"]


class OpenShards:
    """Everything that loaders for one data set can share. Safe to use from several threads."""

    def __init__(self, dataset: ShardDataset) -> None:
        self.dataset = dataset
        self.samples = SampleTable(dataset)
        self.ranges: RangeReader | None = None
        """Reads byte ranges of shards in a store; None for a local data set."""
        self.splicer = Splicer()
        # Which images and views, and which entry points, were found to match their checksums.
        self._checksums = Checksums(len(self.samples)), Checksums(len(self.samples))
        self._caches: tuple[CachedShards, ...] = ()
        self._tars: tuple[MappedShards, MappedShards] | tuple[CachedShards, CachedShards]
        """(tars that hold the images, tars that hold the other members). The second are the same tars or, for tars made
        elsewhere, their sidecars."""
        if dataset.remote is None:
            self._tars = _mapped(dataset, self.samples.shards)
        else:
            self._tars = _cached(dataset, dataset.remote, self.samples.shards)
            self._caches = tuple(dict.fromkeys(self._tars))
            self.ranges = RangeReader(dataset, dataset.remote, self.samples)

    def whole(self, *, verify: bool) -> TarMembers:
        """Returns a source that reads members from whole tars, in the local folder or in the store's cache. If
        ``verify`` is set, members are compared with their checksums when they are first read."""
        checksums = self._checksums if verify else None
        return TarMembers(self.samples, *self._tars, checksums=checksums, caches=self._caches)

    def close(self) -> None:
        """Closes the shards. Batches that were already returned remain valid."""
        for tars in self._tars:
            tars.close()
        if self.ranges is not None:
            self.ranges.close()

    def __enter__(self) -> "OpenShards":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _mapped(dataset: ShardDataset, shards: list[str]) -> tuple[MappedShards, MappedShards]:
    images = MappedShards([dataset.shard_path(name) for name in shards])
    if not dataset.has_sidecars:
        return images, images
    return images, MappedShards([dataset.members_path(name) for name in shards])


def _cached(dataset: ShardDataset, remote: RemoteFolder, shards: list[str]) -> tuple[CachedShards, CachedShards]:
    cache = shard_cache(remote)
    parts = processes_here() * (2 if dataset.has_sidecars else 1)
    images = CachedShards(remote, remote_tars(dataset, shards, sidecars=False), cache, parts)
    if not dataset.has_sidecars:
        return images, images
    return images, CachedShards(remote, remote_tars(dataset, shards, sidecars=True), cache, parts)
