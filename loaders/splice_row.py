"""One MCU row of a window as entropy-coded bits, inside compiled code.

Start at the entry point before the first MCU wanted and walk to it, re-code the first DC value of
each component, copy all other bits up to the last MCU wanted, whose end the walk from the nearest
entry point before it finds. Where restart markers of the source lie within the row, this is done
piece by piece between them.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import int64, njit, uint64

from loaders.splice_bits import copy_bits, put_bits
from loaders.splice_index import (
    COMPONENTS,
    ENTRIES,
    EVERY,
    NUM_MCUS,
    RESTART,
    SCAN_END,
    entry_dc,
    entry_position,
)
from shards.entropy import BROKEN, SLACK, dc_at, skip_restart, sum_dc, unstuff, walk_blocks
from shards.huffman import ENCODER, MAX_DC_CATEGORY
from shards.kernels import Scalar

__all__ = ["PIECE_ROOM", "Scratch", "Source", "Writer", "end_byte", "splice_row"]

PIECE_ROOM = 64  # bytes of re-coded DC values and of padding, stuffed

U1 = np.uint64(1)
U7 = np.uint64(7)
U8 = np.uint64(8)

# Places in Scratch.state.
CURRENT, BYTE, BIT, LIMIT, TAIL_BIT, END = range(6)
STATE_SIZE = 6


class Source(NamedTuple):
    """A JPEG, its entry points, and its tables by block of an MCU."""

    jpeg: Any
    mcu: Any
    info: Any
    words: Any
    pairs: Any
    components: Any
    first: Any
    """First block of each component in an MCU."""


class Scratch(NamedTuple):
    """What one call works in."""

    bits: Any
    """Unstuffed bytes of the piece at hand."""
    starts: Any
    """Bit positions of the blocks walked."""
    dc: Any
    """DC predictors of the source."""
    last: Any
    """DC predictors of the output."""
    state: Any
    """The MCU that comes next, its byte in the file and bit; the piece's bits; where the tail's
    entry point lies in them; where the piece ends."""


class Writer(NamedTuple):
    """Where the output stands: bytes written, and ``count`` bits held back."""

    at: Any
    held: Any
    count: Any


@njit(nogil=True)
def end_byte(mcu: np.ndarray, info: np.ndarray, entry: Scalar) -> Scalar:
    """One past the byte of the file in which the bits before ``entry`` end."""
    if entry >= info[ENTRIES]:
        return uint64(info[SCAN_END])
    return uint64(min((entry_position(mcu, info, entry) >> 3) + 1, info[SCAN_END]))


@njit(nogil=True, forceinline=True)
def _load(source: Source, scratch: Scratch, bound: Scalar, at: Scalar) -> bool:
    """Unstuffs from the current byte to ``bound`` or a marker to ``bits[at:]``; sets ``LIMIT``."""
    start = scratch.state[BYTE]
    room = uint64(scratch.bits.size)
    if bound < start or bound > uint64(source.jpeg.size):
        return False
    if at + (bound - start) + uint64(2 * SLACK) > room:
        return False
    reached, used = unstuff(source.jpeg, start, bound, scratch.bits, at)
    scratch.state[BYTE] = reached
    scratch.state[LIMIT] = used * U8
    return True


@njit(nogil=True)
def _cross_restart(source: Source, scratch: Scratch, mcu: Scalar) -> bool:
    """Steps over the restart marker before ``mcu``, where the bits at hand must end."""
    state = scratch.state
    if state[LIMIT] < state[END] or state[LIMIT] - state[END] > U7:
        return False
    behind, number = skip_restart(source.jpeg, state[BYTE], uint64(source.info[SCAN_END]))
    if number < 0:
        return False
    state[CURRENT], state[BYTE], state[BIT] = uint64(mcu), behind, uint64(0)
    scratch.dc[:] = 0
    return True


@njit(nogil=True)
def _walk(source: Source, scratch: Scratch, position: Scalar, num_mcus: Scalar) -> Scalar:
    blocks = uint64(num_mcus) * uint64(source.pairs.size)
    return walk_blocks(
        scratch.bits, scratch.state[LIMIT], position, blocks, source.pairs, source.words,
        scratch.starts,
    )  # fmt: skip


@njit(nogil=True, forceinline=True)
def _enter(source: Source, scratch: Scratch, here: Scalar) -> bool:
    """Goes to the entry point before MCU ``here``, and over restart markers between the two."""
    info, state = source.info, scratch.state
    every, restart = info[EVERY], info[RESTART]
    entry = here // every
    position = entry_position(source.mcu, info, entry)
    current = entry * every
    state[CURRENT] = uint64(current)
    state[BYTE], state[BIT] = uint64(position >> 3), uint64(position & 7)
    entry_dc(source.mcu, info, entry, scratch.dc)
    while restart > 0 and (current // restart + 1) * restart <= here:
        boundary = (current // restart + 1) * restart
        if not _load(source, scratch, end_byte(source.mcu, info, entry + 1), uint64(0)):
            return False
        state[END] = _walk(source, scratch, state[BIT], boundary - current)
        if state[END] == BROKEN or not _cross_restart(source, scratch, boundary):
            return False
        current = boundary
    return True


@njit(nogil=True, forceinline=True)
def _load_piece(source: Source, scratch: Scratch, tail: Scalar, jump: bool, exact: bool) -> bool:
    """Unstuffs from the current byte to the end of the piece.

    ``tail`` is the last entry point of the piece. With ``jump`` it comes after the first MCU wanted
    and ``TAIL_BIT`` becomes its position in the bits; with ``exact`` it is the end itself.
    """
    state, info = scratch.state, source.info
    bound = end_byte(source.mcu, info, tail + 1)
    if not jump:
        return _load(source, scratch, bound, uint64(0))
    position = entry_position(source.mcu, info, tail)
    tail_byte = uint64(position >> 3)
    if not _load(source, scratch, tail_byte, uint64(0)) or state[BYTE] != tail_byte:
        return False
    state[TAIL_BIT] = state[LIMIT] + uint64(position & 7)
    if exact:
        bound = min(tail_byte + U1, uint64(info[SCAN_END]))
    return _load(source, scratch, bound, state[LIMIT] >> uint64(3))


@njit(nogil=True)
def _recode(
    source: Source, pair: Scalar, value: Scalar, out: np.ndarray, writer: Writer
) -> tuple[bool, Writer]:
    """Appends the DC difference ``value``; false where there is no code for it."""
    magnitude = abs(value)
    category = int64(0)
    while category <= MAX_DC_CATEGORY and magnitude >> category > 0:
        category += 1
    if category > MAX_DC_CATEGORY:
        return False, writer
    code = uint64(source.words[pair + uint64(ENCODER) + uint64(category)])
    if value < 0:
        value += (int64(1) << category) - 1
    bits = ((code & uint64(0xFFFF)) << uint64(category)) | uint64(value)
    length = (code >> uint64(16)) + uint64(category)
    at, held, count = put_bits(out, writer.at, writer.held, writer.count, bits, length)
    return code != uint64(0), Writer(at, held, count)


@njit(nogil=True, forceinline=True)
def _copy(scratch: Scratch, start: Scalar, end: Scalar, out: np.ndarray, writer: Writer) -> Writer:
    at, held, count = copy_bits(scratch.bits, start, end, out, writer.at, writer.held, writer.count)
    return Writer(at, held, count)


@njit(nogil=True, forceinline=True)
def _first_mcu(
    source: Source, scratch: Scratch, block: Scalar, out: np.ndarray, writer: Writer
) -> tuple[bool, Scalar, Writer]:
    """Appends the MCU that starts with walked block ``block``, up to its last first DC value.

    Returns whether it is sound, and the bit behind that value.
    """
    done = uint64(0)
    for c in range(source.info[COMPONENTS]):
        pair = source.pairs[source.first[c]]
        start = scratch.starts[block + source.first[c]]
        difference, length = dc_at(scratch.bits, start, pair, source.words)
        if length == uint64(0) or start + length > scratch.state[LIMIT]:
            return False, done, writer
        if c > 0:
            writer = _copy(scratch, done, start, out, writer)
        value = scratch.dc[c] + difference - scratch.last[c]
        sound, writer = _recode(source, pair, value, out, writer)
        if not sound:
            return False, done, writer
        done = start + length
    return True, done, writer


@njit(nogil=True, forceinline=True)
def _find_end(
    source: Source, scratch: Scratch, stop: Scalar, tail: Scalar, exact: bool, needed: bool
) -> bool:
    """Walks from the tail's entry point to the end of the piece; DC values there, if ``needed``."""
    state = scratch.state
    state[END] = state[TAIL_BIT]
    num_mcus = stop - tail * source.info[EVERY]
    if not exact:
        state[END] = _walk(source, scratch, state[TAIL_BIT], num_mcus)
        if state[END] == BROKEN:
            return False
    if needed:
        entry_dc(source.mcu, source.info, tail, scratch.dc)
        _sum_dc(source, scratch, uint64(0), uint64(num_mcus))
    return True


