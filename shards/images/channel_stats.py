"""Computes the mean and standard deviation of each colour channel of an image, for the manifest.

Both are computed from integer sums, so that every machine and every order of addition gives the same bits.
"""

import math
from collections.abc import Sequence

from PIL import Image

__all__ = ["CHANNELS", "CHANNEL_COLUMNS", "channel_columns", "channel_stats"]

CHANNELS = ("red", "green", "blue")
CHANNEL_COLUMNS = tuple(f"{channel}_{what}" for channel in CHANNELS for what in ("mean", "sd"))
"""Names of the manifest columns for the mean and standard deviation of each channel. Values are on the scale 0 …
255."""


def channel_columns(pixels: int, sums: Sequence[int], squares: Sequence[int]) -> dict[str, float]:
    """Computes the values of ``CHANNEL_COLUMNS``. Returns a mapping from column to value.

    ``pixels`` is the number of pixels. For each channel, ``sums`` has the sum of its values, and ``squares`` the sum of
    their squares. The variance is divided by the number of pixels, not by that number minus one, so that the standard
    deviations of several images can be pooled exactly.
    """
    columns = {}
    for channel, total, square in zip(CHANNELS, sums, squares, strict=True):
        columns[f"{channel}_mean"] = total / pixels
        columns[f"{channel}_sd"] = math.sqrt(pixels * square - total * total) / pixels
    return columns


def channel_stats(image: Image.Image) -> dict[str, float]:
    """Computes the :func:`channel_columns` of an RGB Pillow image from its histogram: simple, but slow."""
    histogram = image.histogram()
    counts = [histogram[256 * place : 256 * (place + 1)] for place in range(len(CHANNELS))]
    return channel_columns(
        image.width * image.height,
        [sum(level * n for level, n in enumerate(of)) for of in counts],
        [sum(level * level * n for level, n in enumerate(of)) for of in counts],
    )
