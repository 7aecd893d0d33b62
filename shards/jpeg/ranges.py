"""Computes, from the entry points alone, which bytes of a JPEG a splice reads.

The ``.mcu`` member states where in the file each entry point is. The byte ranges that a window needs are therefore
known before any byte of the image is fetched. They comprise:

- the header segments that spliced files repeat;
- the bytes that identify the file;
- for each row of MCUs (minimum coded units) in a window, the bytes from the preceding entry point to the following one.

:mod:`shards.jpeg.entry_points` documents the format.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shards.jpeg.entry_points import (
    ENTRIES_PER_BASE,
    HEADER,
    IDENTITY_SCAN_BYTES,
    MAGIC,
    REFERENCE_OFFSET_BITS,
    TAIL_BYTES,
    VERSION,
)
from shards.jpeg.header import BadJpeg
from shards.jpeg.header_parser import read_frame

__all__ = [
    "GEOMETRY",
    "Geometry",
    "IndexHead",
    "coalesced",
    "covers",
    "frame_geometry",
    "header_ranges",
    "read_head",
    "window_ranges",
]

Bytes = npt.NDArray[np.uint8]
Ranges = npt.NDArray[np.int64]
"""Type of byte ranges, (n, 2) int64: start and end of each, as offsets in the JPEG. The end is exclusive."""

SLACK = 16
"""Number of extra bytes to fetch after each range: a splice reads whole words of eight bytes, and looks ahead for
markers."""

MARGIN = 4
"""Number of pixels on each side of a window that chroma upsampling may need. Interpolation itself needs up to two. The
other two ensure that each component has at least three samples; with fewer, libjpeg-turbo does not interpolate."""

_MAX_REFERENCE_BYTES = 17 + 256  # a Huffman table is the longest header part
_KIND_FRAME = 0


@dataclass(frozen=True)
class Geometry:
    """Size of an image and of its MCUs, in pixels."""

    height: int
    width: int
    mcu_height: int
    mcu_width: int

    @property
    def mcus_per_row(self) -> int:
        return -(-self.width // self.mcu_width)

    @property
    def num_mcus(self) -> int:
        return self.mcus_per_row * -(-self.height // self.mcu_height)


GEOMETRY = {"grey": (8, 8), "4:4:4": (8, 8), "4:2:2": (8, 16), "4:2:0": (16, 16), "4:4:0": (16, 8), "4:1:1": (8, 32)}
"""Maps chroma subsampling to the MCU height and width, in pixels, that encoders usually choose for it.

