"""Which shards a loader tells the store's cache of before it reads them."""

import numpy as np
import numpy.typing as npt

from loaders.config import LoaderConfig
from loaders.order.order import EpochOrder
from loaders.order.shard_order import upcoming_shards
from loaders.reading.cached_shards import CachedShards
from loaders.reading.open_shards import OpenShards

__all__ = ["Ahead"]


class Ahead:
    """Looks along the order, one window of shards further than the batch that is planned."""

    def __init__(self, data: OpenShards, batches: int) -> None:
        self._data, self._batches = data, batches
        self._caches = {id(c): c for c in (data.shards, data.members)}.values()

    @classmethod
    def of(cls, data: OpenShards, rows: npt.NDArray[np.int64], config: LoaderConfig) -> "Ahead | None":
        """``None`` where the shards are local, and where the order jumps among all shards, of which
        none is nearer than another."""
        if not isinstance(data.shards, CachedShards) or config.shuffle is True:
            return None
        shards = len(np.unique(data.samples.shard[rows]))
        per_shard = -(-len(rows) // shards)
        window = config.shuffle_shards * config.shuffle_lanes if config.shuffle else 1
        return cls(data, -(-per_shard * (window + 1) // config.global_batch_size))

    def look(self, order: EpochOrder, index: int) -> None:
        """Tells the cache what the rank needs from global batch ``index`` on."""
        last = min(index + self._batches, len(order) - 1)
        rows = order.rank_rows(index, last + 1)
        shards = upcoming_shards(self._data.samples.shard[rows])
        for cache in self._caches:
            if isinstance(cache, CachedShards):
                cache.expect(shards)
