"""Walks a scan once when shards are built: finds where every n-th MCU starts, and the DC values there.

The code is compiled by Numba. :mod:`shards.jpeg.entry_points` checks the header, calls ``index_scan``, and writes the
entry points.
"""

from typing import Any

import numpy as np
from numba import int64, njit, uint8, uint64

from shards.jpeg import entropy, huffman
from shards.jpeg.entropy import BROKEN, SLACK, skip_restart, walk_blocks
from shards.jpeg.huffman import LOOKUP_BITS, PAIR_WORDS, augment_dc, build_pair
from shards.jpeg.kernel_cache import cached
from shards.jpeg.numba_support import Scalar, bytes_at, compiled

__all__ = ["BAD_TABLE", "CORRUPT_SCAN", "DC_RANGE", "INDEXED", "MAX_MCUS_PER_ENTRY", "NO_ROOM", "index_scan"]

INDEXED = 0
CORRUPT_SCAN = 1
BAD_TABLE = 2
NO_ROOM = 3
DC_RANGE = 4

# The most that a splice walks from an entry point. A block takes 2 bits or more, so the default
# spacing needs 768 MCUs at most.
MAX_MCUS_PER_ENTRY = 1024

U1 = np.uint64(1)
U3 = np.uint64(3)
U7 = np.uint64(7)
U8 = np.uint64(8)


@compiled
def _unstuff_scan(
    data: np.ndarray, start: Scalar, out: np.ndarray, gaps: np.ndarray, ends: np.ndarray
) -> tuple[Scalar, Scalar, Scalar, Scalar]:
    """Copies the scan, starting at ``start``, to ``out`` without stuffed zeros and restart markers.

    Sets ``gaps[i]`` to (offset in ``out`` at which bytes were dropped, total number of bytes dropped so far). Sets
    ``ends[i]`` to the offset in ``out`` at which restart interval i ends. Returns:

    - the offset in ``data`` of the marker that ends the scan (or ``data.size``);
    - the number of bytes in ``out``;
    - the number of gaps;
    - the number of intervals, or 0 if the restart markers are out of order.
    """
    size = uint64(data.size)
    position = start
    at = uint64(0)
    num_gaps = uint64(0)
    dropped = uint64(0)
    num_intervals = uint64(0)
    while position < size:
        byte = data[position]
        if byte != uint8(0xFF):
            out[at] = byte
            at += U1
            position += U1
            continue
        if position + U1 < size and data[position + U1] == uint8(0):
            out[at] = byte
            at += U1
            position += uint64(2)
            dropped += U1
        else:
            behind, number = skip_restart(data, position, size)
            if number < 0:
                break
            if uint64(number) != num_intervals % U8:
                return position, at, num_gaps, uint64(0)
            ends[num_intervals] = at
            num_intervals += U1
            dropped += behind - position
            position = behind
        gaps[num_gaps, 0] = at
        gaps[num_gaps, 1] = dropped
        num_gaps += U1
    ends[num_intervals] = at
    for i in range(SLACK):
        out[at + uint64(i)] = 0
    return position, at, num_gaps, num_intervals + U1


@compiled
def _add_dc(
    bits: np.ndarray,
    starts: np.ndarray,
    num_blocks: Scalar,
    pairs: np.ndarray,
    components: np.ndarray,
    words: np.ndarray,
    dc: np.ndarray,
    extremes: np.ndarray,
) -> None:
    """Adds DC differences to ``dc`` as ``sum_dc`` does, and updates ``extremes``.

    ``extremes`` (4, 2) int64 holds the minimum and maximum DC value for each component.
    """
    block = uint64(0)
    for i in range(num_blocks):
        difference, _ = entropy.dc_at(bits, starts[i], pairs[block], words)
        component = components[block]
        value = dc[component] + difference
        dc[component] = value
        extremes[component, 0] = min(extremes[component, 0], value)
        extremes[component, 1] = max(extremes[component, 1], value)
        block += U1
        if block == uint64(pairs.size):
            block = uint64(0)


