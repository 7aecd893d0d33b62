"""Coefficients to a baseline JPEG: one interleaved scan with Huffman tables made to measure."""

import struct

import numba
import numpy as np
import numpy.typing as npt

from shards.jpeg_coefficients import Coefficients, NotConvertible
from shards.jpeg_header import Segment
from shards.optimal_huffman import MAX_CODE_BITS, Code, optimal_code

__all__ = ["write_baseline"]

_DC_CATEGORIES = 12  # 0 … 11, all that 8-bit samples can need


def write_baseline(coefficients: Coefficients, kept: tuple[Segment, ...], source: bytes) -> bytes:
    """The file of those coefficients; ``kept`` are segments of ``source`` that go along unchanged.

    Raises ``NotConvertible`` for coefficients that no baseline file can hold.
    """
    quant = list(dict.fromkeys(coefficients.quant))
    tables = np.array([min(1, quant.index(q)) for q in coefficients.quant], np.int64)
    shape, mcus = _geometry(coefficients)
    # Every DC category gets a code: a crop that is spliced out of the file begins with DC values
    # that differ from all the differences here.
    dc_counts = np.ones((2, _DC_CATEGORIES), np.int64)
    ac_counts = np.zeros((2, 256), np.int64)
    if not _count(coefficients.blocks, shape, mcus, tables, dc_counts, ac_counts):
        raise NotConvertible("coefficients too large for a baseline file")
    used = range(int(tables.max()) + 1)
    dc = [optimal_code(dc_counts[number]) for number in used]
    ac = [optimal_code(ac_counts[number]) for number in used]
    out = np.empty(2 * _scan_bytes(dc, ac, dc_counts, ac_counts) + 16, np.uint8)  # FF is stuffed
    length = _write(
        coefficients.blocks, shape, mcus, tables, *_stacked(dc), *_stacked(ac), out
    )  # fmt: skip
    head = [
        b"\xff\xd8",
        *(_segment(s.marker, source[s.offset : s.offset + s.length]) for s in kept),
    ]
    head += [_quant_segment(number, table) for number, table in enumerate(quant)]
    head.append(_frame_segment(coefficients, quant))
    for number in used:
        head += [_huffman_segment(number, dc[number]), _huffman_segment(0x10 | number, ac[number])]
    head.append(_scan_segment(coefficients, tables))
    return b"".join([*head, out[:length].tobytes(), b"\xff\xd9"])


def _geometry(coefficients: Coefficients) -> tuple[npt.NDArray[np.int64], int]:
    """Rows of (base, stride, h, v, MCUs across, blocks across, blocks down); number of MCUs."""
    planes = coefficients.planes
    if len(planes) == 1:
        p = planes[0]
        return np.array([(p.base, p.stride, 1, 1, p.across, p.across, p.down)]), p.across * p.down
    if sum(p.h * p.v for p in planes) > 10:
        raise NotConvertible("an MCU of more than 10 blocks")
    across = coefficients.mcus_across
    rows = [(p.base, p.stride, p.h, p.v, across, p.across, p.down) for p in planes]
    return np.array(rows), across * coefficients.mcus_down


