"""The header parser reads the values that encoders wrote. A malformed header raises ``BadJpeg``, and no other
exception."""

import struct

import numpy as np
import pytest

from shards.jpeg.header import BadJpeg
from shards.jpeg.header_parser import read_header
from tests.images.jpeg_variants import NEED_CJPEG, VARIANTS, have_cjpeg, photograph, with_fill_bytes


def make(name: str) -> bytes:
    if name in NEED_CJPEG and not have_cjpeg():
        pytest.skip("cjpeg is not installed (Debian: libjpeg-turbo-progs)")
    return VARIANTS[name](photograph(21, 34))


def segment(marker: int, payload: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def small_jpeg(*before: bytes, frame: bytes | None = None, scan: bytes | None = None, after: bytes = b"") -> bytes:
    """Returns a JPEG header of one component, with the segments ``before`` in front of the frame header."""
    frame = segment(0xC0, struct.pack(">BHHB3B", 8, 7, 9, 1, 1, 0x11, 0)) if frame is None else frame
    scan = segment(0xDA, bytes([1, 1, 0x00, 0, 63, 0])) if scan is None else scan
    return b"\xff\xd8" + b"".join(before) + frame + scan + after


@pytest.mark.parametrize(
    ("name", "subsampling"),
    [
        ("grey", "grey"),
        ("grey, factors 2x2", "grey"),
        ("4:4:4", "4:4:4"),
        ("RGB", "4:4:4"),
        ("CMYK", "4:4:4"),
        ("4:2:2", "4:2:2"),
        ("4:2:0", "4:2:0"),
        ("4:4:0", "4:4:0"),
        ("4:1:1", "4:1:1"),
        ("factors 4x2", "4:1:0"),
        ("factors 3x1", "3x1,1x1,1x1"),
        ("factors 1x1,2x1,2x1", "1x1,2x1,2x1"),
    ],
)
def test_subsampling(name: str, subsampling: str) -> None:
    header = read_header(make(name))
    assert (header.width, header.height, header.precision) == (34, 21, 8)
    assert header.subsampling == subsampling
    assert header.baseline


def test_markers_that_settle_the_colour() -> None:
    assert read_header(make("4:2:0")).has_jfif
    assert read_header(make("4:2:0")).adobe_transform is None
    assert read_header(make("CMYK")).adobe_transform == 0
    assert read_header(make("YCCK")).adobe_transform == 2
    by_ids = read_header(make("RGB by identifiers"))
    assert not by_ids.has_jfif
    assert [component.id for component in by_ids.components] == list(b"RGB")


def test_restart_interval_of_the_last_segment() -> None:
    assert read_header(make("restart every 7 MCUs")).restart_interval == 7
    twice = small_jpeg(segment(0xDD, b"\x00\x05"), segment(0xDD, b"\x01\x02"))
    assert read_header(twice).restart_interval == 258


def test_last_table_of_a_number_holds() -> None:
    tables = [segment(0xDB, b"\x00" + bytes([value] * 64)) for value in (7, 9)]
    header = read_header(small_jpeg(*tables))
    assert header.quant_tables[0].values == (9,) * 64
    huffman = b"\x11" + bytes(15) + b"\x02" + b"ab"  # AC table 1: two codes of 16 bits
    both = segment(0xC4, b"\x00" + b"\x01" + bytes(15) + b"z" + huffman)
    data = small_jpeg(segment(0xC4, huffman), both)
    offset, length = read_header(data).huffman_tables[0x11]
    assert data[offset : offset + length] == huffman
    assert offset == data.rindex(huffman)


def test_wide_quantisation_values() -> None:
    table = b"\x13" + b"".join(struct.pack(">H", 1000 + i) for i in range(64))
    values = read_header(small_jpeg(segment(0xDB, table))).quant_tables[3].values
    assert values == tuple(range(1000, 1064))


def test_rubbish_and_fill_bytes_between_segments_are_skipped() -> None:
    clean = make("4:2:0")
    rubbish = clean[:2] + b"rubbish\xff\x00\xff\xd3" + clean[2:]
    for data in (rubbish, with_fill_bytes(clean)):
        header = read_header(data)
        assert (header.width, header.height, header.subsampling) == (34, 21, "4:2:0")


def test_components_that_share_an_identifier_come_in_order() -> None:
    frame = segment(0xC0, struct.pack(">BHHB9B", 8, 7, 9, 3, 0, 0x21, 0, 0, 0x11, 0, 0, 0x11, 0))
    scan = segment(0xDA, bytes([3, 0, 0x00, 0, 0x11, 0, 0x11, 0, 63, 0]))
    header = read_header(small_jpeg(frame=frame, scan=scan))
    assert header.scan.components == (0, 1, 2)


def test_kinds() -> None:
    for marker, kind in ((0xC2, "progressive"), (0xC9, "arithmetic"), (0xC3, "lossless")):
        frame = segment(marker, struct.pack(">BHHB3B", 8, 7, 9, 1, 1, 0x11, 0))
        header = read_header(small_jpeg(frame=frame))
        assert getattr(header, kind)
        assert not header.baseline


def test_any_buffer_will_do() -> None:
    data = make("4:2:0")
    assert read_header(data) == read_header(np.frombuffer(data, np.uint8))
    assert read_header(data) == read_header(memoryview(bytearray(data)))


def test_every_cut_of_the_header_is_noticed() -> None:
    data = make("many segments")
    end = read_header(data).scan_start
    assert read_header(data[:end]).scan_start == end
    cuts = {*range(0, 900), *range(900, end, 997), end - 1}
    for cut in sorted(cuts):
        with pytest.raises(BadJpeg):
            read_header(data[:cut])


FRAME = struct.pack(">BHHB3B", 8, 7, 9, 1, 1, 0x11, 0)


CONTRADICTIONS = [
    b"",
    b"\x89PNG\r\n\x1a\n" * 5,
    b"\xff\xd8\xff\xd9",
    small_jpeg(frame=b""),  # no frame header
    small_jpeg(frame=segment(0xC0, FRAME) * 2),
    small_jpeg(frame=segment(0xC0, FRAME[:5])),
    small_jpeg(frame=segment(0xC0, FRAME[:5] + b"\x05" + FRAME[6:])),  # five components
    small_jpeg(frame=segment(0xC0, FRAME[:7] + b"\x50" + FRAME[8:])),  # factors 5x0
    small_jpeg(frame=segment(0xC0, FRAME[:1] + b"\x00\x00" + FRAME[3:])),  # height 0
    small_jpeg(scan=segment(0xDA, bytes([1, 2, 0, 0, 63, 0]))),  # no such component
    small_jpeg(scan=segment(0xDA, bytes([1, 1, 0x40, 0, 63, 0]))),  # table 4
    small_jpeg(scan=segment(0xDA, b"")),
    small_jpeg(segment(0xDB, b"\x04" + bytes(64))),  # quantisation table 4
    small_jpeg(segment(0xDB, b"\x00" + bytes(63))),
    small_jpeg(segment(0xC4, b"\x00" + b"\xff" * 16)),  # more codes than bytes
    small_jpeg(segment(0xC4, b"\x02")),
    small_jpeg(segment(0xDD, b"\x00")),
    small_jpeg(b"\xff\xe1\x00\x01"),  # length below its own size
    small_jpeg(segment(0xE1, b"") * 10_001),
]


def test_contradictions_are_bad_jpegs() -> None:
    for number, data in enumerate(CONTRADICTIONS):
        with pytest.raises(BadJpeg):
            pytest.fail(f"{number}: {read_header(data)}")


def test_flipped_bytes_never_raise_anything_else() -> None:
    clean = make("tables redefined")
    end = read_header(clean).scan_start
    rng = np.random.default_rng(0)
    for _ in range(500):
        data = bytearray(clean[: end + 4])
        for place in rng.integers(0, len(data), rng.integers(1, 4)):
            data[place] = rng.integers(0, 256)
        try:
            header = read_header(bytes(data))
        except BadJpeg:
            continue
        assert header.scan_start <= len(data)
        assert header.width > 0
        assert header.height > 0
