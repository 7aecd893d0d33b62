"""Converts images with 16 bits per channel to 8 bits exactly: value / 257, rounded.

Pillow keeps all 16 bits only for grey images. For colour images, it keeps only the high byte of each value. For half of
all values, the high byte differs by one from the correct result. With the byte order swapped, Pillow's raw decoders
keep the low byte instead. So colour images are decoded twice, and the two bytes of each value are combined.
"""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, ImageFile

from shards.images.rejection import RejectedImage

__all__ = ["is_sixteen_bit", "sixteen_bit_to_rgb"]

_GREY_MODES = ("I;16", "I;16B", "I;16L", "I;16N")
_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262  # TIFF tags
_WHITE_IS_ZERO = 0


def _to_eight_bits(values: np.ndarray) -> np.ndarray:
    """Converts uint16 to uint8 of the same shape: value / 257, rounded. There are no ties, because 257 is odd."""
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _raw_mode(image: ImageFile.ImageFile) -> str:
    """Returns Pillow's name for a stored pixel's layout, the "raw mode", such as ``RGB;16B``; ``""`` if unknown."""
    if not image.tile:
        return ""
    arguments: Any = image.tile[0][3]
    raw_mode = arguments if isinstance(arguments, str) else (arguments or ("",))[0]
    return str(raw_mode)


def is_sixteen_bit(image: ImageFile.ImageFile) -> bool:
    """Whether an opened, not yet loaded image has integer channels with more than 8 bits.

    This is decided by the bit depth stated in the file, because Pillow's raw modes are misleading: a BMP with 5-6-5
    bits per pixel has the raw mode ``BGR;16``, and a separate 16-bit plane has the raw mode ``R``.
    """
    if image.mode in _GREY_MODES:
        return True
    if image.format == "TIFF":
        bits = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, (1,))
        return image.mode != "F" and max(bits) == 16
    return image.format == "PNG" and ";16" in _raw_mode(image)


def sixteen_bit_to_rgb(image: ImageFile.ImageFile, reopen: Callable[[], ImageFile.ImageFile]) -> Image.Image:
    """Converts an opened PNG or TIFF with 16 bits per channel to an 8-bit RGB image. Alpha is dropped.

    ``reopen`` opens the same file again. Raises ``RejectedImage`` for layouts that are not supported: 12 bits, and 16
    bits with CMYK or premultiplied alpha.
    """
    raw_mode = _raw_mode(image)
    if image.mode in _GREY_MODES:
        return _grey_to_rgb(image)
    if raw_mode == "LA;16B":  # four bytes per pixel: grey high, grey low, alpha high, alpha low
        pixels = _decode_as(image, "RGBA")
        grey = _to_eight_bits(_join(pixels[..., 0], pixels[..., 1]))
        return Image.merge("RGB", [Image.fromarray(grey)] * 3)
    layout, _, order = raw_mode.partition(";")
    if layout not in ("RGB", "RGBA", "RGBX"):
        raise RejectedImage("unsupported_mode", f"16 bits, layout {raw_mode}")
    high, low = _orders(order)
    return Image.fromarray(
        _to_eight_bits(
            _join(_decode_as(image, f"{layout};{high}")[..., :3], _decode_as(reopen(), f"{layout};{low}")[..., :3])
        )
    )


def _grey_to_rgb(image: ImageFile.ImageFile) -> Image.Image:
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(_BITS_PER_SAMPLE, (16,))
    if tuple(bits) != (16,):
        raise RejectedImage("unsupported_mode", f"{bits[0]} bits of grey")
    image.load()
    values = np.asarray(image).astype(np.uint16)  # in the machine's byte order
    if image.format == "TIFF" and tags.get(_PHOTOMETRIC, 0) == _WHITE_IS_ZERO:
        values = 65535 - values  # Pillow itself inverts negatives of up to 8 bits
    grey = Image.fromarray(_to_eight_bits(values))
    return Image.merge("RGB", [grey] * 3)


def _orders(order: str) -> tuple[str, str]:
    """Returns the raw mode suffixes with which Pillow decodes the high byte and the low byte of each 16-bit value.

    ``order`` is the suffix for the byte order of the stored values.
    """
    if order == "16N":  # libtiff returns values in the machine's byte order
        order = "16L" if sys.byteorder == "little" else "16B"
    return ("16L", "16B") if order == "16L" else ("16B", "16L")


def _decode_as(image: ImageFile.ImageFile, raw_mode: str) -> np.ndarray:
    """Decodes ``image`` as if its pixels were stored in the layout ``raw_mode``. Returns (H, W, channels) uint8.

    Both layouts must have the same number of bytes per pixel.
    """
    tiles = []
    for tile in image.tile:
        rest = tile.args[1:] if isinstance(tile.args, tuple) else ()
        tiles.append(tile._replace(args=(raw_mode, *rest) if rest else raw_mode))
    image.tile = tiles
    image.load()
    return np.asarray(image)


def _join(high: np.ndarray, low: np.ndarray) -> np.ndarray:
    return (high.astype(np.uint16) << 8) | low
