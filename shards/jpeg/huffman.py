"""Turns a JPEG's Huffman tables into lookup tables that decode several symbols at once. Compiled by Numba.

A *pair* is the DC and the AC table of one component. ``build_pair`` writes its lookup tables to ``PAIR_WORDS`` words of
a uint32 array, which holds the pairs of all components consecutively. The constants ``START`` to ``ENCODER`` are the
offsets of the parts within a pair. The tables come from untrusted files: a table that libjpeg refuses is refused here
too, and no index is ever out of bounds.

The two big tables (``START``, ``AC``) are indexed by the next ``LOOKUP_BITS`` bits of the scan. Each entry describes
the symbols whose codes lie completely within these bits. An entry has 32 bits, which hold the following fields (widths
in parentheses), starting at the lowest bit:

    bits consumed by all symbols (5) | by the first (5) | reach of all (7) | of the first (7)
    | all end the block (1) | the first does (1)

The *reach* of a symbol is the number of coefficients that it covers; an end of block counts as one. So if decoding is
at coefficient ``k``, all symbols of an entry belong to the current block if ``k + reach <= 64``. Entries of ``START``
begin with a DC symbol, those of ``AC`` with an AC symbol. An entry of 0 means that the first code is longer than
``LOOKUP_BITS`` bits, or invalid.
"""

import numpy as np
from numba import int64, uint32

from shards.jpeg.numba_support import Scalar, compiled

__all__ = [
    "AC",
    "DC",
    "DC_BITS",
    "ENCODER",
    "LOOKUP_BITS",
    "MAX_DC_CATEGORY",
    "PAIR_WORDS",
    "START",
    "augment_dc",
    "build_pair",
    "slow_dc",
    "slow_entry",
]

LOOKUP_BITS = 10  # with 11 the walk is 5 % faster, but the tables are slower to build and fill the L1 cache
DC_BITS = 9
# 8-bit samples need no more: a DC value is ±1024 at the finest quantisation, a difference ±2047.
MAX_DC_CATEGORY = 11

SLOW_WORDS = 17 + 17 + 256  # per code length: end of its codes, offset of its symbols; then the symbols
START = 0
AC = 1 << LOOKUP_BITS
DC = 2 << LOOKUP_BITS
SLOW_DC = DC + (1 << DC_BITS)
SLOW_AC = SLOW_DC + SLOW_WORDS
ENCODER = SLOW_AC + SLOW_WORDS
PAIR_WORDS = ENCODER + 16


@compiled
def _canonical(table: np.ndarray, words: np.ndarray, slow: Scalar) -> Scalar:
    """Fills ``words[slow:]`` with the table in which :func:`_find` looks up codes of any length.

    ``table`` is the Huffman table as in the file: Tc/Th byte, 16 counts, symbols. Returns the number of symbols, or 0
    if libjpeg would refuse the table because it has no symbols, codes that overflow their length, or an all-ones code.
    """
    code = 0
    first = 0
    words[slow] = 0
    words[slow + 17] = 0
    for length in range(1, 17):
        count = int64(table[length])
        # Code + offset, modulo 2³², is the index of the symbol.
        words[slow + 17 + length] = uint32((first - code) & 0xFFFFFFFF)
        code += count
        first += count
        if count > 0 and code >= (1 << length):
            return 0
        words[slow + length] = code << (16 - length)
        code <<= 1
    if first < 1 or first > 256 or first + 17 > table.size:
        return 0
    for i in range(first):
        words[slow + 34 + i] = table[17 + i]
    return first


@compiled
def _find(words: np.ndarray, slow: Scalar, window: Scalar) -> Scalar:
    """Returns (length, symbol) of the code at the start of ``window`` (16 bits); length is 0 if no code matches."""
    for length in range(1, 17):
        if window < int64(words[slow + length]):
            at = (window >> (16 - length)) + int64(words[slow + 17 + length])
            return length, int64(words[slow + 34 + (at & 0xFF)])
    return 0, 0


@compiled
def _ac_entry(length: Scalar, symbol: Scalar) -> Scalar:
    """Returns the lookup entry for a single AC code, or 0 for a symbol that a sequential scan does not use."""
    run, size = symbol >> 4, symbol & 15
    if size == 0 and run != 0 and run != 15:
        return uint32(0)
    eob = 1 if symbol == 0 else 0
    return _pack(length + size, run + 1, eob)


