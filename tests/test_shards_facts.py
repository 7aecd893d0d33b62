"""What is recorded about a file beside its pixels."""

import dataclasses

import numpy as np
import pytest
from PIL import Image, ImageCms

from shards.facts import read_facts
from shards.perceptual_hash import hamming_distance, perceptual_hash
from shards.pixels import RejectedImage, global_view


def test_facts_of_a_jpeg(coded_image, encode_image):
    exif = Image.Exif()
    exif[0x0112] = 8
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = encode_image(
        coded_image(1, 61, 33), "JPEG", quality=77, subsampling=2, restart_marker_blocks=3,
        exif=exif, icc_profile=profile,
    )  # fmt: skip
    facts = dataclasses.asdict(read_facts(data))
    assert 0 < facts.pop("pixel_bytes") == facts.pop("standard_bytes") < len(data)
    assert len(facts.pop("quant_digest")) == 16
    assert facts == {
        "width": 61, "height": 33, "format": "JPEG", "mode": "RGB", "subsampling": "4:2:0",
        "progressive": False, "restart_interval": 3, "jpeg_quality": 77, "exif_orientation": 8,
        "has_exif": True, "has_icc": True, "num_frames": 1, "bit_depth": 8,
        "colour_transform": "ycbcr", "lossless": False, "huffman": "standard",
        "metadata": "Exif, ICC, JFIF",
    }  # fmt: skip


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
    """At quality 2 and below libjpeg's tables saturate, so neighbours may be the same table."""
    pixels = np.zeros((8, 8, 3), np.uint8)
    found = [
        read_facts(encode_image(pixels, "JPEG", quality=q)).jpeg_quality for q in range(3, 101)
    ]
    assert found == list(range(3, 101))


@pytest.mark.parametrize(
    ("kind", "mode", "options", "expected"),
    [
        ("PNG", "RGBA", {}, ("RGBA", 8, 1)),
        ("PNG", "P", {"bits": 4}, ("P", 4, 1)),
        ("PNG", "1", {}, ("1", 1, 1)),
        ("PNG", "I;16", {}, ("I;16", 16, 1)),
        ("TIFF", "I;16", {}, ("I;16", 16, 1)),
        ("TIFF", "RGB", {"frames": 3}, ("RGB", 8, 3)),
        ("BMP", "RGB", {}, ("RGB", 8, 1)),
        ("GIF", "P", {"frames": 4}, ("P", 8, 4)),
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


def test_ten_bit_avif_is_told_by_its_configuration(coded_image, encode_image):
    """Pillow writes 8 bits only: the flag is set by hand, as encoders of 10 and 12 bits do."""
    data = bytearray(encode_image(coded_image(1, 32, 24), "AVIF"))
    flags, depths = data.index(b"av1C") + 6, data.index(b"pixi") + 9
    for bits, value in ((8, 0), (10, 0x40), (12, 0x60)):
        data[flags] = data[flags] & ~0x60 | value
        data[depths : depths + 3] = [bits] * 3
        assert read_facts(bytes(data)).bit_depth == bits


def test_exif_behind_the_pixels_counts(coded_image, encode_image):
    """PNG allows the eXIf chunk after the image data."""
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


def test_perceptual_hash_knows_renditions_of_one_picture():
    """Re-encoded, rescaled: few bits. Another picture: about half of them."""
    random = np.random.default_rng(3)
    pictures = [
        Image.fromarray(random.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((640, 480), 3)
        for _ in range(6)
    ]
    hashes = [perceptual_hash(global_view(np.asarray(picture), 224)) for picture in pictures]
    for picture, value in zip(pictures, hashes, strict=True):
        assert -(2**63) <= value < 2**63
        smaller = np.asarray(picture.resize((400, 300), 3))
        assert hamming_distance(value, perceptual_hash(global_view(smaller, 224))) <= 6
        assert hamming_distance(value, perceptual_hash(global_view(np.asarray(picture), 128))) <= 6
    others = [hamming_distance(a, b) for i, a in enumerate(hashes) for b in hashes[:i]]
    assert min(others) >= 14
