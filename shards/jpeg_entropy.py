"""Huffman decoding of JPEG scans into coefficients, compiled, without the GIL.

The bytes are untrusted. Every read lies within ``bits`` because a position is compared with the end
of its piece before it is used and at least four bytes follow each piece; every write lies within a
block, whose number follows from the geometry and not from the file's bits.

A position is a bit number; no state is kept between symbols but that, so nothing is read ahead.
"""

from functools import lru_cache

import numba
import numpy as np
import numpy.typing as npt

__all__ = [
    "ENDED",
    "IMPOSSIBLE",
    "OUT_OF_RANGE",
    "decode_refining_scan",
    "decode_scan",
    "prefix_table",
]

ENDED, IMPOSSIBLE, OUT_OF_RANGE = 1, 2, 3
"""What the decoders return in place of 0."""

_FAST_BITS = 11
"""Codes up to this length are found in a table of 4 kB, which stays in the first-level cache."""


@lru_cache(maxsize=32)
def prefix_table(spec: bytes) -> npt.NDArray[np.uint16] | None:
    """A table from the next 16 bits to ``length << 8 | symbol``, 0 where no code begins so.

    ``spec`` is what a DHT segment holds: 16 counts of codes by length, then the symbols. ``None``
    for codes that cannot be.
    """
    counts, symbols = spec[:16], spec[16:]
    lengths = np.repeat(np.arange(1, 17), list(counts))
    if len(lengths) > len(symbols):
        return None
    spans = 1 << (16 - lengths)
    if spans.sum() >= 1 << 16:  # libjpeg, too, refuses tables that use the code of all ones
        return None
    table = np.zeros(1 << 16, np.uint16)
    entries = (lengths << 8 | np.frombuffer(symbols, np.uint8)[: len(lengths)]).astype(np.uint16)
    table[: spans.sum()] = np.repeat(entries, spans)
    table.setflags(write=False)
    return table


@numba.njit(nogil=True, cache=True)
def _look(bits: np.ndarray, position: int) -> int:
    """The 16 bits at a position."""
    at = position >> 3
    word = int(bits[at]) << 16 | int(bits[at + 1]) << 8 | int(bits[at + 2])
    return (word >> (8 - (position & 7))) & 0xFFFF


@numba.njit(nogil=True, cache=True)
def _symbol(look: int, fast: np.ndarray, full: np.ndarray) -> int:
    entry = int(fast[look >> (16 - _FAST_BITS)])
    return entry if entry else int(full[look])


@numba.njit(nogil=True, cache=True)
def _fast_tables(full: np.ndarray) -> np.ndarray:
    """Of each full table the codes of up to 11 bits, and 0 for longer ones."""
    step = 1 << (16 - _FAST_BITS)
    fast = full[:, ::step].copy()
    for number in range(fast.shape[0]):
        for index in range(fast.shape[1]):
            if fast[number, index] >> 8 > _FAST_BITS:
                fast[number, index] = 0
    return fast


@numba.njit(nogil=True, cache=True)
def _extended(look: int, size: int) -> int:
    """The signed value that ``size`` bits stand for."""
    value = look >> (16 - size)
    return value if size == 0 or value >> (size - 1) else value - (1 << size) + 1


@numba.njit(nogil=True, cache=True)
def _corner(row: np.ndarray, mcu: int) -> tuple[int, int, int, int]:
    """The number of an MCU's first block of a component, and that component's stride, h and v."""
    base, stride, h, v, across = row[0], row[1], row[2], row[3], row[4]
    return base + mcu // across * v * stride + mcu % across * h, stride, h, v