def _segment(marker: int, payload: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def _quant_segment(number: int, table: tuple[int, ...]) -> bytes:
    wide = max(table) > 255
    return _segment(0xDB, struct.pack(">B64H" if wide else ">B64B", wide << 4 | number, *table))


def _frame_segment(coefficients: Coefficients, quant: list[tuple[int, ...]]) -> bytes:
    header = coefficients.header
    extended = any(max(table) > 255 for table in quant)  # baseline allows 8-bit tables only
    payload = struct.pack(">BHHB", 8, header.height, header.width, len(header.components))
    for component, table in zip(header.components, coefficients.quant, strict=True):
        payload += bytes((component.id, component.h << 4 | component.v, quant.index(table)))
    return _segment(0xC1 if extended else 0xC0, payload)


def _scan_segment(coefficients: Coefficients, tables: npt.NDArray[np.int64]) -> bytes:
    components = coefficients.header.components
    payload = bytes([len(components)])
    for component, number in zip(components, tables.tolist(), strict=True):
        payload += bytes((component.id, number << 4 | number))
    return _segment(0xDA, payload + bytes((0, 63, 0)))


def _huffman_segment(number: int, code: Code) -> bytes:
    values, lengths = code
    symbols = np.flatnonzero(lengths)
    symbols = symbols[np.lexsort((values[symbols], lengths[symbols]))]
    counts = np.bincount(lengths[symbols], minlength=MAX_CODE_BITS + 1)[1:]
    return _segment(0xC4, bytes([number, *counts.tolist(), *symbols.tolist()]))


def _stacked(codes: list[Code]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    return np.stack([values for values, _ in codes]), np.stack([lengths for _, lengths in codes])


def _scan_bytes(
    dc: list[Code],
    ac: list[Code],
    dc_counts: npt.NDArray[np.int64],
    ac_counts: npt.NDArray[np.int64],
) -> int:
    """At least the bytes of the scan before stuffing."""
    bits = 0
    for (_, lengths), counts in zip(dc, dc_counts, strict=False):
        bits += int(counts @ (lengths + np.arange(_DC_CATEGORIES)))
    for (_, lengths), counts in zip(ac, ac_counts, strict=False):
        bits += int(counts @ (lengths + (np.arange(256) & 15)))
    return bits // 8 + 1


@numba.njit(nogil=True, cache=True)
def _size(value: int) -> int:
    """Bits of a coefficient's magnitude."""
    value, size = abs(value), 0
    while value:
        value >>= 1
        size += 1
    return size


@numba.njit(nogil=True, cache=True)
def _block_at(row: np.ndarray, mcu: int, place: int) -> int:
    """The number of a block, or -1 for one that fills up the last MCU of a row or column."""
    base, stride, h, v, mcus_across = row[0], row[1], row[2], row[3], row[4]
    down = mcu // mcus_across * v + place // h
    across = mcu % mcus_across * h + place % h
    return base + down * stride + across if across < row[5] and down < row[6] else -1


@numba.njit(nogil=True, cache=True)
def _count(
    blocks: np.ndarray,
    shape: np.ndarray,
    mcus: int,
    tables: np.ndarray,
    dc_counts: np.ndarray,
    ac_counts: np.ndarray,
) -> bool:
    """Adds up how often each symbol will be written; False where one is outside baseline."""
    predicted = np.zeros(len(tables), np.int64)
    for mcu in range(mcus):
        for part in range(len(tables)):
            table = tables[part]
            for place in range(shape[part, 2] * shape[part, 3]):
                number = _block_at(shape[part], mcu, place)
                if number < 0:
                    dc_counts[table, 0] += 1
                    ac_counts[table, 0] += 1
                    continue
                block = blocks[number]
                size = _size(int(block[0]) - predicted[part])
                if size > 11:
                    return False
                predicted[part] = block[0]
                dc_counts[table, size] += 1
                run = 0
                for k in range(1, 64):
                    if block[k] == 0:
                        run += 1
                        continue
                    size = _size(int(block[k]))
                    if size > 10:
                        return False
                    ac_counts[table, 0xF0] += run >> 4
                    ac_counts[table, (run & 15) << 4 | size] += 1
                    run = 0
                if run:
                    ac_counts[table, 0] += 1
    return True


@numba.njit(nogil=True, cache=True)
def _put(
    out: np.ndarray, at: int, word: int, held: int, value: int, size: int
) -> tuple[int, int, int]:
    """Appends ``size`` bits to the ``held`` bits of ``word``; whole bytes go out, FF stuffed."""
    word, held = word << size | value, held + size
    while held >= 8:
        held -= 8
        byte = word >> held & 0xFF
        out[at] = byte
        at += 1
        if byte == 0xFF:
            out[at] = 0
            at += 1
    return at, word & ((1 << held) - 1), held


@numba.njit(nogil=True, cache=True)
def _write(
    blocks: np.ndarray,
    shape: np.ndarray,
    mcus: int,
    tables: np.ndarray,
    dc_codes: np.ndarray,
    dc_lengths: np.ndarray,
    ac_codes: np.ndarray,
    ac_lengths: np.ndarray,
    out: np.ndarray,
) -> int:
    """Writes the scan, the last byte filled up with ones. Returns its length in bytes."""
    predicted = np.zeros(len(tables), np.int64)
    at, word, held = 0, 0, 0
    for mcu in range(mcus):
        for part in range(len(tables)):
            table = tables[part]
            codes, lengths = ac_codes[table], ac_lengths[table]
            for place in range(shape[part, 2] * shape[part, 3]):
                number = _block_at(shape[part], mcu, place)
                difference = 0 if number < 0 else int(blocks[number, 0]) - predicted[part]
                size = _size(difference)
                code, length = dc_codes[table, size], dc_lengths[table, size]
                at, word, held = _put(out, at, word, held, code, length)
                at, word, held = _put(out, at, word, held, _magnitude(difference, size), size)
                predicted[part] += difference
                run = 0
                for k in range(1, 64):
                    value = 0 if number < 0 else int(blocks[number, k])
                    if value == 0:
                        run += 1
                        continue
                    while run > 15:
                        at, word, held = _put(out, at, word, held, codes[0xF0], lengths[0xF0])
                        run -= 16
                    size = _size(value)
                    symbol = run << 4 | size
                    at, word, held = _put(out, at, word, held, codes[symbol], lengths[symbol])
                    at, word, held = _put(out, at, word, held, _magnitude(value, size), size)
                    run = 0
                if run:
                    at, word, held = _put(out, at, word, held, codes[0], lengths[0])
    if held:
        at, word, held = _put(out, at, word, held, (1 << (8 - held)) - 1, 8 - held)
    return at


@numba.njit(nogil=True, cache=True)
def _magnitude(value: int, size: int) -> int:
    return value if value >= 0 else value + (1 << size) - 1
