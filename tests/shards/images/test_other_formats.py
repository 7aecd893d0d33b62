"""JPEG XL and JPEG 2000 are read, and formats that are not read are called by their names."""

import base64
import itertools
import struct
import sys

import numpy as np
import pytest
from PIL import Image

from shards.build.first_pass import examine
from shards.images.containers import iso_boxes
from shards.images.formats import FILE_SUFFIXES, MAX_PIXELS, sniff_format
from shards.images.jxl_header import BadJxl, read_jxl_header
from shards.images.pixels import RejectedImage, decode_rgb
from shards.images.unsupported import _built_in
from shards.metadata.facts import read_facts
from shards.sources.files import LocalFiles
from tests.images.image_files import box, chunk, tiff

# 64 × 48 pixels, lossless, with the fields for orientation written out: bits 27 to 29.
JXL = base64.b64decode(
    "/wrLBBATCAABAAQCSygx3TyrxcNV4jQFBQUlE4VIhAWNQYjBNG6wJyBnIwBAQAhggCAIAAoQRQVVwNBXC6Trut+M"
    "LoSmnYKs7mIiZ5yCzRPGwrR/9+RL6Cm0YB+hhKIjeYm0HZIhaaRB8FmrznwGVxPaLW8gOuyBRUrHYqxLyn00b6qp"
    "3itNa/8EPGAF"
)
GREY = np.zeros((4, 5, 1), np.uint8)


def rejected(data: bytes) -> tuple[str, str]:
    with pytest.raises(RejectedImage) as caught:
        decode_rgb(data)
    return caught.value.reason, caught.value.detail


def jpeg_frame(marker: int, precision: int, components: int = 1) -> bytes:
    """Returns a JPEG that has only headers, with the frame marker ``marker``, and a scan of zeros."""
    listed = b"".join(bytes((c + 1, 0x11, 0)) for c in range(components))
    frame = struct.pack(">HBHHB", 8 + len(listed), precision, 8, 8, components) + listed
    scanned = b"".join(bytes((c + 1, 0)) for c in range(components))
    scan = struct.pack(">HB", 6 + len(scanned), components) + scanned + b"\0\x3f\0"
    return b"\xff\xd8\xff" + bytes((marker,)) + frame + b"\xff\xda" + scan + b"\0" * 8 + b"\xff\xd9"


NAMED = {
    "12-bit JPEG": jpeg_frame(0xC1, 12),
    "16-bit JPEG": jpeg_frame(0xC3, 16),
    "JPEG-LS": jpeg_frame(0xF7, 8),
    "hierarchical JPEG": jpeg_frame(0xC5, 8),
    "JPEG of 2 components": jpeg_frame(0xC0, 8, 2),
    "TIFF with LERC": tiff(GREY, more={259: (3, [34887])}),
    "TIFF with JPEG 2000": tiff(GREY, more={259: (3, [34712])}),
    "TIFF with JPEG XL": tiff(GREY, more={259: (3, [50002])}),
    "TIFF with compression 4711": tiff(GREY, more={259: (3, [4711])}),
    "TIFF of 16 bits, half floats, 1 channels, photometric 1": tiff(np.ones((4, 5, 1), np.float16), sample_format=3),
    "TIFF of 64 bits, floats, 1 channels, photometric 1": tiff(np.ones((4, 5, 1), np.float64), sample_format=3),
    "TIFF of camera raw": tiff(GREY, photometric=32803),
    "camera raw: its first picture is a preview": tiff(GREY, more={254: (4, [1]), 330: (4, [8])}),
    "Apple's PNG for iOS (CgBI)": b"\x89PNG\r\n\x1a\n" + chunk(b"CgBI", bytes(4)),
    "BMP compression (4)": b"BM"
    + struct.pack("<IHHIIiiHHIIiiII", 60, 0, 0, 54, 40, 4, 4, 1, 24, 4, 0, 0, 0, 0, 0)
    + bytes(64),
    "Canon camera raw (CR3)": box(b"ftyp", b"crx ", bytes(4), b"crx isom"),
    "Photoshop (PSD)": b"8BPS\0\1" + bytes(20),
    "OpenEXR": b"v/1\x01\2\0\0\0",
    "QOI": b"qoif" + bytes(10),
    "Netpbm": b"P6\n4 4\n255\n" + bytes(48),
    "SVG": b"<?xml version='1.0'?>\n<svg></svg>",
    "PDF": b"%PDF-1.7\n",
    "JPEG XR": b"II\xbc\x01 \0\0\0",
}


