"""Properties of how pixels are coded: which of them leave traces in the pixels, and which do not."""

import io

import numpy as np
import pytest
from PIL import Image

from shards.images.pixels import decode_rgb
from shards.metadata.facts import read_facts


@pytest.fixture
def noisy() -> Image.Image:
    random = np.random.default_rng(2)
    coarse = random.integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((80, 72), Image.Resampling.BICUBIC)


def test_huffman_tables_change_no_pixel_and_are_a_fact_of_their_own(noisy, encode_image):
    standard = encode_image(noisy, "JPEG", quality=85)
    optimised = encode_image(noisy, "JPEG", quality=85, optimize=True)
    np.testing.assert_array_equal(decode_rgb(standard), decode_rgb(optimised))
    one, other = read_facts(standard), read_facts(optimised)
    assert (one.huffman, other.huffman) == ("standard", "optimised")
    assert other.pixel_bytes < one.pixel_bytes
    assert one.quant_digest == other.quant_digest != ""


def test_a_frame_without_huffman_tables_has_the_standard_ones(noisy, encode_image):
    """A frame without Huffman tables, as webcams send it, is recorded as having the standard's tables."""
    data = encode_image(noisy, "JPEG")
    while (start := data.find(b"\xff\xc4")) >= 0:
        data = data[:start] + data[start + 2 + int.from_bytes(data[start + 2 : start + 4]) :]
    assert read_facts(data).huffman == "standard"


def test_other_tables_of_the_same_quality_are_another_fact(noisy, encode_image):
    plain = encode_image(noisy, "JPEG", quality=75)
    tables = Image.open(io.BytesIO(plain)).quantization
    luma, chroma = list(tables[0]), list(tables[1])
    chroma[5] += 2
    changed = encode_image(noisy, "JPEG", qtables=[luma, chroma])
    one, other = read_facts(plain), read_facts(changed)
    assert one.jpeg_quality == other.jpeg_quality == 75
    assert one.quant_digest != other.quant_digest


def test_tables_are_the_same_whatever_their_number_and_the_scans(noisy, encode_image):
    plain = encode_image(noisy, "JPEG", quality=60)
    digests = {
        read_facts(encode_image(noisy, "JPEG", quality=60, **options)).quant_digest
        for options in ({}, {"progressive": True}, {"subsampling": 0}, {"optimize": True})
    }
    assert digests == {read_facts(plain).quant_digest}
    frame = plain.index(b"\xff\xc0")
    swapped = bytearray(plain)
    first, second = plain.index(b"\xff\xdb"), plain.rindex(b"\xff\xdb", 0, frame)
    swapped[first + 4], swapped[second + 4] = 1, 0
    for component, table in enumerate((1, 0, 0)):
        swapped[frame + 10 + 3 * component + 2] = table
    np.testing.assert_array_equal(decode_rgb(bytes(swapped)), decode_rgb(plain))
    assert read_facts(bytes(swapped)).quant_digest in digests


def without(data: bytes, marker: int) -> bytes:
    start = data.index(bytes((0xFF, marker)))
    return data[:start] + data[start + 2 + int.from_bytes(data[start + 2 : start + 4]) :]


def test_colour_transforms_follow_the_decoder(noisy, encode_image):
    rgb = encode_image(noisy, "JPEG", keep_rgb=True)
    assert read_facts(rgb).colour_transform == "rgb"  # by the Adobe marker
    by_ids = without(rgb, 0xEE)
    assert read_facts(by_ids).colour_transform == "rgb"
    np.testing.assert_array_equal(decode_rgb(by_ids), decode_rgb(rgb))
    plain = encode_image(noisy, "JPEG")
    assert read_facts(plain).colour_transform == "ycbcr"
    assert read_facts(without(plain, 0xE0)).colour_transform == "ycbcr"
    assert read_facts(encode_image(noisy.convert("L"), "JPEG")).colour_transform == "grey"
    cmyk = bytearray(encode_image(noisy.convert("CMYK"), "JPEG"))
    transform = cmyk.index(b"Adobe") + 11
    for value, name in ((0, "cmyk"), (2, "ycck")):
        cmyk[transform] = value
        assert read_facts(bytes(cmyk)).colour_transform == name


@pytest.mark.parametrize(
    ("kind", "mode", "options", "expected"),
    [
        ("WEBP", "RGB", {}, ("4:2:0", "ycbcr", False)),
        ("WEBP", "RGB", {"lossless": True}, ("", "rgb", True)),
        ("WEBP", "RGBA", {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0"}, ("4:2:0", "ycbcr", False)),
        ("AVIF", "RGB", {}, ("4:2:0", "ycbcr", False)),
        ("AVIF", "RGB", {"subsampling": "4:2:2"}, ("4:2:2", "ycbcr", False)),
        ("AVIF", "RGB", {"subsampling": "4:4:4"}, ("4:4:4", "ycbcr", False)),
        ("AVIF", "RGBA", {}, ("4:2:0", "ycbcr", False)),  # not the alpha plane's
        ("PNG", "RGB", {}, ("", "rgb", True)),
        ("PNG", "L", {}, ("", "grey", True)),
        ("PNG", "P", {}, ("", "rgb", True)),
        ("BMP", "RGB", {}, ("", "rgb", True)),
        ("TIFF", "RGB", {"compression": "tiff_deflate"}, ("", "rgb", True)),
        ("TIFF", "CMYK", {}, ("", "cmyk", True)),
        ("TIFF", "RGB", {"compression": "jpeg"}, ("", "rgb", False)),
    ],
)
def test_coding_of_other_formats(kind, mode, options, expected, noisy, encode_image):
    image = noisy.quantize(16) if mode == "P" else noisy.convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.fromarray(np.tile(np.arange(80, dtype=np.uint8), (72, 1))))
    facts = read_facts(encode_image(image, kind, **options))
    assert (facts.subsampling, facts.colour_transform, facts.lossless) == expected


def test_lengths_are_put_on_one_scale(encode_image):
    """``standard_bytes`` of optimised and progressive JPEGs estimates their length with standard Huffman tables. The
    files are small and smooth, because optimised tables save most there."""
    random, scales = np.random.default_rng(0), []
    for _ in range(24):
        coarse = random.integers(0, 256, (9, 9, 3), dtype=np.uint8)
        size = random.integers(40, 300, 2).tolist()
        image = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
        options = {"quality": int(random.integers(50, 96)), "subsampling": int(random.integers(3))}
        standard, optimised, progressive = (
            read_facts(encode_image(image, "JPEG", **options, **more))
            for more in ({}, {"optimize": True}, {"progressive": True})
        )
        assert standard.standard_bytes == standard.pixel_bytes > 1.03 * optimised.pixel_bytes
        scales.append([f.standard_bytes / standard.pixel_bytes for f in (optimised, progressive)])
    mean, spread = np.mean(scales, axis=0), np.std(scales, axis=0)
    assert abs(mean[0] - 1) < 0.01
    assert abs(mean[1] - 1) < 0.05
    assert spread[0] < 0.02
    assert spread[1] < 0.05


def test_what_only_says_how_it_is_packed_has_no_length_to_compare(noisy, encode_image):
    for kind, options in (("BMP", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"})):
        facts = read_facts(encode_image(noisy, kind, **options))
        assert facts.pixel_bytes > facts.standard_bytes == 0
