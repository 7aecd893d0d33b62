"""Reads a ``.mcu`` member and the header segments that it refers to, in compiled code.

Both the member and the JPEG are untrusted. ``open_index`` checks every length, offset and checksum once per image. It
writes the results to ``info``, a small int64 array that the rest of the splice reads. The constants below are indices
into ``info``. A *status* is ``OK`` or a constant that says why a splice failed. :mod:`shards.jpeg.entry_points`
documents the format.
"""

import zlib

import numpy as np
from numba import int64, uint8, uint32, uint64

from shards.jpeg.entry_points import (
    ENTRIES_PER_BASE,
    HEADER,
    IDENTITY_SCAN_BYTES,
    MAGIC,
    REFERENCE_OFFSET_BITS,
    TAIL_BYTES,
    VERSION,
)
from shards.jpeg.numba_support import Scalar, compiled, inlined, load64_little
from shards.jpeg.walk import MAX_MCUS_PER_ENTRY

__all__ = ["BAD_HEADER", "BAD_INDEX", "NO_INDEX", "OK", "OTHER_FILE", "open_index"]

OK = 0
NO_INDEX = 1
BAD_INDEX = 2
OTHER_FILE = 3
BAD_HEADER = 4

# Indices into ``info``. Groups of four are indexed by component or by table.
WIDTH, HEIGHT, COMPONENTS = 0, 1, 2
MCU_WIDTH, MCU_HEIGHT, MCUS_PER_ROW, NUM_MCUS = 3, 4, 5, 6
SCAN_START, SCAN_END, EVERY, ENTRIES = 7, 8, 9, 10
POSITION_BITS, ENTRY_BITS, BASES_AT, ENTRIES_AT = 11, 12, 13, 14
RESTART, FRAME_AT, SCAN_AT, JFIF_AT, ADOBE_AT = 15, 16, 17, 18, 19
MARGIN_X, MARGIN_Y, SHARPEST_X = 20, 21, 22
DC_BITS_AT, DC_LOW_AT, QUANT_AT = 24, 28, 32
DC_TABLE_AT, AC_TABLE_AT = 36, 40  # by table: offset in the JPEG, 0 for none
BLOCKS_AT, DC_OF, AC_OF = 44, 48, 52  # by component: blocks per MCU, table indices
INFO_SIZE = 56

MAX_POSITION_BITS = 40
MAX_DC_BITS = 12
MAX_PIXELS = 200_000_000

HEADER_SIZE = HEADER.size
MAGIC_WORD = int.from_bytes(MAGIC, "little")
OFFSET_MASK = (1 << REFERENCE_OFFSET_BITS) - 1
CRC_TABLE = np.array([zlib.crc32(bytes([i]), 0xFFFFFFFF) ^ 0xFFFFFFFF for i in range(256)], np.uint32)


@inlined
def _u16(data: np.ndarray, at: Scalar) -> Scalar:
    return int64(data[at]) | int64(data[at + 1]) << 8


@inlined
def _u32(data: np.ndarray, at: Scalar) -> Scalar:
    return _u16(data, at) | _u16(data, at + 2) << 16


@inlined
def _u16_big(data: np.ndarray, at: Scalar) -> Scalar:
    return int64(data[at]) << 8 | int64(data[at + 1])


@compiled
def _crc(data: np.ndarray, start: Scalar, stop: Scalar, crc: Scalar) -> Scalar:
    """CRC-32 of ``data[start:stop]``, continued from ``crc`` (uint32). The caller must do the final inversion."""
    for i in range(start, stop):
        crc = CRC_TABLE[(crc ^ data[i]) & uint32(0xFF)] ^ (crc >> uint32(8))
    return crc


