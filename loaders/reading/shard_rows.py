"""A loader over chosen rows of a data set, for predicting on shards without decoding them whole."""

import numpy as np
import numpy.typing as npt

from shards.manifest.dataset import ShardDataset

__all__ = ["ShardRows"]


class ShardRows(ShardDataset):
    """``dataset`` whose every split is the given rows, in their order: what a loader takes for a
    split of its own."""

    def __init__(self, dataset: ShardDataset, rows: npt.NDArray[np.int64]) -> None:
        super().__init__(dataset.root, dataset.info, dataset.table)
        self._rows = rows

    def split_rows(self, split: str) -> npt.NDArray[np.int64]:
        """The rows, whatever the name."""
        return self._rows
