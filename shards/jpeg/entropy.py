"""Finds the bit position of each block in a sequential JPEG scan without decoding pixels. Compiled by Numba.

The walk works on *unstuffed* bytes: ``unstuff`` copies them from the file without stuffed zeros and markers, mostly
eight at a time. The array of unstuffed bytes must have at least ``SLACK`` bytes after the last valid bit, so that words
can be read without bounds checks. The bits are untrusted. The walk stops at an invalid code, at a coefficient index
beyond the end of the block, or at the end of the bits.

Bit positions and indices into frequently used arrays are uint64, because Numba then omits its handling of negative
indices. They must not be combined with an int64, because Numba turns ``uint64 + int64`` into a float.
"""

import numpy as np
from numba import int64, uint8, uint64

from shards.jpeg.huffman import AC, DC, DC_BITS, LOOKUP_BITS, START, slow_dc, slow_entry
from shards.jpeg.numba_support import Scalar, compiled, inlined, load64, load_word, store_word

__all__ = ["BROKEN", "SLACK", "dc_at", "has_ff", "skip_restart", "sum_dc", "unstuff", "walk_blocks"]

SLACK = 24
BROKEN = np.uint64(1 << 63)

U1 = np.uint64(1)
U2 = np.uint64(2)
U3 = np.uint64(3)
U4 = np.uint64(4)
U5 = np.uint64(5)
U6 = np.uint64(6)
U7 = np.uint64(7)
U8 = np.uint64(8)
U64 = np.uint64(64)
LOW_SEVEN = np.uint64(0x7F7F7F7F7F7F7F7F)
ONES = np.uint64(0x0101010101010101)
HIGH = np.uint64(0x8080808080808080)
LOOKUP_SHIFT = np.uint64(64 - LOOKUP_BITS)
DC_SHIFT = np.uint64(64 - DC_BITS)


@inlined
def has_ff(word: Scalar) -> bool:
    """Whether any of the eight bytes of ``word`` is FF."""
    return ((word & LOW_SEVEN) + ONES) & word & HIGH != uint64(0)


@compiled
def unstuff(data: np.ndarray, start: Scalar, end: Scalar, out: np.ndarray, at: Scalar) -> tuple[Scalar, Scalar]:
    """Copies ``data[start:end]`` to ``out[at:]`` without stuffed zeros, up to the first marker.

    Returns two offsets: the one after the last byte read from ``data`` (``end``, or the offset of a marker's FF), and
    the one after the last byte written to ``out``. The caller must ensure ``end <= data.size`` and ``at + (end - start)
    + 8 <= out.size``. An FF in the last byte counts as data, since the byte that distinguishes a stuffed zero from a
    marker is outside the range.
    """
    while start + U8 <= end:
        word = load_word(data, start)
        store_word(out, at, word)
        if not has_ff(word):
            start += U8
            at += U8
            continue
        stop = start + U8
        while start < stop:
            byte = data[start]
            out[at] = byte
            if byte == uint8(0xFF) and start + U1 < end:
                if data[start + U1] != uint8(0):
                    return start, at
                start += U1
            start += U1
            at += U1
    while start < end:
        byte = data[start]
        out[at] = byte
        if byte == uint8(0xFF) and start + U1 < end:
            if data[start + U1] != uint8(0):
                return start, at
            start += U1
        start += U1
        at += U1
    return start, at


@compiled
def skip_restart(data: np.ndarray, at: Scalar, end: Scalar) -> tuple[Scalar, Scalar]:
    """Returns the offset after the restart marker at ``at``, and the marker's index, 0 … 7.

    If there is no restart marker, the index is -1. Fill bytes (FF) may precede the marker.
    """
    if at >= end or data[at] != uint8(0xFF):
        return at, int64(-1)
    while at < end and data[at] == uint8(0xFF):
        at += U1
    if at >= end or data[at] < uint8(0xD0) or data[at] > uint8(0xD7):
        return at, int64(-1)
    return at + U1, int64(data[at]) - int64(0xD0)


@compiled
def _step_alone(
    words: np.ndarray, here: Scalar, entry: Scalar, window: Scalar, k: Scalar
) -> tuple[Scalar, Scalar, Scalar]:
    """Like :func:`_step`, but consumes only one symbol: the first of ``entry``, or, if ``entry`` is 0, the next in
    ``window``.

    Needed if the first code is too long for the lookup table, or if the symbols after it belong to the next block.
    """
    if entry == uint64(0):
        top = int64(window >> uint64(48))
        entry = uint64(slow_entry(words, int64(here), top, k == uint64(0)))
        if entry == uint64(0):
            return uint64(0), U64 + U1, uint64(0)
    reach = k + ((entry >> uint64(17)) & uint64(127))
    return (entry >> U5) & uint64(31), reach, ((entry >> uint64(25)) & U1) | (reach >> U6)