@compiled
def _dc_entry(length: Scalar, symbol: Scalar) -> Scalar:
    """Returns the lookup entry for a single DC code, or 0 for a category that 8-bit samples never need."""
    if symbol > MAX_DC_CATEGORY:
        return uint32(0)
    return _pack(length + symbol, 1, 0)


@compiled
def _pack(bits: Scalar, reach: Scalar, eob: Scalar) -> Scalar:
    return uint32(bits | bits << 5 | reach << 10 | reach << 17 | eob << 24 | eob << 25)


@compiled
def slow_entry(words: np.ndarray, pair: Scalar, window: Scalar, is_dc: bool) -> Scalar:
    """Returns the entry for the first code, of any length, in ``window`` (16 bits, int64); 0 if no code matches."""
    if is_dc:
        length, symbol = _find(words, pair + SLOW_DC, window)
        return _dc_entry(length, symbol) if length > 0 else uint32(0)
    length, symbol = _find(words, pair + SLOW_AC, window)
    return _ac_entry(length, symbol) if length > 0 else uint32(0)


@compiled
def slow_dc(words: np.ndarray, pair: Scalar, window: Scalar) -> Scalar:
    """Returns ``length | category << 8`` of the DC code at the start of ``window`` (16 bits); 0 if no code matches."""
    length, symbol = _find(words, pair + SLOW_DC, window)
    if length == 0 or symbol > MAX_DC_CATEGORY:
        return uint32(0)
    return uint32(length | symbol << 8)


@compiled
def _fill_single(words: np.ndarray, slow: Scalar, count: Scalar, at: Scalar, lengths: np.ndarray) -> None:
    """Writes the lookup entries of single AC codes to ``words[at:]``, and the lengths of these codes to ``lengths``.

    Codes longer than ``LOOKUP_BITS`` bits get no entry. ``count`` is the number of symbols in the table at ``slow``.
    """
    size = 1 << LOOKUP_BITS
    for i in range(size):
        words[at + i] = 0
        lengths[i] = 0
    code = 0
    first = 0
    for length in range(1, LOOKUP_BITS + 1):
        # `words` holds the end of the codes of this length (exclusive), left-aligned to 16 bits.
        end = int64(words[slow + length]) >> (16 - length)
        span = 1 << (LOOKUP_BITS - length)
        while code < end and first < count:
            symbol = int64(words[slow + 34 + first])
            entry = _ac_entry(length, symbol)
            start = code * span
            for i in range(start, min(start + span, size)):
                words[at + i] = entry
                lengths[i] = length
            code += 1
            first += 1
        code <<= 1


@compiled
def _extend(index: Scalar, entry: Scalar, singles: np.ndarray, lengths: np.ndarray) -> Scalar:
    """Extends ``entry`` by the AC symbols that follow it in the bits of ``index``.

    Stops before a symbol that does not lie completely within these bits or within the block, and after an end of block.
    """
    mask = (1 << LOOKUP_BITS) - 1
    bits = int64(entry) & 31
    reach = (int64(entry) >> 10) & 127
    eob = (int64(entry) >> 24) & 1
    while eob == 0 and bits < LOOKUP_BITS:
        rest = (index << bits) & mask
        following = int64(singles[rest])
        if following == 0 or int64(lengths[rest]) + bits > LOOKUP_BITS:
            break
        reach_more = reach + ((following >> 10) & 127)
        if reach_more > 64:
            break
        bits += following & 31
        reach = reach_more
        eob = (following >> 24) & 1
    first = int64(entry) & ~(31 | 127 << 10 | 1 << 24)
    return uint32(first | bits | reach << 10 | eob << 24)


