"""The quantised coefficients of a JPEG of several scans, progressive or not.

Strict on purpose: where libjpeg would warn and guess, this refuses, because a guess could not be
told from the file's own pixels later.
"""

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shards.jpeg_entropy import decode_refining_scan, decode_scan, prefix_table
from shards.jpeg_header import BadJpeg, JpegHeader, Scan, SegmentParser

__all__ = ["Coefficients", "NotConvertible", "Plane", "read_coefficients"]

MAX_SCANS = 100
"""Encoders write about ten; each more lets a small file cost another walk over all blocks."""

MAX_BLOCKS_IN_MCU = 10
"""The standard's limit on an interleaved scan."""

_MARKER = re.compile(rb"\xff+([^\x00\xff])")
_RESTARTS = range(0xD0, 0xD8)
_EOI, _SOS = 0xD9, 0xDA
_READ_AHEAD = 8  # zero bytes after each piece of a scan: the decoder looks three bytes ahead
_ERRORS = ("", "a scan ends early", "an impossible code in a scan", "a coefficient out of range")


class NotConvertible(Exception):
    """Why the coefficients of a JPEG are not read or written here, in a few words."""


@dataclass(frozen=True, slots=True)
class Plane:
    """Where the blocks of a component lie among all blocks."""

    base: int
    """Number of its first block."""
    stride: int
    """Blocks per row, filled up to whole MCUs of all components."""
    across: int
    """Blocks per row that hold pixels."""
    down: int
    """Rows of blocks that hold pixels."""
    h: int
    """Blocks of an MCU side by side."""
    v: int
    """Blocks of an MCU one below the other."""


@dataclass(frozen=True, slots=True)
class Coefficients:
    """All coefficients of an image, and what they mean."""

    header: JpegHeader
    planes: tuple[Plane, ...]
    """One per component, in the order of the frame header."""
    mcus_across: int
    mcus_down: int
    blocks: npt.NDArray[np.int16]
    """(all blocks of all planes, 64), quantised, in zigzag order."""
    quant: tuple[tuple[int, ...], ...]
    """The quantisation table of each component, 64 values in zigzag order."""