@compiled
def _walk_scan(
    bits: np.ndarray,
    ends: np.ndarray,
    num_intervals: Scalar,
    restart_interval: Scalar,
    num_mcus: Scalar,
    every: Scalar,
    pairs: np.ndarray,
    components: np.ndarray,
    words: np.ndarray,
    starts: np.ndarray,
    dc: np.ndarray,
    points: np.ndarray,
    extremes: np.ndarray,
) -> bool:
    """Fills ``points`` (n, 5) int64 with the bit position in ``bits`` and the four DC values of every entry point.

    There is an entry point at every MCU whose index is a multiple of ``every``. ``starts`` (uint64, with one element
    more than there are blocks between entry points) and ``dc`` (4 zeros) are scratch arrays. Returns whether the scan
    is intact: no MCU is missing, and only padding precedes restart markers.
    """
    per_mcu = uint64(pairs.size)
    position = uint64(0)
    interval = uint64(0)
    next_restart = restart_interval if restart_interval > uint64(0) else num_mcus
    mcu = uint64(0)
    while mcu < num_mcus:
        if mcu % every == uint64(0):
            points[mcu // every, 0] = int64(position)
            for c in range(4):
                points[mcu // every, 1 + c] = dc[c]
        stop = min(min((mcu // every + U1) * every, num_mcus), next_restart)
        limit = ends[interval] * U8
        num_blocks = (stop - mcu) * per_mcu
        position = walk_blocks(bits, limit, position, num_blocks, pairs, words, starts)
        if position == BROKEN:
            return False
        _add_dc(bits, starts, num_blocks, pairs, components, words, dc, extremes)
        mcu = stop
        if mcu == next_restart and mcu < num_mcus:
            if limit - position > U7 or interval + U1 >= num_intervals:
                return False
            position = limit
            interval += U1
            next_restart += restart_interval
            for c in range(4):
                dc[c] = 0
    return True  # decoders ignore bytes after the last MCU


@compiled
def _to_file_positions(points: np.ndarray, gaps: np.ndarray, num_gaps: Scalar) -> None:
    """Converts bit positions in ``points`` from positions in the unstuffed bytes to positions in the file.

    Positions in the file are relative to the start of the scan. ``gaps`` says where bytes were dropped.
    """
    gap = uint64(0)
    dropped = int64(0)
    for i in range(points.shape[0]):
        byte = uint64(points[i, 0]) >> U3
        while gap < num_gaps and gaps[gap, 0] <= byte:
            dropped = int64(gaps[gap, 1])
            gap += U1
        points[i, 0] += dropped * 8


@njit(nogil=True)
def _layout(tables: np.ndarray, table_at: np.ndarray, blocks: np.ndarray, words: np.ndarray) -> tuple[Any, Any, Scalar]:
    """Builds, in ``words``, each component's pair of lookup tables (``shards.jpeg.huffman``).

    Returns (offset of each block's pair, index of each block's component, status); the first two are arrays over the
    blocks of an MCU. ``table_at`` (components, 2, 2) holds the start and end of each component's DC and AC tables in
    ``tables``.
    """
    singles = np.empty(1 << LOOKUP_BITS, np.uint32)
    lengths = np.empty(1 << LOOKUP_BITS, np.uint8)
    completed = np.empty(17 + 256, np.uint8)
    status = INDEXED
    count = 0
    for c in range(blocks.size):
        count += blocks[c]
    pairs = np.empty(count, np.uint64)
    components = np.empty(count, np.uint64)
    at = 0
    for c in range(blocks.size):
        dc_table = tables[table_at[c, 0, 0] : table_at[c, 0, 1]]
        ac_table = tables[table_at[c, 1, 0] : table_at[c, 1, 1]]
        if not build_pair(dc_table, ac_table, words, c * PAIR_WORDS, singles, lengths):
            status = BAD_TABLE
        elif status == INDEXED and augment_dc(dc_table, completed) == 0:
            status = NO_ROOM
        for _ in range(blocks[c]):
            pairs[at] = uint64(c * PAIR_WORDS)
            components[at] = uint64(c)
            at += 1
    return pairs, components, status


@cached
def index_scan(
    address: Scalar,
    size: Scalar,
    scan_start: Scalar,
    num_stuffed: Scalar,
    tables: np.ndarray,
    table_at: np.ndarray,
    blocks: np.ndarray,
    restart_interval: Scalar,
    num_mcus: Scalar,
    spacing_bits: Scalar,
) -> tuple[Scalar, Scalar, Scalar, Any, Any]:
    data = bytes_at(address, size)
    words = np.zeros(blocks.size * PAIR_WORDS, np.uint32)
    pairs, components, status = _layout(tables, table_at, blocks, words)
    extremes = np.zeros((4, 2), np.int64)
    points = np.zeros((1, 5), np.int64)
    if status != INDEXED:
        return status, uint64(0), uint64(1), points, extremes
    bits = np.empty(uint64(data.size) - scan_start + uint64(SLACK), np.uint8)
    gaps = np.empty((num_stuffed, uint64(2)), np.uint64)
    ends = np.empty(num_stuffed + U1, np.uint64)
    scan_end, num_bytes, num_gaps, num_intervals = _unstuff_scan(data, scan_start, bits, gaps, ends)
    every = (spacing_bits * num_mcus + num_bytes * uint64(4)) // max(num_bytes * U8, U1)
    every = min(max(every, U1), uint64(MAX_MCUS_PER_ENTRY))
    points = np.zeros(((num_mcus + every - U1) // every, uint64(5)), np.int64)
    starts = np.empty(every * uint64(pairs.size) + U1, np.uint64)
    if num_intervals == uint64(0) or not _walk_scan(
        bits,
        ends,
        num_intervals,
        restart_interval,
        num_mcus,
        every,
        pairs,
        components,
        words,
        starts,
        np.zeros(4, np.int64),
        points,
        extremes,
    ):
        return CORRUPT_SCAN, scan_end, every, points, extremes
    _to_file_positions(points, gaps, num_gaps)
    limit = (1 << huffman.MAX_DC_CATEGORY) - 1
    for c in range(4):
        low, high = extremes[c, 0], extremes[c, 1]
        if high - low > limit or low < -limit or high > limit:
            return DC_RANGE, scan_end, every, points, extremes
    return INDEXED, scan_end, every, points, extremes
