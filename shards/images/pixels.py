"""The pixels of a file: RGB, 8 bits, as stored. Pillow is the reference decoder.

Orientation (EXIF, tags, boxes) is not applied, and undone where a plugin applies it
(``shards.images.tiff_avif_heif``, ``shards.images.jxl_jpeg2000``); this holds for every format.
Alpha is dropped, palettes and grey are expanded, CMYK is converted by Pillow, 16 bits are scaled to
8 (value / 257, rounded), ICC profiles are ignored, and of an animation the first frame counts: of
an APNG its default image, also where that is no frame.
"""

import hashlib
import struct

import numpy as np
from PIL import Image, ImageFile

from shards.images.formats import open_image, rejecting
from shards.images.rejection import RejectedImage
from shards.images.resize import resized
from shards.images.sixteen_bit import is_sixteen_bit, sixteen_bit_to_rgb

__all__ = ["RejectedImage", "decode_rgb", "global_view", "load_rgb", "pixel_sha256", "shrink"]

_STRIP_ROWS = 64
_CONVERTIBLE = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"})


def decode_rgb(data: bytes) -> np.ndarray:
    """The pixels of an image file: (height, width, 3) uint8, not writable.

    Raises ``RejectedImage`` with a reason for whatever cannot be decoded whole. Safe in threads.
    """
    return np.asarray(load_rgb(open_image(data), data))


def load_rgb(image: ImageFile.ImageFile, data: bytes) -> Image.Image:
    """Decodes an image that :func:`shards.images.formats.open_image` opened from ``data``, to RGB.

    ``image`` can still be asked for its metadata afterwards. Raises ``RejectedImage``.
    """
    with rejecting(data):
        if is_sixteen_bit(image):
            return sixteen_bit_to_rgb(image, lambda: open_image(data))
        image.load()
        if image.mode not in _CONVERTIBLE:
            raise RejectedImage("unsupported_mode", f"Pillow's mode {image.mode}")
        if image.mode == "RGB":
            return image
        # A colour marked as transparent is a colour all the same; left in, Pillow would look for
        # its counterpart in the converted image, and warn where a palette has several.
        image.info.pop("transparency", None)
        return image.convert("RGB")


def shrink(image: Image.Image, size: int) -> np.ndarray:
    """:func:`global_view` of an RGB Pillow image: (size, size, 3) uint8."""
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


def global_view(rgb: np.ndarray, size: int) -> np.ndarray:
    """The whole image at (size, size, 3) uint8, aspect ratio not kept.

    ``rgb`` is (height, width, 3) uint8. Bilinear with antialiasing: Pillow's ``resize``.
    """
    return resized(rgb, size, size)


def pixel_sha256(pixels: np.ndarray | Image.Image) -> bytes:
    """SHA-256 of the pixels of (height, width, 3) uint8 or of an RGB Pillow image.

    Over height and width as little-endian uint32 (8 bytes), then the rows from the top, each pixel
    as red, green, blue: the first 8 bytes fix the length of what follows, so no two images of
    different shapes share an input. It covers nothing else of a file, so files that differ in
    metadata or format and have equal pixels agree in it. Its first 64 bits are the content id.
    """
    if isinstance(pixels, np.ndarray):
        digest = hashlib.sha256(struct.pack("<II", *pixels.shape[:2]))
        digest.update(np.ascontiguousarray(pixels).data)
        return digest.digest()
    width, height = pixels.size
    digest = hashlib.sha256(struct.pack("<II", height, width))
    # In strips that stay in the cache: a copy of a whole 12-megapixel image costs as much as its
    # decoding (51 ms, of which the strips take 8).
    for top in range(0, height, _STRIP_ROWS):
        strip = pixels.crop((0, top, width, min(height, top + _STRIP_ROWS)))
        digest.update(strip.tobytes())
    return digest.digest()
