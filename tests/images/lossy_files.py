"""Image files from which a crop cannot be read without decoding the rest: those that ``--lossy tiles`` converts, and
some that it does not."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from tests.images.jpeg_variants import cjpeg, have_cjpeg

__all__ = ["KEPT", "WRITERS"]

Writer = Callable[[Image.Image], bytes]


def _saved(kind: str, mode: str = "RGB", **options: Any) -> Writer:
    def write(image: Image.Image) -> bytes:
        buffer = io.BytesIO()
        image.convert(mode).save(buffer, kind, **options)
        return buffer.getvalue()

    return write


def _with_alpha(kind: str, **options: Any) -> Writer:
    def write(image: Image.Image) -> bytes:
        buffer, image = io.BytesIO(), image.copy()
        image.putalpha(image.convert("L"))
        image.save(buffer, kind, **options)
        return buffer.getvalue()

    return write


def _in_motion(kind: str, mode: str = "RGB", **options: Any) -> Writer:
    def write(image: Image.Image) -> bytes:
        buffer, image = io.BytesIO(), image.convert(mode)
        image.save(buffer, kind, save_all=True, append_images=[image.rotate(90)], **options)
        return buffer.getvalue()

    return write


def _heic(image: Image.Image) -> bytes:
    import pillow_heif

    buffer = io.BytesIO()
    pillow_heif.from_pillow(image).save(buffer, quality=60)
    return buffer.getvalue()


WRITERS: dict[str, Writer] = {
    "lossy.webp": _saved("WEBP", quality=80),
    "alpha.webp": _with_alpha("WEBP", quality=50),
    "colour.avif": _saved("AVIF", quality=60, speed=10),
    "full.avif": _saved("AVIF", quality=90, speed=10, subsampling="4:4:4"),
    "grey.avif": _saved("AVIF", "L", quality=60, speed=10),
    "lossy.jp2": _saved("JPEG2000", irreversible=True, quality_mode="rates", quality_layers=[8]),
    "lossless.jp2": _saved("JPEG2000"),
    "cmyk.jpg": _saved("JPEG", "CMYK", quality=80),
    "progressive_cmyk.jpg": _saved("JPEG", "CMYK", progressive=True),
    "plain.gif": _saved("GIF", "P"),
    "grey.gif": _saved("GIF", "L"),
    "palette.png": _saved("PNG", "P"),
    "bits.png": _saved("PNG", "1"),
    "palette.bmp": _saved("BMP", "P"),
    "palette.tif": _saved("TIFF", "P"),
    "jpeg.tif": _saved("TIFF", compression="jpeg"),
}
"""File name → a function that encodes an RGB image as such a file, for each format that can be written here."""

KEPT: dict[str, Writer] = {
    "baseline.jpg": _saved("JPEG", quality=80),
    "moving.gif": _in_motion("GIF", "P"),  # from RGB, Pillow would search a second for the best palette
    "moving.webp": _in_motion("WEBP", quality=60),
    "moving.avif": _in_motion("AVIF", speed=10),
    "moving.png": _in_motion("PNG"),
    "pages.tif": _in_motion("TIFF", compression="jpeg"),
}
"""File name → a function that encodes such a file. A build never converts these files, regardless of ``--lossy``."""

if have_cjpeg():
    WRITERS["arithmetic.jpg"] = lambda image: cjpeg(np.asarray(image), "-arithmetic")
try:
    import pillow_heif  # noqa: F401
except ImportError:
    pass
else:
    WRITERS["photo.heic"] = _heic
try:
    import pillow_jxl  # noqa: F401
except ImportError:
    pass
else:
    WRITERS["lossy.jxl"] = _saved("JXL", quality=80, effort=1)
    WRITERS["lossless.jxl"] = _saved("JXL", lossless=True, effort=1)