@inlined
def _step(words: np.ndarray, here: Scalar, base: Scalar, window: Scalar, k: Scalar) -> tuple[Scalar, Scalar, Scalar]:
    """Decodes the next symbols of a block, given that ``k`` of its coefficients have been decoded.

    Returns the number of bits consumed, the new value of ``k``, and whether the block ends here (1 or 0). The new value
    of ``k`` is 65 if the code is invalid.
    """
    entry = uint64(words[base + (window >> LOOKUP_SHIFT)])
    reach = k + ((entry >> uint64(10)) & uint64(127))
    if entry == uint64(0) or reach > U64:
        return _step_alone(words, here, entry, window, k)
    return entry & uint64(31), reach, ((entry >> uint64(24)) & U1) | (reach >> U6)


@compiled
def walk_blocks(
    bits: np.ndarray,
    limit: Scalar,
    position: Scalar,
    num_blocks: Scalar,
    pairs: np.ndarray,
    words: np.ndarray,
    starts: np.ndarray,
) -> Scalar:
    """Walks ``num_blocks`` blocks, starting at bit ``position``, which must be the start of an MCU.

    ``pairs`` (uint64) holds, for every block in an MCU, the offset of its tables in ``words``. Sets ``starts[i]`` to
    the bit position of block i, and ``starts[num_blocks]`` to the position after the last block. Returns that last
    position, or ``BROKEN`` at an invalid code or if the walk passes ``limit``. ``limit`` is the number of valid bits,
    which must be followed by ``SLACK`` further bytes in ``bits``.
    """
    k = uint64(0)
    done_blocks = uint64(0)
    block = uint64(0)
    per_mcu = uint64(pairs.size)
    if per_mcu == uint64(0) or num_blocks >= uint64(starts.size):
        return BROKEN
    if limit + uint64(8 * SLACK) > uint64(bits.size) * U8:
        return BROKEN
    here = pairs[0]
    base = here + uint64(START)
    starts[0] = position
    if num_blocks == uint64(0):
        return position if position <= limit else BROKEN
    while position <= limit:
        # The window has 57 bits or more. A step consumes 31 at most and looks at 16, so there are
        # enough for two steps, and for a third one if the first two consumed 40 or fewer.
        window = load64(bits, position >> U3) << (position & U7)
        third = position + uint64(40)
        for step in range(3):
            if step == 2 and position > third:
                break
            length, k, done = _step(words, here, base, window, k)
            if k > U64:
                return BROKEN
            window <<= length
            position += length
            base = here + uint64(AC)
            if done != uint64(0):
                done_blocks += U1
                starts[done_blocks] = position
                if done_blocks == num_blocks:
                    return position if position <= limit else BROKEN
                block += U1
                if block == per_mcu:
                    block = uint64(0)
                here = pairs[block]
                base = here + uint64(START)
                k = uint64(0)
    return BROKEN


@inlined
def dc_at(bits: np.ndarray, position: Scalar, pair: Scalar, words: np.ndarray) -> tuple[Scalar, Scalar]:
    """Returns the DC difference coded at bit ``position``, and the combined length of its code and value in bits."""
    window = load64(bits, position >> U3) << (position & U7)
    entry = uint64(words[pair + uint64(DC) + (window >> DC_SHIFT)])
    if entry == uint64(0):
        entry = uint64(slow_dc(words, int64(pair), int64(window >> uint64(48))))
    length = entry & uint64(31)
    category = entry >> U8
    # Two shifts, because a shift by 64 is undefined. No branch on the sign, since it is unpredictable.
    value = int64(((window << length) >> U1) >> (uint64(63) - category))
    power = int64(1) << int64(category)
    value += ((value - (power >> 1)) >> 63) & (int64(1) - power)
    return value, length + category


@compiled
def sum_dc(
    bits: np.ndarray,
    starts: np.ndarray,
    first: Scalar,
    stop: Scalar,
    pairs: np.ndarray,
    components: np.ndarray,
    words: np.ndarray,
    dc: np.ndarray,
) -> None:
    """Adds the DC differences of the walked blocks ``first`` … ``stop - 1`` to ``dc`` (int64, one sum per component).

    Block ``first`` must be the first of an MCU. ``components`` (uint64) holds the component index of every block in an
    MCU.
    """
    block = uint64(0)
    per_mcu = uint64(pairs.size)
    for i in range(first, stop):
        value, _ = dc_at(bits, starts[i], pairs[block], words)
        dc[components[block]] += value
        block += U1
        if block == per_mcu:
            block = uint64(0)
