"""Resizing decoded pixels as Pillow does it, to the bit: by Pillow at first, by compiled kernels once they pay."""

import numpy as np
import numpy.typing as npt
from PIL import Image

__all__ = ["columns_come_first", "parts_are_cheap", "resized", "resized_part"]

Pixels = npt.NDArray[np.uint8]

_PILLOWS_SHARE = 50_000_000
"""So many pixels of a process are resized by Pillow. It takes 5 ns more for each (cubic: 20 ns) than the kernels, for
which Numba is loaded in half a second to a second: whoever asks about a few images is not to wait for that."""

_by_pillow = 0


def resized(pixels: Pixels, width: int, height: int, *, cubic: bool = False) -> Pixels:
    """``pixels`` (H, W, 3) uint8 at (``height``, ``width``, 3), antialiased: Pillow's ``resize`` with its bilinear
    or, where ``cubic``, its bicubic filter. The result may not be writable."""
    return resized_part(pixels, width, height, 0, 0, height, width, cubic=cubic)


def resized_part(
    pixels: Pixels, width: int, height: int, top: int, left: int, tall: int, wide: int, *, cubic: bool = False
) -> Pixels:
    """The (``tall``, ``wide``, 3) pixels from (``top``, ``left``) on of what :func:`resized` gives."""
    global _by_pillow
    if not parts_are_cheap(pixels, width, height):
        _by_pillow += pixels.shape[0] * pixels.shape[1]
        kind = Image.Resampling.BICUBIC if cubic else Image.Resampling.BILINEAR
        whole = np.asarray(Image.fromarray(pixels).resize((width, height), kind))
        return whole[top : top + tall, left : left + wide]
    from shards.images.resampling import resampled

    return resampled(pixels, (height, width), (top, left, tall, wide), cubic)


def parts_are_cheap(pixels: Pixels, width: int, height: int) -> bool:
    """Whether :func:`resized_part` computes a part alone, or the whole of it."""
    return _by_pillow >= _PILLOWS_SHARE and not columns_come_first(pixels.shape[:2], (height, width))


def columns_come_first(source: tuple[int, ...], target: tuple[int, ...]) -> bool:
    """Whether Pillow 13 resizes from (height, width) to (height, width) vertically before it resizes horizontally.
    That order rounds differently from the kernels here; versions before 13 never used it."""
    (height, width), (target_height, target_width) = source, target
    return target_height < height and height - target_height > 2 * (width - target_width)