@njit(nogil=True)
def _sum_dc(source: Source, scratch: Scratch, first_mcu: Scalar, stop_mcu: Scalar) -> None:
    per_mcu = uint64(source.pairs.size)
    sum_dc(
        scratch.bits, scratch.starts, first_mcu * per_mcu, stop_mcu * per_mcu,
        source.pairs, source.components, source.words, scratch.dc,
    )  # fmt: skip


@njit(nogil=True)
def _splice_piece(
    source: Source, scratch: Scratch, here: Scalar, stop: Scalar, needed: bool,
    out: np.ndarray, writer: Writer,
) -> tuple[bool, Writer]:  # fmt: skip
    """Appends the MCUs ``here`` … ``stop - 1``, between which the source has no marker."""
    info, state = source.info, scratch.state
    every, restart = info[EVERY], info[RESTART]
    # An entry point at a restart lies behind the marker: no use for finding where bits end.
    at_marker = stop == info[NUM_MCUS] or (restart > 0 and stop % restart == 0)
    tail = (stop - 1) // every if at_marker else stop // every
    jump, exact = tail * every > here, tail * every == stop
    if not _load_piece(source, scratch, tail, jump, exact):
        return False, writer
    if writer.at + (state[LIMIT] >> uint64(2)) + uint64(PIECE_ROOM) > uint64(out.size):
        return False, writer
    skip = uint64(here) - state[CURRENT]
    per_mcu = uint64(source.pairs.size)
    blocks = (uint64(stop) - state[CURRENT]) * per_mcu
    if jump:
        blocks = skip * per_mcu + source.first[info[COMPONENTS] - 1]
    state[END] = walk_blocks(
        scratch.bits, state[LIMIT], state[BIT], blocks, source.pairs, source.words, scratch.starts
    )
    if state[END] == BROKEN:
        return False, writer
    _sum_dc(source, scratch, uint64(0), skip)
    sound, done, writer = _first_mcu(source, scratch, skip * per_mcu, out, writer)
    if not sound:
        return False, writer
    if jump:
        sound = _find_end(source, scratch, stop, tail, exact, needed)
    elif needed:
        _sum_dc(source, scratch, skip, uint64(stop) - state[CURRENT])
    if not sound or state[END] < done or state[END] > state[LIMIT]:
        return False, writer
    writer = _copy(scratch, done, state[END], out, writer)
    if needed:
        for c in range(info[COMPONENTS]):
            scratch.last[c] = scratch.dc[c]
    return True, writer


@njit(nogil=True)
def splice_row(
    source: Source, scratch: Scratch, start: Scalar, stop: Scalar, needed: bool,
    out: np.ndarray, writer: Writer,
) -> tuple[bool, Writer]:  # fmt: skip
    """Appends the MCUs ``start`` … ``stop - 1``; false where bits or index are not sound.

    ``Scratch.last`` holds the predictors of the output; where ``needed``, those after the row in
    the end.
    """
    restart = source.info[RESTART]
    if not _enter(source, scratch, start):
        return False, writer
    here = start
    while here < stop:
        piece_stop = stop if restart == 0 else min(stop, (here // restart + 1) * restart)
        more = piece_stop < stop
        sound, writer = _splice_piece(
            source, scratch, here, piece_stop, needed or more, out, writer
        )
        if not sound or (more and not _cross_restart(source, scratch, piece_stop)):
            return False, writer
        here = piece_stop
    return True, writer
