"""A data set opened once for many loaders: mapped shards, columns, and the splicer's tables.

Trials of a search differ in batch size and crops, not in the files they read. A loader that is
given these opens nothing itself and leaves them open when it is closed.
"""

from types import TracebackType

from loaders.first_touch import FirstTouch
from loaders.samples import SampleTable
from loaders.shard_reader import MappedShards
from loaders.splice import Splicer
from shards.dataset import ShardDataset

__all__ = ["OpenShards"]


class OpenShards:
    """What loaders of one data set can share. Safe to use from several threads."""

    def __init__(self, dataset: ShardDataset) -> None:
        self.dataset = dataset
        self.samples = SampleTable(dataset)
        self.shards = MappedShards([dataset.shard_path(name) for name in self.samples.shards])
        """The tars that hold the images."""
        self.members = self.shards
        """The tars that hold all else: the same, or the sidecars of tars made elsewhere."""
        if dataset.has_sidecars:
            paths = [dataset.members_path(name) for name in self.samples.shards]
            self.members = MappedShards(paths)
        self.touched = FirstTouch(len(self.samples))
        """Which images and global views were found to be those that were written."""
        self.index_touched = FirstTouch(len(self.samples))
        """The same of entry points."""
        self.splicer = Splicer()

    def close(self) -> None:
        """Lets go of the shards. Batches handed out stay valid."""
        self.shards.close()
        self.members.close()

    def __enter__(self) -> "OpenShards":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
