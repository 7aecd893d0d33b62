"""What a model sees of one image, drawn, changed and covered in several ways: rows of batches."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from loaders.config import LoaderConfig
from loaders.decode.pixel_batch import cut_windows
from loaders.windows.grid import grid_shape
from loaders.windows.sampling import crop_windows, sampling_rule
from shards.images.pixels import decode_rgb, global_view

if TYPE_CHECKING:  # Numba takes a second to import
    from loaders.windows.detail import Detail

__all__ = ["CHANGES", "ChangedImage", "ViewRow", "covering_rows", "harmless_changes", "stack_rows", "view_rows"]

Pixels = npt.NDArray[np.uint8]

CHANGES = ("saved at JPEG 90", "resized to 0.9", "grid shifted")
"""Changes that no honest verdict turns on; see :func:`harmless_changes`."""

SHIFT = (5, 3)
"""Rows and columns cut off at the top left: neither is a multiple of a JPEG block or of a usual
stride, so every block and every grid cell of the image falls otherwise."""

_SMALLEST_CHANGED_SIDE = 16

_LONGEST_JPEG_SIDE = 65_500
"""Of libjpeg; a PNG or a TIFF may be longer."""


@dataclass(frozen=True)
class ViewRow:
    """One row of a batch."""

    global_view: Pixels
    """(S, S, 3)."""
    crops: Pixels
    """(N, C, C, 3)."""
    windows: npt.NDArray[np.int32]
    """(N, 4), zeros where there is no crop."""
    mask: npt.NDArray[np.bool_]
    """(N,)."""


def view_rows(
    pixels: Pixels, content_id: int, config: LoaderConfig, draws: int = 1, detail: "Detail | None" = None
) -> list[ViewRow]:
    """The row that evaluation sees, and those of ``draws`` - 1 further draws of windows.

    ``detail`` is what the sampling rule reads off the image's file.
    """
    small = global_view(pixels, config.global_size)
    return [_row(pixels, small, content_id, config, k, detail) for k in range(draws)]


def covering_rows(
    pixels: Pixels, content_id: int, config: LoaderConfig, draws: int = 1, detail: "Detail | None" = None
) -> list[ViewRow]:
    """As :func:`view_rows`, with a crop from every cell of the grid of the rule ``all``, which
    tiles the image: N is as many as there are cells, 1 … 64."""
    height, width = pixels.shape[:2]
    rows, columns = grid_shape(np.array([height]), np.array([width]), config.crop_size)
    config = replace(config, num_crops=int(rows[0] * columns[0]), sampling="all")
    return view_rows(pixels, content_id, config, draws, detail)


def _row(
    pixels: Pixels, small: Pixels, content_id: int, config: LoaderConfig, draw: int, detail: "Detail | None"
) -> ViewRow:
    height, width = pixels.shape[:2]
    windows, mask = crop_windows(
        sampling_rule(config.sampling),
        np.array([height]),
        np.array([width]),
        np.array([content_id], np.int64),
        crop_size=config.crop_size,
        num_crops=config.num_crops,
        seed=config.seed,
        epoch=0,
        appearance=draw,
        details=[detail],
    )
    windows[~mask] = 0
    return ViewRow(small, cut_windows(pixels, windows[0], config.crop_size), windows[0], mask[0])


@dataclass(frozen=True)
class ChangedImage:
    """An image after a harmless change."""

    pixels: Pixels
    encoded: bytes | None = None
    """The file it was saved as, if it was."""


def harmless_changes(pixels: Pixels) -> dict[str, ChangedImage]:
    """The image re-saved as JPEG of quality 90, resized to 0.9 of its sides, and without its first
    five rows and three columns, by the names in ``CHANGES`` and in their order.

    A side too small to be changed stays. An image too long for a JPEG is not re-saved: that change
    is left out.
    """
    image = Image.fromarray(pixels)
    height, width = pixels.shape[:2]
    small = (max(round(0.9 * width), 1), max(round(0.9 * height), 1))
    down = SHIFT[0] if height >= _SMALLEST_CHANGED_SIDE else 0
    right = SHIFT[1] if width >= _SMALLEST_CHANGED_SIDE else 0
    saved, resized, shifted = CHANGES
    changed = {}
    if max(height, width) <= _LONGEST_JPEG_SIDE:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=90)
        data = buffer.getvalue()
        changed[saved] = ChangedImage(decode_rgb(data), data)
    changed[resized] = ChangedImage(np.asarray(image.resize(small, Image.Resampling.BICUBIC)))
    changed[shifted] = ChangedImage(np.ascontiguousarray(pixels[down:, right:]))
    return changed


def stack_rows(
    rows: Sequence[ViewRow], batch_size: int, num_crops: int, device: str
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Global views (B, 3, S, S), crops (B, N, 3, C, C) and mask (B, N) of exactly ``batch_size``
    and ``num_crops``, with zeros where ``rows`` end: matrix products round otherwise for other
    shapes, and a score must not depend on how many images come together."""
    size, crop_size = rows[0].global_view.shape[0], rows[0].crops.shape[1]
    views = np.zeros((batch_size, size, size, 3), np.uint8)
    crops = np.zeros((batch_size, num_crops, crop_size, crop_size, 3), np.uint8)
    mask = np.zeros((batch_size, num_crops), np.bool_)
    for place, row in enumerate(rows):
        views[place] = row.global_view
        crops[place, : len(row.crops)] = row.crops
        mask[place, : len(row.mask)] = row.mask
    return (
        torch.from_numpy(views).to(device).permute(0, 3, 1, 2),
        torch.from_numpy(crops).to(device).permute(0, 1, 4, 2, 3),
        torch.from_numpy(mask).to(device),
    )