@pytest.mark.parametrize("name", NAMED)
def test_what_is_not_read_is_named(name, tmp_path):
    """Both prediction and the first pass of a build give the format's name instead of "corrupt" or "not_an_image"."""
    assert rejected(NAMED[name]) == ("unsupported_format", name)
    (tmp_path / "a.jpg").write_bytes(NAMED[name])
    state = examine(LocalFiles(tmp_path), "a.jpg")
    if sniff_format(NAMED[name]) is None:
        assert (state.reason, state.detail) == ("unsupported_format", name)
    else:
        assert not state.reason  # it is opened later


def test_a_codec_that_is_not_built_in_is_named(monkeypatch):
    monkeypatch.setattr("shards.images.unsupported._built_in", {50001: False, 50000: True}.get)
    data = tiff(GREY, more={259: (3, [50001])})
    assert rejected(data) == ("unsupported_format", "TIFF with WebP")
    data = tiff(GREY, more={259: (3, [50000])})
    assert rejected(data)[0] == "corrupt"


def test_whether_a_codec_is_built_in_is_found_without_encoding(monkeypatch):
    """Decoding is safe in all versions of Pillow."""
    monkeypatch.setattr("PIL.TiffImagePlugin._save", None)
    assert _built_in.__wrapped__(34925)  # LZMA, which all of Pillow's wheels have
    for compression in (50000, 50001):
        assert _built_in.__wrapped__(compression) in (True, False)


