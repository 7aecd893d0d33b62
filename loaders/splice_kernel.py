"""Windows of JPEGs to small JPEGs, inside compiled code: one call for a batch, without the GIL."""

import sys
from typing import Any

import numpy as np
from numba import int64, njit, uint8, uint64

from loaders import splice_bits, splice_header, splice_index, splice_row
from loaders.splice_bits import close_row
from loaders.splice_header import HEADER_BYTES, KEY_BYTES, find_tables, layout, template
from loaders.splice_index import (
    BAD_HEADER,
    EVERY,
    HEIGHT,
    INFO_SIZE,
    MARGIN_X,
    MARGIN_Y,
    MCU_HEIGHT,
    MCU_WIDTH,
    MCUS_PER_ROW,
    OK,
    RESTART,
    SCAN_END,
    SCAN_START,
    SHARPEST_X,
    WIDTH,
    entry_position,
    open_index,
)
from loaders.splice_row import (
    PIECE_ROOM,
    STATE_SIZE,
    Scratch,
    Source,
    Writer,
    end_byte,
)
from loaders.splice_row import (
    splice_row as append_row,
)
from shards import entropy, huffman, scan_index
from shards.entropy import SLACK
from shards.kernels import Scalar, bytes_at, source_digest
from shards.scan_index import MAX_MCUS_PER_ENTRY

__all__ = ["BAD_SCAN", "BAD_WINDOW", "STARTS_SIZE", "TAIL_BYTES", "splice_windows"]

BAD_SCAN = 5
BAD_WINDOW = 6

MAX_BLOCKS_PER_MCU = 10
STARTS_SIZE = (MAX_MCUS_PER_ENTRY + 2) * MAX_BLOCKS_PER_MCU + 2
# libjpeg-turbo's fast path wants 512 bytes per block of an MCU still ahead of it. Whoever hands it
# a spliced JPEG together with what follows in the buffer lets it run to the end.
TAIL_BYTES = 512 * MAX_BLOCKS_PER_MCU

# Places in ``area``: MCU columns and rows, size to declare, offset of the crop.
COLUMN, COLUMN_STOP, ROW, ROW_STOP, AREA_HEIGHT, AREA_WIDTH, TOP, LEFT = range(8)


@njit(nogil=True)
def _measure(info: np.ndarray, window: np.ndarray, area: np.ndarray) -> bool:
    """Widens a window by the margin, out to whole MCUs; false where it leaves the image.

    The right and lower border stay where the margin ends: a decoder skips what lies beyond.
    """
    top, left = int64(window[0]), int64(window[1])
    bottom, right = top + int64(window[2]), left + int64(window[3])
    if not (0 <= top < bottom <= info[HEIGHT] and 0 <= left < right <= info[WIDTH]):
        return False
    column = max(left - info[MARGIN_X], 0) // info[MCU_WIDTH]
    row = max(top - info[MARGIN_Y], 0) // info[MCU_HEIGHT]
    high_x = min(right + info[MARGIN_X], info[WIDTH])
    high_y = min(bottom + info[MARGIN_Y], info[HEIGHT])
    high_x = max(high_x, min(column * info[MCU_WIDTH] + info[SHARPEST_X], info[WIDTH]))
    if high_x - column * info[MCU_WIDTH] < info[SHARPEST_X] and column > 0:
        column -= 1
    area[COLUMN], area[COLUMN_STOP] = column, (high_x - 1) // info[MCU_WIDTH] + 1
    area[ROW], area[ROW_STOP] = row, (high_y - 1) // info[MCU_HEIGHT] + 1
    area[AREA_HEIGHT] = high_y - row * info[MCU_HEIGHT]
    area[AREA_WIDTH] = high_x - column * info[MCU_WIDTH]
    area[TOP] = top - row * info[MCU_HEIGHT]
    area[LEFT] = left - column * info[MCU_WIDTH]
    return True