Used as a guess until the frame header is fetched, which confirms or corrects it."""


@dataclass(frozen=True)
class IndexHead:
    """The fixed part of a ``.mcu`` member. Its lengths have been checked."""

    scan_start: int
    scan_end: int
    entries: int
    every: int
    position_bits: int
    entry_bits: int
    bases_at: int
    entries_at: int
    references: tuple[tuple[int, int], ...]
    """(kind, offset in the JPEG) of each header segment or table that spliced files repeat."""

    def positions(self, mcu: Bytes, entries: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Returns the byte offset in the JPEG of each entry point in ``entries``, which are indices.

        ``mcu`` is the whole member. Offsets are at most the end of the scan.
        """
        base_at = self.bases_at + 4 * (entries // ENTRIES_PER_BASE)
        base = _words(mcu, base_at, 4)
        bit = entries * self.entry_bits
        word = _words(mcu, self.entries_at + (bit >> 3), 8)
        field = (word >> (bit & 7).astype(np.uint64)) & np.uint64((1 << self.position_bits) - 1)
        at = self.scan_start + ((base.astype(np.int64) * 8 + field.astype(np.int64)) >> 3)
        return np.minimum(at, self.scan_end)


def _words(data: Bytes, at: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.uint64]:
    """Reads a little-endian number of ``size`` bytes at each of the offsets ``at`` in ``data``."""
    taken = np.zeros((len(at), 8), np.uint8)
    taken[:, :size] = data[at[:, None] + np.arange(size)]
    return taken.view("<u8")[:, 0]


def read_head(mcu: Bytes, jpeg_length: int) -> IndexHead | None:
    """Parses the fixed part of ``mcu``, a ``.mcu`` member, for a JPEG of ``jpeg_length`` bytes.

    Returns ``None`` if the member is damaged or belongs to another file. A splice would refuse such a member too.
    """
    if mcu.size < HEADER.size:
        return None
    fields = HEADER.unpack(mcu[: HEADER.size].tobytes())
    magic, version, num_references, components, length, start, scan, _, entries, every = fields[:10]
    bits = fields[10]
    if magic != MAGIC or version != VERSION or not 1 <= components <= 4:
        return None
    if length != jpeg_length or start + scan > jpeg_length or not entries or not every:
        return None
    bases_at = HEADER.size + 4 * num_references
    entry_bits = bits + sum(fields[11 : 11 + components])  # position and one DC value per component
    entries_at = bases_at + 4 * -(-entries // ENTRIES_PER_BASE)
    if bits > 40 or mcu.size != entries_at + (entries * entry_bits + 7) // 8 + TAIL_BYTES:
        return None
    words = np.frombuffer(mcu[HEADER.size : bases_at].tobytes(), "<u4").tolist()
    mask = (1 << REFERENCE_OFFSET_BITS) - 1
    references = tuple((word >> REFERENCE_OFFSET_BITS, word & mask) for word in words)
    return IndexHead(start, start + scan, entries, every, bits, entry_bits, bases_at, entries_at, references)


def header_ranges(head: IndexHead) -> Ranges:
    """The ranges that every splice reads: tables, headers, and the start of the scan, which identifies the file."""
    found = [(at, min(at + _MAX_REFERENCE_BYTES, head.scan_start)) for _, at in head.references]
    scan = head.scan_start
    found.append((scan, min(scan + IDENTITY_SCAN_BYTES + SLACK, head.scan_end)))
    return np.array([(start, stop) for start, stop in found if start < stop], np.int64)


def frame_geometry(jpeg: Bytes, head: IndexHead) -> Geometry | None:
    """Reads the geometry from the frame header (SOF) of ``jpeg``. No other bytes of ``jpeg`` need be valid.

    Returns ``None`` if the header is missing or damaged, or gives a size of 0.
    """
    at = next((at for kind, at in head.references if kind == _KIND_FRAME), 0)
    if not at or at + 3 > jpeg.size:
        return None
    length = int.from_bytes(jpeg[at + 1 : at + 3].tobytes(), "big")  # includes these two bytes
    try:
        frame = read_frame(jpeg[at + 3 : at + 1 + length].tobytes())
    except BadJpeg:
        return None
    if not frame.height or not frame.width:
        return None
    if len(frame.components) == 1:
        return Geometry(frame.height, frame.width, 8, 8)
    across, down = max(c.h for c in frame.components), max(c.v for c in frame.components)
    return Geometry(frame.height, frame.width, 8 * down, 8 * across)


def window_ranges(mcu: Bytes, head: IndexHead, geometry: Geometry, windows: npt.NDArray[np.int32]) -> Ranges | None:
    """Returns the byte ranges of the scan that a splice of ``windows`` needs: one range per window and row of MCUs.

    ``windows`` is (N, 4) int32: top, left, height, width in pixels. Returns ``None`` if the entry points do not match
    ``geometry``.
    """
    if head.entries != -(-geometry.num_mcus // head.every):
        return None
    per_row = geometry.mcus_per_row
    starts, stops = [], []
    for top, left, height, width in windows.tolist():
        bottom, right = min(top + height, geometry.height), min(left + width, geometry.width)
        first = max(max(left - MARGIN, 0) // geometry.mcu_width - 1, 0)
        last = min((right + MARGIN - 1) // geometry.mcu_width + 2, per_row)
        rows = np.arange(
            max(top - MARGIN, 0) // geometry.mcu_height,
            (min(bottom + MARGIN, geometry.height) - 1) // geometry.mcu_height + 1,
        )
        starts.append(rows * per_row + first)
        stops.append(rows * per_row + last)
    if not starts:
        return np.empty((0, 2), np.int64)
    low, high = np.concatenate(starts) // head.every, np.concatenate(stops) // head.every + 1
    begin = head.positions(mcu, np.minimum(low, head.entries - 1))
    end = head.positions(mcu, np.minimum(high, head.entries - 1)) + 1
    end = np.where(high >= head.entries, head.scan_end, np.minimum(end, head.scan_end))
    return np.stack([begin, np.maximum(end, begin) + SLACK], axis=1)


def coalesced(ranges: Ranges, gap: int, limit: int) -> Ranges:
    """Sorts ``ranges``, clips them to ``limit``, and merges those that are at most ``gap`` bytes apart."""
    clipped = np.minimum(ranges, limit)
    clipped = clipped[np.argsort(clipped[:, 0], kind="stable")]
    if not len(clipped):
        return clipped
    reached = np.maximum.accumulate(clipped[:, 1])
    first = np.r_[True, clipped[1:, 0] > reached[:-1] + gap]
    begins = np.flatnonzero(first)
    ends = np.r_[begins[1:], len(clipped)] - 1
    joined = np.stack([clipped[begins, 0], reached[ends]], axis=1)
    return joined[joined[:, 0] < joined[:, 1]]


def covers(ranges: Ranges, needed: Ranges, limit: int) -> bool:
    """Whether ``ranges``, which must be coalesced, contain all bytes of ``needed`` that are below ``limit``."""
    return np.array_equal(coalesced(np.concatenate([ranges, needed]), 0, limit), ranges)