@compiled
def _read_fixed(mcu: np.ndarray, jpeg_size: Scalar, info: np.ndarray) -> Scalar:
    """Parses the fixed part of ``mcu`` and checks its checksum and lengths. Returns a status."""
    if mcu.size == 0:
        return NO_INDEX
    if mcu.size < HEADER_SIZE or _u32(mcu, 0) != MAGIC_WORD or _u16(mcu, 4) != VERSION:
        return BAD_INDEX
    num_references = int64(mcu[6])
    bases_at = HEADER_SIZE + 4 * num_references
    if mcu.size < bases_at:
        return BAD_INDEX
    crc = _crc(mcu, 0, HEADER_SIZE - 4, uint32(0xFFFFFFFF))
    crc = _crc(mcu, HEADER_SIZE, bases_at, crc)
    if int64(crc ^ uint32(0xFFFFFFFF)) != _u32(mcu, HEADER_SIZE - 4):
        return BAD_INDEX
    components = int64(mcu[7])
    entries, every = _u32(mcu, 24), _u32(mcu, 28)
    if not (1 <= components <= 4 and 1 <= every <= MAX_MCUS_PER_ENTRY and entries >= 1):
        return BAD_INDEX
    info[COMPONENTS], info[ENTRIES], info[EVERY] = components, entries, every
    info[POSITION_BITS] = int64(mcu[32])
    entry_bits = info[POSITION_BITS]
    for c in range(components):
        bits = int64(mcu[33 + c])
        low = _u16(mcu, 40 + 2 * c)
        info[DC_BITS_AT + c] = bits
        info[DC_LOW_AT + c] = low - 65536 if low >= 32768 else low
        entry_bits += bits
        if bits > MAX_DC_BITS:
            return BAD_INDEX
    info[ENTRY_BITS], info[BASES_AT] = entry_bits, bases_at
    num_bases = (entries + ENTRIES_PER_BASE - 1) // ENTRIES_PER_BASE
    info[ENTRIES_AT] = bases_at + 4 * num_bases
    if info[POSITION_BITS] > MAX_POSITION_BITS:
        return BAD_INDEX
    if mcu.size != info[ENTRIES_AT] + (entries * entry_bits + 7) // 8 + TAIL_BYTES:
        return BAD_INDEX
    info[SCAN_START] = _u32(mcu, 12)
    info[SCAN_END] = info[SCAN_START] + _u32(mcu, 16)
    if _u32(mcu, 8) != jpeg_size or info[SCAN_END] > jpeg_size:
        return OTHER_FILE
    return OK


@compiled
def _reference_length(jpeg: np.ndarray, kind: Scalar, at: Scalar, end: Scalar) -> Scalar:
    """Returns the length of the header segment or table at offset ``at``, or -1 if it would end after ``end``.

    ``kind`` is its kind in the list of references (``shards.jpeg.entry_points``).
    """
    length = int64(-1)
    if kind == 0 and at + 9 <= end:
        length = 9 + 3 * int64(jpeg[at + 8])
    elif kind == 1 and at + 1 <= end:
        length = 4 + 2 * int64(jpeg[at])
    elif kind == 2:
        length = 14
    elif kind == 3:
        length = 12
    elif kind == 4 and at + 1 <= end:
        length = 129 if jpeg[at] >= uint8(16) else 65
    elif kind == 5 and at + 17 <= end:
        length = 17
        for i in range(1, 17):
            length += int64(jpeg[at + i])
        if length > 17 + 256:
            return int64(-1)
    elif kind == 6:
        length = 2
    return length if at + length <= end else int64(-1)


@compiled
def _read_references(jpeg: np.ndarray, mcu: np.ndarray, info: np.ndarray) -> Scalar:
    """Locates the header segments, and verifies by checksum that the index belongs to this file. Returns a status."""
    crc = uint32(0xFFFFFFFF)
    for i in range(HEADER_SIZE, info[BASES_AT], 4):
        word = _u32(mcu, i)
        kind, at = word >> REFERENCE_OFFSET_BITS, word & OFFSET_MASK
        length = _reference_length(jpeg, kind, at, info[SCAN_START])
        if length < 0:
            return OTHER_FILE
        crc = _crc(jpeg, at, at + length, crc)
        if kind == 0:
            info[FRAME_AT] = at
        elif kind == 1:
            info[SCAN_AT] = at
        elif kind == 2:
            info[JFIF_AT] = at
        elif kind == 3:
            info[ADOBE_AT] = at
        elif kind == 4:
            info[QUANT_AT + (int64(jpeg[at]) & 3)] = at
        elif kind == 5:
            number = int64(jpeg[at])
            info[(AC_TABLE_AT if number & 16 else DC_TABLE_AT) + (number & 3)] = at
        elif kind == 6:
            info[RESTART] = _u16_big(jpeg, at)
    head = min(info[SCAN_START] + IDENTITY_SCAN_BYTES, info[SCAN_END])
    crc = _crc(jpeg, info[SCAN_START], head, crc)
    return OK if int64(crc ^ uint32(0xFFFFFFFF)) == _u32(mcu, 20) else OTHER_FILE


