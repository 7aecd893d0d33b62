"""Which images are stored as tiles. Decided by their headers, before anything is decoded.

Lossless images take about the bytes that they had, so they are tiled by default. Others cost a decode of the whole
image for a crop, too, but as tiles they take many times the bytes: only ``--lossy tiles`` tiles them.
"""

from dataclasses import dataclass

from PIL import ImageFile

from shards.images.containers import riff_chunks
from shards.images.formats import count_frames, open_image
from shards.images.rejection import RejectedImage
from shards.jpeg.header import BadJpeg
from shards.jpeg.header_parser import read_header

__all__ = ["Tiling", "can_tile", "can_tile_lossy"]

# Palettes count as other images: as RGB they grow.
_MODES = frozenset({"L", "LA", "RGB", "RGBA", "RGBX", "CMYK", "I;16", "I;16B", "I;16L", "I;16N", "I"})
_TIFF_COMPRESSIONS = frozenset({"raw", "packbits", "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "lzma", "zstd"})


@dataclass(frozen=True, slots=True)
class Tiling:
    """The images that a build stores as tiles, all of one frame."""

    lossless: bool = True
    """Those of :func:`can_tile`."""
    lossy: bool = False
    """Those of :func:`can_tile_lossy`."""
    lossy_over: float = 0.0
    """Of these, only the ones of more than so many megapixels."""

    def takes(self, data: bytes, kind: str) -> bool:
        """Whether the image file ``data`` of format ``kind`` is one of them; ``False`` for damaged ones."""
        if self.lossless and can_tile(data, kind):
            return True
        return self.lossy and can_tile_lossy(data, kind, self.lossy_over)


def can_tile(data: bytes, kind: str) -> bool:
    """Whether the image file ``data`` of format ``kind`` is lossless, of one frame, and no palette.

    Reads the header only. ``False`` for damaged files, too.
    """
    if kind == "WEBP":
        return _first_stream(data) == b"VP8L"
    if kind not in ("PNG", "BMP", "TIFF"):
        return False
    image = _opened(data)
    return image is not None and _is_lossless(image) and count_frames(image) == 1


def can_tile_lossy(data: bytes, kind: str, over: float = 0.0) -> bool:
    """Whether the image file ``data`` of format ``kind`` has one frame and more than ``over`` megapixels, is not one
    that :func:`can_tile` means, and lets no crop be read by itself.

    Among JPEGs these are the arithmetic-coded and the CMYK ones; all others have entry points, or get them as baseline
    JPEGs. Only the header is read, but all of a JPEG XL. ``False`` for damaged files, too.
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
    """Name of the first chunk of a WebP that says how it is coded: animations begin with ``ANIM``."""
    return next((chunk.name for chunk in riff_chunks(data) if chunk.name in (b"VP8L", b"VP8 ", b"ANIM")), b"")


def _is_lossless(image: ImageFile.ImageFile) -> bool:
    """Of an opened PNG, BMP or TIFF."""
    if image.format == "TIFF" and image.info.get("compression") not in _TIFF_COMPRESSIONS:
        return False
    return image.mode in _MODES


def _jpeg_without_windows(data: bytes) -> bool:
    try:
        header = read_header(data)
    except BadJpeg:
        return False
    return header.arithmetic or len(header.components) == 4
