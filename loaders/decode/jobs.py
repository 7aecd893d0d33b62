"""The one seam of the loader: everything before it makes decode jobs, a leaf turns jobs into
pixels."""

from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from shards.images.tiled_tiff import TiledImage

__all__ = ["DecodeFailure", "DecodeJob", "Leaf"]


@dataclass(frozen=True)
class DecodeJob:
    """One encoded image and the windows to cut from it.

    A whole image comes with all its windows; a spliced JPEG with the one window that it was made
    for.
    """

    data: npt.NDArray[np.uint8]
    """The encoded bytes, 1-D; a view into a memory-mapped shard or a splice buffer."""
    height: int
    width: int
    windows: npt.NDArray[np.int32]
    """(K, 4) of (top, left, height, width) in this image's own pixels, inside it."""
    slots: npt.NDArray[np.int64]
    """(K,) places in the batch's flat (B·N) crops."""
    sample: int
    """Place of the sample in the batch."""
    image_format: str
    """``JPEG``, ``TIFF``, …: that of ``data``, which may be another than the source's."""
    mode: str
    """Pillow's mode of the stored image, as in the manifest: ``RGB``, ``L``, ``CMYK``, …"""

    spliced: bool = False
    """Whether ``data`` was made for one window (and ``windows`` holds just that)."""
    padded: npt.NDArray[np.uint8] | None = None
    """``data`` with some bytes that follow it and mean nothing: libjpeg-turbo's fast path needs
    them to run on to the end of the image."""
    tiles: TiledImage | None = None
    """``data`` opened, where it is stored as tiles and only those touched shall be read."""

    def with_slots(self, slots: npt.NDArray[np.int64]) -> "DecodeJob":
        """The same job, written elsewhere."""
        return replace(self, slots=slots)

    @property
    def bytes_read(self) -> int:
        """How many bytes of ``data`` decoding looks at."""
        return self.data.size if self.tiles is None else self.tiles.bytes_touched(self.windows)

    @property
    def turbo_decodes(self) -> bool:
        """Whether libjpeg-turbo gives the oracle's pixels (Pillow converts CMYK in its own way)."""
        return self.image_format == "JPEG" and self.mode in ("RGB", "L")


@dataclass(frozen=True)
class DecodeFailure:
    """A job that gave no pixels. ``reason`` is a short fixed phrase, ``detail`` the decoder's
    words."""

    sample: int
    reason: str
    detail: str = field(default="", compare=False)


class Leaf(Protocol):
    """Decodes jobs into crops. ``splits_batches`` says whether several threads may each decode a
    part."""

    splits_batches: bool

    def decode(self, jobs: list[DecodeJob], crops: torch.Tensor) -> list[DecodeFailure]:
        """Writes the windows of ``jobs`` into ``crops`` (B·N, C, C, 3) uint8 on the loader's
        device, zeros below and right of a window smaller than C, and returns what failed (its slots
        hold zeros)."""
        ...

    def close(self) -> None:
        """Frees what the leaf holds; a closed leaf decodes no more."""
        ...