@compiled
def _read_frame(jpeg: np.ndarray, info: np.ndarray) -> Scalar:
    """Reads sizes and sampling from the frame header, and table indices from the scan header. Returns a status."""
    components, frame, scan = info[COMPONENTS], info[FRAME_AT], info[SCAN_AT]
    if frame == 0 or scan == 0:
        return BAD_HEADER
    if int64(jpeg[frame + 8]) != components or int64(jpeg[scan]) != components:
        return BAD_HEADER
    info[HEIGHT], info[WIDTH] = _u16_big(jpeg, frame + 4), _u16_big(jpeg, frame + 6)
    max_h, max_v, min_h, min_v = int64(1), int64(1), int64(4), int64(4)
    blocks = int64(0)
    for c in range(components):
        sampling = int64(jpeg[frame + 10 + 3 * c])
        h, v = sampling >> 4, sampling & 15
        number = int64(jpeg[scan + 2 + 2 * c])
        dc, ac = number >> 4, number & 15
        if not (1 <= h <= 4 and 1 <= v <= 4 and dc <= 3 and ac <= 3):
            return BAD_HEADER
        quant = int64(jpeg[frame + 11 + 3 * c])
        if quant > 3 or info[QUANT_AT + quant] == 0:
            return BAD_HEADER
        if info[DC_TABLE_AT + dc] == 0 or info[AC_TABLE_AT + ac] == 0:
            return BAD_HEADER
        info[DC_OF + c], info[AC_OF + c] = dc, ac
        info[BLOCKS_AT + c] = h * v if components > 1 else 1
        blocks += info[BLOCKS_AT + c]
        max_h, max_v = max(max_h, h), max(max_v, v)
        min_h, min_v = min(min_h, h), min(min_v, v)
    if blocks > 10 or info[WIDTH] * info[HEIGHT] > MAX_PIXELS:
        return BAD_HEADER
    if components == 1:
        max_h, max_v, min_h, min_v = int64(1), int64(1), int64(1), int64(1)
    return _set_grid(info, max_h, max_v, min_h, min_v)


@compiled
def _set_grid(info: np.ndarray, max_h: Scalar, max_v: Scalar, min_h: Scalar, min_v: Scalar) -> Scalar:
    """Sets the MCU grid and the margin that chroma upsampling needs. Returns a status."""
    info[MCU_WIDTH], info[MCU_HEIGHT] = 8 * max_h, 8 * max_v
    info[MCUS_PER_ROW] = (info[WIDTH] + 8 * max_h - 1) // (8 * max_h)
    info[NUM_MCUS] = info[MCUS_PER_ROW] * ((info[HEIGHT] + 8 * max_v - 1) // (8 * max_v))
    # Interpolating upsampling reads one more chroma sample, only in subsampled directions.
    info[MARGIN_X] = (max_h // min_h + 1) // 2 if max_h > min_h else 0
    info[MARGIN_Y] = (max_v // min_v + 1) // 2 if max_v > min_v else 0
    # libjpeg-turbo interpolates only components that are at least 3 samples wide. So a spliced
    # image must be that wide if the whole image is.
    info[SHARPEST_X] = 2 * (max_h // min_h) + 1 if max_h > min_h else 1
    if info[NUM_MCUS] < 1:
        return BAD_HEADER
    if info[ENTRIES] != (info[NUM_MCUS] + info[EVERY] - 1) // info[EVERY]:
        return BAD_INDEX
    return OK


@compiled
def open_index(jpeg: np.ndarray, mcu: np.ndarray, info: np.ndarray) -> Scalar:
    """Checks that ``mcu`` is complete and belongs to ``jpeg``, and fills ``info``. Returns a status."""
    for i in range(INFO_SIZE):
        info[i] = 0
    status = _read_fixed(mcu, jpeg.size, info)
    if status != OK:
        return status
    status = _read_references(jpeg, mcu, info)
    if status != OK:
        return status
    return _read_frame(jpeg, info)


@inlined
def _field(mcu: np.ndarray, at: Scalar, bit: Scalar, width: Scalar) -> Scalar:
    """Returns ``width`` (at most 57) bits of ``mcu`` as int64, starting ``bit`` bits after the start of byte ``at``."""
    byte = uint64(at + (bit >> 3))
    word = load64_little(mcu, byte)
    return int64((word >> uint64(bit & 7)) & ((uint64(1) << uint64(width)) - uint64(1)))


@compiled
def entry_position(mcu: np.ndarray, info: np.ndarray, entry: Scalar) -> Scalar:
    """Returns the bit position, in the file, of the entry point with index ``entry``; at most the end of the scan."""
    base = _u32(mcu, info[BASES_AT] + 4 * (entry // ENTRIES_PER_BASE))
    bits = _field(mcu, info[ENTRIES_AT], entry * info[ENTRY_BITS], info[POSITION_BITS])
    return min((info[SCAN_START] + base) * 8 + bits, info[SCAN_END] * 8)


@compiled
def entry_dc(mcu: np.ndarray, info: np.ndarray, entry: Scalar, dc: np.ndarray) -> None:
    """Writes the DC predictors at the entry point with index ``entry`` to ``dc`` (int64, one per component)."""
    bit = entry * info[ENTRY_BITS] + info[POSITION_BITS]
    for c in range(info[COMPONENTS]):
        dc[c] = _field(mcu, info[ENTRIES_AT], bit, info[DC_BITS_AT + c]) + info[DC_LOW_AT + c]
        bit += info[DC_BITS_AT + c]
