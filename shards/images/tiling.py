"""Decides which images are stored as tiles, based on the file headers, without decoding anything.

Tiles let a crop be read without decoding the whole image. Tiling hardly changes the size of lossless images, so they
are tiled by default. Tiling makes lossy images many times larger, so lossy images without random access are tiled only
with ``--lossy tiles``.
"""

from dataclasses import dataclass

from PIL import ImageFile

from shards.images.containers import riff_chunks
from shards.images.formats import count_frames, open_image
from shards.images.rejection import RejectedImage
from shards.jpeg.header import BadJpeg
from shards.jpeg.header_parser import read_header

__all__ = ["Tiling", "can_tile", "can_tile_lossy"]

# Without palettes: expanded to RGB, such images would grow.
_MODES = frozenset({"L", "LA", "RGB", "RGBA", "RGBX", "CMYK", "I;16", "I;16B", "I;16L", "I;16N", "I"})
_TIFF_COMPRESSIONS = frozenset({"raw", "packbits", "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "lzma", "zstd"})


@dataclass(frozen=True, slots=True)
class Tiling:
    """Settings that say which images a build stores as tiles. Images with several frames are never tiled."""

    lossless: bool = True
    """Whether to tile the images for which :func:`can_tile` is true."""
    lossy: bool = False
    """Whether to tile the images for which :func:`can_tile_lossy` is true."""
    lossy_over: float = 0.0
    """Number of megapixels that a lossy image must exceed to be tiled."""

    def takes(self, data: bytes, kind: str) -> bool:
        """Whether to tile the image file ``data`` of format ``kind``; ``False`` for damaged files."""
        if self.lossless and can_tile(data, kind):
            return True
        return self.lossy and can_tile_lossy(data, kind, self.lossy_over)


def can_tile(data: bytes, kind: str) -> bool:
    """Whether the image file ``data`` of format ``kind`` is lossless, has a single frame and has no palette.

    Reads the header only. ``False`` for damaged files.
    """
    if kind == "WEBP":
        return _first_stream(data) == b"VP8L"
    if kind not in ("PNG", "BMP", "TIFF"):
        return False
    image = _opened(data)
    return image is not None and _is_lossless(image) and count_frames(image) == 1


def can_tile_lossy(data: bytes, kind: str, over: float = 0.0) -> bool:
    """Whether the image file ``data`` of format ``kind`` is a lossy image for which only tiles provide random access.

    The image must also have one frame and more than ``over`` megapixels. Among JPEGs, only arithmetic-coded and CMYK
    files qualify; all others have entry points, directly or after conversion to baseline. Palette images and GIFs count
    as lossy here. Reads only the header, except for a JPEG XL, which is read whole. ``False`` for damaged files.
    """
    if kind == "JPEG" and not _jpeg_without_windows(data):
        return False
    if kind == "WEBP" and _first_stream(data) != b"VP8 ":
        return False
    image = _opened(data)
    if image is None or image.width * image.height <= over * 1e6:
        return False
    if kind in ("PNG", "BMP", "TIFF") and _is_lossless(image):
        return False
    return count_frames(image) == 1


def _opened(data: bytes) -> ImageFile.ImageFile | None:
    try:
        return open_image(data)
    except RejectedImage:
        return None


def _first_stream(data: bytes) -> bytes:
    """Returns the name of the first WebP chunk that reveals the coding: ``VP8L``, ``VP8`` or (animations) ``ANIM``."""
    return next((chunk.name for chunk in riff_chunks(data) if chunk.name in (b"VP8L", b"VP8 ", b"ANIM")), b"")


def _is_lossless(image: ImageFile.ImageFile) -> bool:
    """Whether an opened PNG, BMP or TIFF is lossless, and has neither a palette nor one-bit pixels."""
    if image.format == "TIFF" and image.info.get("compression") not in _TIFF_COMPRESSIONS:
        return False
    return image.mode in _MODES


def _jpeg_without_windows(data: bytes) -> bool:
    try:
        header = read_header(data)
    except BadJpeg:
        return False
    return header.arithmetic or len(header.components) == 4
