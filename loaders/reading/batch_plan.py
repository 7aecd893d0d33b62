"""The batch plan, made before anything is read: the crops of a batch, and the windows to read for them."""

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
    """(B,) manifest rows."""
    windows: npt.NDArray[np.int32]
    """(K, 4) windows in source pixels, each (top, left, height, width), grouped by sample."""
    slots: npt.NDArray[np.int64]
    """(K,) index of each window's crop among the batch's B·N crops."""
    bounds: list[int]
    """B + 1 indices: the windows of sample b are ``windows[bounds[b] : bounds[b + 1]]``."""
    windowed: npt.NDArray[np.bool_]
    """(B,): True for samples whose windows are to be spliced out of a JPEG; False for samples without windows."""
    tiled: npt.NDArray[np.bool_]
    """(B,): True where only the tiles that the windows touch are read; False for samples without windows."""

    def part(self, place: int) -> slice:
        """Returns the slice of ``windows`` and ``slots`` for the sample at batch index ``place``."""
        return slice(self.bounds[place], self.bounds[place + 1])


@dataclass(frozen=True)
class BatchPlan:
    """The plan for a batch of B samples with N crops each."""

    slice: BatchSlice
    epoch: int
    """The epoch for which windows are sampled; 0 if the loader does not shuffle."""
    crop_windows: npt.NDArray[np.int32]
    """(B, N, 4) windows in source pixels, each (top, left, height, width): the part of the image that each crop shows;
    zeros where there is no crop. If augmentation changes a sample, its windows in ``reads`` are larger."""
    mask: npt.NDArray[np.bool_]
    """(B, N): True if there is a crop."""
    changed: Mapping[int, ChangedSample]
    """The samples that augmentation changes, keyed by their index in the batch."""
    reads: Reads

    def __len__(self) -> int:
        return len(self.slice.rows)
