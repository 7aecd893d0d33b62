"""The plan of a batch, made before anything is read: the batch's crops, and the windows to read for these crops."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from loaders.augment.augment import ChangedSample
from loaders.order.order import BatchSlice

__all__ = ["BatchPlan", "Reads"]


@dataclass(frozen=True)
class Reads:
    """What has to be read for a batch of B samples that have K windows altogether."""

    rows: npt.NDArray[np.int64]
    """(B,) rows of the manifest."""
    windows: npt.NDArray[np.int32]
    """(K, 4) of (top, left, height, width) in source pixels, grouped by sample."""
    slots: npt.NDArray[np.int64]
    """(K,) the places of the windows' crops in the batch's flat (B·N) crops."""
    bounds: list[int]
    """(B + 1) indices: the windows of the sample at place p are ``windows[bounds[p] : bounds[p + 1]]``."""
    windowed: npt.NDArray[np.bool_]
    """(B,) True if the sample has windows, and these are to be spliced out of a JPEG."""
    tiled: npt.NDArray[np.bool_]
    """(B,) True if the sample has windows, and only the tiles that these touch are to be read."""

    def part(self, place: int) -> slice:
        """The slice of ``windows`` and ``slots`` that belongs to the sample at ``place``."""
        return slice(self.bounds[place], self.bounds[place + 1])


@dataclass(frozen=True)
class BatchPlan:
    """A batch of B samples with N crops each."""

    slice: BatchSlice
    epoch: int
    """Epoch of the windows: 0 if the loader does not shuffle."""
    crop_windows: npt.NDArray[np.int32]
    """(B, N, 4) of (top, left, height, width) in source pixels: what the crops show, zeros if there is no crop. For a
    sample that augmentation changes, larger windows have to be read, which are in ``reads``."""
    mask: npt.NDArray[np.bool_]
    """(B, N) whether there is a crop."""
    changed: Mapping[int, ChangedSample]
    """By place in the batch: the samples that augmentation changes."""
    reads: Reads

    def __len__(self) -> int:
        return len(self.slice.rows)
