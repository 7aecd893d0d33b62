"""Converts JPEGs without random access to baseline JPEGs that have it, with the same pixels.

Progressive and multi-scan files are re-encoded from the same coefficients. JPEG frames from webcams (AVI, MJPEG) rely
on the JPEG standard's Huffman tables without storing them, so these tables are inserted.

A baseline file also decodes two to four times as fast as a progressive one. jpeglib (libjpeg) reads and writes the
coefficients. All application and comment segments (JFIF, Adobe, EXIF, ICC, XMP) are kept, with one exception: the
directory of a multi-picture file, because only the first picture is kept.
"""

import io
import os
import re
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

import numpy as np

from shards.errors import MachineTrouble
from shards.images.decoder_messages import messages_held_back
from shards.images.formats import open_image, rejecting
from shards.images.rejection import RejectedImage
from shards.jpeg.header import BadJpeg, JpegHeader, Segment
from shards.jpeg.header_parser import read_header
from shards.jpeg.standard_bits import standard_tables
from shards.optional import required

__all__ = ["NotConvertible", "to_baseline"]

SOI, EOI = b"\xff\xd8", b"\xff\xd9"

MAX_PIXELS = 64_000_000
"""Larger images are not converted, because conversion holds several copies of the coefficients in memory."""

_METADATA_MARKER = re.compile(rb"\xff[\xe0-\xef\xfe]")


