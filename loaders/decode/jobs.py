"""Decode jobs, the interface between reading and decoding: the first half of the loader makes jobs, and decoders turn
them into pixels."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np
import numpy.typing as npt
import torch

if TYPE_CHECKING:  # Numba takes a second to import
    from shards.images.tiled_tiff import TiledImage

__all__ = ["DecodeFailure", "Decoder", "Job", "TiledJob", "WholeJob", "Window", "WindowJob"]

Bytes = npt.NDArray[np.uint8]

Window = Sequence[int]
"""(top, left, height, width) in pixels, inside the image that a job decodes."""

_EXACT_MODES = ("RGB", "L")
"""Pillow modes in which libjpeg-turbo decodes JPEGs to the same pixels as the reference decoder. CMYK is not among
them, because Pillow converts it in its own way."""


@dataclass(frozen=True, slots=True)
class WindowJob:
    """A JPEG that was spliced for one window."""

    padded: Bytes
    """1-D: the JPEG followed by padding bytes, which let libjpeg-turbo's fast path run to the end of the image."""
    num_bytes: int
    """Length of the JPEG in bytes, excluding the padding."""
    height: int
    """Height of the whole spliced image, in pixels."""
    width: int
    window: Window
    slot: int
    """Index of the crop among the batch's B·N crops."""
    sample: int
    """Index of the sample in the batch."""
    mode: str
    """The stored image's Pillow mode, from the manifest: ``RGB``, ``L``, ``CMYK``, …"""

    image_format: ClassVar[str] = "JPEG"

    @property
    def data(self) -> Bytes:
        """The JPEG without the padding."""
        return self.padded[: self.num_bytes]

    @property
    def slots(self) -> list[int]:
        """Returns a list with ``slot`` as its only element, so that every kind of job has ``slots``."""
        return [self.slot]

    @property
    def bytes_read(self) -> int:
        """Number of bytes that decoding reads."""
        return self.num_bytes

    @property
    def turbo_decodes(self) -> bool:
        """Whether libjpeg-turbo gives the same pixels as the reference decoder."""
        return self.mode in _EXACT_MODES

    def crops(self) -> Iterable[tuple[int, Window]]:
        """Yields (slot, window) for each crop."""
        return ((self.slot, self.window),)

    def into_first_slots(self) -> "WindowJob":
        """The same job, with its crop assigned to slot 0."""
        return replace(self, slot=0)


@dataclass(frozen=True, slots=True)
class WholeJob:
    """A stored image that is decoded whole, and the windows to cut from it, if any."""

    data: Bytes
    """The encoded bytes, 1-D; often a view of a memory-mapped shard."""
    height: int
    width: int
    windows: npt.NDArray[np.int32]
    """(K, 4) windows in the image, each (top, left, height, width)."""
    slots: npt.NDArray[np.int64]
    """(K,) index of each crop among the batch's B·N crops."""
    sample: int
    """Index of the sample in the batch."""
    image_format: str
    """Format of ``data``: ``JPEG``, ``TIFF``, …; the source file may have had another format."""
    mode: str
    """The stored image's Pillow mode, from the manifest."""

    @property
    def bytes_read(self) -> int:
        """Number of bytes that decoding reads."""
        return self.data.size

    @property
    def turbo_decodes(self) -> bool:
        """Whether libjpeg-turbo gives the same pixels as the reference decoder."""
        return self.image_format == "JPEG" and self.mode in _EXACT_MODES

    def crops(self) -> Iterable[tuple[int, Window]]:
        """Yields (slot, window) for each crop."""
        return zip(self.slots.tolist(), self.windows.tolist(), strict=True)

    def into_first_slots(self) -> "WholeJob":
        """Returns the same job, with its K crops assigned to slots 0 … K - 1."""
        return replace(self, slots=np.arange(len(self.slots)))


@dataclass(frozen=True, slots=True)
class TiledJob:
    """An image stored in tiles; only the tiles that the windows touch are read."""

    tiles: "TiledImage"
    windows: npt.NDArray[np.int32]
    """(K, 4) windows in the image, each (top, left, height, width)."""
    slots: npt.NDArray[np.int64]
    """(K,) index of each crop among the batch's B·N crops."""
    sample: int
    """Index of the sample in the batch."""

    image_format: ClassVar[str] = "TIFF"
    turbo_decodes: ClassVar[bool] = False

    @property
    def bytes_read(self) -> int:
        """Number of bytes that decoding reads."""
        return self.tiles.bytes_touched(self.windows)

    def crops(self) -> Iterable[tuple[int, Window]]:
        """Yields (slot, window) for each crop."""
        return zip(self.slots.tolist(), self.windows.tolist(), strict=True)

    def into_first_slots(self) -> "TiledJob":
        """The same job, with its crops assigned to slots 0 … K - 1."""
        return replace(self, slots=np.arange(len(self.slots)))


Job = WindowJob | WholeJob | TiledJob


@dataclass(frozen=True)
class DecodeFailure:
    """A job that could not be decoded. ``reason`` is a short fixed phrase, and ``detail`` is the decoder's message."""

    sample: int
    reason: str
    detail: str = field(default="", compare=False)


class Decoder(Protocol):
    """Decodes jobs into crops. ``splits_batches`` says whether several threads may each decode a part of a batch."""

    splits_batches: bool

    def decode(self, jobs: Sequence[Job], crops: torch.Tensor) -> list[DecodeFailure]:
        """Decodes ``jobs`` and writes their windows into ``crops``, (B·N, C, C, 3) uint8 on the loader's device.
        Returns the failures.

        A window smaller than C × C is padded with zeros below and to the right. The slots of a failed job hold zeros.
        """
        ...

    def close(self) -> None:
        """Frees the decoder's resources. The decoder cannot be used afterwards."""
        ...
