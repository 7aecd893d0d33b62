"""Changes of an image that no honest verdict turns on."""

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from shards.images.pixels import decode_rgb

__all__ = ["CHANGES", "ChangedImage", "harmless_changes"]

Pixels = npt.NDArray[np.uint8]

CHANGES = ("saved at JPEG 90", "resized to 0.9", "grid shifted")
"""The names of the changes; see :func:`harmless_changes`."""

SHIFT = (5, 3)
"""Rows and columns cut off at the top left: neither is a multiple of a JPEG block or of a usual
stride, so all blocks and grid cells of the image lie differently."""

_SMALLEST_CHANGED_SIDE = 16

_LONGEST_JPEG_SIDE = 65_500
"""The limit of libjpeg; a PNG or a TIFF may be longer."""


@dataclass(frozen=True)
class ChangedImage:
    """An image after a harmless change."""

    pixels: Pixels
    """(H, W, 3)."""
    encoded: bytes | None = None
    """The file it was saved as, if it was."""


def harmless_changes(pixels: Pixels) -> dict[str, ChangedImage]:
    """The image (H, W, 3) re-saved as JPEG of quality 90, resized to 0.9 of its sides, and without its
    first five rows and three columns, by the names in ``CHANGES`` and in their order.

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
