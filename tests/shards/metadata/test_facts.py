"""The properties of a file that are recorded besides its pixels."""

import dataclasses
import struct

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageCms, TiffImagePlugin

from shards.build.make_sample import build_sample
from shards.build.packing import PackedSource
from shards.images.pixels import RejectedImage, decode_rgb, pixel_sha256
from shards.images.tiling import can_tile
from shards.manifest.schema import SAMPLE_SCHEMA
from shards.metadata.facts import _fitted, read_facts
from tests.images.image_files import chunk

SOURCE = PackedSource("real/a.png", b"", "PNG", 0, "", "", "train")


def test_facts_of_a_jpeg(coded_image, encode_image):
    exif = Image.Exif()
    exif[0x0112] = 8
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = encode_image(
        coded_image(1, 61, 33),
        "JPEG",
        quality=77,
        subsampling=2,
        restart_marker_blocks=3,
        exif=exif,
        icc_profile=profile,
    )
    facts = dataclasses.asdict(read_facts(data))
    assert 0 < facts.pop("pixel_bytes") == facts.pop("standard_bytes") < len(data)
    assert len(facts.pop("quant_digest")) == 16
    assert facts == {
        "width": 61,
        "height": 33,
        "format": "JPEG",
        "mode": "RGB",
        "subsampling": "4:2:0",
        "progressive": False,
        "restart_interval": 3,
        "jpeg_quality": 77,
        "exif_orientation": 8,
        "has_exif": True,
        "has_icc": True,
        "num_frames": 1,
        "bit_depth": 8,
        "colour_transform": "ycbcr",
        "lossless": False,
        "huffman": "standard",
        "metadata": "Exif, ICC, JFIF",
    }


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"subsampling": 0}, {"subsampling": "4:4:4"}),
        ({"subsampling": 1}, {"subsampling": "4:2:2"}),
        ({"progressive": True}, {"progressive": True}),
        ({"grey": True}, {"subsampling": "grey", "mode": "L"}),
    ],
)
def test_kinds_of_jpeg(options, expected, coded_image, encode_image):
    facts = dataclasses.asdict(read_facts(encode_image(coded_image(1, 40, 40), "JPEG", **options)))
    assert {name: facts[name] for name in expected} == expected


def test_quality_is_recovered_for_every_setting(encode_image):
    """Qualities 3 to 100 are tested; below, libjpeg's tables saturate, and different qualities may have the same
    table."""
    pixels = np.zeros((8, 8, 3), np.uint8)
    found = [read_facts(encode_image(pixels, "JPEG", quality=q)).jpeg_quality for q in range(3, 101)]
    assert found == list(range(3, 101))


@pytest.mark.parametrize(
    ("kind", "mode", "options", "expected"),
    [
        ("PNG", "RGBA", {}, ("RGBA", 8, 1)),
        ("PNG", "P", {"bits": 4}, ("P", 4, 1)),
        ("PNG", "1", {}, ("1", 1, 1)),
        ("PNG", "I;16", {}, ("I;16", 16, 1)),
        ("TIFF", "I;16", {}, ("I;16", 16, 1)),
        ("TIFF", "RGB", {"frames": 3}, ("RGB", 8, 2)),  # "two or more": pages are not counted
        ("BMP", "RGB", {}, ("RGB", 8, 1)),
        ("BMP", "1", {}, ("1", 1, 1)),
        ("BMP", "P", {}, ("P", 8, 1)),  # of 16 colours, in indices of 8 bits
        ("GIF", "P", {"frames": 4}, ("P", 4, 4)),
        ("WEBP", "RGB", {"frames": 2}, ("RGB", 8, 2)),
        ("PNG", "RGB", {"frames": 3}, ("RGB", 8, 3)),
        ("AVIF", "RGB", {}, ("RGB", 8, 1)),
    ],
)
def test_mode_bits_and_frames(kind, mode, options, expected, coded_image, encode_image):
    options = dict(options)
    base = Image.fromarray(coded_image(1, 32, 24))
    image = base.quantize(16) if mode == "P" else base.convert("L" if mode == "I;16" else mode)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    frames = options.pop("frames", 1)
    if frames > 1:
        others = [Image.fromarray(coded_image(9 + i, 32, 24)) for i in range(frames - 1)]
        options |= {"save_all": True, "append_images": others}
    facts = read_facts(encode_image(image, kind, **options))
    assert (facts.mode, facts.bit_depth, facts.num_frames) == expected
    chroma = "4:2:0" if kind in ("WEBP", "AVIF") else ""
    assert (facts.subsampling, facts.progressive, facts.jpeg_quality) == (chroma, False, None)


