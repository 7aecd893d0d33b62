"""The plan of a batch, made before a byte is read: its crops, and the windows that are read for them."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from loaders.augment.augment import ChangedSample
from loaders.order.order import BatchSlice

__all__ = ["BatchPlan", "Reads"]


@dataclass(frozen=True)
class Reads:
    """The reads of a batch: B samples, K windows of all of them together."""

    rows: npt.NDArray[np.int64]
    """(B,) of the manifest."""
    windows: npt.NDArray[np.int32]
    """(K, 4) of (top, left, height, width) in source pixels, those of a sample after one another."""
    slots: npt.NDArray[np.int64]
    """(K,) places of their crops in the batch's flat (B·N) crops."""
    bounds: list[int]
    """(B + 1) of ``windows``: those of the sample at place p lie from ``bounds[p]`` to ``bounds[p + 1]``."""
    windowed: npt.NDArray[np.bool_]
    """(B,): whether the windows, one at least, are to be spliced out of a JPEG."""
    tiled: npt.NDArray[np.bool_]
    """(B,): whether only the tiles that the windows, one at least, touch are to be read."""

    def part(self, place: int) -> slice:
        """Where in ``windows`` and ``slots`` those of the sample at ``place`` lie."""
        return slice(self.bounds[place], self.bounds[place + 1])


@dataclass(frozen=True)
class BatchPlan:
    """A batch of B samples with N crops each."""

    slice: BatchSlice
    epoch: int
    """Epoch of the windows: 0 if the loader does not shuffle."""
    crop_windows: npt.NDArray[np.int32]
    """(B, N, 4) of (top, left, height, width) in source pixels that the crops show, zeros if there is no crop. In
    changed samples more than that is read."""
    mask: npt.NDArray[np.bool_]
    """(B, N): which crops there are."""
    changed: Mapping[int, ChangedSample]
    """By place in the batch: the samples that augmentation changes."""
    reads: Reads

    def __len__(self) -> int:
        return len(self.slice.rows)
