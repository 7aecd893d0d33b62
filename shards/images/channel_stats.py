"""Mean and standard deviation per channel over all pixels of an image, as in the manifest.

Both are computed from integer sums, so that every machine and every order of addition gives the same bits.
"""

import math
from collections.abc import Sequence

from PIL import Image

__all__ = ["CHANNELS", "CHANNEL_COLUMNS", "channel_columns", "channel_stats"]

CHANNELS = ("red", "green", "blue")
CHANNEL_COLUMNS = tuple(f"{channel}_{what}" for channel in CHANNELS for what in ("mean", "sd"))
"""Columns of the manifest, in grey levels of 0 … 255."""


def channel_columns(pixels: int, sums: Sequence[int], squares: Sequence[int]) -> dict[str, float]:
    """Name → value of the columns ``CHANNEL_COLUMNS``.

    ``pixels`` is the number of pixels; ``sums`` and ``squares`` are, per channel, the sums of the values and of their
    squares. The standard deviation divides by n, the number of pixels, so that it can be pooled exactly over images.
    """
    columns = {}
    for channel, total, square in zip(CHANNELS, sums, squares, strict=True):
        columns[f"{channel}_mean"] = total / pixels
        columns[f"{channel}_sd"] = math.sqrt(pixels * square - total * total) / pixels
    return columns


def channel_stats(image: Image.Image) -> dict[str, float]:
    """:func:`channel_columns` of an RGB Pillow image, computed from its histogram: slow and simple."""
    histogram = image.histogram()
    counts = [histogram[256 * place : 256 * (place + 1)] for place in range(len(CHANNELS))]
    return channel_columns(
        image.width * image.height,
        [sum(level * n for level, n in enumerate(of)) for of in counts],
        [sum(level * level * n for level, n in enumerate(of)) for of in counts],
    )
