"""Counts the bytes in an image file that hold its pixels. "Bits per pixel" is computed from this count.

Everything else in a file (EXIF with a thumbnail, colour profiles, signatures, text, a second picture, bytes after the
end) takes up space without affecting the pixels. These bytes are counted:

=========  ========================================================================
JPEG       entropy-coded bytes of all scans of the first picture, without restart markers
PNG        IDAT chunks; not the frames of an animation
WebP       the first VP8 or VP8L chunk; not ALPH, as alpha is dropped
TIFF       strips or tiles of the first page
BMP        the pixel array
GIF        the compressed data of the first frame
AVIF       the primary item, or the tiles of a grid
HEIC       as AVIF
JPEG XL    the codestream
JPEG 2000  the codestream
=========  ========================================================================

The count also depends on how the bits are packed: ``shards.jpeg.standard_bits`` makes JPEGs comparable.
"""

import re
from typing import NamedTuple

from PIL import ImageFile

from shards.images.containers import iso_boxes, png_chunks, webp_pictures
from shards.jpeg.header import BadJpeg
from shards.jpeg.header_parser import SegmentParser
from shards.metadata.iso_items import iso_picture

__all__ = ["Extent", "picture_extent"]

_SCAN_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_SOS, _EOI = 0xDA, 0xD9
_STRIP_BYTES, _TILE_BYTES = 279, 325
_CODESTREAMS = (b"jp2c", b"jxlc", b"jxlp")


class Extent(NamedTuple):
    """The number of bytes that hold the first picture in a file, and where that picture ends."""

    pixel_bytes: int
    """Number of bytes that hold the picture's pixels; 0 if no such bytes are found."""
    end: int
    """Offset of the first byte after the picture; the file length if that is unknown."""


def picture_extent(image: ImageFile.ImageFile, data: bytes) -> Extent:
    """Returns the extent of the first picture in the file ``data``, from which ``image`` was opened.

    Both numbers are between 0 and ``len(data)``, whatever the file claims.
    """
    size = len(data)
    counted, end = 0, size
    match image.format:
        case "JPEG":
            counted, end = _jpeg(data)
        case "PNG":
            for chunk in png_chunks(data):
                counted += chunk.size if chunk.name == b"IDAT" else 0
                end = chunk.end + 4 if chunk.name == b"IEND" else size
        case "WEBP":
            counted = next((part.size for part in webp_pictures(data)), 0)
            end = int.from_bytes(data[4:8], "little") + 8
        case "TIFF":
            counted = _tiff(image, size)
        case "BMP":
            counted = _bmp(data)
        case "GIF":
            counted = _gif(data)
        case "AVIF" | "HEIF":
            picture = iso_picture(data)
            counted = picture.num_bytes if picture else 0
        case _:
            counted = _codestream(data)
    return Extent(min(max(counted, 0), size), min(max(end, 0), size))


def _jpeg(data: bytes) -> tuple[int, int]:
    parser, total = SegmentParser(memoryview(data)), 0
    try:
        position = parser.parse().scan_start
        while True:
            found = _SCAN_END.search(data, position)
            end = found.start() if found else len(data)
            total += end - position
            if parser.restart_interval:
                total -= 2 * sum(1 for _ in _RESTART.finditer(data, position, end))
            if found is None or data[end + 1] == _EOI:
                return total, end + 2
            position = _next_scan(parser, end)
    except BadJpeg:  # decoding it will say whether the file is usable
        return total, len(data)


def _next_scan(parser: SegmentParser, position: int) -> int:
    """Offset of the entropy-coded bytes after the next scan header. Raises ``BadJpeg`` if there is none."""
    while True:
        segment = parser.segment(position)
        position = segment.offset + segment.length
        if segment.marker == _SOS:
            return position
        if segment.marker == 0xDD:
            parser.take(segment)


def _tiff(image: ImageFile.ImageFile, room: int) -> int:
    tags = getattr(image, "tag_v2", {})
    counts = tags.get(_TILE_BYTES) or tags.get(_STRIP_BYTES) or ()
    counts = counts if isinstance(counts, tuple) else (counts,)
    return sum(min(max(int(count), 0), room) for count in counts if isinstance(count, int))


def _bmp(data: bytes) -> int:
    offset = int.from_bytes(data[10:14], "little")
    left = len(data) - offset
    if data[14:18] == b"\x0c\0\0\0":  # the header of OS/2
        width, height = (int.from_bytes(data[at : at + 2], "little") for at in (18, 20))
        bits, packed = int.from_bytes(data[24:26], "little"), False
    else:
        width, height = (abs(int.from_bytes(data[at : at + 4], "little", signed=True)) for at in (18, 22))
        bits = int.from_bytes(data[28:30], "little")
        packed = int.from_bytes(data[30:34], "little") in (1, 2)
    claimed = int.from_bytes(data[34:38], "little") if packed else 0
    return min(left, claimed or (left if packed else (width * bits + 31) // 32 * 4 * height))


def _gif(data: bytes) -> int:
    at = 13 + _colours(data, 10)
    while at < len(data):
        if data[at] == 0x21:  # an extension: a label, then blocks
            _, at = _blocks(data, at + 2)
        elif data[at] == 0x2C and at + 9 < len(data):  # a frame: its header, colour table and code size
            return _blocks(data, at + 10 + _colours(data, at + 9) + 1)[0]
        else:
            return 0
    return 0


def _colours(data: bytes, at: int) -> int:
    """Returns the size in bytes of the colour table declared by the flags at offset ``at``, or 0 if there is none."""
    flags = data[at] if at < len(data) else 0
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _blocks(data: bytes, at: int) -> tuple[int, int]:
    """Walks the data blocks that start at ``at``. Returns (number of bytes in the blocks, offset after the blocks)."""
    total = 0
    while at < len(data) and data[at]:
        total += min(data[at], len(data) - at - 1)
        at += 1 + data[at]
    return total, at + 1


def _codestream(data: bytes) -> int:
    """Number of bytes in the codestream of a JPEG XL or JPEG 2000 file, whether or not boxes surround it."""
    if data[4:8] not in (b"jP  ", b"JXL "):
        return len(data)
    return sum(box.size for box in iso_boxes(data) if box.name in _CODESTREAMS)
