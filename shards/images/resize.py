"""Resizes pixels exactly as Pillow 13 does, whatever version of Pillow is installed.

A process starts out using Pillow, and switches to compiled kernels later.
"""

import numpy as np
import numpy.typing as npt
from PIL import Image

__all__ = ["columns_come_first", "parts_are_cheap", "resized", "resized_image", "resized_part"]

Pixels = npt.NDArray[np.uint8]

_PILLOWS_SHARE = 50_000_000
"""Number of pixels that a process resizes with Pillow before it loads the kernels. Pillow takes 5 ns more per pixel
(bicubic: 20 ns), but loading Numba takes half a second to a second, which is not worthwhile for just a few images."""

_by_pillow = 0


def resized(pixels: Pixels, width: int, height: int, *, cubic: bool = False) -> Pixels:
    """Resizes ``pixels`` (H, W, 3) uint8 to (``height``, ``width``, 3) with antialiasing.

    The filter is bicubic if ``cubic`` is true, and bilinear otherwise. The result may be read-only.
    """
    return resized_part(pixels, width, height, 0, 0, height, width, cubic=cubic)


def resized_part(
    pixels: Pixels, width: int, height: int, top: int, left: int, tall: int, wide: int, *, cubic: bool = False
) -> Pixels:
    """Returns only the part of the :func:`resized` image, (``tall``, ``wide``, 3), that begins at (``top``,
    ``left``)."""
    global _by_pillow
    if not parts_are_cheap(pixels, width, height):
        _by_pillow += pixels.shape[0] * pixels.shape[1]
        kind = Image.Resampling.BICUBIC if cubic else Image.Resampling.BILINEAR
        whole = np.asarray(resized_image(Image.fromarray(pixels), (width, height), kind))
        return whole[top : top + tall, left : left + wide]
    from shards.images.resampling import resampled

    return resampled(pixels, (height, width), (top, left, tall, wide), cubic)


def parts_are_cheap(pixels: Pixels, width: int, height: int) -> bool:
    """Whether a call to :func:`resized_part` would currently compute only that part, not the whole resized image."""
    return _by_pillow >= _PILLOWS_SHARE and not columns_come_first(pixels.shape[:2], (height, width))


def resized_image(
    image: Image.Image,
    size: tuple[int, int],
    kind: Image.Resampling,
    box: tuple[float, float, float, float] | None = None,
) -> Image.Image:
    """Returns what Pillow 13's ``image.resize(size, kind, box)`` returns, with any version of Pillow.

    ``image`` must not have transparency, which Pillow would multiply into the colours once for each call.

    Pillow rounds to 8 bits between its vertical and its horizontal pass, so their order changes the result. Version 13
    changed that order for upright images. If the vertical pass has to come first, it is a call of its own here.
    """
    left, top, right, bottom = box or (0, 0, *image.size)
    if columns_come_first((image.height, image.width), (size[1], size[0])):
        image = image.resize((image.width, size[1]), kind, (0, top, image.width, bottom))
        top, bottom = 0, size[1]
    return image.resize(size, kind, (left, top, right, bottom))


def columns_come_first(source: tuple[int, ...], target: tuple[int, ...]) -> bool:
    """Whether to resize vertically first. ``source`` and ``target`` are (height, width).

    This is the rule of Pillow 13. Earlier versions did so only for images more than 100 times as high as wide. The
    kernels here never do.
    """
    (height, width), (target_height, target_width) = source, target
    return target_height < height and height - target_height > 2 * (width - target_width)