@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "PNG", "BMP"])
def test_damaged_files_are_not_called_unsupported(kind, encode_image):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encode_image(noise, kind, **({"compression": "tiff_lzw"} if kind == "TIFF" else {}))
    assert rejected(data[: len(data) // 2])[0] in ("corrupt", "truncated")
    assert rejected(data[:60])[0] in ("corrupt", "truncated")


@pytest.mark.parametrize("options", [{}, {"no_jp2": True}])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_jpeg_2000_is_read(mode, options, coded_image, encode_image):
    image = Image.fromarray(coded_image(3, 61, 43)).convert(mode)
    data = encode_image(image, "JPEG2000", **options)
    assert sniff_format(data) == "JPEG2000"
    np.testing.assert_array_equal(decode_rgb(data), np.asarray(image.convert("RGB")))
    facts = read_facts(data)
    assert (facts.mode, facts.bit_depth, facts.has_exif, facts.has_icc) == (mode, 8, False, False)
    assert rejected(data[: len(data) // 2])[0] in ("corrupt", "truncated")
    assert {".jp2", ".jxl"} <= FILE_SUFFIXES


@pytest.mark.parametrize("options", [{}, {"no_jp2": True}])
def test_jpeg_2000_of_more_than_eight_bits_is_refused(options, coded_image, encode_image):
    """JPEG 2000 with more than 8 bits or signed samples is refused. Pillow 13 decodes white in such colour images as
    black."""
    data = bytearray(encode_image(coded_image(3, 61, 43), "JPEG2000", **options))
    depths = data.index(b"\xff\x4f\xff\x51") + 42
    data[depths] = 11
    assert rejected(bytes(data)) == ("unsupported_mode", "JPEG 2000 of 12 bits")
    data[depths] = 0x87
    assert rejected(bytes(data)) == ("unsupported_mode", "JPEG 2000 with signed samples")


def test_metadata_of_jpeg_2000(coded_image, encode_image):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode_image(coded_image(3, 61, 43), "JPEG2000")
    data = data + box(b"uuid", b"JpgTiffExif->JP2", exif.tobytes()[6:])
    facts = read_facts(data)
    assert (facts.width, facts.height) == (61, 43)
    assert (facts.has_exif, facts.exif_orientation) == (True, 6)


def turned(orientation: int) -> bytes:
    data = bytearray(JXL)
    data[3] = data[3] & ~0x38 | orientation - 1 << 3
    return bytes(data)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_xl_is_turned_back(orientation):
    header = read_jxl_header(turned(orientation))
    assert (header.width, header.height, header.bit_depth) == (64, 48, 8)
    assert (header.orientation, header.animated, header.has_icc) == (orientation, False, False)
    pytest.importorskip("pillow_jxl", reason="the extra jxl is not installed")
    facts = read_facts(turned(orientation))
    assert (facts.width, facts.height, facts.exif_orientation) == (64, 48, orientation)
    assert not facts.has_icc
    np.testing.assert_array_equal(decode_rgb(turned(orientation)), decode_rgb(JXL))
    assert rejected(JXL[:100])[0] in ("corrupt", "truncated")


def container(codestream: bytes, parts: int = 1) -> bytes:
    head = box(b"JXL ", b"\r\n\x87\n") + box(b"ftyp", b"jxl \0\0\0\0jxl ")
    if parts == 1:
        return head + box(b"jxlc", codestream)
    cuts = [0, *range(3, 3 + parts - 1), len(codestream)]
    pieces = [codestream[a:b] for a, b in itertools.pairwise(cuts)]
    return head + b"".join(
        box(b"jxlp", struct.pack(">I", i | (i == parts - 1) << 31), piece) for i, piece in enumerate(pieces)
    )


@pytest.mark.parametrize("parts", [1, 2, 5])
def test_a_jpeg_xl_in_a_container(parts):
    data = container(turned(6), parts)
    assert sniff_format(data) == "JXL"
    assert read_jxl_header(data) == read_jxl_header(turned(6))


def codestream(*fields: tuple[int, int]) -> bytes:
    """Returns the head of a JPEG XL codestream from (value, number of bits) fields, lowest bit first."""
    value = place = 0
    for number, count in fields:
        value, place = value | number << place, place + count
    return b"\xff\x0a" + value.to_bytes(-(-place // 8) + 8, "little")


def test_heads_of_jpeg_xl_are_read_field_by_field():
    small = ((1, 1), (5, 5), (0, 3), (7, 5))  # 64 × 48
    assert read_jxl_header(codestream(*small, (1, 1))).width == 64
    large = ((0, 1), (1, 2), (4999, 13), (0, 3), (2, 2), (99_999, 18), (1, 1))
    header = read_jxl_header(codestream(*large))
    assert (header.width, header.height) == (100_000, 5_000)
    ratio = ((0, 1), (0, 2), (99, 9), (5, 3), (1, 1))
    assert (read_jxl_header(codestream(*ratio)).width) == 177
    extra = ((0, 1), (1, 1), (4, 3), (1, 1), *small, (0, 1), (1, 1))
    timing = ((0, 2), (2, 2), (30, 8), (1, 2), (3, 3), (0, 1))
    depth, rest = ((0, 1), (2, 2)), ((1, 1), (1, 2), (1, 1), (1, 1), (0, 1), (1, 1))
    header = read_jxl_header(codestream(*small, *extra, *timing, *depth, *rest))
    assert (header.orientation, header.animated, header.bit_depth) == (5, True, 12)
    assert header.has_icc
    floats = ((0, 1), (0, 1), (1, 1), (0, 2), (7, 4), (1, 1), (0, 2), (0, 1), (1, 1))
    assert read_jxl_header(codestream(*small, *floats)).bit_depth == 32
    for data in (b"", b"\xff\x0a", codestream((0, 1))[:3], container(b"")):
        with pytest.raises(BadJxl):
            read_jxl_header(data)


def test_the_limit_on_pixels_holds_before_a_jpeg_xl_is_decoded(monkeypatch):
    """An image above the limit on pixels is refused before it is decoded. JPEG XL's plugin decodes while Pillow opens a
    file, so the size is read from the file's head first."""
    pytest.importorskip("pillow_jxl", reason="the extra jxl is not installed")
    from pillow_jxl import JpegXLImagePlugin

    monkeypatch.setattr(JpegXLImagePlugin, "Decoder", None)  # must not be called
    side = int(MAX_PIXELS**0.5) + 1
    large = codestream((0, 1), (3, 2), (side - 1, 30), (1, 3), (1, 1))
    assert rejected(large) == ("too_large", f"{side}×{side} pixels")


def test_a_program_without_pillows_limit_still_reads_jpeg_xl(monkeypatch):
    """Programs that read large images often switch off Pillow's limit. JPEG XL is still read, and this project's limit
    holds."""
    pytest.importorskip("pillow_jxl", reason="the extra jxl is not installed")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert decode_rgb(JXL).ndim == 3
    side = int(MAX_PIXELS**0.5) + 1
    large = codestream((0, 1), (3, 2), (side - 1, 30), (1, 3), (1, 1))
    assert rejected(large) == ("too_large", f"{side}×{side} pixels")


def test_a_jpeg_xl_without_the_extra_says_what_to_install(monkeypatch):
    from shards.images import jxl_jpeg2000

    monkeypatch.setitem(sys.modules, "pillow_jxl", None)
    jxl_jpeg2000._jxl_class.cache_clear()
    reason, detail = rejected(JXL)
    assert (reason, detail.endswith("pip install -e '.[jxl]'")) == ("unsupported_format", True)


def test_boxes_end_where_their_lengths_cannot_be():
    whole = box(b"abcd", b"12345") + box(b"efgh")
    assert list(iso_boxes(whole, whole=True)) == [(b"abcd", 8, 13), (b"efgh", 21, 21)]
    long = struct.pack(">I4sQ", 1, b"long", 20) + b"1234"
    assert list(iso_boxes(long, 0, 20, whole=True)) == [(b"long", 16, 20)]
    rest = struct.pack(">I4s", 0, b"rest") + b"123"
    assert list(iso_boxes(rest, whole=True)) == [(b"rest", 8, 11)]
    for length in (1, 7, 14, 2**31):
        assert list(iso_boxes(struct.pack(">I4s", length, b"abcd") + b"12345", 0, 13, whole=True)) == []
