"""A slow reader of entry points, written from the format's documentation. Tests compare the project's own readers with
it."""

import struct
import zlib
from dataclasses import dataclass

import numpy as np

from shards.jpeg.entry_points import ENTRIES_PER_BASE, HEADER, MAGIC, REFERENCE_OFFSET_BITS, TAIL_BYTES, VERSION

__all__ = ["BadEntryPoints", "EntryPoints", "read_entry_points"]


class BadEntryPoints(ValueError):
    """The bytes are not entry points of this version, or are truncated."""


@dataclass(frozen=True)
class EntryPoints:
    """The unpacked contents of a ``.mcu`` member."""

    jpeg_length: int
    scan_start: int
    scan_length: int
    identity: int
    mcus_per_entry: int
    references: tuple[tuple[int, int], ...]
    """(kind, offset in the JPEG) of each reference to a segment of the JPEG."""
    positions: np.ndarray
    """(n,) int64: bit position of each entry, counted from the scan's start."""
    dc: np.ndarray
    """(n, components) int16: the DC predictors of each component at each entry."""


def read_entry_points(payload: bytes) -> EntryPoints:
    """Reads a ``.mcu`` payload. Raises :class:`BadEntryPoints`."""
    if len(payload) < HEADER.size:
        raise BadEntryPoints(f"{len(payload)} bytes, less than a header")
    (
        magic,
        version,
        num_references,
        num_components,
        jpeg_length,
        scan_start,
        scan_length,
        identity,
        num_entries,
        every,
        *rest,
    ) = HEADER.unpack_from(payload)
    widths, low, check = rest[: 1 + num_components], rest[5 : 5 + num_components], rest[-1]
    if magic != MAGIC or version != VERSION:
        raise BadEntryPoints(f"magic {magic!r}, version {version}; known is version {VERSION}")
    end = HEADER.size + 4 * num_references
    references = payload[HEADER.size : end]
    if zlib.crc32(references, zlib.crc32(payload[: HEADER.size - 4])) != check:
        raise BadEntryPoints("checksum of the header does not match")
    if not 1 <= num_components <= 4 or max(widths) > 57:
        raise BadEntryPoints(f"{num_components} components, fields of {max(widths)} bits")
    num_bases = -(-num_entries // ENTRIES_PER_BASE)
    packed = end + 4 * num_bases
    if len(payload) != packed + -(-num_entries * sum(widths) // 8) + TAIL_BYTES:
        raise BadEntryPoints(f"{len(payload)} bytes for {num_entries} entries")
    bases = np.frombuffer(payload, "<u4", num_bases, end).astype(np.int64)
    bits = np.unpackbits(np.frombuffer(payload, np.uint8, offset=packed), bitorder="little")
    rows = bits[: num_entries * sum(widths)].reshape(num_entries, sum(widths)).astype(np.int64)
    fields = np.zeros((num_entries, 1 + num_components), np.int64)
    column = 0
    for field, width in enumerate(widths):
        fields[:, field] = rows[:, column : column + width] @ (1 << np.arange(width))
        column += width
    fields[:, 0] += np.repeat(bases * 8, ENTRIES_PER_BASE)[:num_entries]
    offset_mask = (1 << REFERENCE_OFFSET_BITS) - 1
    words = struct.unpack(f"<{num_references}I", references)
    return EntryPoints(
        jpeg_length=jpeg_length,
        scan_start=scan_start,
        scan_length=scan_length,
        identity=identity,
        mcus_per_entry=every,
        references=tuple((w >> REFERENCE_OFFSET_BITS, w & offset_mask) for w in words),
        positions=fields[:, 0],
        dc=(fields[:, 1:] + np.array(low)).astype(np.int16),
    )
