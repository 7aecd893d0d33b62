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
    """What must be read for a batch of B samples with a total of K windows."""

    rows: npt.NDArray[np.int64]
    """(B,) rows of the manifest."""
    windows: npt.NDArray[np.int32]
    """(K, 4) windows in source pixels, each (top, left, height, width), grouped by sample."""
    slots: npt.NDArray[np.int64]
    """(K,) indices of the windows' crops in the batch's flat (B·N) crops."""
    bounds: list[int]
    """B + 1 indices: sample b of the batch has the windows ``windows[bounds[b] : bounds[b + 1]]``."""
    windowed: npt.NDArray[np.bool_]
    """(B,) True for samples whose windows are to be spliced out of a JPEG; False for samples without windows."""
    tiled: npt.NDArray[np.bool_]
    """(B,) True where only the tiles that the windows touch are read; False for samples without windows."""

    def part(self, place: int) -> slice:
        """The slice of ``windows`` and ``slots`` that belongs to the sample at index ``place`` of the batch."""
        return slice(self.bounds[place], self.bounds[place + 1])


@dataclass(frozen=True)
class BatchPlan:
    """The plan of a batch of B samples with N crops each."""

    slice: BatchSlice
    epoch: int
    """The epoch whose windows are drawn; 0 if the loader does not shuffle."""
    crop_windows: npt.NDArray[np.int32]
    """(B, N, 4) windows in source pixels, each (top, left, height, width): the part of the image that each crop shows;
    zeros where there is no crop. If augmentation changes a sample, its windows in ``reads`` are larger."""
    mask: npt.NDArray[np.bool_]
    """(B, N) True if there is a crop."""
    changed: Mapping[int, ChangedSample]
    """The samples that augmentation changes, keyed by their index in the batch."""
    reads: Reads

    def __len__(self) -> int:
        return len(self.slice.rows)
