"""Makes a sample's ``.mcu`` member: the places where a decoder can enter the scan of its JPEG.

``build_entry_points`` walks the entropy-coded scan once. Entry j holds the bit position at which MCU (minimum coded
unit) ``j * mcus_per_entry`` starts, and the DC predictors there. MCUs are counted in scan order. The index of the entry
for any MCU can therefore be computed without a table, however large the image is. ``mcus_per_entry`` is chosen per file
so that entries are a given number of bits apart on average. To reach a random window, a splice then walks half of that
distance on average. This holds however unevenly the bits are distributed over the image (measured in docs/LOG.md).

Format 1, little-endian, no padding between the parts:

    magic "GMCU" | version u16 | references u8 | components u8
    | length of the JPEG u32 | offset of the scan u32 | length of the scan u32 | identity u32
    | entries u32 | MCUs per entry u32 | position bits u8 | DC bits 4 x u8 | 3 zero bytes
    | lowest DC value 4 x i16 | CRC-32 of all the above and the references u32       (56 bytes)
    references: kind << 28 | offset in the JPEG, u32 each
    bases: one u32 per 32 entries: offset, from the scan's start, of the byte that holds the first entry's position
    entries: all of the same width, packed lowest bit first: bit position minus base * 8, then for each
        component the DC value minus the lowest one; after the last entry, 8 zero bytes

References locate the header segments and tables that a spliced JPEG repeats (kind 0: frame header, from its marker byte
on, 1: scan header, 2: JFIF, 3: Adobe, 4: one quantisation table, 5: one Huffman table, 6: restart interval).
``identity`` is the CRC-32 of their bytes and of the first 256 bytes of the scan. A splice reads these bytes anyway, so
it notices if the index belongs to another file. Damage further inside the scan is detected only by the shard's
checksum: a splice of damaged bits is memory-safe, but its pixels may be wrong.
"""

import struct
import zlib

import numpy as np

from shards.jpeg.header import BadJpeg, JpegHeader
from shards.jpeg.header_parser import read_header
from shards.jpeg.numba_support import address_of
from shards.jpeg.walk import BAD_TABLE, CORRUPT_SCAN, DC_RANGE, INDEXED, NO_ROOM, index_scan

__all__ = [
    "ENTRIES_PER_BASE",
    "HEADER",
    "IDENTITY_SCAN_BYTES",
    "MAGIC",
    "NOT_INDEXABLE_REASONS",
    "VERSION",
    "NotIndexable",
    "build_entry_points",
]

MAGIC = b"GMCU"
VERSION = 1
HEADER = struct.Struct("<4sHBB6IB4B3x4hI")
ENTRIES_PER_BASE = 32
IDENTITY_SCAN_BYTES = 256
TAIL_BYTES = 8  # so that any entry can be read as one word of eight bytes
MAX_PIXELS = 200_000_000
MAX_BLOCKS_PER_MCU = 10  # limit of the standard, and of libjpeg

# Bits between entry points, chosen by measurements on photographs (docs/LOG.md). Fewer bits make a
# splice faster and the index larger.
SPACING_BITS = 1536

KIND_FRAME, KIND_SCAN, KIND_JFIF, KIND_ADOBE, KIND_QUANT, KIND_HUFFMAN, KIND_RESTART = range(7)
REFERENCE_OFFSET_BITS = 28
JFIF_BYTES = 14
ADOBE_BYTES = 12

NOT_INDEXABLE_REASONS = (
    "bad header",  # no JPEG, or the header contradicts itself
    "progressive",
    "arithmetic",
    "lossless",
    "hierarchical",
    "12-bit",  # or any precision but 8 bits
    "several scans",
    "unusual scan",  # components out of order, or a spectral range in a sequential file
    "unusual sampling",  # factors that do not divide, or more than 10 blocks per MCU
    "missing table",
    "bad Huffman table",
    "no room in DC table",  # no free codes for the categories that re-coded DC values need
    "DC out of range",  # values beyond what 8-bit samples need
    "corrupt scan",  # cut off, an invalid code, or restart markers out of order
    "too large",  # above 200 megapixels, or offsets beyond the format's
)
KERNEL_REASONS = {
    CORRUPT_SCAN: "corrupt scan",
    BAD_TABLE: "bad Huffman table",
    NO_ROOM: "no room in DC table",
    DC_RANGE: "DC out of range",
}


