"""The header of a JPEG, up to its first scan, read with every length checked.

The rules are libjpeg's, because libjpeg-turbo decides what the pixels are: rubbish between
segments is skipped, a table defined twice holds its last value, and anything libjpeg would refuse
is a :class:`BadJpeg`. Pixels are never decoded here.
"""

import struct
from dataclasses import dataclass

import numpy as np

__all__ = [
    "BadJpeg",
    "Component",
    "Frame",
    "JpegHeader",
    "QuantTable",
    "Scan",
    "Segment",
    "SegmentParser",
    "read_frame",
    "read_header",
]

SOF_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
SOF_ARITHMETIC = frozenset({0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
SOF_LOSSLESS = frozenset({0xC3, 0xC7, 0xCB, 0xCF})
SOF_HIERARCHICAL = frozenset({0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF})
SOF_ALL = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
STANDALONE = frozenset({0x01, *range(0xD0, 0xD8)})  # TEM and RSTn carry no length

# The most that a real file was seen with is a few hundred (extended XMP); the bound keeps a file
# made of empty segments from filling the memory.
MAX_SEGMENTS = 10_000

SUBSAMPLING_NAMES: dict[tuple[float, float], str] = {
    (1, 1): "4:4:4",
    (2, 1): "4:2:2",
    (2, 2): "4:2:0",
    (1, 2): "4:4:0",
    (4, 1): "4:1:1",
    (4, 2): "4:1:0",
}


class BadJpeg(ValueError):
    """The bytes are not a JPEG, or its header contradicts itself; the message says where."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A marker segment; ``data[offset:][:length]`` is its payload, without the length bytes."""

    marker: int
    """Second byte of the marker: 0xE1 is APP1."""
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Component:
    """A colour component as the frame header lists it."""

    id: int
    h: int
    """Horizontal sampling factor, 1 … 4."""
    v: int
    """Vertical sampling factor, 1 … 4."""
    tq: int
    """Number of its quantisation table, 0 … 3."""


@dataclass(frozen=True, slots=True)
class Frame:
    """The payload of a frame header."""

    precision: int
    """Bits per sample."""
    height: int
    width: int
    components: tuple[Component, ...]


@dataclass(frozen=True, slots=True)
class QuantTable:
    """A quantisation table in force at the first scan. ``offset`` is that of its Pq/Tq byte."""

    offset: int
    length: int
    """Bytes from ``offset`` on: 65 with 8-bit values, 129 with 16-bit values."""
    values: tuple[int, ...]
    """64 values in zigzag order."""


@dataclass(frozen=True, slots=True)
class Scan:
    """The first scan header."""

    components: tuple[int, ...]
    """Positions in ``JpegHeader.components``, in the order of the scan."""
    dc_tables: tuple[int, ...]
    ac_tables: tuple[int, ...]
    spectral: tuple[int, int]
    """First and last coefficient, (0, 63) for a sequential file."""
    approximation: int
    """The byte Ah/Al, 0 for a sequential file."""


@dataclass(frozen=True, slots=True)
class JpegHeader:
    """Everything before the first scan's entropy-coded bytes. Offsets count from the SOI marker."""

    width: int
    height: int
    precision: int
    """Bits per sample: 8, or 12 and 16 in kinds that Pillow does not decode."""
    sof_marker: int
    """0xC0 baseline, 0xC1 extended sequential, 0xC2 progressive, …"""
    components: tuple[Component, ...]
    scan: Scan
    scan_start: int
    """Offset of the first entropy-coded byte."""
    restart_interval: int
    """MCUs between restart markers, 0 for none."""
    adobe_transform: int | None
    """Colour transform of the last Adobe marker (0 none, 1 YCbCr, 2 YCCK), ``None`` without one."""
    jfif_offset: int | None
    """Offset of a JFIF marker's payload; its presence says that three components are YCbCr."""
    adobe_offset: int | None
    """Offset of the last Adobe marker's payload."""
    segments: tuple[Segment, ...]
    """All marker segments in order, frame and scan header included."""
    sof_offset: int
    """Offset of the frame header's payload (the precision byte)."""
    sos_offset: int
    """Offset of the scan header's payload (the number of components)."""
    quant_tables: dict[int, QuantTable]
    huffman_tables: dict[int, tuple[int, int]]
    """``class << 4 | number`` → (offset, length) of the table from its Tc/Th byte on."""

    @property
    def has_jfif(self) -> bool:
        return self.jfif_offset is not None

    @property
    def progressive(self) -> bool:
        return self.sof_marker in SOF_PROGRESSIVE

    @property
    def arithmetic(self) -> bool:
        return self.sof_marker in SOF_ARITHMETIC

    @property
    def lossless(self) -> bool:
        return self.sof_marker in SOF_LOSSLESS

    @property
    def hierarchical(self) -> bool:
        return self.sof_marker in SOF_HIERARCHICAL

    @property
    def baseline(self) -> bool:
        """One Huffman-coded sequential scan of 8-bit samples, so SOF0 or SOF1."""
        return self.sof_marker in (0xC0, 0xC1) and self.precision == 8 and self.num_scans_at_least == 1

    @property
    def num_scans_at_least(self) -> int:
        """1, or 2 where the first scan cannot be the only one."""
        whole = len(self.scan.components) == len(self.components) and self.scan.spectral[1] == 63
        return 1 if whole and not self.progressive else 2

    @property
    def max_sampling(self) -> tuple[int, int]:
        """Largest horizontal and vertical sampling factor."""
        return max(c.h for c in self.components), max(c.v for c in self.components)

    @property
    def subsampling(self) -> str:
        """Such as "grey" or "4:2:0"; rare ones as the factors of all components, "2x2,1x1,2x1"."""
        if len(self.components) == 1:
            return "grey"
        luma, *rest = self.components
        chroma = rest[:2]
        others = rest[2:]  # the black of CMYK is as large as the first component
        factors = {(luma.h / c.h, luma.v / c.v) for c in chroma}
        if len(factors) == 1 and all((c.h, c.v) == (luma.h, luma.v) for c in others):
            name = SUBSAMPLING_NAMES.get(factors.pop())
            if name is not None:
                return name
        return ",".join(f"{c.h}x{c.v}" for c in self.components)


def read_header(data: bytes | memoryview | np.ndarray) -> JpegHeader:
    """Parses up to the first scan. ``data`` may be cut off anywhere after the scan header.

    An array must be one-dimensional uint8. Raises :class:`BadJpeg`.
    """
    return SegmentParser(memoryview(data)).parse()  # type: ignore[arg-type]


def read_frame(payload: bytes) -> Frame:
    """Parses the payload of a frame header. Raises :class:`BadJpeg`; a size of 0 is not refused here."""
    if len(payload) < 9:
        raise BadJpeg("frame header too short")
    count = payload[5]
    if not 1 <= count <= 4 or len(payload) != 6 + 3 * count:
        raise BadJpeg(f"frame header of {len(payload)} bytes for {count} components")
    components = tuple(
        Component(identifier, sampling >> 4, sampling & 15, table)
        for identifier, sampling, table in zip(payload[6::3], payload[7::3], payload[8::3], strict=True)
    )
    if any(not (1 <= c.h <= 4 and 1 <= c.v <= 4 and c.tq <= 3) for c in components):
        raise BadJpeg("component with sampling factors or a table number out of range")
    precision, height, width = struct.unpack_from(">BHH", payload)
    return Frame(precision, height, width, components)


class SegmentParser:
    """Reads marker segments one after another and keeps what is in force."""

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self.segments: list[Segment] = []
        self.quant: dict[int, QuantTable] = {}
        self.huffman: dict[int, tuple[int, int]] = {}
        self.restart_interval = 0
        self.adobe_transform: int | None = None
        self.jfif_offset: int | None = None
        self.adobe_offset: int | None = None
        self.frame: Frame | None = None
        self.frame_segment: Segment | None = None

    def parse(self) -> JpegHeader:
        if bytes(self.data[:2]) != b"\xff\xd8":
            raise BadJpeg("no SOI marker at the start")
        position = 2
        while True:
            segment = self.segment(position)
            position = segment.offset + segment.length
            if segment.marker == 0xDA:
                return self._finish(segment)
            self.take(segment)

    def segment(self, position: int) -> Segment:
        """The next marker segment at or after ``position``."""
        marker, position = self._marker(position)
        while marker in STANDALONE:
            marker, position = self._marker(position)
        if marker in (0xD8, 0xD9):
            raise BadJpeg(f"marker FF{marker:02X} at {position - 2}, before any scan")
        if position + 2 > len(self.data):
            raise BadJpeg("cut off in the header")
        (length,) = struct.unpack_from(">H", self.data, position)
        if length < 2 or position + length > len(self.data):
            raise BadJpeg(f"segment FF{marker:02X} at {position - 2} has length {length}")
        if len(self.segments) >= MAX_SEGMENTS:
            raise BadJpeg(f"more than {MAX_SEGMENTS} segments before the first scan")
        segment = Segment(marker, position + 2, length - 2)
        self.segments.append(segment)
        return segment

    def _marker(self, position: int) -> tuple[int, int]:
        """The next marker's second byte and where it ends, skipping rubbish and fill bytes."""
        while True:
            while position < len(self.data) and self.data[position] != 0xFF:
                chunk = bytes(self.data[position : position + 65536])
                found = chunk.find(0xFF)
                position += found if found >= 0 else len(chunk)
            while position < len(self.data) and self.data[position] == 0xFF:
                position += 1
            if position >= len(self.data):
                raise BadJpeg("cut off in the header")
            position += 1
            if self.data[position - 1] != 0:
                return self.data[position - 1], position

    def take(self, segment: Segment) -> None:
        """Puts a frame header, table or the like in force; other segments change nothing."""
        marker, start = segment.marker, segment.offset
        payload = bytes(self.data[start : start + min(segment.length, 16)])
        if marker in SOF_ALL:
            if self.frame is not None:
                raise BadJpeg("two frame headers")
            self.frame_segment = segment
            self.frame = read_frame(bytes(self.data[start : start + segment.length]))
        elif marker == 0xC4:
            self._huffman(segment)
        elif marker == 0xDB:
            self._quant(segment)
        elif marker == 0xDD:
            if segment.length != 2:
                raise BadJpeg("restart interval segment of a wrong length")
            (self.restart_interval,) = struct.unpack(">H", payload)
        elif marker == 0xE0 and segment.length >= 14 and payload.startswith(b"JFIF\0"):
            self.jfif_offset = start
        elif marker == 0xEE and segment.length >= 12 and payload.startswith(b"Adobe"):
            self.adobe_offset, self.adobe_transform = start, payload[11]

    def _huffman(self, segment: Segment) -> None:
        at, end = segment.offset, segment.offset + segment.length
        while at < end:
            if at + 17 > end:
                raise BadJpeg("Huffman table cut off")
            number = self.data[at]
            length = 17 + sum(self.data[at + 1 : at + 17])
            if number & 0xEC or length > 17 + 256 or at + length > end:
                raise BadJpeg(f"Huffman table {number:#04x} of {length} bytes")
            self.huffman[number] = (at, length)
            at += length

    def _quant(self, segment: Segment) -> None:
        at, end = segment.offset, segment.offset + segment.length
        while at < end:
            wide, number = self.data[at] >> 4, self.data[at] & 15
            length = 129 if wide else 65
            if wide > 1 or number > 3 or at + length > end:
                raise BadJpeg(f"quantisation table {self.data[at]:#04x} out of range or cut off")
            values = struct.unpack_from(">64H" if wide else ">64B", self.data, at + 1)
            self.quant[number] = QuantTable(at, length, values)
            at += length

    def _finish(self, segment: Segment) -> JpegHeader:
        if self.frame is None or self.frame_segment is None:
            raise BadJpeg("scan before the frame header")
        scan, frame = self.scan(segment), self.frame
        if frame.width == 0 or frame.height == 0:
            raise BadJpeg(f"image of {frame.width} x {frame.height} pixels")
        return JpegHeader(
            width=frame.width,
            height=frame.height,
            precision=frame.precision,
            sof_marker=self.frame_segment.marker,
            components=frame.components,
            scan=scan,
            scan_start=segment.offset + segment.length,
            restart_interval=self.restart_interval,
            adobe_transform=self.adobe_transform,
            jfif_offset=self.jfif_offset,
            adobe_offset=self.adobe_offset,
            segments=tuple(self.segments),
            sof_offset=self.frame_segment.offset,
            sos_offset=segment.offset,
            quant_tables=self.quant,
            huffman_tables=self.huffman,
        )

    def scan(self, segment: Segment) -> Scan:
        """Reads the scan header in ``segment``, after the frame header was taken."""
        payload = bytes(self.data[segment.offset : segment.offset + min(segment.length, 12)])
        count = payload[0] if payload else 0
        if not 1 <= count <= 4 or segment.length != 4 + 2 * count:
            raise BadJpeg(f"scan header of {segment.length} bytes for {count} components")
        components = () if self.frame is None else self.frame.components
        chosen: list[int] = []
        for identifier in payload[1 : 1 + 2 * count : 2]:
            free = [i for i in range(len(components)) if i not in chosen]
            # Some writers give all components one identifier: libjpeg-turbo takes them in order.
            found = [i for i in free if components[i].id == identifier]
            if not found:
                raise BadJpeg(f"scan header names component {identifier}, which the frame has not")
            chosen.append(found[0])
        tables = payload[2 : 2 + 2 * count : 2]
        if any(table & 0xCC for table in tables):
            raise BadJpeg("scan header with a table number out of range")
        return Scan(
            components=tuple(chosen),
            dc_tables=tuple(table >> 4 for table in tables),
            ac_tables=tuple(table & 15 for table in tables),
            spectral=(payload[-3], payload[-2]),
            approximation=payload[-1],
        )
