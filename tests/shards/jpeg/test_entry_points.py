"""Entry points equal those of a slow bit-by-bit decode. A file that cannot have them gives a reason, bad payloads are
refused."""

import struct
from collections.abc import Iterator

import numpy as np
import pytest
import simplejpeg

from shards.jpeg.entry_points import HEADER, NOT_INDEXABLE_REASONS, NotIndexable, build_entry_points
from shards.jpeg.header import JpegHeader
from shards.jpeg.header_parser import read_header
from shards.jpeg.splice.splicer import STATUS_REASONS, Splicer
from tests.images.entry_points_reader import BadEntryPoints, read_entry_points
from tests.images.jpeg_variants import NEED_CJPEG, VARIANTS, cjpeg, have_cjpeg, photograph

# The first call compiles for half a minute of one core, and much longer on a busy machine.
pytestmark = pytest.mark.timeout(900)


def make(name: str, height: int = 45, width: int = 70) -> bytes:
    if name in NEED_CJPEG and not have_cjpeg():
        pytest.skip("cjpeg is not installed (Debian: libjpeg-turbo-progs)")
    return VARIANTS[name](photograph(height, width))


class SlowWalk:
    """A slow reference that decodes a JPEG's scan bit by bit, as the standard describes it."""

    def __init__(self, jpeg: bytes) -> None:
        self.jpeg, self.header = jpeg, read_header(jpeg)
        self.position = self.header.scan_start * 8
        self.tables = {n: self._codes(n) for n in self.header.huffman_tables}

    def _codes(self, number: int) -> dict[tuple[int, int], int]:
        """Returns (length, code) → symbol for one Huffman table."""
        offset, _ = self.header.huffman_tables[number]
        codes, code, at = {}, 0, offset + 17
        for length in range(1, 17):
            for _ in range(self.jpeg[offset + length]):
                codes[length, code] = self.jpeg[at]
                code, at = code + 1, at + 1
            code <<= 1
        return codes

    def _settle(self) -> None:
        """Skips the zero byte that is stuffed after a byte FF, if the position is just behind such a byte."""
        at, bit = divmod(self.position, 8)
        if bit == 0 and self.jpeg[at - 1] == 0xFF and self.jpeg[at] == 0:
            self.position += 8

    def _bit(self) -> int:
        at, bit = divmod(self.position, 8)
        self.position += 1
        value = self.jpeg[at] >> (7 - bit) & 1
        self._settle()
        return value

    def _bits(self, count: int) -> int:
        value = 0
        for _ in range(count):
            value = value << 1 | self._bit()
        return value

    def _symbol(self, number: int) -> int:
        code = 0
        for length in range(1, 17):
            code = code << 1 | self._bit()
            if (length, code) in self.tables[number]:
                return self.tables[number][length, code]
        raise AssertionError("no such code")

    def _block(self, dc_table: int, ac_table: int) -> int:
        """Skips over a block and returns its DC difference."""
        size = self._symbol(dc_table)
        value = self._bits(size)
        if size and value < 1 << (size - 1):
            value -= (1 << size) - 1
        k = 1
        while k < 64:
            symbol = self._symbol(16 + ac_table)
            if symbol == 0:
                break
            k += (symbol >> 4) + 1
            self._bits(symbol & 15)
        return value

    def _restart(self) -> None:
        at = -(-self.position // 8)
        while self.jpeg[at] == 0xFF:
            at += 1
        assert 0xD0 <= self.jpeg[at] <= 0xD7
        self.position = (at + 1) * 8

    def mcus(self) -> Iterator[tuple[int, list[int]]]:
        """Yields (bit position from the scan's start, DC predictors) at the beginning of every MCU."""
        header: JpegHeader = self.header
        single = len(header.components) == 1
        h, v = (1, 1) if single else header.max_sampling
        count = -(-header.width // (8 * h)) * -(-header.height // (8 * v))
        dc = [0] * len(header.components)
        for mcu in range(count):
            if header.restart_interval and mcu and mcu % header.restart_interval == 0:
                self._restart()
                dc = [0] * len(dc)
            yield self.position - header.scan_start * 8, list(dc)
            for c, component in enumerate(header.components):
                for _ in range(1 if single else component.h * component.v):
                    dc[c] += self._block(header.scan.dc_tables[c], header.scan.ac_tables[c])


@pytest.mark.parametrize("name", VARIANTS)
def test_entries_equal_a_slow_walk(name: str) -> None:
    jpeg = make(name, 27, 60)
    points = read_entry_points(build_entry_points(jpeg, 100))
    expected = list(SlowWalk(jpeg).mcus())[:: points.mcus_per_entry]
    assert len(points.positions) == len(expected) > 1
    assert points.positions.tolist() == [position for position, _ in expected]
    assert points.dc.tolist() == [dc for _, dc in expected]
    assert points.jpeg_length == len(jpeg)
    assert points.scan_start == read_header(jpeg).scan_start


def test_spacing_follows_the_bits() -> None:
    jpeg = make("4:2:0", 400, 600)
    for spacing in (2000, 5000, 20_000):
        points = read_entry_points(build_entry_points(jpeg, spacing))
        mean = points.scan_length * 8 / len(points.positions)
        assert spacing / 1.6 < mean < spacing * 1.6


def test_share_of_a_photograph() -> None:
    jpeg = make("4:2:0", 600, 900)
    assert len(build_entry_points(jpeg)) < 0.032 * len(jpeg)


def test_same_file_same_payload() -> None:
    jpeg = make("optimised")
    assert build_entry_points(jpeg) == build_entry_points(bytes(bytearray(jpeg)))


def test_a_file_without_end_marker_has_entry_points() -> None:
    """A JPEG without an end marker has entry points, and its windows equal libjpeg's decode, which only issues a
    warning."""
    jpeg = make("4:2:0", 80, 100)[:-2]
    mcu = build_entry_points(jpeg, 300)
    window = np.array([[33, 20, 47, 80]])
    spliced = Splicer().splice(np.frombuffer(jpeg, np.uint8), np.frombuffer(mcu, np.uint8), window)
    assert STATUS_REASONS[spliced.status[0]] == "ok"
    full = simplejpeg.decode_jpeg(jpeg, strict=False)
    small = simplejpeg.decode_jpeg(spliced.jpeg(0))
    top, left = spliced.origin[0]
    np.testing.assert_array_equal(small[top : top + 47, left : left + 80], full[33:80, 20:100])


def patched(jpeg: bytes, marker: int, offset: int, new: bytes) -> bytes:
    """Returns ``jpeg`` with the bytes at ``offset`` in its first ``marker`` segment replaced by ``new``."""
    at = jpeg.index(bytes([0xFF, marker])) + 4 + offset
    return jpeg[:at] + new + jpeg[at + len(new) :]


def grey_jpeg(values: list[int], dc_lengths: list[int], dc_symbols: bytes) -> bytes:
    """Returns a grey JPEG of one row of blocks whose DC differences are ``values``, coded by the given DC table."""
    codes, code, at = {}, 0, 0
    for length, count in enumerate(dc_lengths, start=1):
        for _ in range(count):
            codes.setdefault(dc_symbols[at], f"{code:0{length}b}")
            code, at = code + 1, at + 1
        code <<= 1
    bits = ""
    for value in values:
        size = abs(value).bit_length()
        bits += codes[size]
        if size:
            bits += f"{value if value > 0 else value + (1 << size) - 1:0{size}b}"
        bits += "0"  # end of block
    bits += "1" * (-len(bits) % 8)
    scan = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    ac = bytes([0x10, 1, *[0] * 15, 0])
    parts = (
        (0xDB, bytes(1) + b"\x01" * 64),
        (0xC0, struct.pack(">BHHB3B", 8, 8, 8 * len(values), 1, 1, 0x11, 0)),
        (0xC4, bytes(1) + bytes(dc_lengths) + dc_symbols + ac),
        (0xDA, bytes([1, 1, 0x00, 0, 63, 0])),
    )
    head = b"".join(struct.pack(">BBH", 0xFF, m, len(p) + 2) + p for m, p in parts)
    return b"\xff\xd8" + head + scan + b"\xff\xd9"


ALL_SIZES = [0, 0, 0, 15, 1] + [0] * 11  # 15 codes of 4 bits and one of 5
TWO_SIZES = [1, 1] + [0] * 14


def test_dc_tables_are_completed() -> None:
    """A splice of a file whose DC table has codes for two sizes only is exact. It needs codes for other sizes, which
    are added to the table."""
    jpeg = grey_jpeg([700, 0, 0, 0, -700, 0, 0, 700], TWO_SIZES, bytes([0, 10]))
    mcu = np.frombuffer(build_entry_points(jpeg), np.uint8)
    full = simplejpeg.decode_jpeg(jpeg, "GRAY")
    windows = np.array([[0, 8 * i, 8, 8] for i in range(8)] + [[0, 3, 5, 40]])
    for restarts in (False, True):
        spliced = Splicer(restarts).splice(np.frombuffer(jpeg, np.uint8), mcu, windows)
        for i, (top, left, height, width) in enumerate(windows):
            small = simplejpeg.decode_jpeg(spliced.jpeg(i), "GRAY")
            low = spliced.origin[i, 1]
            expected = full[top : top + height, left : left + width]
            np.testing.assert_array_equal(small[:height, low : low + width], expected)


def not_indexable() -> Iterator[tuple[str, bytes]]:
    """Yields (reason, JPEG) for every reason against entry points that can be tested without a special encoder."""
    jpeg = make("4:4:4")
    grey = make("grey")
    start = read_header(jpeg).scan_start
    yield "bad header", b"no JPEG"
    yield "bad header", jpeg[: start - 3]
    for marker, reason in (
        (0xC2, "progressive"),
        (0xC3, "lossless"),
        (0xC5, "hierarchical"),
        (0xC9, "arithmetic"),
        (0xCA, "arithmetic"),  # and progressive, which a conversion could mend
    ):
        yield reason, jpeg.replace(b"\xff\xc0", bytes([0xFF, marker]), 1)
    yield "12-bit", patched(jpeg, 0xC0, 0, b"\x0c")
    header = read_header(jpeg)
    one = bytes([1, header.components[0].id, 0, 0, 63, 0])
    scan_segment = struct.pack(">BBH", 0xFF, 0xDA, 8) + one
    yield "several scans", jpeg[: header.sos_offset - 4] + scan_segment + jpeg[start:]
    yield "several scans", jpeg[:-2] + scan_segment + jpeg[start:]
    swapped = bytes([3, 2, 0x11, 1, 0x00, 3, 0x11, 0, 63, 0])
    yield "unusual scan", patched(jpeg, 0xDA, 0, swapped)
    yield "unusual scan", patched(grey, 0xDA, 3, b"\x00\x3e")
    yield "unusual sampling", patched(jpeg, 0xC0, 7, b"\x31\x00\x02\x21")
    yield "unusual sampling", patched(jpeg, 0xC0, 7, b"\x44")
    yield "missing table", jpeg.replace(b"\xff\xc4", b"\xff\xe9")
    yield "missing table", grey.replace(b"\xff\xdb", b"\xff\xe9")
    yield "bad Huffman table", patched(grey, 0xC4, 1, b"\x03\x01\x02")  # three codes of one bit
    full_dc = [1] * 16  # codes of every length; what remains is the code of all ones
    yield "no room in DC table", grey_jpeg([0], full_dc, bytes([*range(11), 0, 0, 0, 0, 0]))
    yield "DC out of range", grey_jpeg([1500, 1500], ALL_SIZES, bytes(range(16)))
    yield "DC out of range", grey_jpeg([1500, -1600, -1000], ALL_SIZES, bytes(range(16)))
    yield "corrupt scan", jpeg[: len(jpeg) * 2 // 3]
    yield "corrupt scan", jpeg[:start]
    middle = start + (len(jpeg) - start) // 2
    yield "corrupt scan", jpeg[:middle] + b"\xff\xd3" + jpeg[middle:]
    yield "corrupt scan", jpeg[:-2] + b"\xff\xdc\x00\x04\x00\x09\xff\xd9"
    restarts = make("restart every row")
    yield "corrupt scan", restarts.replace(b"\xff\xd1", b"\xff\xd2")
    yield "corrupt scan", patched(restarts, 0xDD, 0, b"\x00\x02")
    yield "too large", patched(jpeg, 0xC0, 1, b"\xf0\x00\xf0\x00")


def test_not_indexable_and_why() -> None:
    seen = set()
    for reason, jpeg in not_indexable():
        with pytest.raises(NotIndexable) as caught:
            build_entry_points(jpeg)
        assert caught.value.reason == reason
        seen.add(reason)
    assert seen == set(NOT_INDEXABLE_REASONS)


@pytest.mark.skipif(not have_cjpeg(), reason="cjpeg is not installed")
@pytest.mark.parametrize(("switch", "reason"), [("-progressive", "progressive"), ("-arithmetic", "arithmetic")])
def test_not_indexable_by_cjpeg(switch: str, reason: str) -> None:
    with pytest.raises(NotIndexable) as caught:
        build_entry_points(cjpeg(photograph(40, 40), switch))
    assert caught.value.reason == reason


def test_bad_payloads_are_refused() -> None:
    mcu = build_entry_points(make("4:2:0"), 300)
    read_entry_points(mcu)
    bad = [mcu[:length] for length in range(len(mcu))]
    bad += [mcu + b"\0", b"\0" + mcu, mcu[:4] + b"\x02" + mcu[5:]]
    bad += [mcu[:i] + bytes([mcu[i] ^ 4]) + mcu[i + 1 :] for i in range(HEADER.size)]
    for payload in bad:
        with pytest.raises(BadEntryPoints):
            read_entry_points(payload)