class NotIndexable(ValueError):
    """Raised for a JPEG that must be decoded whole. ``reason`` is one of ``NOT_INDEXABLE_REASONS``."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


def build_entry_points(jpeg: bytes, spacing_bits: int = SPACING_BITS) -> bytes:
    """Walks ``jpeg`` once and returns its ``.mcu`` member, with entries about ``spacing_bits`` apart.

    Takes about as long as a full decode, and about the size of the file in memory. Releases the GIL. Raises
    :class:`NotIndexable` if the JPEG cannot have entry points.
    """
    try:
        header = read_header(jpeg)
    except BadJpeg as error:
        raise NotIndexable("bad header", str(error)) from None
    _require_indexable(header, len(jpeg))
    data = np.frombuffer(jpeg, np.uint8)
    tables, table_at = _tables(jpeg, header)
    status, scan_end, every, points, _ = index_scan(
        np.uint64(address_of(data)),
        np.uint64(data.size),
        np.uint64(header.scan_start),
        np.uint64(np.count_nonzero(data[header.scan_start :] == 0xFF)),
        tables,
        table_at,
        np.array(blocks_per_mcu(header), np.int64),
        np.uint64(header.restart_interval),
        np.uint64(num_mcus(header)),
        np.uint64(spacing_bits),
    )
    _require_scan_end(jpeg, int(scan_end), int(status))
    return _write(jpeg, header, int(scan_end), int(every), points)


def blocks_per_mcu(header: JpegHeader) -> tuple[int, ...]:
    """Number of 8×8 blocks per MCU for each component. If there is only one component, an MCU is one block."""
    if len(header.components) == 1:
        return (1,)
    return tuple(component.h * component.v for component in header.components)


def num_mcus(header: JpegHeader) -> int:
    """Number of MCUs in the whole image, including those that extend beyond its edges."""
    h, v = header.max_sampling if len(header.components) > 1 else (1, 1)
    return -(-header.width // (8 * h)) * -(-header.height // (8 * v))


def _require_indexable(header: JpegHeader, length: int) -> None:
    h, v = header.max_sampling
    scan = header.scan
    needed = {*(t for t in scan.dc_tables), *(16 + t for t in scan.ac_tables)}
    checks = (
        (header.hierarchical, "hierarchical"),
        (header.lossless, "lossless"),
        (header.arithmetic, "arithmetic"),  # before "progressive", since no lossless conversion helps these
        (header.progressive, "progressive"),
        (header.precision != 8, "12-bit"),
        (len(scan.components) != len(header.components), "several scans"),
        (scan.components != tuple(range(len(scan.components))), "unusual scan"),
        (scan.spectral != (0, 63) or scan.approximation != 0, "unusual scan"),
        (any(h % c.h or v % c.v for c in header.components), "unusual sampling"),
        (sum(blocks_per_mcu(header)) > MAX_BLOCKS_PER_MCU, "unusual sampling"),
        (not needed <= set(header.huffman_tables), "missing table"),
        (any(c.tq not in header.quant_tables for c in header.components), "missing table"),
        (header.width * header.height > MAX_PIXELS, "too large"),
        (header.scan_start >= 1 << REFERENCE_OFFSET_BITS or length >= 1 << 32, "too large"),
    )
    for failed, reason in checks:
        if failed:
            raise NotIndexable(reason)


def _tables(jpeg: bytes, header: JpegHeader) -> tuple[np.ndarray, np.ndarray]:
    """Concatenates the Huffman tables of all components. Returns (tables as a uint8 array, their positions in it).

    The positions, (components, 2, 2), are the start and end of each component's DC table and of its AC table.
    """
    joined = bytearray()
    where = np.zeros((len(header.components), 2, 2), np.int64)
    for c, numbers in enumerate(zip(header.scan.dc_tables, header.scan.ac_tables, strict=True)):
        for kind, number in enumerate(numbers):
            offset, length = header.huffman_tables[kind << 4 | number]
            where[c, kind] = len(joined), len(joined) + length
            joined += jpeg[offset : offset + length]
    return np.frombuffer(joined, np.uint8), where


def _require_scan_end(jpeg: bytes, scan_end: int, status: int) -> None:
    """Raises ``NotIndexable`` if the walk failed, or if the scan is not directly followed by the end of the image."""
    if status != INDEXED:
        raise NotIndexable(KERNEL_REASONS[status])
    marker = jpeg[scan_end : scan_end + 256].lstrip(b"\xff")[:1]
    if marker in (b"\xda", b"\xc4", b"\xdb", b"\xdd"):
        raise NotIndexable("several scans")
    if marker not in (b"\xd9", b""):
        raise NotIndexable("corrupt scan", f"marker FF{marker.hex()} after the scan")


def _references(header: JpegHeader) -> list[tuple[int, int, int]]:
    """Returns (kind, offset, length) of every header segment or table that a spliced JPEG repeats."""
    parts = [(KIND_FRAME, header.sof_offset - 3, 3 + 6 + 3 * len(header.components))]
    parts.append((KIND_SCAN, header.sos_offset, 4 + 2 * len(header.components)))
    if header.jfif_offset is not None:
        parts.append((KIND_JFIF, header.jfif_offset, JFIF_BYTES))
    if header.adobe_offset is not None:
        parts.append((KIND_ADOBE, header.adobe_offset, ADOBE_BYTES))
    for number in sorted({component.tq for component in header.components}):
        table = header.quant_tables[number]
        parts.append((KIND_QUANT, table.offset, table.length))
    numbers = {*header.scan.dc_tables, *(16 + number for number in header.scan.ac_tables)}
    parts += [(KIND_HUFFMAN, *header.huffman_tables[number]) for number in sorted(numbers)]
    intervals = [segment for segment in header.segments if segment.marker == 0xDD]
    if intervals:
        parts.append((KIND_RESTART, intervals[-1].offset, 2))
    return parts


def _write(jpeg: bytes, header: JpegHeader, scan_end: int, mcus_per_entry: int, points: np.ndarray) -> bytes:
    parts = _references(header)
    start = header.scan_start
    scan_length = scan_end - start
    identity = 0
    for _, offset, length in parts:
        identity = zlib.crc32(jpeg[offset : offset + length], identity)
    head = min(IDENTITY_SCAN_BYTES, scan_length)
    identity = zlib.crc32(jpeg[start : start + head], identity)
    bases = points[::ENTRIES_PER_BASE, 0] // 8
    fields = points[:, : 1 + len(header.components)].copy()
    fields[:, 0] -= np.repeat(bases * 8, ENTRIES_PER_BASE)[: len(points)]
    low = fields.min(axis=0)
    low[0] = 0
    fields -= low
    widths = [int(value).bit_length() for value in fields.max(axis=0)]
    padding = [0] * (4 - len(header.components))
    references = b"".join(struct.pack("<I", kind << REFERENCE_OFFSET_BITS | offset) for kind, offset, _ in parts)
    fixed = HEADER.pack(
        MAGIC,
        VERSION,
        len(parts),
        len(header.components),
        len(jpeg),
        start,
        scan_length,
        identity,
        len(points),
        mcus_per_entry,
        *widths,
        *padding,
        *low[1:].tolist(),
        *padding,
        0,
    )
    check = zlib.crc32(references, zlib.crc32(fixed[:-4]))
    return b"".join(
        (
            fixed[:-4],
            struct.pack("<I", check),
            references,
            bases.astype("<u4").tobytes(),
            _pack(fields, widths),
            bytes(TAIL_BYTES),
        )
    )


def _pack(fields: np.ndarray, widths: list[int]) -> bytes:
    """Packs ``fields`` row by row into bits. Column i takes ``widths[i]`` bits per row, lowest bit first."""
    bits = np.empty((len(fields), sum(widths)), np.uint8)
    column = 0
    for field, width in enumerate(widths):
        bits[:, column : column + width] = (fields[:, field, None] >> np.arange(width)) & 1
        column += width
    return np.packbits(bits.ravel(), bitorder="little").tobytes()