def read_coefficients(data: bytes) -> Coefficients:
    """Decodes all scans of a Huffman-coded 8-bit JPEG.

    Raises ``NotConvertible`` for other kinds and for whatever is damaged or not complete.
    """
    try:
        return _Reader(data).read()
    except BadJpeg as error:
        raise NotConvertible(f"damaged: {error}") from error


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.parser = SegmentParser(memoryview(data))
        self.header = self.parser.parse()
        _check_kind(self.header)
        self.planes, self.mcus_across, self.mcus_down = _lay_out(self.header)
        last = self.planes[-1]
        total = last.base + last.stride * self.mcus_down * last.v
        self.blocks = np.zeros((total, 64), np.int16)
        self.quant: dict[int, tuple[int, ...]] = {}

    def read(self) -> Coefficients:
        scan, position = self.header.scan, self.header.scan_start
        for _ in range(MAX_SCANS):
            pieces, position, marker = self._split(position)
            self._decode(scan, pieces)
            if marker == _EOI:
                return self._finish()
            while (segment := self.parser.segment(position)).marker != _SOS:
                self.parser.take(segment)
                position = segment.offset + segment.length
            scan, position = self.parser.scan(segment), segment.offset + segment.length
        raise NotConvertible(f"more than {MAX_SCANS} scans")

    def _finish(self) -> Coefficients:
        if len(self.quant) != len(self.planes):
            raise NotConvertible("a component without a scan")
        return Coefficients(
            self.header, self.planes, self.mcus_across, self.mcus_down, self.blocks,
            tuple(self.quant[k] for k in range(len(self.planes))),
        )  # fmt: skip

    def _split(self, position: int) -> tuple[list[bytes], int, int]:
        """Entropy-coded bytes from ``position`` on, cut at restart markers and unstuffed; where the
        marker after them begins, and its second byte."""
        pieces: list[bytes] = []
        while True:
            found = _MARKER.search(self.data, position)
            if found is None:
                raise NotConvertible("damaged: no EOI marker")
            pieces.append(self.data[position : found.start()].replace(b"\xff\x00", b"\xff"))
            marker = found[1][0]
            if marker not in _RESTARTS:
                return pieces, found.start(), marker
            if marker != 0xD0 + (len(pieces) - 1) % 8:
                raise NotConvertible("damaged: restart markers out of order")
            position = found.end()

    def _decode(self, scan: Scan, pieces: list[bytes]) -> None:
        first, last = scan.spectral
        high, low = scan.approximation >> 4, scan.approximation & 15
        _check_progression(scan, self.header.progressive)
        for component in scan.components:
            self._latch_quant(component)
        shape, mcus = self._geometry(scan)
        interval = self.parser.restart_interval or mcus
        if len(pieces) != -(-mcus // interval):
            raise NotConvertible("damaged: a wrong number of restart markers")
        bits, bounds = _join(pieces)
        if high:
            table = self._table(0x10, scan.ac_tables[0]) if last else prefix_table(b"\0" * 17)
            code = decode_refining_scan(
                bits, bounds, interval, shape, mcus, first, last, low, table, self.blocks
            )
        else:
            dc = np.stack([self._table(0, n) for n in scan.dc_tables] if not first else [_NONE])
            ac = np.stack([self._table(0x10, n) for n in scan.ac_tables] if last else [_NONE])
            code = decode_scan(
                bits, bounds, interval, shape, mcus, first, last, low, self.header.progressive,
                dc, ac, self.blocks,
            )  # fmt: skip
        if code:
            raise NotConvertible(f"damaged: {_ERRORS[code]}")

    def _latch_quant(self, component: int) -> None:
        """A component keeps the table that is in force at its first scan, as in libjpeg."""
        if component not in self.quant:
            table = self.parser.quant.get(self.header.components[component].tq)
            if table is None:
                raise NotConvertible("damaged: a quantisation table is missing")
            self.quant[component] = table.values

    def _geometry(self, scan: Scan) -> tuple[npt.NDArray[np.int64], int]:
        """Rows of (base, stride, h, v, MCUs across) per component of the scan; number of MCUs."""
        chosen = [self.planes[k] for k in scan.components]
        if len(chosen) == 1:
            plane = chosen[0]
            rows = [(plane.base, plane.stride, 1, 1, plane.across)]
            return np.array(rows, np.int64), plane.across * plane.down
        if sum(plane.h * plane.v for plane in chosen) > MAX_BLOCKS_IN_MCU:
            raise NotConvertible("damaged: an MCU of too many blocks")
        # An interleaved scan of some components counts MCUs by the largest factors of the frame.
        rows = [(p.base, p.stride, p.h, p.v, self.mcus_across) for p in chosen]
        return np.array(rows, np.int64), self.mcus_across * self.mcus_down

    def _table(self, kind: int, number: int) -> npt.NDArray[np.uint16]:
        where = self.parser.huffman.get(kind | number)
        if where is None:
            raise NotConvertible("damaged: a Huffman table is missing")
        offset, length = where
        table = prefix_table(self.data[offset + 1 : offset + length])
        if table is None:
            raise NotConvertible("damaged: an impossible Huffman table")
        return table


def _check_kind(header: JpegHeader) -> None:
    if header.arithmetic or header.lossless or header.hierarchical:
        raise NotConvertible("arithmetic, lossless or hierarchical coding")
    if header.precision != 8:
        raise NotConvertible(f"{header.precision} bits per sample")


def _check_progression(scan: Scan, progressive: bool) -> None:
    first, last = scan.spectral
    high, low = scan.approximation >> 4, scan.approximation & 15
    if progressive:
        dc_alone = first == 0 and last == 0
        ac_alone = 1 <= first <= last <= 63 and len(scan.components) == 1
        good = (dc_alone or ac_alone) and low <= 13 and high in (0, low + 1)
    else:
        good = (first, last, high, low) == (0, 63, 0, 0)
    if not good:
        raise NotConvertible("damaged: impossible parameters of a scan")


def _lay_out(header: JpegHeader) -> tuple[tuple[Plane, ...], int, int]:
    most_h, most_v = header.max_sampling
    mcus_across = -(-header.width // (8 * most_h))
    mcus_down = -(-header.height // (8 * most_v))
    planes: list[Plane] = []
    base = 0
    for component in header.components:
        h, v = component.h, component.v
        across = -(-header.width * h // (8 * most_h))
        down = -(-header.height * v // (8 * most_v))
        planes.append(Plane(base, mcus_across * h, across, down, h, v))
        base += mcus_across * h * mcus_down * v
    return tuple(planes), mcus_across, mcus_down


def _join(pieces: list[bytes]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """The pieces one after another, each with zeros to read ahead into; rows of (first bit, bit
    after the last) per piece."""
    joined = b"".join(piece + bytes(_READ_AHEAD) for piece in pieces)
    lengths = np.array([len(piece) for piece in pieces], np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths + _READ_AHEAD)[:-1]])
    return np.frombuffer(joined, np.uint8), np.stack([starts, starts + lengths], 1) * 8


_NONE = np.zeros(1 << 16, np.uint16)