@numba.njit(nogil=True, cache=True)
def decode_scan(
    bits: np.ndarray,
    bounds: np.ndarray,
    interval: int,
    shape: np.ndarray,
    mcus: int,
    first: int,
    last: int,
    low: int,
    progressive: bool,
    dc: np.ndarray,
    ac: np.ndarray,
    blocks: np.ndarray,
) -> int:
    """Decodes a sequential scan, or a progressive one that brings new coefficients.

    ``bits`` holds the unstuffed pieces between restart markers, ``bounds`` (pieces, 2) where each
    begins and ends in bits, ``interval`` MCUs in each; ``shape`` a row of (base, stride, h, v, MCUs
    across) per component; ``first`` and ``last`` the band of coefficients, ``low`` their shift;
    ``dc`` and ``ac`` a prefix table per component. Fills ``blocks``. Returns 0 or an error.
    """
    fast_dc, fast_ac = _fast_tables(dc), _fast_tables(ac)
    predicted = np.zeros(shape.shape[0], np.int64)
    position, end, run = 0, 0, 0
    for mcu in range(mcus):
        if mcu % interval == 0:
            position, end = bounds[mcu // interval, 0], bounds[mcu // interval, 1]
            predicted[:] = 0
            run = 0
        for part in range(shape.shape[0]):
            corner, stride, h, v = _corner(shape[part], mcu)
            for place in range(h * v):
                block = blocks[corner + place // h * stride + place % h]
                if first == 0:
                    position, value = _dc(bits, position, end, fast_dc[part], dc[part])
                    if position < 0:
                        return value
                    predicted[part] += value
                    value = predicted[part] << low
                    if not -32768 <= value <= 32767:
                        return OUT_OF_RANGE
                    block[0] = value
                if last == 0:
                    continue
                if run:
                    run -= 1
                    continue
                position, run = _ac(
                    bits, position, end, max(first, 1), last, low, progressive,
                    fast_ac[part], ac[part], block,
                )  # fmt: skip
                if position < 0:
                    return run
    return 0


@numba.njit(nogil=True, cache=True)
def _dc(
    bits: np.ndarray, position: int, end: int, fast: np.ndarray, full: np.ndarray
) -> tuple[int, int]:
    """(position after it, difference of the DC value), or (-1, error)."""
    if position >= end:
        return -1, ENDED
    symbol = _symbol(_look(bits, position), fast, full)
    size = symbol & 255
    position += symbol >> 8
    if symbol == 0 or size > 15:
        return -1, IMPOSSIBLE
    if position + size > end:
        return -1, ENDED
    return position + size, _extended(_look(bits, position), size)


@numba.njit(nogil=True, cache=True)
def _ac(
    bits: np.ndarray,
    position: int,
    end: int,
    first: int,
    last: int,
    low: int,
    progressive: bool,
    fast: np.ndarray,
    full: np.ndarray,
    block: np.ndarray,
) -> tuple[int, int]:
    """(position after the block's band, blocks after it without any), or (-1, error)."""
    k = first
    while k <= last:
        if position >= end:
            return -1, ENDED
        symbol = _symbol(_look(bits, position), fast, full)
        position += symbol >> 8
        skip, size = symbol >> 4 & 15, symbol & 15
        if symbol == 0:
            return -1, IMPOSSIBLE
        if position + (size if size else skip % 15) > end:  # a skip of 15 brings no bits
            return -1, ENDED
        if size:
            k += skip
            if k > last:
                return -1, IMPOSSIBLE
            value = _extended(_look(bits, position), size) << low
            if not -32768 <= value <= 32767:
                return -1, OUT_OF_RANGE
            block[k] = value
            position += size
            k += 1
        elif skip == 15:
            k += 16
        elif skip == 0:
            return position, 0
        elif progressive:
            return position + skip, (1 << skip) + (_look(bits, position) >> (16 - skip)) - 1
        else:
            return -1, IMPOSSIBLE
    return position, 0


@numba.njit(nogil=True, cache=True)
def decode_refining_scan(
    bits: np.ndarray,
    bounds: np.ndarray,
    interval: int,
    shape: np.ndarray,
    mcus: int,
    first: int,
    last: int,
    low: int,
    full: np.ndarray,
    blocks: np.ndarray,
) -> int:
    """Decodes a progressive scan that adds one bit to coefficients; ``full`` is its AC table.

    The rest as in :func:`decode_scan`.
    """
    fast = _fast_tables(full.reshape(1, -1))[0]
    position, end, run = 0, 0, 0
    for mcu in range(mcus):
        if mcu % interval == 0:
            position, end = bounds[mcu // interval, 0], bounds[mcu // interval, 1]
            run = 0
        for part in range(shape.shape[0]):
            corner, stride, h, v = _corner(shape[part], mcu)
            for place in range(h * v):
                block = blocks[corner + place // h * stride + place % h]
                if first:
                    position, run = _refine(
                        bits, position, end, first, last, low, run, fast, full, block
                    )
                    if position < 0:
                        return run
                    continue
                if position >= end:
                    return ENDED
                if _look(bits, position) >> 15:
                    block[0] |= 1 << low
                position += 1
    return 0


@numba.njit(nogil=True, cache=True)
def _refine(
    bits: np.ndarray,
    position: int,
    end: int,
    first: int,
    last: int,
    low: int,
    run: int,
    fast: np.ndarray,
    full: np.ndarray,
    block: np.ndarray,
) -> tuple[int, int]:
    """(position after the block's band, blocks left of the run of bands without a new coefficient),
    or (-1, error)."""
    k = first
    while run == 0 and k <= last:
        if position >= end:
            return -1, ENDED
        symbol = _symbol(_look(bits, position), fast, full)
        position += symbol >> 8
        skip, size = symbol >> 4 & 15, symbol & 15
        if symbol == 0 or size > 1:
            return -1, IMPOSSIBLE
        if position + (size if size else skip % 15) > end:  # a skip of 15 brings no bits
            return -1, ENDED
        value = 0
        if size:
            value = (1 if _look(bits, position) >> 15 else -1) << low
            position += 1
        elif skip < 15:
            run = 1 << skip
            if skip:
                run += _look(bits, position) >> (16 - skip)
                position += skip
            break
        position, k = _correct(bits, position, end, k, last, low, skip, block)
        if position < 0:
            return -1, ENDED
        if value:
            if k > last:
                return -1, IMPOSSIBLE
            block[k] = value
        k += 1
    if run:
        position, _ = _correct(bits, position, end, k, last, low, 64, block)
        if position < 0:
            return -1, ENDED
        run -= 1
    return position, run


@numba.njit(nogil=True, cache=True)
def _correct(
    bits: np.ndarray,
    position: int,
    end: int,
    k: int,
    last: int,
    low: int,
    zeros: int,
    block: np.ndarray,
) -> tuple[int, int]:
    """Reads a bit for each coefficient that is not zero, up to the zero after ``zeros`` of them.

    (position, place of that zero or ``last + 1``); position -1 where the bits end.
    """
    while k <= last:
        coefficient = int(block[k])
        if coefficient:
            if position >= end:
                return -1, k
            if _look(bits, position) >> 15 and not coefficient >> low & 1:
                step = 1 << low
                block[k] = coefficient + (step if coefficient > 0 else -step)
            position += 1
        elif zeros == 0:
            break
        else:
            zeros -= 1
        k += 1
    return position, k
