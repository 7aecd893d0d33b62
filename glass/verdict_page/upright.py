"""Turns images upright, as image viewers show them. A model sees the pixels as stored."""

import numpy as np
import numpy.typing as npt

from shards.images.formats import open_image
from shards.images.rejection import RejectedImage
from shards.metadata.facts import orientation_of

__all__ = ["orientation_in", "turned", "turned_windows"]

_TURNS = {
    2: (False, True, False),
    3: (True, True, False),
    4: (True, False, False),
    5: (False, False, True),
    6: (True, False, True),
    7: (True, True, True),
    8: (False, True, True),
}
"""Maps EXIF orientations to (reverse the rows, reverse the columns, transpose afterwards)."""
_AS_IT_IS = (False, False, False)


def orientation_in(data: bytes | None) -> int:
    """The EXIF orientation, 1 … 8, in an image file's bytes; 1 (shown as stored) if there is none."""
    if data is None:
        return 1
    try:
        return orientation_of(open_image(data))
    except RejectedImage:
        return 1


def turned(pixels: npt.NDArray[np.uint8], orientation: int) -> npt.NDArray[np.uint8]:
    """The stored ``pixels`` (H, W, C) as an image viewer shows them: a NumPy view of shape (H, W, C) or (W, H, C)."""
    down, right, swapped = _TURNS.get(orientation, _AS_IT_IS)
    pixels = pixels[:: -1 if down else 1, :: -1 if right else 1]
    return pixels.transpose(1, 0, 2) if swapped else pixels


def turned_windows(windows: npt.NDArray[np.int32], shape: tuple[int, int], orientation: int) -> npt.NDArray[np.int32]:
    """Converts (n, 4) ``windows`` from stored-pixel coordinates to those of the image that :func:`turned` returns.

    ``shape`` is the stored (height, width).
    """
    down, right, swapped = _TURNS.get(orientation, _AS_IT_IS)
    top, left, height, width = windows.T
    top = shape[0] - top - height if down else top
    left = shape[1] - left - width if right else left
    return np.stack([left, top, width, height] if swapped else [top, left, height, width], axis=1)
