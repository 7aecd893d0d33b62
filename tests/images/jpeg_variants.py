"""Makes JPEGs of every kind that has entry points, with Pillow, simplejpeg or cjpeg, or by rewriting segments.

``VARIANTS[name](pixels)`` takes (height, width, 3) uint8 and returns the file's bytes. ``NEED_CJPEG`` has the names of
those that need cjpeg.
"""

import io
import shutil
import struct
import subprocess
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import simplejpeg
from PIL import Image

__all__ = ["NEED_CJPEG", "VARIANTS", "cjpeg", "have_cjpeg", "photograph", "with_fill_bytes"]

Pixels = np.ndarray


@lru_cache(maxsize=8)
def photograph(height: int, width: int, seed: int = 0) -> Pixels:
    """An image like a photograph, (height, width, 3) uint8, with smooth parts, edges, grain and colour. Read-only,
    because the last few images are kept for further calls."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    image = np.empty((height, width, 3))
    for channel in range(3):
        fx, fy, phase = rng.uniform(0.002, 0.3, 3)
        image[..., channel] = 128 + 90 * np.sin(fx * x + phase) * np.cos(fy * y + 9 * phase)
    for _ in range(6):
        top, left = rng.integers(0, height), rng.integers(0, width)
        tall, wide = rng.integers(1, height + 1), rng.integers(1, width + 1)
        image[top : top + tall, left : left + wide] += rng.uniform(-80, 80, 3)
    grain = np.where((x + y) % 97 < 48, 25.0, 2.0)
    image += rng.normal(size=image.shape) * grain[..., None]
    pixels = np.clip(image, 0, 255).astype(np.uint8)
    pixels.setflags(write=False)
    return pixels


def _pillow(pixels: Pixels, mode: str = "RGB", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, "JPEG", **{"quality": 85} | options)
    return buffer.getvalue()


def _simple(pixels: Pixels, subsampling: str) -> bytes:
    return simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), 85, "RGB", subsampling)


def have_cjpeg() -> bool:
    """Whether libjpeg-turbo's command-line program cjpeg is installed."""
    return shutil.which("cjpeg") is not None


def cjpeg(pixels: Pixels, *switches: str) -> bytes:
    """Encodes ``pixels`` as a JPEG with the program cjpeg."""
    height, width = pixels.shape[:2]
    ppm = b"P6 %d %d 255\n" % (width, height) + pixels.tobytes()
    command = ["cjpeg", "-quality", "85", *switches]
    return subprocess.run(command, input=ppm, capture_output=True, check=True).stdout