class NotConvertible(Exception):
    """Raised for a JPEG that cannot be converted, and so is stored unchanged. ``reason`` is a short phrase."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def to_baseline(jpeg: bytes) -> bytes:
    """Converts ``jpeg`` to a single-scan baseline JPEG with the same pixels.

    The result is read back. Its coefficients, and its pixels as decoded by Pillow, are compared with those of ``jpeg``.
    Raises ``NotConvertible`` if anything differs, if the image is too large, or if libjpeg refuses the file. Machine
    faults, such as a full disk, must not affect how an image is stored, so they raise ``MachineTrouble``. Not
    thread-safe, because jpeglib keeps global state.
    """
    try:
        source, jpeg = jpeg, _with_tables(jpeg, read_header(jpeg))
        header = read_header(jpeg)
        if header.width * header.height > MAX_PIXELS:
            raise NotConvertible("too large to convert")
        if jpeg != source and header.num_scans_at_least == 1:
            return _checked(source, jpeg)
        # jpeglib counts segments wrongly, and writes beyond an array if many follow a scan.
        end = jpeg.find(EOI, header.scan_start)
        if _METADATA_MARKER.search(jpeg, header.scan_start, max(end, 0)):
            raise NotConvertible("metadata between scans")
        segments = [s for s in header.segments if _is_metadata(s)]
        kept = [s for s in segments if not (s.marker == 0xE2 and _payload(jpeg, s)[:4] == b"MPF\0")]
        # jpeglib fails on files with many APPn segments. The coefficients do not depend on them.
        bare = _without(jpeg, segments)
        # libjpeg prints warnings, and jpeglib the names of its temporary files.
        with messages_held_back(), redirect_stdout(io.StringIO()):
            written = _rewritten(bare)
        written = _with_identifiers(written, header)
        ours = [s for s in read_header(written).segments if _is_metadata(s)]
        converted = SOI + b"".join(_marked(jpeg, s) for s in kept) + _without(written, ours)[2:]
        return _checked(source, converted)
    except (BadJpeg, OSError, RuntimeError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            # An error number means the system's error; those that jpeglib raises for libjpeg have none.
            raise MachineTrouble(
                f"progressive JPEGs cannot be made baseline ({error.strerror}): this needs space for a few temporary "
                f"files in {_temporary_folder()}; free some space, or name another folder in TMPDIR, and run the same "
                "command again"
            ) from error
        raise NotConvertible("refused by libjpeg") from error


def _checked(source: bytes, converted: bytes) -> bytes:
    # Pixels do differ if the scans lack some of the bits, because libjpeg smooths such images.
    if not np.array_equal(_pixels(source), _pixels(converted)):
        raise NotConvertible("other pixels when read back")
    return converted


def _with_tables(jpeg: bytes, header: JpegHeader) -> bytes:
    """Returns ``jpeg`` with the standard's Huffman tables inserted where its scan refers to tables that the file lacks.

    libjpeg-turbo, and therefore Pillow, assumes the same tables when it decodes a sequential file that lacks them.
    Progressive and arithmetic-coded files are returned unchanged.
    """
    scan = header.scan
    needed = {*scan.dc_tables, *(16 + number for number in scan.ac_tables)}
    missing = sorted((needed & standard_tables().keys()) - header.huffman_tables.keys())
    if not missing or header.progressive or header.arithmetic:
        return jpeg
    tables = b"".join(bytes([number]) + standard_tables()[number] for number in missing)
    segment = b"\xff\xc4" + struct.pack(">H", 2 + len(tables)) + tables
    at = header.sos_offset - 4
    return jpeg[:at] + segment + jpeg[at:]


def _with_identifiers(written: bytes, source: JpegHeader) -> bytes:
    """Restores the component identifiers of ``source`` in ``written`` if they alone mark the image as RGB.

    jpeglib marks an RGB image with an Adobe segment instead. That segment is dropped, since the source lacks it.
    """
    identifiers = bytes(component.id for component in source.components)
    if source.has_jfif or source.adobe_transform is not None or identifiers != b"RGB":
        return written
    header, result = read_header(written), bytearray(written)
    for place, identifier in enumerate(identifiers):
        result[header.sof_offset + 6 + 3 * place] = identifier
    for place, component in enumerate(header.scan.components):
        result[header.sos_offset + 1 + 2 * place] = identifiers[component]
    return bytes(result)


def _rewritten(jpeg: bytes) -> bytes:
    """Re-encodes ``jpeg`` as a baseline JPEG with the same coefficients.

    Raises ``NotConvertible`` if the coefficients differ when the result is read back.
    """
    coefficients = _read(jpeg)
    with _memory_file() as target:
        coefficients.write_dct(target, flags=["-PROGRESSIVE_MODE", "+OPTIMIZE_CODING"])
        written = _content(target)
    if not _same_coefficients(coefficients, _read(written)):
        raise NotConvertible("other coefficients when read back")
    return written


def _is_metadata(segment: Segment) -> bool:
    return 0xE0 <= segment.marker <= 0xEF or segment.marker == 0xFE


def _payload(jpeg: bytes, segment: Segment) -> bytes:
    return jpeg[segment.offset : segment.offset + segment.length]


def _marked(jpeg: bytes, segment: Segment) -> bytes:
    """Returns the bytes of ``segment``, including the four bytes before its payload: the marker and the length."""
    return jpeg[segment.offset - 4 : segment.offset + segment.length]


def _without(jpeg: bytes, segments: list[Segment]) -> bytes:
    """Returns the bytes of ``jpeg`` without ``segments``."""
    parts, end = [], 0
    for segment in segments:
        parts.append(jpeg[end : segment.offset - 4])
        end = segment.offset + segment.length
    return b"".join([*parts, jpeg[end:]])


def _read(jpeg: bytes) -> Any:
    with _memory_file() as path:
        with open(path, "wb") as file:
            file.write(jpeg)
        coefficients = required("jpeglib", "making a progressive JPEG baseline").read_dct(path)
        coefficients.load()
    return coefficients


@contextmanager
def _memory_file() -> Iterator[str]:
    """Context manager: yields the path of an empty in-memory file, for libjpeg, which takes paths rather than buffers.

    Raises ``OSError`` if the path cannot be opened, because libjpeg would not report the cause.
    """
    descriptor = os.memfd_create("baseline.jpg")
    try:
        path = f"/proc/self/fd/{descriptor}"
        os.close(os.open(path, os.O_RDWR))  # fail here if libjpeg could not open it
        yield path
    finally:
        os.close(descriptor)


def _temporary_folder() -> str:
    try:
        return tempfile.gettempdir()
    except OSError:  # no folder is writable
        return os.environ.get("TMPDIR", "/tmp")


def _content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _same_coefficients(one: Any, other: Any) -> bool:
    """Whether two JPEGs have equal coefficients in all planes and equal quantisation tables for all components."""
    planes = zip((one.Y, one.Cb, one.Cr, one.K), (other.Y, other.Cb, other.Cr, other.K), strict=True)
    tables = zip(one.qt[one.quant_tbl_no], other.qt[other.quant_tbl_no], strict=True)
    return all(np.array_equal(a, b) for pairs in (planes, tables) for a, b in pairs)


def _pixels(jpeg: bytes) -> np.ndarray:
    """Decodes ``jpeg`` with Pillow, without converting to RGB, so that CMYK keeps its four channels."""
    try:
        image = open_image(jpeg)
        with rejecting(jpeg):
            image.load()
    except RejectedImage as error:
        raise NotConvertible(f"damaged: {error.detail}") from error
    return np.asarray(image)
