"""Writes entropy-coded bits, in compiled code.

The functions take and return the state ``(at, held, count)``. ``at`` is the offset of the next byte in ``out``. The low
``count`` bits of ``held``, at most seven, are pending: they will be written once they fill a byte. The caller must
ensure that ``out`` has room for 16 bytes plus twice the bytes copied, because every byte written may be an FF that
needs a stuffed zero.
"""

import numpy as np
from numba import uint8, uint64

from shards.jpeg.entropy import has_ff
from shards.jpeg.numba_support import Scalar, compiled, inlined, load64, store64

__all__ = ["close_row", "copy_bits", "put_bits"]

U1 = np.uint64(1)
U3 = np.uint64(3)
U7 = np.uint64(7)
U8 = np.uint64(8)
U32 = np.uint64(32)
U64 = np.uint64(64)


@inlined
def _bits64(data: np.ndarray, position: Scalar) -> Scalar:
    """Returns 64 bits of ``data``, starting at bit ``position``. Reads nine bytes."""
    byte = position >> U3
    shift = position & U7
    return (load64(data, byte) << shift) | (uint64(data[byte + U8]) >> (U8 - shift))


@compiled
def put_bits(
    out: np.ndarray, at: Scalar, held: Scalar, count: Scalar, value: Scalar, length: Scalar
) -> tuple[Scalar, Scalar, Scalar]:
    """Appends the low ``length`` (at most 32) bits of ``value``; its other bits must be 0."""
    held = (held << length) | value
    count += length
    while count >= U8:
        count -= U8
        byte = uint8(held >> count)
        out[at] = byte
        at += U1
        if byte == uint8(0xFF):
            out[at] = uint8(0)
            at += U1
    return at, held & ((U1 << count) - U1), count


@compiled
def _put_word(out: np.ndarray, at: Scalar, word: Scalar) -> Scalar:
    """Appends the eight bytes of ``word``, with a stuffed zero after each FF. Returns the offset after them."""
    for i in range(8):
        byte = uint8(word >> uint64(56 - 8 * i))
        out[at] = byte
        at += U1
        if byte == uint8(0xFF):
            out[at] = uint8(0)
            at += U1
    return at


@compiled
def copy_bits(
    data: np.ndarray, position: Scalar, end: Scalar, out: np.ndarray, at: Scalar, held: Scalar, count: Scalar
) -> tuple[Scalar, Scalar, Scalar]:
    """Appends the bits ``position`` … ``end - 1`` of ``data``, in whole words where possible."""
    if position + U64 <= end:
        # The held bits and the first copied bits fill a word. All further words start at whole bytes of `out`.
        word = _bits64(data, position)
        if count > uint64(0):
            word = (held << (U64 - count)) | (word >> count)
        position += U64 - count
        if has_ff(word):
            at = _put_word(out, at, word)
        else:
            store64(out, at, word)
            at += U8
        held = uint64(0)
        count = uint64(0)
        while position + U64 <= end:
            word = _bits64(data, position)
            position += U64
            if has_ff(word):
                at = _put_word(out, at, word)
            else:
                store64(out, at, word)
                at += U8
    while position < end:
        length = min(end - position, U32)
        value = _bits64(data, position) >> (U64 - length)
        at, held, count = put_bits(out, at, held, count, value, length)
        position += length
    return at, held, count


@compiled
def close_row(out: np.ndarray, at: Scalar, held: Scalar, count: Scalar) -> Scalar:
    """Fills the rest of the last byte with ones, and returns the offset after it."""
    if count > uint64(0):
        padding = U8 - count
        at, _, _ = put_bits(out, at, held, count, (U1 << padding) - U1, padding)
    return at
