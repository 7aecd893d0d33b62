"""Which pixels a file has, format by format, and which files are refused."""

import io
import struct
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, __version__

from shards.images import tiff_avif_heif
from shards.images.channel_stats import channel_stats
from shards.images.formats import MAX_PIXELS, open_image, sniff_format
from shards.images.pixel_pass import pixel_facts
from shards.images.pixels import RejectedImage, decode_rgb, global_view, pixel_sha256
from shards.images.resize import columns_come_first
from tests.images.image_files import png, tiff

PILLOW = int(__version__.split(".")[0])
SIXTEEN_BITS = np.random.default_rng(1).integers(0, 65536, (13, 17, 4), dtype=np.uint16)


def rounded(values: np.ndarray) -> np.ndarray:
    """Returns 16-bit values rounded to 8 bits by the project's rule, computed in floating point."""
    return np.rint(values / 257).astype(np.uint8)


def test_formats_agree_on_the_same_pixels(coded_image, encode_image):
    pixels = coded_image(7, 60, 40)
    for kind, options in [
        ("PNG", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {"lossless": True}),
        ("PNG", {"optimize": True}),
    ]:
        data = encode_image(pixels, kind, **options)
        assert sniff_format(data) == kind
        decoded = decode_rgb(data)
        assert decoded.dtype == np.uint8
        np.testing.assert_array_equal(decoded, pixels, err_msg=f"{kind} {options}")


