"""Decides which images are stored as tiles, by their headers, before anything is decoded.

Lossless images take about as many bytes as before, so they are tiled by default. Lossy images without random access
also cost a whole decode per crop, but as tiles they take many times the bytes: they are tiled only with ``--lossy
tiles``.
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
    """Which images a build stores as tiles. Images of several frames are never tiled."""

    lossless: bool = True
    """Whether to tile the images for which :func:`can_tile` is true."""
    lossy: bool = False
    """Whether to tile the images for which :func:`can_tile_lossy` is true."""
    lossy_over: float = 0.0
    """Megapixels that a lossy image must exceed to be tiled."""

    def takes(self, data: bytes, kind: str) -> bool:
        """Whether to tile the image file ``data`` of format ``kind``; ``False`` for damaged files."""
        if self.lossless and can_tile(data, kind):
            return True
        return self.lossy and can_tile_lossy(data, kind, self.lossy_over)


def can_tile(data: bytes, kind: str) -> bool:
    """Whether the image file ``data`` of format ``kind`` is lossless, has one frame and no palette.

    Reads the header only. ``False`` for damaged files.
    """
    if kind == "WEBP":
        return _first_stream(data) == b"VP8L"
    if kind not in ("PNG", "BMP", "TIFF"):
        return False
    image = _opened(data)
    return image is not None and _is_lossless(image) and count_frames(image) == 1


def can_tile_lossy(data: bytes, kind: str, over: float = 0.0) -> bool:
    """Whether the image file ``data`` of format ``kind`` is a lossy image that gets random access only as tiles.

    The image must also have one frame and more than ``over`` megapixels. JPEGs get it only as tiles if they are
    arithmetic-coded or CMYK; all others have entry points, or get them as baseline JPEGs. Palette images and GIFs count
    as lossy here. Reads only the header, but all of a JPEG XL. ``False`` for damaged files.
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
    """Name of the first chunk of a WebP that says how it is coded; ``ANIM`` for animations."""
    return next((chunk.name for chunk in riff_chunks(data) if chunk.name in (b"VP8L", b"VP8 ", b"ANIM")), b"")


def _is_lossless(image: ImageFile.ImageFile) -> bool:
    """Whether an opened PNG, BMP or TIFF is lossless."""
    if image.format == "TIFF" and image.info.get("compression") not in _TIFF_COMPRESSIONS:
        return False
    return image.mode in _MODES


def _jpeg_without_windows(data: bytes) -> bool:
    try:
        header = read_header(data)
    except BadJpeg:
        return False
    return header.arithmetic or len(header.components) == 4
