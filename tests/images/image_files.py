"""Builds image files that Pillow cannot write, byte by byte."""

import struct
import zlib

import numpy as np

__all__ = ["box", "chunk", "png", "tiff"]


def chunk(name: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + name + payload + struct.pack(">I", zlib.crc32(name + payload))


def png(pixels: np.ndarray, colour_type: int, bits: int = 16) -> bytes:
    """Returns a PNG with 16-bit samples and the "up" filter, made from (H, W, channels) values. Pillow cannot write
    such files."""
    height, width = pixels.shape[:2]
    raw = np.ascontiguousarray(pixels.astype(">u2")).view(np.uint8).reshape(height, -1)
    up = raw - np.vstack([np.zeros_like(raw[:1]), raw[:-1]])
    lines = np.hstack([np.full((height, 1), 2, np.uint8), up])
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(lines.tobytes()))
        + chunk(b"IEND", b"")
    )


def tiff(
    pixels: np.ndarray,
    order: str = "<",
    compressed: bool = False,
    planar: int = 1,
    sample_format: int = 1,
    photometric: int | None = None,
    bits: int | None = None,
    more: dict[int, tuple[int, list[int]]] | None = None,
) -> bytes:
    """A TIFF with one strip of (H, W, channels) values. ``order`` is the byte order.

    ``more`` maps further tags, or tags to be replaced, to (type, values); the type is 3 for short or 4 for long.
    """
    height, width, channels = pixels.shape
    body = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    body = zlib.compress(body) if compressed else body
    if photometric is None:
        photometric = 2 if channels >= 3 else 1
    bits = bits or pixels.dtype.itemsize * 8
    tags = {
        256: (4, [width]),
        257: (4, [height]),
        258: (3, [bits] * channels),
        259: (3, [8 if compressed else 1]),
        262: (3, [photometric]),
        273: (4, [8]),
        277: (3, [channels]),
        278: (4, [height]),
        279: (4, [len(body)]),
        284: (3, [planar]),
        339: (3, [sample_format] * channels),
    }
    if channels == 4 and photometric == 2:
        tags[338] = (3, [2])
    tags |= more or {}
    start = 8 + len(body) + len(body) % 2
    after = start + 2 + 12 * len(tags) + 4
    entries, extra = b"", b""
    for tag, (kind, values) in sorted(tags.items()):
        value = struct.pack(f"{order}{len(values)}{'HI'[kind == 4]}", *values)
        if len(value) > 4:
            extra, value = extra + value, struct.pack(f"{order}I", after + len(extra))
        entries += struct.pack(f"{order}HHI", tag, kind, len(values)) + value.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", start)
    ifd = struct.pack(f"{order}H", len(tags)) + entries + bytes(4)
    return head + body + b"\0" * (len(body) % 2) + ifd + extra


def box(name: bytes, *parts: bytes) -> bytes:
    """A box, the unit of ISO media files (HEIC, AVIF, JPEG XL, JPEG 2000)."""
    payload = b"".join(parts)
    return struct.pack(">I", 8 + len(payload)) + name + payload
