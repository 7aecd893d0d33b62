"""Which shards of a store a loader announces to the cache before it reads them."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from loaders.config import LoaderConfig
from loaders.order.order import EpochOrder
from loaders.order.shard_order import upcoming_shards
from loaders.reading.cached_shards import CachedShards
from loaders.reading.sample_table import SampleTable

__all__ = ["Prefetch"]


class Prefetch:
    """Looks along the order, one window of shards further than the batch that is planned."""

    def __init__(
        self, caches: Sequence[CachedShards], samples: SampleTable, rows: npt.NDArray[np.int64], config: LoaderConfig
    ) -> None:
        """``rows`` are those that the loader reads. Where the order jumps among all shards, none is nearer than
        another, and nothing is announced."""
        self._caches = () if config.shuffle is True else caches
        self._shard = samples.shard
        shards = len(np.unique(samples.shard[rows])) if self._caches else 1
        per_shard = -(-len(rows) // shards)
        window = config.shuffle_shards * config.shuffle_lanes if config.shuffle else 1
        self._batches = -(-per_shard * (window + 1) // config.global_batch_size)

    def announce(self, order: EpochOrder, index: int) -> None:
        """Announces the shards that this rank needs from global batch ``index`` on."""
        if not self._caches:
            return
        rows = order.rank_rows(index, min(index + self._batches, len(order) - 1) + 1)
        shards = upcoming_shards(self._shard[rows])
        for cache in self._caches:
            cache.expect(shards)