@compiled
def build_pair(
    dc_table: np.ndarray,
    ac_table: np.ndarray,
    words: np.ndarray,
    pair: Scalar,
    singles: np.ndarray,
    lengths: np.ndarray,
) -> bool:
    """Writes the lookup tables of a pair to ``words[pair : pair + PAIR_WORDS]``. Returns whether the tables are valid.

    ``dc_table`` and ``ac_table`` are uint8 arrays of at least 17 bytes that begin with the Tc/Th byte. ``singles``
    (uint32) and ``lengths`` (uint8) are scratch arrays of ``1 << LOOKUP_BITS`` elements.
    """
    num_dc = _canonical(dc_table, words, pair + SLOW_DC)
    num_ac = _canonical(ac_table, words, pair + SLOW_AC)
    if num_dc == 0 or num_ac == 0:
        return False
    for i in range(num_dc):
        if dc_table[17 + i] > 15:
            return False
    size = 1 << LOOKUP_BITS
    _fill_single(words, pair + SLOW_AC, num_ac, pair + AC, lengths)
    for i in range(size):
        singles[i] = words[pair + AC + i]
    for i in range(size):
        if singles[i] != 0:
            words[pair + AC + i] = _extend(i, singles[i], singles, lengths)
    _fill_dc(words, pair, num_dc, singles, lengths)
    _fill_encoder(words, pair, num_dc)
    return True


@compiled
def _fill_dc(words: np.ndarray, pair: Scalar, num_dc: Scalar, singles: np.ndarray, lengths: np.ndarray) -> None:
    """Fills a pair's ``START`` and ``DC`` lookup tables.

    ``singles`` and ``lengths`` describe the AC table. They are needed because an entry of ``START`` may contain AC
    symbols after its DC symbol.
    """
    code = 0
    first = 0
    slow = pair + SLOW_DC
    for i in range(1 << LOOKUP_BITS):
        words[pair + START + i] = 0
    for i in range(1 << DC_BITS):
        words[pair + DC + i] = 0
    for length in range(1, LOOKUP_BITS + 1):
        end = int64(words[slow + length]) >> (16 - length)
        while code < end and first < num_dc:
            symbol = int64(words[slow + 34 + first])
            if symbol <= MAX_DC_CATEGORY:
                entry = _dc_entry(length, symbol)
                start = code << (LOOKUP_BITS - length)
                stop = (code + 1) << (LOOKUP_BITS - length)
                for i in range(start, min(stop, 1 << LOOKUP_BITS)):
                    words[pair + START + i] = _extend(i, entry, singles, lengths)
                if length <= DC_BITS:
                    start = code << (DC_BITS - length)
                    stop = (code + 1) << (DC_BITS - length)
                    for i in range(start, min(stop, 1 << DC_BITS)):
                        words[pair + DC + i] = uint32(length | symbol << 8)
            code += 1
            first += 1
        code <<= 1


@compiled
def augment_dc(table: np.ndarray, out: np.ndarray) -> Scalar:
    """Writes to ``out`` (uint8, at least 17 + 256 bytes) a copy of the DC table, extended to all categories 0 … 11.

    Missing categories get 16-bit codes after all existing codes, so that no existing code changes. The all-ones code is
    not used, because decoders reject it. Returns the length of the copy in bytes, or 0 if there are not enough free
    codes.
    """
    code = 0
    count = 0
    for length in range(1, 17):
        code = (code << 1) + int64(table[length])
        count += int64(table[length])
    if count < 1 or count > 244 or count + 17 > table.size or code > 0xFFFF:
        return 0
    present = 0
    for i in range(17 + count):
        out[i] = table[i]
        if i >= 17:
            present |= 1 << (int64(table[i]) & 31)
    for category in range(MAX_DC_CATEGORY + 1):
        if present & (1 << category) == 0:
            if code + 1 > 0xFFFF or out[16] == 255:
                return 0
            out[17 + count] = category
            out[16] += 1
            count += 1
            code += 1
    return 17 + count


@compiled
def _fill_encoder(words: np.ndarray, pair: Scalar, num_dc: Scalar) -> None:
    """Fills a pair's ``ENCODER`` table with ``code | length << 16`` per DC category, as coded by ``augment_dc``."""
    for category in range(16):
        words[pair + ENCODER + category] = 0
    slow = pair + SLOW_DC
    code = 0
    first = 0
    for length in range(1, 17):
        end = int64(words[slow + length]) >> (16 - length)
        while code < end and first < num_dc:
            symbol = int64(words[slow + 34 + first]) & 15
            if words[pair + ENCODER + symbol] == 0:
                words[pair + ENCODER + symbol] = uint32(code | length << 16)
            code += 1
            first += 1
        if length < 16:
            code <<= 1
    for category in range(MAX_DC_CATEGORY + 1):
        if words[pair + ENCODER + category] == 0 and code < 0xFFFF:
            words[pair + ENCODER + category] = uint32(code | 16 << 16)
            code += 1
