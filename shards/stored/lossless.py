"""Which images are stored as tiles: lossless ones of a kind that tiles suit."""

from shards.images.formats import count_frames, open_image
from shards.images.rejection import RejectedImage

__all__ = ["can_tile"]

# Palettes are passed over: as RGB they would take two to three times the bytes.
_MODES = frozenset({"L", "LA", "RGB", "RGBA", "RGBX", "CMYK", "I;16", "I;16B", "I;16L", "I;16N", "I"})
_TIFF_COMPRESSIONS = frozenset({"raw", "packbits", "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "lzma", "zstd"})


def can_tile(data: bytes, kind: str) -> bool:
    """Whether the image file ``data`` of format ``kind`` is lossless, of one frame, and no palette.

    Reads the header only. ``False`` for damaged files, too.
    """
    if kind == "WEBP":
        return _is_lossless_webp(data)
    if kind not in ("PNG", "BMP", "TIFF"):
        return False
    try:
        image = open_image(data)
    except RejectedImage:
        return False
    if kind == "TIFF" and image.info.get("compression") not in _TIFF_COMPRESSIONS:
        return False
    return count_frames(image) == 1 and image.mode in _MODES


def _is_lossless_webp(data: bytes) -> bool:
    """By the chunks of the file: one bit stream of the lossless kind, not in an animation."""
    at = 12
    while at + 8 <= len(data):
        name = data[at : at + 4]
        if name in (b"VP8L", b"VP8 ", b"ANIM"):
            return name == b"VP8L"
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + size + size % 2
    return False
