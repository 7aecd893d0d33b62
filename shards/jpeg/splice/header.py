"""Writes a spliced JPEG's header and caches its source's lookup tables, in compiled code.

A set of lookup tables is built from one file's Huffman tables. The array ``words`` caches ``SLOTS`` sets: most files
from one camera or program have the same Huffman tables, and building a set takes as long as splicing a crop. A set's
key contains the bytes of these Huffman tables, and says which component uses which. Only one thread at a time may use a
cache.
"""

import numpy as np
from numba import int64, uint8, uint32, uint64

from shards.jpeg.huffman import PAIR_WORDS, augment_dc, build_pair
from shards.jpeg.numba_support import Scalar, compiled
from shards.jpeg.splice.index import (
    AC_OF,
    AC_TABLE_AT,
    ADOBE_AT,
    BLOCKS_AT,
    COMPONENTS,
    DC_OF,
    DC_TABLE_AT,
    FRAME_AT,
    JFIF_AT,
    QUANT_AT,
    SCAN_AT,
)
from shards.jpeg.splice.row import COMPONENT_OF, FIRST, PAIRS

__all__ = ["HEADER_BYTES", "KEY_BYTES", "SLOTS", "SLOT_WORDS", "find_tables", "layout", "template"]

SLOTS = 64
SLOT_WORDS = 4 * PAIR_WORDS
MAX_TABLE_BYTES = 17 + 256
KEY_BYTES = 4 * (1 + 2 * MAX_TABLE_BYTES)
# More than SOI, JFIF, Adobe, 4 + 8 tables, frame, restart interval and scan header can take together.
HEADER_BYTES = 4096

FNV_OFFSET = np.uint32(2166136261)
FNV_PRIME = np.uint32(16777619)


@compiled
def _table_end(jpeg: np.ndarray, at: Scalar) -> Scalar:
    """Returns the offset at which the Huffman table at ``at`` ends.

    ``open_index`` has already checked that the table ends inside the file. The offset is limited again here, because
    another process may modify a memory-mapped file in the meantime.
    """
    end = at + 17
    for i in range(1, 17):
        end += int64(jpeg[at + i])
    return min(end, at + MAX_TABLE_BYTES, jpeg.size)


@compiled
def _make_key(jpeg: np.ndarray, info: np.ndarray, key: np.ndarray) -> Scalar:
    """Writes to ``key`` everything on which a set of lookup tables depends. Returns the length of this key.

    For each component, the key contains the indices of its two tables. If no earlier component uses the same two
    tables, the tables themselves follow.
    """
    size = int64(0)
    for c in range(info[COMPONENTS]):
        key[size] = uint8(info[DC_OF + c] << 4 | info[AC_OF + c])
        size += 1
        if _first_with_tables(info, c) != c:
            continue
        for at in (info[DC_TABLE_AT + info[DC_OF + c]], info[AC_TABLE_AT + info[AC_OF + c]]):
            for i in range(at, _table_end(jpeg, at)):
                key[size] = jpeg[i]
                size += 1
    return size


@compiled
def _first_with_tables(info: np.ndarray, component: Scalar) -> Scalar:
    """Returns the index of the first component that uses the same two tables as ``component``."""
    for c in range(component):
        same_dc = info[DC_OF + c] == info[DC_OF + component]
        if same_dc and info[AC_OF + c] == info[AC_OF + component]:
            return c
    return component


@compiled
def find_tables(
    jpeg: np.ndarray,
    info: np.ndarray,
    words: np.ndarray,
    keys: np.ndarray,
    key_sizes: np.ndarray,
    key: np.ndarray,
    singles: np.ndarray,
    lengths: np.ndarray,
) -> Scalar:
    """Returns the offset in ``words`` of this file's set of lookup tables, or -1 if a Huffman table is invalid.

    The set is built if it is not cached. ``keys`` (``SLOTS * KEY_BYTES``) and ``key_sizes`` (``SLOTS``) identify the
    sets in the cache. ``key``, ``singles`` and ``lengths`` are scratch arrays.
    """
    size = _make_key(jpeg, info, key)
    crc = FNV_OFFSET
    for i in range(size):
        crc = uint32((crc ^ key[i]) * FNV_PRIME)
    slot = int64(crc % uint32(SLOTS))
    at = slot * SLOT_WORDS
    if key_sizes[slot] == size:
        same = True
        for i in range(size):
            same = same and keys[slot * KEY_BYTES + i] == key[i]
        if same:
            return at
    key_sizes[slot] = 0  # the slot is empty until the new set is complete
    for c in range(info[COMPONENTS]):
        if _first_with_tables(info, c) == c:
            dc, ac = info[DC_TABLE_AT + info[DC_OF + c]], info[AC_TABLE_AT + info[AC_OF + c]]
            dc_table, ac_table = jpeg[dc : _table_end(jpeg, dc)], jpeg[ac : _table_end(jpeg, ac)]
            pair = at + c * PAIR_WORDS
            if not build_pair(dc_table, ac_table, words, pair, singles, lengths):
                return int64(-1)
    for i in range(size):
        keys[slot * KEY_BYTES + i] = key[i]
    key_sizes[slot] = size
    return at


