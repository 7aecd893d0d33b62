"""Copies the part of an MCU row that lies in a window, as entropy-coded bits, in compiled code.

An MCU row is a row of JPEG's minimum coded units. Copying takes three steps. First, the first MCU wanted is located by
walking from the last entry point at or before it. Second, the first DC value of each component is re-coded, since its
predictor differs in the output. Third, all other bits are copied up to the end of the last MCU wanted, which is located
by walking from the nearest entry point before it. If the source has restart markers inside the row, the row is copied
in pieces, from marker to marker.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import int64, uint64

from shards.jpeg.entropy import BROKEN, SLACK, dc_at, skip_restart, sum_dc, unstuff, walk_blocks
from shards.jpeg.huffman import ENCODER, MAX_DC_CATEGORY
from shards.jpeg.numba_support import Scalar, bytes_at, compiled, inlined, int64_at, pasted, uint32_at, uint64_at
from shards.jpeg.splice.bits import copy_bits, put_bits
from shards.jpeg.splice.index import (
    COMPONENTS,
    ENTRIES,
    EVERY,
    INFO_SIZE,
    NUM_MCUS,
    RESTART,
    SCAN_END,
    entry_dc,
    entry_position,
)
from shards.jpeg.walk import MAX_MCUS_PER_ENTRY

__all__ = ["PIECE_ROOM", "Work", "Writer", "end_byte", "splice_row"]

MAX_BLOCKS_PER_MCU = 10
STARTS_SIZE = (MAX_MCUS_PER_ENTRY + 2) * MAX_BLOCKS_PER_MCU + 2
PIECE_ROOM = 64  # bytes that re-coded DC values and padding may take, with stuffing

U1 = np.uint64(1)
U7 = np.uint64(7)
U8 = np.uint64(8)

# Indices into the array at Work.state: the next MCU, its byte in the file and its bit; number of
# current bits; position of the tail's entry point in them; end of the piece.
CURRENT, BYTE, BIT, LIMIT, TAIL_BIT, END = range(6)
STATE_SIZE = 6

# Offsets in the array at Work.blocks: tables and component of every block of an MCU, first block of
# every component.
PAIRS, COMPONENT_OF, FIRST = 0, MAX_BLOCKS_PER_MCU, 2 * MAX_BLOCKS_PER_MCU
BLOCKS_SIZE = FIRST + 4


class Work(NamedTuple):
    """Addresses of the arrays needed to copy a row, and the sizes of those arrays that vary in size."""

    jpeg: Any
    jpeg_size: Any
    mcu: Any
    mcu_size: Any
    info: Any
    words: Any
    words_size: Any
    blocks: Any
    per_mcu: Any
    """Number of blocks per MCU."""
    bits: Any
    """Unstuffed bytes of the current piece."""
    bits_size: Any
    starts: Any
    """Bit positions of the blocks walked; ``STARTS_SIZE`` elements."""
    state: Any
    dc: Any
    """Current DC predictors in the source, 4 × int64."""
    last: Any
    """Current DC predictors in the output, 4 × int64."""
    out: Any
    out_size: Any


class Writer(NamedTuple):
    """State of the output: offset ``at`` of the next byte, and ``count`` (at most seven) pending bits in ``held``."""

    at: Any
    held: Any
    count: Any


@compiled
def end_byte(mcu: np.ndarray, info: np.ndarray, entry: Scalar) -> Scalar:
    """Returns the offset after the byte that contains the start of the entry point with index ``entry``.

    All bits before the entry point lie before this offset. If there is no such entry point, returns the end of the
    scan.
    """
    if entry >= info[ENTRIES]:
        return uint64(info[SCAN_END])
    return uint64(min((entry_position(mcu, info, entry) >> 3) + 1, info[SCAN_END]))


@pasted
def _info(work: Work) -> Any:
    return int64_at(work.info, INFO_SIZE)


@pasted
def _state(work: Work) -> Any:
    return uint64_at(work.state, STATE_SIZE)


@pasted
def _bits(work: Work) -> Any:
    return bytes_at(work.bits, work.bits_size)


@pasted
def _pairs(work: Work) -> Any:
    return uint64_at(work.blocks, work.per_mcu)


@pasted
def _words(work: Work) -> Any:
    return uint32_at(work.words, work.words_size)


@inlined
def _load(work: Work, bound: Scalar, at: Scalar) -> bool:
    """Unstuffs the file from the current byte up to ``bound`` or a marker, and writes the result to ``bits[at:]``.

    Sets ``LIMIT`` to the number of valid bits. Returns false if ``bound`` is invalid or ``bits`` is too small.
    """
    state = _state(work)
    start = state[BYTE]
    if bound < start or bound > work.jpeg_size:
        return False
    if at + (bound - start) + uint64(2 * SLACK) > work.bits_size:
        return False
    reached, used = unstuff(bytes_at(work.jpeg, work.jpeg_size), start, bound, _bits(work), at)
    state[BYTE] = reached
    state[LIMIT] = used * U8
    return True


@compiled
def _walk(work: Work, position: Scalar, num_blocks: Scalar) -> Scalar:
    """Walks ``num_blocks`` blocks of the loaded bits as ``walk_blocks`` does. An MCU must start at ``position``."""
    starts = uint64_at(work.starts, STARTS_SIZE)
    limit = _state(work)[LIMIT]
    return walk_blocks(_bits(work), limit, position, num_blocks, _pairs(work), _words(work), starts)


@compiled
def _sum_dc(work: Work, first_mcu: Scalar, stop_mcu: Scalar) -> None:
    """Adds the DC differences of the walked MCUs ``first_mcu`` … ``stop_mcu - 1`` to the source's DC predictors."""
    component_of = uint64_at(work.blocks, BLOCKS_SIZE)[COMPONENT_OF:FIRST]
    starts = uint64_at(work.starts, STARTS_SIZE)
    sum_dc(
        _bits(work),
        starts,
        first_mcu * work.per_mcu,
        stop_mcu * work.per_mcu,
        _pairs(work),
        component_of,
        _words(work),
        int64_at(work.dc, 4),
    )


