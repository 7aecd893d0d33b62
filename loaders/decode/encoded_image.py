"""Decodes one image file quickly on the CPU, to the same pixels that the loader yields for that file in a data set."""

import numpy as np
import numpy.typing as npt

from shards.images.formats import open_image
from shards.images.pixels import RejectedImage, decode_rgb
from shards.optional import optional

__all__ = ["decode_file"]


def decode_file(data: bytes) -> npt.NDArray[np.uint8]:
    """Decodes an image file to pixels, (height, width, 3) uint8, equal to those of ``shards.images.pixels.decode_rgb``.

    Raises ``RejectedImage`` for every file that ``glass build`` rejects, including JPEGs with damaged scans.
    libjpeg-turbo reports damaged scans and Pillow does not, so libjpeg-turbo is tried first. Releases the GIL; safe to
    use from several threads.
    """
    image = open_image(data)
    if image.format != "JPEG":
        return decode_rgb(data)
    simplejpeg = optional("simplejpeg")  # torchvision's decoder would not report damage
    if simplejpeg and image.mode in ("RGB", "L"):  # Pillow converts CMYK in its own way
        try:
            pixels = simplejpeg.decode_jpeg(data, "RGB")
        except ValueError:
            pass
        else:
            if pixels.shape[:2] == (image.height, image.width):
                return pixels
    return _decode_with_pillow(data)


def _decode_with_pillow(data: bytes) -> npt.NDArray[np.uint8]:
    """Decodes a JPEG with Pillow; the fallback if libjpeg-turbo reports an error or cannot be used. Then walks through
    the scan, and raises ``RejectedImage`` if the scan is damaged."""
    # Importing Numba takes a second, which intact files need not wait for.
    from shards.jpeg.entry_points import NotIndexable, build_entry_points

    pixels = decode_rgb(data)
    try:
        build_entry_points(data)
    except NotIndexable as error:
        if error.reason == "corrupt scan":
            raise RejectedImage("corrupt", "the entropy-coded data is damaged") from None
    return pixels