@pytest.mark.parametrize(("bits", "colours"), [(1, 2), (4, 16), (8, 200)])
@pytest.mark.parametrize("header", [12, 40])
def test_bits_of_a_bmp_palette(bits, colours, header):
    entry = 3 if header == 12 else 4
    palette = bytes(range(3, 3 + colours * entry % 250)).ljust(colours * entry, b"\x11")
    palette = palette if header == 40 else palette.ljust(entry << bits, b"\0")
    size = struct.pack("<HHHH" if header == 12 else "<iiHH", 4, 2, 1, bits)
    rest = b"" if header == 12 else struct.pack("<IIiiII", 0, 0, 0, 0, colours, 0)
    body = struct.pack("<I", header) + size + rest + palette
    data = b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + len(body)) + body + bytes(8)
    assert (read_facts(data).mode, read_facts(data).bit_depth) == ("P", bits)


@pytest.mark.parametrize("local", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 5, 8])
def test_bits_of_a_gif_palette(bits, local):
    """The palette is found after comments, too, and a frame's own palette takes precedence over the file's."""
    table, flags = bytes(range(1, 250)).ljust(768, b"\0")[: 3 << bits], 0x80 | (bits - 1)
    screen = struct.pack("<HHBBB", 2, 1, 0x86 if local else flags, 0, 0)
    screen += bytes(384) if local else table
    comment = b"!\xfe\x03abc\x02de\0"
    frame = b"," + struct.pack("<HHHHB", 0, 0, 2, 1, flags if local else 0)
    frame += (table if local else b"") + b"\x02\x02\x44\x01\0"
    facts = read_facts(b"GIF89a" + screen + comment + frame + b";")
    assert facts.bit_depth == bits


def test_numbers_of_a_file_fit_their_columns(coded_image, encode_image):
    """Any number in a file, such as a PNG's claim of up to 2³¹ frames, is clipped to the range of its column."""
    facts = read_facts(encode_image(coded_image(1, 8, 8), "PNG"))
    row = {f.name: getattr(facts, f.name) for f in dataclasses.fields(facts)}
    numbers = [name for name in row if pa.types.is_integer(SAMPLE_SCHEMA.field(name).type)]
    assert {"num_frames", "bit_depth", "restart_interval", "exif_orientation"} <= set(numbers)
    for extreme in (2**31, 2**40, -(2**70)):
        said = _fitted(dataclasses.replace(facts, **dict.fromkeys(numbers, extreme)))
        for name in numbers:
            pa.array([getattr(said, name)], SAMPLE_SCHEMA.field(name).type)
    assert _fitted(facts) == facts


def test_an_apng_of_absurdly_many_frames_is_taken(coded_image, encode_image):
    pixels = coded_image(1, 8, 8)
    data = encode_image(pixels, "PNG")
    for claimed, found in ((2**31, 2**31 - 1), (2**31 - 1, 2**31 - 1), (7, 8)):
        control = chunk(b"acTL", struct.pack(">II", claimed, 0))
        animated = data[:33] + control + data[33:]  # the default image is no frame of it
        assert read_facts(animated).num_frames == found
        np.testing.assert_array_equal(decode_rgb(animated), pixels)


def pages(encode_image, coded_image, count, **options):
    first, *others = (Image.fromarray(coded_image(i, 16, 16)) for i in range(count))
    return encode_image(first, "TIFF", save_all=True, append_images=others, **options)