def test_lossy_formats_equal_pillow(coded_image, encode_image):
    pixels = coded_image(3, 61, 43)
    for kind in ("JPEG", "WEBP", "AVIF"):
        data = encode_image(pixels, kind, quality=80)
        with Image.open(io.BytesIO(data)) as image:
            np.testing.assert_array_equal(decode_rgb(data), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("mode", ["L", "1", "LA", "RGBA", "P"])
def test_other_modes_expand_and_lose_their_alpha(mode, coded_image, encode_image):
    """Alpha is dropped and not composited, so the colour under a transparent pixel counts."""
    base = Image.fromarray(coded_image(5, 50, 30))
    image = base.quantize(17) if mode == "P" else base.convert(mode)
    expected = np.asarray(image.convert("RGB"))
    if mode in ("LA", "RGBA"):
        image.putalpha(Image.fromarray(np.arange(1500, dtype=np.uint8).reshape(30, 50)))
    np.testing.assert_array_equal(decode_rgb(encode_image(image, "PNG")), expected)


def test_palette_with_transparency(coded_image, encode_image):
    image = Image.fromarray(coded_image(5, 50, 30)).quantize(17)
    expected = np.asarray(image.convert("RGB"))
    for transparency in (3, bytes(range(0, 170, 10))):
        data = encode_image(image, "PNG", transparency=transparency)
        np.testing.assert_array_equal(decode_rgb(data), expected)
    data = encode_image(image, "GIF", transparency=3)
    np.testing.assert_array_equal(decode_rgb(data), expected)


def test_transparent_colour_is_a_colour(coded_image, encode_image):
    pixels = coded_image(5, 50, 30)
    data = encode_image(pixels, "PNG", transparency=tuple(int(v) for v in pixels[0, 0]))
    np.testing.assert_array_equal(decode_rgb(data), pixels)


def test_cmyk_jpeg_is_converted_by_pillow(coded_image, encode_image):
    image = Image.fromarray(coded_image(4, 48, 40)).convert("CMYK")
    data = encode_image(image, "JPEG", quality=90)
    with Image.open(io.BytesIO(data)) as opened:
        assert opened.mode == "CMYK"
        np.testing.assert_array_equal(decode_rgb(data), np.asarray(opened.convert("RGB")))


@pytest.mark.parametrize(("colour_type", "channels"), [(0, [0]), (2, [0, 1, 2]), (4, [0, 1]), (6, [0, 1, 2, 3])])
def test_sixteen_bit_png_is_rounded_exactly(colour_type, channels):
    values = SIXTEEN_BITS[..., channels]
    expected = rounded(values[..., :3] if len(channels) > 2 else values[..., [0, 0, 0]])
    np.testing.assert_array_equal(decode_rgb(png(values, colour_type)), expected)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bit_tiff_is_rounded_exactly(order, compressed, channels):
    values = SIXTEEN_BITS[..., :channels]
    expected = rounded(values[..., [0, 0, 0]] if channels == 1 else values[..., :3])
    np.testing.assert_array_equal(decode_rgb(tiff(values, order, compressed)), expected)


def test_every_sixteen_bit_value_is_rounded():
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    np.testing.assert_array_equal(decode_rgb(png(values, 0))[..., 0], rounded(values[..., 0]))


@pytest.mark.parametrize(
    "data",
    [
        tiff(np.ones((4, 5, 1), np.float32), sample_format=3),
        tiff(np.ones((4, 5, 1), np.int32), sample_format=2),
        tiff(np.ones((4, 5, 1), np.int16), sample_format=2),
        tiff(np.ones((4, 5, 4), np.uint16), photometric=5),
        tiff(np.ones((3, 4, 3), np.uint16), compressed=True, planar=2),
        tiff(np.ones((3, 4, 3), np.uint16), planar=2),
        tiff(np.ones((3, 4, 3), np.uint8), planar=2, more={266: (3, [2])}),
    ],
    ids=[
        "float32",
        "int32",
        "int16",
        "CMYK of 16 bits",
        "planes of 16 bits",
        "planes of 16 bits, raw",
        "planes with bits in reverse",
    ],
)
def test_pixels_without_a_rule_are_rejected(data):
    with pytest.raises(RejectedImage) as caught:
        decode_rgb(data)
    assert caught.value.reason == "unsupported_mode"


def test_exif_orientation_is_not_applied(coded_image, encode_image):
    pixels = coded_image(2, 40, 20)
    exif = Image.Exif()
    exif[0x0112] = 6
    np.testing.assert_array_equal(decode_rgb(encode_image(pixels, "PNG", exif=exif)), pixels)
    assert decode_rgb(encode_image(pixels, "JPEG", exif=exif)).shape == (20, 40, 3)


@pytest.mark.parametrize(("kind", "options"), [("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {}), ("TIFF", {})])
def test_first_frame_counts(kind, options, coded_image, encode_image):
    first, second = (Image.fromarray(coded_image(i, 40, 30)) for i in (1, 9))
    data = encode_image(first, kind, save_all=True, append_images=[second], **options)
    expected = np.asarray(first.quantize(256).convert("RGB") if kind == "GIF" else first)
    tolerance = 8 if kind == "GIF" else 0  # a palette of its own
    difference = np.abs(decode_rgb(data).astype(int) - expected)
    assert difference.max() <= tolerance


def test_smallest_and_longest_images(encode_image):
    assert decode_rgb(encode_image(np.zeros((1, 1, 3), np.uint8), "JPEG")).shape == (1, 1, 3)
    long = np.random.default_rng(0).integers(0, 256, (10, 20000, 3), dtype=np.uint8)
    np.testing.assert_array_equal(decode_rgb(encode_image(long, "PNG")), long)


def test_decompression_bomb_is_refused_unopened(encode_image):
    """A small file that would decode to 1.2 GB of pixels is refused before it is decoded."""
    data = bytearray(encode_image(np.zeros((1, 1, 3), np.uint8), "PNG"))
    data[16:24] = struct.pack(">II", 20000, 20000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    with pytest.raises(RejectedImage) as caught:
        decode_rgb(bytes(data))
    assert caught.value.reason == "too_large"


@pytest.mark.parametrize("kind", ["BMP", "PNG", "WEBP"])
def test_limit_is_ours_and_not_pillows(kind, encode_image):
    """Pillow warns above 89 megapixels and refuses above 179. Here images of up to 200 megapixels are taken."""
    data = bytearray(
        encode_image(np.zeros((1, 1, 3), np.uint8), kind, **({"lossless": True} if kind == "WEBP" else {}))
    )

    def resized(width: int, height: int) -> bytes:
        if kind == "BMP":
            data[18:26] = struct.pack("<ii", width, height)
        elif kind == "PNG":
            data[16:24] = struct.pack(">II", width, height)
            data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
        else:
            data[21:25] = struct.pack("<I", (width - 1) | (height - 1) << 14)
        return bytes(data)

    assert 14_000 * 14_250 < MAX_PIXELS < 16_000 * 12_501
    with pytest.raises(RejectedImage) as caught:
        open_image(resized(16_000, 12_501))
    assert caught.value.reason == "too_large"
    if kind != "WEBP":  # whose decoder reads the pixels' header as well
        assert open_image(resized(14_000, 14_250)).size == (14_000, 14_250)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF"])
def test_cut_files_are_rejected(kind, encode_image):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encode_image(noise, kind)
    for keep in (len(data) // 2, len(data) * 9 // 10, 40):
        with pytest.raises(RejectedImage) as caught:
            decode_rgb(data[:keep])
        assert caught.value.reason in ("truncated", "corrupt")
        if keep > 40 and kind not in ("AVIF", "TIFF"):
            assert caught.value.reason == "truncated"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty_file"),
        (b"Not an image at all.\n", "not_an_image"),
        (b"BM, a letter that begins so", "not_an_image"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isommp42", "not_an_image"),
        (b"\xff\xd8\xff" + bytes(100), "corrupt"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100) + b"IEND", "corrupt"),
        (b"GIF89a", "corrupt"),
    ],
)
def test_rubbish_is_named(data, reason):
    with pytest.raises(RejectedImage) as caught:
        decode_rgb(data)
    assert caught.value.reason == reason


def test_damaged_metadata_neither_warns_nor_matters(coded_image, encode_image):
    pixels = coded_image(2, 40, 20)
    exif = b"Exif\0\0II*\0\x08\0\0\0" + b"\xff" * 40
    data = encode_image(pixels, "JPEG", exif=exif)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode_rgb(data).shape == (20, 40, 3)
    before = list(warnings.filters)
    with ThreadPoolExecutor(4) as pool:
        shapes = list(pool.map(lambda _: decode_rgb(data).shape, range(64)))
    assert set(shapes) == {(20, 40, 3)}
    assert warnings.filters == before


@pytest.mark.parametrize(
    "size", [(1, 1), (5, 7), (3, 300), (224, 31), (31, 64), (64, 64), (2000, 33), (333, 517), (300, 377)]
)
def test_hash_and_view_in_one_pass_equal_the_plain_ones(size):
    """``pixel_facts`` gives the same hash, view and statistics as the separate functions, also for tall images, where
    Pillow 13 changed the order of its two passes."""
    width, height = size
    pixels = np.random.default_rng(2).integers(0, 256, (height, width, 3), dtype=np.uint8)
    for target in (16, 64, 224):
        digest, view, channels = pixel_facts(Image.fromarray(pixels), target)
        assert digest == pixel_sha256(pixels)
        assert channels == channel_stats(Image.fromarray(pixels))
        np.testing.assert_array_equal(view, global_view(pixels, target))
        if PILLOW >= 13 or not columns_come_first(pixels.shape[:2], (target, target)):
            resized = Image.fromarray(pixels).resize((target, target), Image.Resampling.BILINEAR)
            np.testing.assert_array_equal(view, np.asarray(resized))


def test_channel_statistics_are_those_of_all_pixels():
    pixels = np.random.default_rng(3).integers(0, 256, (130, 97, 3), dtype=np.uint8)
    found = pixel_facts(Image.fromarray(pixels), 16).channels
    for place, channel in enumerate(("red", "green", "blue")):
        assert found[f"{channel}_mean"] == pytest.approx(pixels[..., place].mean(), rel=1e-12)
        assert found[f"{channel}_sd"] == pytest.approx(pixels[..., place].std(), rel=1e-12)


def test_channel_sums_do_not_overflow_on_large_white_images():
    white = Image.new("RGB", (4096, 4096), "white")
    channels = pixel_facts(white, 16).channels
    assert channels == {f"{c}_{w}": v for c in ("red", "green", "blue") for w, v in (("mean", 255.0), ("sd", 0.0))}


def test_pixel_hash_tells_shapes_apart(coded_image, encode_image):
    flat = np.zeros((2, 8, 3), np.uint8)
    assert pixel_sha256(flat) != pixel_sha256(flat.reshape(4, 4, 3))
    pixels = coded_image(1, 30, 20)
    assert pixel_sha256(decode_rgb(encode_image(pixels, "BMP"))) == pixel_sha256(pixels)


def test_heic_is_read_where_the_extra_is_installed(coded_image):
    heif = pytest.importorskip("pillow_heif", reason="the extra heic is not installed")
    pixels = coded_image(3, 64, 48)
    buffer = io.BytesIO()
    heif.from_pillow(Image.fromarray(pixels)).save(buffer, quality=-1, chroma=444)
    data = buffer.getvalue()
    assert sniff_format(data) == "HEIF"
    assert np.abs(decode_rgb(data).astype(int) - pixels).max() <= 3
    with pytest.raises(RejectedImage):
        decode_rgb(data[: len(data) // 2])


def test_heic_without_the_extra_says_what_to_install(monkeypatch):
    tiff_avif_heif._heif_class.cache_clear()
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    data = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40)
    with pytest.raises(RejectedImage, match=r"pip install -e '\.\[heic\]'") as caught:
        decode_rgb(data)
    assert caught.value.reason == "unsupported_format"