@compiled
def layout(info: np.ndarray, tables: Scalar, blocks: np.ndarray) -> Scalar:
    """Fills ``blocks`` (``Work.blocks``) for an image whose set of lookup tables is at offset ``tables``.

    Returns the number of blocks per MCU.
    """
    block = int64(0)
    for c in range(info[COMPONENTS]):
        blocks[FIRST + c] = uint64(block)
        pair = tables + _first_with_tables(info, c) * PAIR_WORDS
        for _ in range(info[BLOCKS_AT + c]):
            blocks[PAIRS + block] = uint64(pair)
            blocks[COMPONENT_OF + block] = uint64(c)
            block += 1
    return block


@compiled
def _segment(out: np.ndarray, at: Scalar, marker: Scalar, length: Scalar) -> Scalar:
    """Writes the marker and the length field of a segment with ``length`` bytes of payload.

    Returns the offset after the length field.
    """
    out[at] = uint8(0xFF)
    out[at + 1] = uint8(marker)
    out[at + 2] = uint8((length + 2) >> 8)
    out[at + 3] = uint8((length + 2) & 255)
    return at + 4


@compiled
def _copy(data: np.ndarray, start: Scalar, length: Scalar, out: np.ndarray, at: Scalar) -> Scalar:
    for i in range(length):
        out[at + i] = data[start + i]
    return at + length


@compiled
def _huffman_segments(jpeg: np.ndarray, info: np.ndarray, out: np.ndarray, at: Scalar, completed: np.ndarray) -> Scalar:
    """Writes a DHT segment for every Huffman table in use. Returns the offset after them.

    Returns -1 if a DC table has no free codes for the categories that it lacks.
    """
    used = int64(0)
    for c in range(info[COMPONENTS]):
        used |= 1 << info[DC_OF + c] | 16 << info[AC_OF + c]
    for number in range(4):
        if used >> number & 1:
            table = info[DC_TABLE_AT + number]
            length = augment_dc(jpeg[table : _table_end(jpeg, table)], completed)
            if length == 0:
                return int64(-1)
            at = _copy(completed, 0, length, out, _segment(out, at, 0xC4, length))
        if used >> number & 16:
            table = info[AC_TABLE_AT + number]
            length = _table_end(jpeg, table) - table
            at = _copy(jpeg, table, length, out, _segment(out, at, 0xC4, length))
    return at


@compiled
def template(
    jpeg: np.ndarray, info: np.ndarray, restarts: Scalar, out: np.ndarray, completed: np.ndarray
) -> tuple[Scalar, Scalar, Scalar]:
    """Writes to ``out`` (uint8, ``HEADER_BYTES``) the JPEG header that all windows of an image share.

    If ``restarts`` is set, the header includes a DRI segment. ``completed`` (uint8, ``MAX_TABLE_BYTES``) is scratch
    space.

    Returns the length of the header, the offset within it at which the height and width are stored, and the offset of
    the restart interval (0 without ``restarts``). The length is -1 if a DC table has no free codes for the categories
    that it lacks.
    """
    out[0] = uint8(0xFF)
    out[1] = uint8(0xD8)
    at = int64(2)
    if info[JFIF_AT] != 0:
        at = _copy(jpeg, info[JFIF_AT], 14, out, _segment(out, at, 0xE0, 14))
        out[at - 2] = uint8(0)  # no thumbnail
        out[at - 1] = uint8(0)
    if info[ADOBE_AT] != 0:
        at = _copy(jpeg, info[ADOBE_AT], 12, out, _segment(out, at, 0xEE, 12))
    for number in range(4):
        table = info[QUANT_AT + number]
        if table != 0:
            length = 129 if jpeg[table] >= uint8(16) else 65
            at = _copy(jpeg, table, length, out, _segment(out, at, 0xDB, length))
    frame, scan = info[FRAME_AT], info[SCAN_AT]
    length = 6 + 3 * info[COMPONENTS]
    size_at = at + 5
    at = _copy(jpeg, frame + 3, length, out, _segment(out, at, int64(jpeg[frame]), length))
    at = _huffman_segments(jpeg, info, out, at, completed)
    if at < 0:
        return at, size_at, int64(0)
    restart_at = int64(0)
    if restarts:
        restart_at = _segment(out, at, 0xDD, 2)
        at = restart_at + 2
    length = 4 + 2 * info[COMPONENTS]
    at = _copy(jpeg, scan, length, out, _segment(out, at, 0xDA, length))
    return at, size_at, restart_at
