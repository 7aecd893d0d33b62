"""Reads the header of a JPEG, up to its first scan, and checks every length.

The parser follows libjpeg's rules, because libjpeg-turbo is the decoder that defines the pixels. It skips stray bytes
between segments, uses the last definition of a table, and raises :class:`BadJpeg` for everything that libjpeg would
refuse. It decodes no pixels.
"""

import struct

import numpy as np

from shards.jpeg.header import BadJpeg, Component, Frame, JpegHeader, QuantTable, Scan, Segment

__all__ = ["SegmentParser", "read_frame", "read_header"]

SOF_ALL = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
STANDALONE = frozenset({0x01, *range(0xD0, 0xD8)})  # TEM and RSTn carry no length

# Real files have a few hundred at most (extended XMP). The bound keeps a file of empty segments
# from filling the memory.
MAX_SEGMENTS = 10_000


def read_header(data: bytes | memoryview | np.ndarray) -> JpegHeader:
    """Parses ``data`` up to the first scan. ``data`` may be cut off anywhere after the scan header.

    If ``data`` is an array, it must be one-dimensional uint8. Raises :class:`BadJpeg` if the header is not valid.
    """
    return SegmentParser(memoryview(data)).parse()  # type: ignore[arg-type]


def read_frame(payload: bytes) -> Frame:
    """Parses the payload of a frame header. Raises :class:`BadJpeg` if it is not valid. A size of 0 is allowed."""
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
    """Reads marker segments one after another, and keeps the tables and settings that currently apply."""

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
        """Finds the next marker segment at or after ``position``, adds it to ``segments``, and returns it."""
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
        """Returns the second byte of the next marker and the offset after it. Skips stray bytes and fill bytes."""
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
        """Parses ``segment``. If decoding depends on its contents, stores them.

        Decoding depends on frame headers, tables, restart intervals, and JFIF and Adobe markers. Other segments are
        ignored.
        """
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
                raise BadJpeg("restart interval segment with a wrong length")
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
        """Parses the scan header in ``segment``. :meth:`take` must already have read the frame header."""
        payload = bytes(self.data[segment.offset : segment.offset + min(segment.length, 12)])
        count = payload[0] if payload else 0
        if not 1 <= count <= 4 or segment.length != 4 + 2 * count:
            raise BadJpeg(f"scan header of {segment.length} bytes for {count} components")
        components = () if self.frame is None else self.frame.components
        chosen: list[int] = []
        for identifier in payload[1 : 1 + 2 * count : 2]:
            free = [i for i in range(len(components)) if i not in chosen]
            # Some writers give all components the same identifier; libjpeg-turbo then takes them in order.
            found = [i for i in free if components[i].id == identifier]
            if not found:
                raise BadJpeg(f"scan header names component {identifier}, which the frame does not have")
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
