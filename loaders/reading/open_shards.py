"""A data set opened once for many loaders: mapped shards, columns, and the splicer's tables.

Trials of a search differ in batch size and crops, not in the files they read. A loader that is
given these opens nothing itself and leaves them open when it is closed.
"""

from types import TracebackType

from loaders.reading.cached_shards import CachedShards, remote_tars
from loaders.reading.checksums import FirstTouch
from loaders.reading.mapped_shards import MappedShards
from loaders.reading.range_reader import RangeReader
from loaders.reading.sample_table import SampleTable
from shards.jpeg.splice.splicer import Splicer
from shards.manifest.dataset import ShardDataset
from shards.manifest.fetch import shard_cache
from shards.store.settings import processes_here

__all__ = ["OpenShards"]


class OpenShards:
    """What loaders of one data set can share. Safe to use from several threads."""

    def __init__(self, dataset: ShardDataset) -> None:
        self.dataset = dataset
        self.samples = SampleTable(dataset)
        self.ranges: RangeReader | None = None
        """Reads parts of shards that lie in a store."""
        names = self.samples.shards
        self.shards: MappedShards | CachedShards
        """The tars that hold the images."""
        self.members: MappedShards | CachedShards
        """The tars that hold all else: the same, or the sidecars of tars made elsewhere."""
        if dataset.remote is not None:
            images = remote_tars(dataset, names, sidecars=False)
            others = remote_tars(dataset, names, sidecars=True)
            cache = shard_cache(dataset.remote)
            parts = processes_here() * (2 if dataset.has_sidecars else 1)
            self.shards = self.members = CachedShards(dataset.remote, images, cache, parts)
            if dataset.has_sidecars:
                self.members = CachedShards(dataset.remote, others, cache, parts)
            self.ranges = RangeReader(dataset.remote, self.samples, images, others, dataset.info.global_size)
        else:
            self.shards = MappedShards([dataset.shard_path(name) for name in names])
            self.members = self.shards
            if dataset.has_sidecars:
                self.members = MappedShards([dataset.members_path(name) for name in names])
        self.touched = FirstTouch(len(self.samples))
        """Which images and global views were found to be those that were written."""
        self.index_touched = FirstTouch(len(self.samples))
        """The same of entry points."""
        self.splicer = Splicer()

    def close(self) -> None:
        """Lets go of the shards. Batches handed out stay valid."""
        self.shards.close()
        self.members.close()
        if self.ranges is not None:
            self.ranges.close()

    def __enter__(self) -> "OpenShards":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