def _segments(jpeg: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """Splits a JPEG into (marker, payload) of each segment up to and including the scan header, and the bytes after
    it."""
    parts: list[tuple[int, bytes]] = []
    at = 2
    while not parts or parts[-1][0] != 0xDA:
        (length,) = struct.unpack_from(">H", jpeg, at + 2)
        parts.append((jpeg[at + 1], jpeg[at + 4 : at + 2 + length]))
        at += 2 + length
    return parts, jpeg[at:]


def _join(parts: list[tuple[int, bytes]], rest: bytes) -> bytes:
    segments = (struct.pack(">BBH", 0xFF, m, len(p) + 2) + p for m, p in parts)
    return b"\xff\xd8" + b"".join(segments) + rest


def with_fill_bytes(jpeg: bytes) -> bytes:
    """Inserts fill bytes before every marker of ``jpeg``, including the restart markers in the scan and the final
    marker."""
    parts, rest = _segments(jpeg)
    head = b"\xff\xd8"
    for marker, payload in parts:
        head += b"\xff\xff" + struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload
    for number in range(8):
        marker = bytes([0xFF, 0xD0 + number])
        rest = rest.replace(marker, b"\xff\xff" + marker)
    return head + rest[:-2] + b"\xff\xff\xff" + rest[-2:]


def _redefined_tables(pixels: Pixels) -> bytes:
    """A JPEG that defines its tables twice under the same numbers. The second definitions must be used."""
    parts, rest = _segments(_pillow(pixels, optimize=True))
    others, _ = _segments(_pillow(pixels[::-1], quality=20))
    decoys = [part for part in others if part[0] in (0xDB, 0xC4)]
    return _join(parts[:1] + decoys + parts[1:], rest)


def _four_tables(pixels: Pixels) -> bytes:
    """An extended sequential JPEG in which every component has its own Huffman tables. The table numbers go up to 3."""
    parts, rest = _segments(_pillow(pixels, subsampling=0, optimize=True))
    tables = b"".join(payload for marker, payload in parts if marker == 0xC4)
    own = _tables_by_number(tables)
    copies = b"".join(bytes([kind << 4 | number]) + own[kind << 4 | 1] for kind in (0, 1) for number in (2, 3))
    rewritten = []
    for marker, payload in parts:
        if marker == 0xDA:
            rewritten.append((0xC4, copies))
            payload = payload[:4] + b"\x22" + payload[5:6] + b"\x33" + payload[7:]
        rewritten.append((0xC1 if marker == 0xC0 else marker, payload))
    return _join(rewritten, rest)


def _tables_by_number(joined: bytes) -> dict[int, bytes]:
    tables, at = {}, 0
    while at < len(joined):
        length = 16 + sum(joined[at + 1 : at + 17])
        tables[joined[at]] = joined[at + 1 : at + 1 + length]
        at += 1 + length
    return tables


def _wide_quantisation(pixels: Pixels) -> bytes:
    """An extended sequential JPEG with 16-bit quantisation tables."""
    parts, rest = _segments(_pillow(pixels))
    rewritten = []
    for marker, payload in parts:
        if marker == 0xDB:
            values = b"".join(bytes([0, value]) for value in payload[1:65])
            payload = bytes([0x10 | payload[0]]) + values + payload[65:]
        rewritten.append((0xC1 if marker == 0xC0 else marker, payload))
    return _join(rewritten, rest)


def _ids(pixels: Pixels, ids: bytes) -> bytes:
    """A JPEG with the component identifiers ``ids``. It has neither a JFIF nor an Adobe marker, so the identifiers
    determine the colour transform."""
    parts, rest = _segments(_pillow(pixels, subsampling=0))
    rewritten = []
    for marker, payload in parts:
        body = bytearray(payload)
        if marker == 0xC0:
            body[6::3] = ids
        elif marker == 0xDA:
            body[1:7:2] = ids
        if marker != 0xE0:
            rewritten.append((marker, bytes(body)))
    return _join(rewritten, rest)


def _ycck(pixels: Pixels) -> bytes:
    parts, rest = _segments(_pillow(pixels, "CMYK"))
    changed = [(m, p[:11] + b"\x02" + p[12:] if m == 0xEE else p) for m, p in parts]
    return _join(changed, rest)


def _many_segments(pixels: Pixels) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    icc = bytes(70_000)
    jpeg = _pillow(pixels, exif=exif, icc_profile=icc, comment=b"\xff\xd8\xff\xda\xff\xd9")
    parts, rest = _segments(jpeg)
    surplus = [(0xE1, b"other\0" + bytes(range(256))) for _ in range(50)]
    return _join(parts[:-1] + surplus + parts[-1:], rest)


VARIANTS: dict[str, Callable[[Pixels], bytes]] = {
    "grey": lambda p: _pillow(p, "L"),
    "4:4:4": lambda p: _pillow(p, subsampling=0),
    "4:2:2": lambda p: _pillow(p, subsampling=1),
    "4:2:0": lambda p: _pillow(p, subsampling=2),
    "4:4:0": lambda p: _simple(p, "440"),
    "4:1:1": lambda p: _simple(p, "411"),
    "optimised": lambda p: _pillow(p, optimize=True),
    "optimised grey, coarse": lambda p: _pillow(p, "L", quality=5, optimize=True),
    "fine": lambda p: _pillow(p, quality=100, subsampling=0),
    "restart every MCU": lambda p: _pillow(p, restart_marker_blocks=1),
    "restart every MCU, optimised": lambda p: _pillow(
        p // 64 * 64, subsampling=0, optimize=True, quality=20, restart_marker_blocks=1
    ),
    "restart every 3 MCUs": lambda p: _pillow(p, subsampling=0, restart_marker_blocks=3),
    "restart every 7 MCUs": lambda p: _pillow(p, "L", restart_marker_blocks=7),
    "restart every row": lambda p: _pillow(p, subsampling=1, restart_marker_rows=1),
    "restart never reached": lambda p: _pillow(p, restart_marker_blocks=60_000),
    "RGB": lambda p: _pillow(p, keep_rgb=True),
    "CMYK": lambda p: _pillow(p, "CMYK"),
    "YCCK": _ycck,
    "RGB by identifiers": lambda p: _ids(p, b"RGB"),
    "YCbCr by identifiers": lambda p: _ids(p, b"\x00\x01\x02"),
    "tables redefined": _redefined_tables,
    "four tables": _four_tables,
    "16-bit quantisation": _wide_quantisation,
    "many segments": _many_segments,
    "fill bytes": lambda p: with_fill_bytes(_pillow(p, restart_marker_blocks=5)),
    "trailing garbage": lambda p: _pillow(p) + b"\xff\xd8garbage\xff\x00\xff\xda" * 9,
    "grey, factors 2x2": lambda p: cjpeg(p, "-grayscale", "-sample", "2x2"),
    "factors 4x2": lambda p: cjpeg(p, "-sample", "4x2"),
    "factors 2x2,2x1,1x2": lambda p: cjpeg(p, "-sample", "2x2,2x1,1x2"),
    "factors 1x1,2x1,2x1": lambda p: cjpeg(p, "-sample", "1x1,2x1,2x1"),
    "factors 3x1": lambda p: cjpeg(p, "-sample", "3x1"),
    "factors 1x3": lambda p: cjpeg(p, "-sample", "1x3"),
    "cjpeg 4:2:0, restart, optimised": lambda p: cjpeg(p, "-restart", "3B", "-optimize"),
    "cjpeg RGB": lambda p: cjpeg(p, "-rgb"),
}
NEED_CJPEG = frozenset(name for name in VARIANTS if "factors" in name or "cjpeg" in name)