@njit(nogil=True)
def _grown(array: np.ndarray, used: Scalar, need: Scalar) -> np.ndarray:
    """``array`` if it has ``need`` elements, else a larger copy of its first ``used``."""
    if uint64(array.size) >= need:
        return array
    larger = np.empty(need + need // uint64(2), np.uint8)
    larger[:used] = array[:used]
    return larger


@njit(nogil=True)
def _write_header(
    head: np.ndarray, size: Scalar, size_at: Scalar, restart_at: Scalar,
    area: np.ndarray, out: np.ndarray, at: Scalar,
) -> Scalar:  # fmt: skip
    """Copies the template ``head`` with this window's size."""
    for i in range(size):
        out[at + uint64(i)] = head[i]
    for place, value in (
        (size_at, area[AREA_HEIGHT]),
        (size_at + 2, area[AREA_WIDTH]),
        (restart_at, area[COLUMN_STOP] - area[COLUMN]),
    ):
        if place > 0:
            out[at + uint64(place)] = uint8(value >> 8)
            out[at + uint64(place) + uint64(1)] = uint8(value & 255)
    return at + uint64(size)


@njit(nogil=True)
def _splice_area(
    source: Source, scratch: Scratch, area: np.ndarray, restarts: bool, out: np.ndarray, at: Scalar
) -> tuple[bool, Scalar, Any, Any]:
    """Appends all MCU rows of an area and the EOI marker.

    Returns whether all is sound, where the output ends, the output and the scratch bits, which may
    have grown.
    """
    info = source.info
    bits = scratch.bits
    writer = Writer(at, uint64(0), uint64(0))
    most = at + uint64(2) * uint64(info[SCAN_END] - info[SCAN_START])
    most += uint64(PIECE_ROOM) * uint64(area[ROW_STOP] - area[ROW])
    scratch.last[:] = 0
    for row in range(area[ROW], area[ROW_STOP]):
        start = row * info[MCUS_PER_ROW] + area[COLUMN]
        stop = row * info[MCUS_PER_ROW] + area[COLUMN_STOP]
        pieces = 1 if info[RESTART] == 0 else (stop - start) // info[RESTART] + 2
        low = uint64(entry_position(source.mcu, info, start // info[EVERY]) >> 3)
        high = end_byte(source.mcu, info, stop // info[EVERY] + 1)
        if high < low or writer.at > most:
            # No scan has more bits than itself: the index leads in circles.
            return False, at, out, bits
        need = high - low + uint64(4 * SLACK)
        bits = _grown(bits, uint64(0), need)
        room = uint64(2) * need + uint64(PIECE_ROOM * pieces + TAIL_BYTES)
        out = _grown(out, writer.at, writer.at + room)
        scratch = Scratch(bits, scratch.starts, scratch.dc, scratch.last, scratch.state)
        sound, writer = append_row(source, scratch, start, stop, not restarts, out, writer)
        if not sound:
            return False, at, out, bits
        if row + 1 == area[ROW_STOP] or restarts:
            end = close_row(out, writer.at, writer.held, writer.count)
            out[end] = uint8(0xFF)
            out[end + uint64(1)] = uint8(0xD0 + ((row - area[ROW]) & 7))
            if row + 1 == area[ROW_STOP]:
                out[end + uint64(1)] = uint8(0xD9)
            writer = Writer(end + uint64(2), uint64(0), uint64(0))
            scratch.last[:] = 0
    return True, writer.at, out, bits


@njit(nogil=True)
def _splice_windows(
    images: np.ndarray, windows: np.ndarray, image_of: np.ndarray, restarts: bool,
    words: np.ndarray, keys: np.ndarray, key_sizes: np.ndarray, starts: np.ndarray,
    capacity: Scalar,
) -> tuple[Any, Any, Any, Any, Any]:  # fmt: skip
    num_windows = windows.shape[0]
    out = np.empty(capacity, np.uint8)
    bits = np.empty(1 << 16, np.uint8)
    offsets = np.zeros(num_windows + 1, np.int64)
    origin = np.zeros((num_windows, 2), np.int32)
    size = np.zeros((num_windows, 2), np.int32)
    status = np.zeros(num_windows, np.int32)
    info = np.zeros(INFO_SIZE, np.int64)
    key = np.empty(KEY_BYTES, np.uint8)
    head = np.empty(HEADER_BYTES, np.uint8)
    pairs = np.zeros(MAX_BLOCKS_PER_MCU, np.uint64)
    components = np.zeros(MAX_BLOCKS_PER_MCU, np.uint64)
    first = np.zeros(4, np.uint64)
    dc, last = np.zeros(4, np.int64), np.zeros(4, np.int64)
    state = np.zeros(STATE_SIZE, np.uint64)
    area = np.zeros(8, np.int64)
    at = uint64(0)
    opened = int64(-1)
    image_status = int64(OK)
    tables, per_mcu = int64(0), int64(0)
    head_size, size_at, restart_at = int64(0), int64(0), int64(0)
    for i in range(num_windows):
        image = image_of[i]
        jpeg = bytes_at(images[image, 0], images[image, 1])
        mcu = bytes_at(images[image, 2], images[image, 3])
        if image != opened:
            opened = image
            image_status = open_index(jpeg, mcu, info)
            if image_status == OK:
                tables = find_tables(jpeg, info, words, keys, key_sizes, key)
                if tables >= 0:
                    per_mcu = layout(info, tables, pairs, components, first)
                    head_size, size_at, restart_at = template(jpeg, info, restarts, head)
                if tables < 0 or head_size < 0:
                    image_status = BAD_HEADER
        offsets[i + 1] = int64(at)
        status[i] = image_status
        if image_status != OK:
            continue
        if not _measure(info, windows[i], area):
            status[i] = BAD_WINDOW
            continue
        out = _grown(out, at, at + uint64(HEADER_BYTES + TAIL_BYTES))
        begin = _write_header(head, head_size, size_at, restart_at, area, out, at)
        source = Source(jpeg, mcu, info, words, pairs[:per_mcu], components[:per_mcu], first)
        scratch = Scratch(bits, starts, dc, last, state)
        sound, end, out, bits = _splice_area(source, scratch, area, restarts, out, begin)
        if not sound:
            status[i] = BAD_SCAN
            continue
        at = end
        offsets[i + 1] = int64(at)
        origin[i, 0], origin[i, 1] = area[TOP], area[LEFT]
        size[i, 0], size[i, 1] = area[AREA_HEIGHT], area[AREA_WIDTH]
    out = _grown(out, at, at + uint64(TAIL_BYTES))
    return out, offsets, origin, size, status


def _compile(digest: str) -> Any:
    @njit(nogil=True, cache=True)
    def kernel(
        images: np.ndarray, windows: np.ndarray, image_of: np.ndarray, restarts: bool,
        words: np.ndarray, keys: np.ndarray, key_sizes: np.ndarray, starts: np.ndarray,
        capacity: Scalar,
    ) -> Any:  # fmt: skip
        _ = digest
        return _splice_windows(
            images, windows, image_of, restarts, words, keys, key_sizes, starts, capacity
        )

    return kernel


splice_windows = _compile(
    source_digest(
        entropy, huffman, scan_index, splice_bits, splice_header, splice_index, splice_row,
        sys.modules[__name__],
    )
)  # fmt: skip
