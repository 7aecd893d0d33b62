"""Progressive and multi-scan JPEGs as baseline JPEGs, with the same coefficients and pixels.

A baseline file can be read from the middle, and decodes two to four times as fast. The tables, the
sampling, the component identifiers, and all application and comment segments (JFIF, Adobe, EXIF,
ICC, XMP) go along unchanged, except the directory of a multi-picture file, because what follows the
first picture does not.
"""

import numpy as np

from shards.image_formats import open_image, rejecting
from shards.jpeg_coefficients import Coefficients, NotConvertible, read_coefficients
from shards.jpeg_header import JpegHeader, Segment
from shards.jpeg_writing import write_baseline
from shards.rejection import RejectedImage

__all__ = ["NotConvertible", "to_baseline"]


def to_baseline(jpeg: bytes) -> bytes:
    """The same image as a baseline JPEG of one scan.

    The result is read back: its coefficients are compared with those of ``jpeg``, and its pixels,
    decoded by Pillow, with Pillow's of ``jpeg``. Raises ``NotConvertible`` with the reason where
    anything differs or ``jpeg`` is damaged, of another kind, or too coarse for a baseline file.
    """
    coefficients = read_coefficients(jpeg)
    converted = write_baseline(coefficients, _kept_segments(coefficients.header, jpeg), jpeg)
    if not _same_coefficients(coefficients, read_coefficients(converted)):
        raise NotConvertible("other coefficients when read back")
    # Pillow smooths images whose scans bring only a part of the bits: those do differ.
    if not np.array_equal(_pixels(jpeg), _pixels(converted)):
        raise NotConvertible("other pixels when read back")
    return converted


def _kept_segments(header: JpegHeader, jpeg: bytes) -> tuple[Segment, ...]:
    return tuple(
        segment
        for segment in header.segments
        if (0xE0 <= segment.marker <= 0xEF or segment.marker == 0xFE)
        and not (segment.marker == 0xE2 and jpeg.startswith(b"MPF\0", segment.offset))
    )


def _same_coefficients(one: Coefficients, other: Coefficients) -> bool:
    """Whether all blocks that hold pixels are equal; those that fill up MCUs may differ."""
    if one.quant != other.quant or one.planes != other.planes:
        return False
    for p in one.planes:
        rows = np.arange(p.down)[:, None] * p.stride + np.arange(p.across) + p.base
        if any(not np.array_equal(one.blocks[row], other.blocks[row]) for row in rows):
            return False
    return True


def _pixels(jpeg: bytes) -> np.ndarray:
    """Pillow's pixels before any conversion, so that CMYK is compared in four channels."""
    try:
        image = open_image(jpeg)
        with rejecting(jpeg):
            image.load()
    except RejectedImage as error:
        raise NotConvertible(f"damaged: {error.detail}") from error
    return np.asarray(image)
