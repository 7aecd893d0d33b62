"""Announces a store's shards to the cache before the loader reads them."""

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
    """Announces shards that later batches need. It looks ahead by about as many shards as are shuffled together."""

    def __init__(
        self, caches: Sequence[CachedShards], samples: SampleTable, rows: npt.NDArray[np.int64], config: LoaderConfig
    ) -> None:
        """``rows`` are the manifest rows that the loader reads. With ``shuffle=True`` nothing is announced: samples are
        taken from all shards at random, so none is needed before the others."""
        self._caches = () if config.shuffle is True else caches
        self._shard = samples.shard
        shards = len(np.unique(samples.shard[rows])) if self._caches else 1
        per_shard = -(-len(rows) // shards)
        window = config.shuffle_shards * config.shuffle_lanes if config.shuffle else 1
        self._batches = -(-per_shard * (window + 1) // config.global_batch_size)

    def announce(self, order: EpochOrder, index: int) -> None:
        """Tells the caches which shards this rank needs for global batch ``index`` of ``order`` and the batches after
        it. The caches start fetching these shards in the order in which they will be read."""
        if not self._caches:
            return
        rows = order.rank_rows(index, min(index + self._batches, len(order) - 1) + 1)
        shards = upcoming_shards(self._shard[rows])
        for cache in self._caches:
            cache.expect(shards)