def test_pages_of_a_tiff_are_not_walked(coded_image, encode_image, monkeypatch):
    """Of a TIFF with several pages, only the existence of a second page is checked, because each page's directory may
    lie anywhere in the file."""
    data = pages(encode_image, coded_image, 9)
    asked, load = [], TiffImagePlugin.ImageFileDirectory_v2.load

    def counted(self, fp):
        asked.append(fp.tell())
        load(self, fp)

    monkeypatch.setattr(TiffImagePlugin.ImageFileDirectory_v2, "load", counted)
    assert read_facts(data).num_frames == 2
    assert not can_tile(data, "TIFF")
    assert len(set(asked)) <= 2


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "PNG"])
def test_damaged_later_pictures_cost_nothing(kind, coded_image, encode_image):
    """Only the first picture is read, so building and prediction agree that the image is intact."""
    if kind == "TIFF":
        data = bytearray(pages(encode_image, coded_image, 3))
        first = int.from_bytes(data[4:8], "little")
        end = first + 2 + 12 * int.from_bytes(data[first : first + 2], "little")
        second = int.from_bytes(data[end : end + 4], "little")
        at = data.index(struct.pack("<HHI", 259, 3, 1), second)
        data[at + 8 : at + 10] = struct.pack("<H", 34887)  # LERC, which nothing here reads
    else:
        frames = [Image.fromarray(coded_image(i, 16, 16)) for i in (1, 9, 17)]
        data = encode_image(frames[0], kind, save_all=True, append_images=frames[1:])
        data = data[: len(data) * 9 // 10]
    pixels = decode_rgb(bytes(data))
    sample = build_sample(bytes(data), SOURCE, "000000000000", "train-000000.tar", 16)
    assert sample.row["num_frames"] >= 2
    assert sample.row["pixel_sha256"] == pixel_sha256(pixels)


def test_ten_bit_avif_is_known_by_its_configuration(coded_image, encode_image):
    """An AVIF's bit depth is read from its configuration. Pillow writes only 8 bits, so the test sets the flags that
    encoders of 10 and 12 bits write."""
    data = bytearray(encode_image(coded_image(1, 32, 24), "AVIF"))
    flags, depths = data.index(b"av1C") + 6, data.index(b"pixi") + 9
    for bits, value in ((8, 0), (10, 0x40), (12, 0x60)):
        data[flags] = data[flags] & ~0x60 | value
        data[depths : depths + 3] = [bits] * 3
        assert read_facts(bytes(data)).bit_depth == bits


def test_exif_behind_the_pixels_counts(coded_image, encode_image):
    """EXIF data after the image data is found; PNG allows the eXIf chunk there."""
    exif = Image.Exif()
    exif[0x0112] = 3
    data = encode_image(coded_image(1, 20, 20), "PNG", exif=exif)
    start = data.index(b"eXIf") - 4
    length = 12 + int.from_bytes(data[start : start + 4], "big")
    end = data.index(b"IEND") - 4
    moved = data[:start] + data[start + length : end] + data[start : start + length] + data[end:]
    for facts in (read_facts(data), read_facts(moved)):
        assert (facts.has_exif, facts.exif_orientation) == (True, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_exif_is_seen_whatever_it_says(kind, coded_image, encode_image):
    exif = Image.Exif()
    exif[0x0110] = "camera"
    exif.get_ifd(0x8769)[0x9003] = "2020:01:02 03:04:05"
    pixels = coded_image(1, 20, 20)
    assert read_facts(encode_image(pixels, kind, exif=exif.tobytes())).has_exif
    assert not read_facts(encode_image(pixels, kind)).has_exif


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_orientation_out_of_range_says_nothing(value, coded_image, encode_image):
    exif = Image.Exif()
    exif[0x0112] = value
    assert read_facts(encode_image(coded_image(1, 9, 9), "JPEG", exif=exif)).exif_orientation == 1


def test_no_image_no_facts():
    with pytest.raises(RejectedImage):
        read_facts(b"text")
