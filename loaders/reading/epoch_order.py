"""The order of an epoch that a loader's settings ask for."""

import numpy as np
import numpy.typing as npt

from loaders.config import LoaderConfig
from loaders.order.order import balanced_order, shuffled_order
from loaders.order.shard_order import shard_order
from loaders.reading.sample_table import SampleTable

__all__ = ["epoch_order"]


def epoch_order(
    samples: SampleTable, rows: npt.NDArray[np.int64], config: LoaderConfig, epoch: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """(manifest rows, appearance of each) of an epoch over ``rows``: a pure function of settings
    and contents."""
    content_id = samples.content_id[rows]
    if config.class_balanced:
        order, appearance = balanced_order(content_id, samples.label[rows], config.seed, epoch)
        return rows[order], appearance
    if config.shuffle == "shard":
        rows = rows[shard_order(content_id, samples.shard[rows], config, epoch)]
    elif config.shuffle:
        rows = rows[shuffled_order(content_id, config.seed, epoch)]
    return rows, np.zeros(len(rows), np.int32)