@compiled
def _cross_restart(work: Work, mcu: Scalar) -> bool:
    """Steps over the restart marker before MCU ``mcu``. Returns false if the current bits do not end at a marker."""
    state = _state(work)
    if state[LIMIT] < state[END] or state[LIMIT] - state[END] > U7:
        return False
    jpeg = bytes_at(work.jpeg, work.jpeg_size)
    behind, number = skip_restart(jpeg, state[BYTE], uint64(_info(work)[SCAN_END]))
    if number < 0:
        return False
    state[CURRENT], state[BYTE], state[BIT] = uint64(mcu), behind, uint64(0)
    dc = int64_at(work.dc, 4)
    for c in range(4):
        dc[c] = 0
    return True


@compiled
def _enter(work: Work, here: Scalar) -> bool:
    """Seeks to the last entry point at or before MCU ``here``, then past all restart markers up to ``here``.

    Returns false if the bits or the index are damaged.
    """
    info, state = _info(work), _state(work)
    mcu = bytes_at(work.mcu, work.mcu_size)
    every, restart = info[EVERY], info[RESTART]
    entry = here // every
    position = entry_position(mcu, info, entry)
    current = entry * every
    state[CURRENT] = uint64(current)
    state[BYTE], state[BIT] = uint64(position >> 3), uint64(position & 7)
    entry_dc(mcu, info, entry, int64_at(work.dc, 4))
    while restart > 0 and (current // restart + 1) * restart <= here:
        boundary = (current // restart + 1) * restart
        if not _load(work, end_byte(mcu, info, entry + 1), uint64(0)):
            return False
        state[END] = _walk(work, state[BIT], uint64(boundary - current) * work.per_mcu)
        if state[END] == BROKEN or not _cross_restart(work, boundary):
            return False
        current = boundary
    return True


@inlined
def _load_piece(work: Work, tail: Scalar, jump: bool, exact: bool) -> bool:
    """Unstuffs the file from the current byte to the end of the piece. Returns false if that fails.

    ``tail`` is the index of the piece's last entry point. If ``jump`` is set, this entry point comes after the first
    MCU wanted, and its position in the unstuffed bits is stored in ``TAIL_BIT``. If ``exact`` is set, the piece ends
    exactly at this entry point.
    """
    state, info = _state(work), _info(work)
    mcu = bytes_at(work.mcu, work.mcu_size)
    bound = end_byte(mcu, info, tail + 1)
    if not jump:
        return _load(work, bound, uint64(0))
    position = entry_position(mcu, info, tail)
    tail_byte = uint64(position >> 3)
    if not _load(work, tail_byte, uint64(0)) or state[BYTE] != tail_byte:
        return False
    state[TAIL_BIT] = state[LIMIT] + uint64(position & 7)
    if exact:
        bound = min(tail_byte + U1, uint64(info[SCAN_END]))
    return _load(work, bound, state[LIMIT] >> uint64(3))


@compiled
def _recode(work: Work, pair: Scalar, value: Scalar, writer: Writer) -> tuple[bool, Writer]:
    """Appends the DC difference ``value``, coded with the DC table of the pair at offset ``pair``.

    Returns (whether the table has a code for it, the writer).
    """
    magnitude = abs(value)
    category = int64(0)
    while category <= MAX_DC_CATEGORY and magnitude >> category > 0:
        category += 1
    if category > MAX_DC_CATEGORY:
        return False, writer
    code = uint64(_words(work)[pair + uint64(ENCODER) + uint64(category)])
    if value < 0:
        value += (int64(1) << category) - 1
    bits = ((code & uint64(0xFFFF)) << uint64(category)) | uint64(value)
    length = (code >> uint64(16)) + uint64(category)
    out = bytes_at(work.out, work.out_size)
    at, held, count = put_bits(out, writer.at, writer.held, writer.count, bits, length)
    return code != uint64(0), Writer(at, held, count)


@compiled
def _copy(work: Work, start: Scalar, end: Scalar, writer: Writer) -> Writer:
    out = bytes_at(work.out, work.out_size)
    at, held, count = copy_bits(_bits(work), start, end, out, writer.at, writer.held, writer.count)
    return Writer(at, held, count)


@inlined
def _first_mcu(work: Work, block: Scalar, writer: Writer) -> tuple[bool, Scalar, Writer]:
    """Appends the first part of an MCU, up to and including the first DC value of its last component.

    ``block`` is the index of the MCU's first block among the walked blocks. Returns (whether the bits are valid,
    position of the bit after that DC value, writer).
    """
    blocks = uint64_at(work.blocks, BLOCKS_SIZE)
    starts = uint64_at(work.starts, STARTS_SIZE)
    dc, last = int64_at(work.dc, 4), int64_at(work.last, 4)
    limit = _state(work)[LIMIT]
    done = uint64(0)
    for c in range(_info(work)[COMPONENTS]):
        first = blocks[FIRST + c]
        pair, start = blocks[first], starts[block + first]
        difference, length = dc_at(_bits(work), start, pair, _words(work))
        if length == uint64(0) or start + length > limit:
            return False, done, writer
        if c > 0:
            writer = _copy(work, done, start, writer)
        sound, writer = _recode(work, pair, dc[c] + difference - last[c], writer)
        if not sound:
            return False, done, writer
        done = start + length
    return True, done, writer


@inlined
def _find_end(work: Work, stop: Scalar, tail: Scalar, exact: bool, needed: bool) -> bool:
    """Finds the end of the piece by walking from the entry point ``tail``. Returns false if the bits are damaged.

    If ``needed`` is set, also sets the source's DC predictors to their values at that end.
    """
    state, info = _state(work), _info(work)
    num_mcus = uint64(stop - tail * info[EVERY])
    state[END] = state[TAIL_BIT]
    if not exact:
        state[END] = _walk(work, state[TAIL_BIT], num_mcus * work.per_mcu)
        if state[END] == BROKEN:
            return False
    if needed:
        entry_dc(bytes_at(work.mcu, work.mcu_size), info, tail, int64_at(work.dc, 4))
        _sum_dc(work, uint64(0), num_mcus)
    return True


@compiled
def _splice_piece(work: Work, here: Scalar, stop: Scalar, needed: bool, writer: Writer) -> tuple[bool, Writer]:
    """Appends the MCUs ``here`` … ``stop - 1``, between which the source has no restart marker.

    Returns (whether the bits and the index are valid, writer). ``needed`` is as in ``splice_row``.
    """
    info, state = _info(work), _state(work)
    every, restart = info[EVERY], info[RESTART]
    # An entry point at a restart comes after the marker, so it does not show where the bits before it end.
    at_marker = stop == info[NUM_MCUS] or (restart > 0 and stop % restart == 0)
    tail = (stop - 1) // every if at_marker else stop // every
    jump, exact = tail * every > here, tail * every == stop
    if not _load_piece(work, tail, jump, exact):
        return False, writer
    if writer.at + (state[LIMIT] >> uint64(2)) + uint64(PIECE_ROOM) > work.out_size:
        return False, writer
    skip = uint64(here) - state[CURRENT]
    blocks = (uint64(stop) - state[CURRENT]) * work.per_mcu
    if jump:
        first = uint64_at(work.blocks, BLOCKS_SIZE)[FIRST + info[COMPONENTS] - 1]
        blocks = skip * work.per_mcu + first
    state[END] = _walk(work, state[BIT], blocks)
    if state[END] == BROKEN:
        return False, writer
    _sum_dc(work, uint64(0), skip)
    sound, done, writer = _first_mcu(work, skip * work.per_mcu, writer)
    if not sound:
        return False, writer
    if jump:
        sound = _find_end(work, stop, tail, exact, needed)
    elif needed:
        _sum_dc(work, skip, uint64(stop) - state[CURRENT])
    if not sound or state[END] < done or state[END] > state[LIMIT]:
        return False, writer
    writer = _copy(work, done, state[END], writer)
    if needed:
        dc, last = int64_at(work.dc, 4), int64_at(work.last, 4)
        for c in range(info[COMPONENTS]):
            last[c] = dc[c]
    return True, writer


@compiled
def splice_row(work: Work, start: Scalar, stop: Scalar, needed: bool, writer: Writer) -> tuple[bool, Writer]:
    """Appends the MCUs ``start`` … ``stop - 1`` to the output.

    Returns (whether the bits and the index are valid, writer). ``Work.last`` is the address of the output's DC
    predictors. If ``needed`` is set, they are updated to their values after the row, which the next row needs unless a
    restart marker precedes it.
    """
    restart = _info(work)[RESTART]
    if not _enter(work, start):
        return False, writer
    here = start
    while here < stop:
        piece_stop = stop if restart == 0 else min(stop, (here // restart + 1) * restart)
        more = piece_stop < stop
        sound, writer = _splice_piece(work, here, piece_stop, needed or more, writer)
        if not sound or (more and not _cross_restart(work, piece_stop)):
            return False, writer
        here = piece_stop
    return True, writer
