"""Decodes image files to 8-bit RGB with Pillow, this project's reference decoder.

Pixels are returned as stored:

- Orientation (EXIF, tags, boxes) is never applied. Where a plugin applies it, the rotation is undone
  (``shards.images.tiff_avif_heif``, ``shards.images.jxl_jpeg2000``).
- Alpha is dropped, palettes and grey are expanded, and CMYK is converted by Pillow.
- 16-bit values are scaled to 8 bits (value / 257, rounded).
- ICC profiles are ignored.
- Only the first frame of an animation is read. For an APNG, that is the default image, even if it is not part of the
  animation.
"""

import hashlib
import struct

import numpy as np
from PIL import Image, ImageFile

from shards.images.formats import open_image, rejecting
from shards.images.rejection import RejectedImage
from shards.images.resize import resized, resized_image
from shards.images.sixteen_bit import is_sixteen_bit, sixteen_bit_to_rgb

__all__ = ["RejectedImage", "decode_rgb", "global_view", "load_rgb", "pixel_sha256", "shrink"]

_STRIP_ROWS = 64
_CONVERTIBLE = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"})


def decode_rgb(data: bytes) -> np.ndarray:
    """Decodes an image file to pixels: (height, width, 3) uint8, read-only.

    Raises ``RejectedImage`` with a reason if the pixels cannot all be decoded. Thread-safe.
    """
    return np.asarray(load_rgb(open_image(data), data))


def load_rgb(image: ImageFile.ImageFile, data: bytes) -> Image.Image:
    """Decodes ``image``, which :func:`shards.images.formats.open_image` opened from ``data``, and returns it as RGB.

    The metadata of ``image`` can still be read afterwards. Raises ``RejectedImage`` if the pixels cannot be decoded.
    """
    with rejecting(data):
        if is_sixteen_bit(image):
            return sixteen_bit_to_rgb(image, lambda: open_image(data))
        image.load()
        if image.mode not in _CONVERTIBLE:
            raise RejectedImage("unsupported_mode", f"Pillow's mode {image.mode}")
        if image.mode == "RGB":
            return image
        # Drop the mark of a transparent colour, since alpha is ignored. Otherwise Pillow would look
        # up that colour in the converted image, and warn if a palette has several.
        image.info.pop("transparency", None)
        return image.convert("RGB")


def shrink(image: Image.Image, size: int) -> np.ndarray:
    """Computes the :func:`global_view` of an RGB Pillow image: (size, size, 3) uint8."""
    return np.asarray(resized_image(image, (size, size), Image.Resampling.BILINEAR))


def global_view(rgb: np.ndarray, size: int) -> np.ndarray:
    """Resizes the whole image to (size, size, 3) uint8, without preserving the aspect ratio.

    ``rgb`` is (height, width, 3) uint8. The filter is bilinear with antialiasing, and the result equals that of
    Pillow 13's ``resize``.
    """
    return resized(rgb, size, size)


def pixel_sha256(pixels: np.ndarray | Image.Image) -> bytes:
    """Returns the SHA-256 of the pixels in a (height, width, 3) uint8 array or an RGB Pillow image.

    The hash covers height and width as little-endian uint32 (8 bytes), then the rows from the top. Each pixel is hashed
    as red, green, blue. Images of different shapes differ in the first 8 bytes. Nothing else in a file is hashed, so
    that files with equal pixels have the same hash whatever their metadata or format. The first 64 bits of the hash are
    the content id.
    """
    if isinstance(pixels, np.ndarray):
        digest = hashlib.sha256(struct.pack("<II", *pixels.shape[:2]))
        digest.update(np.ascontiguousarray(pixels).data)
        return digest.digest()
    width, height = pixels.size
    digest = hashlib.sha256(struct.pack("<II", height, width))
    # In strips that stay in the cache, which takes 8 ms for 12 megapixels. A copy of the whole image
    # takes 51 ms, as much as decoding it.
    for top in range(0, height, _STRIP_ROWS):
        strip = pixels.crop((0, top, width, min(height, top + _STRIP_ROWS)))
        digest.update(strip.tobytes())
    return digest.digest()
