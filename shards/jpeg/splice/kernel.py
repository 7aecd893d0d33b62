"""Turns windows of JPEGs into small JPEGs, in compiled code. One call handles a batch, without holding the GIL."""

from typing import Any, NamedTuple

import numpy as np
from numba import int64, uint8, uint64

from shards.jpeg.entropy import SLACK
from shards.jpeg.huffman import LOOKUP_BITS
from shards.jpeg.kernel_cache import cached
from shards.jpeg.numba_support import Scalar, bytes_at, compiled, int32_at, int64_at, uint32_at, uint64_at
from shards.jpeg.splice.bits import close_row
from shards.jpeg.splice.header import (
    HEADER_BYTES,
    KEY_BYTES,
    MAX_TABLE_BYTES,
    SLOT_WORDS,
    SLOTS,
    find_tables,
    layout,
    template,
)
from shards.jpeg.splice.index import (
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
from shards.jpeg.splice.row import BLOCKS_SIZE, PIECE_ROOM, Work, Writer, end_byte
from shards.jpeg.splice.row import splice_row as append_row

__all__ = ["BAD_SCAN", "BAD_WINDOW", "TAIL_BYTES", "Memory", "splice_windows"]

BAD_SCAN = 5
BAD_WINDOW = 6
MORE_ROOM = 7  # not a result: the caller grows the buffers and continues

# libjpeg-turbo's fast path runs while 512 bytes per block of an MCU are left. A spliced JPEG that is
# passed together with this many bytes after it is decoded on the fast path to its end.
TAIL_BYTES = 512 * 10

# Indices into the array at Memory.area: MCU columns and rows, size to declare, offset of the crop.
COLUMN, COLUMN_STOP, ROW, ROW_STOP, AREA_HEIGHT, AREA_WIDTH, TOP, LEFT = range(8)
AREA_SIZE = 8
# Indices into the array at Memory.opened: image, status, blocks per MCU, template.
IMAGE, IMAGE_STATUS, PER_MCU, HEAD_SIZE, SIZE_AT, RESTART_AT = range(6)
OPENED_SIZE = 6


class Memory(NamedTuple):
    """Addresses and sizes (in elements) of all arrays that a call reads or writes, as uint64."""

    images: Any
    """uint64, 4 per image: address and size of its JPEG, address and size of its ``.mcu`` member."""
    windows: Any
    """int32, 4 per window: top, left, height, width."""
    image_of: Any
    """int64, one per window: index of its image."""
    num_windows: Any
    offsets: Any
    """int64, (``num_windows`` + 1,). Filled by the call, as are ``origin``, ``size`` and ``status``; ``Spliced``
    documents them."""
    origin: Any
    size: Any
    status: Any
    out: Any
    out_size: Any
    bits: Any
    bits_size: Any
    words: Any
    keys: Any
    key_sizes: Any
    key: Any
    head: Any
    singles: Any
    lengths: Any
    completed: Any
    info: Any
    blocks: Any
    starts: Any
    state: Any
    dc: Any
    last: Any
    area: Any
    opened: Any


@compiled
def _measure(info: np.ndarray, window: np.ndarray, area: np.ndarray) -> bool:
    """Sets ``area`` to the MCUs that cover a window and its margin. Returns false if the window is outside the image.

    A window that is partly outside counts as outside. The spliced JPEG consists of whole MCUs, but its declared width
    and height stop at the right and bottom edges of the margin. Decoders therefore skip the pixels beyond.
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


@compiled
def _write_header(memory: Memory, at: Scalar) -> Scalar:
    """Copies the image's header template to ``out[at:]``, and fills in size and restart interval. Returns the offset
    after it."""
    opened, area = int64_at(memory.opened, OPENED_SIZE), int64_at(memory.area, AREA_SIZE)
    head, out = bytes_at(memory.head, HEADER_BYTES), bytes_at(memory.out, memory.out_size)
    for i in range(opened[HEAD_SIZE]):
        out[at + uint64(i)] = head[i]
    for place, value in (
        (opened[SIZE_AT], area[AREA_HEIGHT]),
        (opened[SIZE_AT] + 2, area[AREA_WIDTH]),
        (opened[RESTART_AT], area[COLUMN_STOP] - area[COLUMN]),
    ):
        if place > 0:
            out[at + uint64(place)] = uint8(value >> 8)
            out[at + uint64(place + 1)] = uint8(value & 255)
    return at + uint64(opened[HEAD_SIZE])


@compiled
def _room_for_row(work: Work, start: Scalar, stop: Scalar) -> tuple[bool, Scalar, Scalar]:
    """Checks that a row's entry points are in order, and computes upper bounds on the memory that the row needs.

    ``start`` is the row's first MCU, and ``stop`` the one after its last. Returns (whether the entry points are in
    order, size of scratch needed, size of output needed), with sizes in bytes. A byte of the scan takes at most two
    bytes in the output, because the shifted bits may form an FF, which needs a stuffed zero.
    """
    info = int64_at(work.info, INFO_SIZE)
    mcu = bytes_at(work.mcu, work.mcu_size)
    low = uint64(entry_position(mcu, info, start // info[EVERY]) >> 3)
    high = end_byte(mcu, info, stop // info[EVERY] + 1)
    if high < low:
        return False, uint64(0), uint64(0)
    pieces = 1 if info[RESTART] == 0 else (stop - start) // info[RESTART] + 2
    scratch = high - low + uint64(4 * SLACK)
    return True, scratch, uint64(2) * scratch + uint64(PIECE_ROOM * pieces + TAIL_BYTES)


@compiled
def _close(work: Work, writer: Writer, marker: Scalar) -> Writer:
    """Ends a row: pads its last byte, writes a marker with second byte ``marker``, and sets the DC predictors to 0."""
    out = bytes_at(work.out, work.out_size)
    at = close_row(out, writer.at, writer.held, writer.count)
    out[at] = uint8(0xFF)
    out[at + uint64(1)] = uint8(marker)
    last = int64_at(work.last, 4)
    for c in range(4):
        last[c] = 0
    return Writer(at + uint64(2), uint64(0), uint64(0))


@compiled
def _splice_area(work: Work, area: np.ndarray, restarts: bool, at: Scalar) -> tuple[Scalar, Scalar, Scalar]:
    """Appends all MCU rows of an area, then the EOI marker, to the output, starting at offset ``at``.

    Returns (status, offset after the output, 0). If an array is too small, returns (``MORE_ROOM``, size of scratch
    needed, size of output needed).
    """
    info, last = int64_at(work.info, INFO_SIZE), int64_at(work.last, 4)
    writer = Writer(at, uint64(0), uint64(0))
    # An area cannot have more bits than the scan: with more, the index would lead in circles.
    mcus = (area[ROW_STOP] - area[ROW]) * (area[COLUMN_STOP] - area[COLUMN])
    most = at + uint64(2 * (info[SCAN_END] - info[SCAN_START]) + PIECE_ROOM * mcus)
    for c in range(4):
        last[c] = 0
    for row in range(area[ROW], area[ROW_STOP]):
        start = row * info[MCUS_PER_ROW] + area[COLUMN]
        stop = row * info[MCUS_PER_ROW] + area[COLUMN_STOP]
        sound, scratch, room = _room_for_row(work, start, stop)
        if not sound or writer.at > most:
            return int64(BAD_SCAN), uint64(0), uint64(0)
        if scratch > work.bits_size or writer.at + room > work.out_size:
            return int64(MORE_ROOM), scratch, writer.at + room
        sound, writer = append_row(work, start, stop, not restarts, writer)
        if not sound:
            return int64(BAD_SCAN), uint64(0), uint64(0)
        if restarts and row + 1 < area[ROW_STOP]:
            number = (row - area[ROW]) & 7
            writer = _close(work, writer, 0xD0 + number)
    writer = _close(work, writer, 0xD9)
    return int64(OK), writer.at, uint64(0)


@compiled
def _open(memory: Memory, image: Scalar, restarts: bool) -> None:
    """Opens an image: checks its index, finds its tables, writes its header template, and fills ``opened``."""
    opened, info = int64_at(memory.opened, OPENED_SIZE), int64_at(memory.info, INFO_SIZE)
    images = uint64_at(memory.images, uint64(4 * (image + 1)))
    jpeg = bytes_at(images[4 * image], images[4 * image + 1])
    mcu = bytes_at(images[4 * image + 2], images[4 * image + 3])
    opened[IMAGE] = image
    opened[IMAGE_STATUS] = open_index(jpeg, mcu, info)
    if opened[IMAGE_STATUS] != OK:
        return
    tables = find_tables(
        jpeg,
        info,
        uint32_at(memory.words, SLOTS * SLOT_WORDS),
        bytes_at(memory.keys, SLOTS * KEY_BYTES),
        int64_at(memory.key_sizes, SLOTS),
        bytes_at(memory.key, KEY_BYTES),
        uint32_at(memory.singles, 1 << LOOKUP_BITS),
        bytes_at(memory.lengths, 1 << LOOKUP_BITS),
    )
    opened[IMAGE_STATUS] = BAD_HEADER
    if tables >= 0:
        opened[PER_MCU] = layout(info, tables, uint64_at(memory.blocks, BLOCKS_SIZE))
        head, completed = bytes_at(memory.head, HEADER_BYTES), memory.completed
        opened[HEAD_SIZE], opened[SIZE_AT], opened[RESTART_AT] = template(
            jpeg, info, restarts, head, bytes_at(completed, MAX_TABLE_BYTES)
        )
        if opened[HEAD_SIZE] > 0:
            opened[IMAGE_STATUS] = OK


@compiled
def _splice_window(memory: Memory, window: Scalar, restarts: bool, at: Scalar) -> tuple[Scalar, Scalar, Scalar]:
    """Appends the JPEG for one window in the opened image to the output. Returns the same as ``_splice_area``."""
    opened, info = int64_at(memory.opened, OPENED_SIZE), int64_at(memory.info, INFO_SIZE)
    area = int64_at(memory.area, AREA_SIZE)
    windows = int32_at(memory.windows, uint64(4) * memory.num_windows)
    if opened[IMAGE_STATUS] != OK:
        return opened[IMAGE_STATUS], at, uint64(0)
    if not _measure(info, windows[4 * window : 4 * window + 4], area):
        return int64(BAD_WINDOW), at, uint64(0)
    if at + uint64(HEADER_BYTES + TAIL_BYTES) > memory.out_size:
        return int64(MORE_ROOM), memory.bits_size, at + uint64(HEADER_BYTES + TAIL_BYTES)
    images = uint64_at(memory.images, uint64(4 * (opened[IMAGE] + 1)))
    at_image = 4 * opened[IMAGE]
    work = Work(
        images[at_image],
        images[at_image + 1],
        images[at_image + 2],
        images[at_image + 3],
        memory.info,
        memory.words,
        uint64(SLOTS * SLOT_WORDS),
        memory.blocks,
        uint64(opened[PER_MCU]),
        memory.bits,
        memory.bits_size,
        memory.starts,
        memory.state,
        memory.dc,
        memory.last,
        memory.out,
        memory.out_size,
    )
    begin = _write_header(memory, at)
    return _splice_area(work, area, restarts, begin)


@cached(_nrt=False)
def splice_windows(memory: Memory, window: Scalar, restarts: bool) -> tuple[Scalar, Scalar, Scalar]:
    """Splices windows, starting with the one at index ``window``, until all are done or an array is too small.

    Returns (next window, size of scratch needed, size of output needed), with sizes in bytes. If windows remain, the
    caller must allocate arrays of at least these sizes and call again.
    """
    num_windows = int64(memory.num_windows)
    image_of = int64_at(memory.image_of, memory.num_windows)
    offsets = int64_at(memory.offsets, memory.num_windows + uint64(1))
    origin = int32_at(memory.origin, uint64(2) * memory.num_windows)
    size = int32_at(memory.size, uint64(2) * memory.num_windows)
    status = int32_at(memory.status, memory.num_windows)
    opened, area = int64_at(memory.opened, OPENED_SIZE), int64_at(memory.area, AREA_SIZE)
    opened[IMAGE] = -1
    while window < num_windows:
        if image_of[window] != opened[IMAGE]:
            _open(memory, image_of[window], restarts)
        at = uint64(offsets[window])
        result, end, more = _splice_window(memory, window, restarts, at)
        if result == MORE_ROOM:
            return window, end, more
        status[window] = result
        offsets[window + 1] = int64(end if result == OK else at)
        if result == OK:
            origin[2 * window], origin[2 * window + 1] = area[TOP], area[LEFT]
            size[2 * window], size[2 * window + 1] = area[AREA_HEIGHT], area[AREA_WIDTH]
        window += 1
    at = uint64(offsets[num_windows])
    return window, uint64(0), at + uint64(TAIL_BYTES)
