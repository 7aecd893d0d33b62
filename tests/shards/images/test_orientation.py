"""Pixels are taken as stored, whatever orientation a plugin would apply. Odd TIFF layouts used to come out wrong."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from shards.images.formats import open_image
from shards.images.pixels import RejectedImage, decode_rgb, load_rgb
from shards.images.tiff_avif_heif import transform_orientation
from shards.metadata.facts import facts_of, read_facts
from tests.images.image_files import chunk, tiff

ORIENTATION = 0x0112
NOISE = np.random.default_rng(1).integers(0, 256, (32, 48, 3), dtype=np.uint8)


def with_orientation(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


def opened(data: bytes) -> tuple[tuple[int, int], np.ndarray, int]:
    """Returns the size at opening, the pixels, and the recorded orientation. Asserts that properties read after
    decoding, as in a build, equal those read without it."""
    image = open_image(data)
    size, rgb = image.size, load_rgb(image, data)
    facts = facts_of(image, data)
    assert (facts.width, facts.height) == rgb.size == size
    assert read_facts(data) == facts
    return size, np.asarray(rgb), facts.exif_orientation


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate"])
def test_a_tiff_is_not_turned(compression, encode_image):
    for orientation in range(1, 9):
        exif = with_orientation(orientation)
        data = encode_image(Image.fromarray(NOISE), "TIFF", compression=compression, exif=exif)
        size, pixels, told = opened(data)
        assert (size, told) == ((48, 32), orientation)
        np.testing.assert_array_equal(pixels, NOISE)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_tiff_of_sixteen_bits_is_not_turned(compressed):
    values = NOISE.astype(np.uint16) * 257
    size, pixels, told = opened(tiff(values, compressed=compressed, more={274: (3, [6])}))
    assert (size, told) == ((48, 32), 6)
    np.testing.assert_array_equal(pixels, NOISE)


def test_a_tiff_is_not_turned_by_its_xmp(encode_image):
    xmp = b'<rdf:Description tiff:Orientation="8"/>'
    data = encode_image(Image.fromarray(NOISE), "TIFF", tiffinfo={700: xmp})
    size, pixels, told = opened(data)
    assert (size, told) == ((48, 32), 8)
    np.testing.assert_array_equal(pixels, NOISE)


def heic(pixels: np.ndarray, orientation: int, exif: bytes | None) -> bytes:
    heif = pytest.importorskip("pillow_heif", reason="the extra heic is not installed")
    image, buffer = heif.from_pillow(Image.fromarray(pixels)), io.BytesIO()
    image.info["exif"] = with_orientation(orientation).tobytes()  # becomes boxes as well
    options = {} if exif is None else {"exif": exif}
    image.save(buffer, quality=-1, chroma=444, **options)
    return buffer.getvalue()


SOME_ORIENTATIONS = [n if n in (1, 4, 6) else pytest.param(n, marks=pytest.mark.slow) for n in range(1, 9)]
"""The EXIF orientations 1 to 8. All but 1 (unchanged), 4 (mirrored) and 6 (turned) are marked as slow."""


@pytest.mark.parametrize("orientation", SOME_ORIENTATIONS)
def test_a_heic_is_turned_back(orientation):
    upright = decode_rgb(heic(NOISE, 1, None))
    assert np.abs(upright.astype(int) - NOISE).max() <= 3
    size, pixels, told = opened(heic(NOISE, orientation, None))
    assert (size, told) == ((48, 32), orientation)
    np.testing.assert_array_equal(pixels, upright)


def test_a_heic_that_only_exif_turns(encode_image):
    """A HEIC whose orientation is only in EXIF is not turned, because viewers and libheif follow the file's boxes.
    EXIF's orientation is recorded nevertheless."""
    data = heic(NOISE, 6, None)
    assert data.count(b"irot") == 1
    size, pixels, told = opened(data.replace(b"irot", b"skip"))
    assert (size, told) == ((48, 32), 6)
    np.testing.assert_array_equal(pixels, decode_rgb(heic(NOISE, 1, None)))


@pytest.mark.parametrize("orientation", SOME_ORIENTATIONS)
def test_an_avif_has_the_exif_of_its_file(orientation, encode_image):
    """An AVIF counts as having EXIF data only if its file contains some. Pillow stores an orientation in boxes when it
    writes, and makes up EXIF data from them when it reads."""
    plain = decode_rgb(encode_image(NOISE, "AVIF", quality=90))
    data = encode_image(NOISE, "AVIF", quality=90, exif=with_orientation(orientation))
    size, pixels, told = opened(data)
    assert (size, told) == ((48, 32), orientation)
    np.testing.assert_array_equal(pixels, plain)
    assert not read_facts(data).has_exif
    exif = with_orientation(orientation)
    exif[0x0110] = "camera"
    assert read_facts(encode_image(NOISE, "AVIF", exif=exif)).has_exif


def test_an_avif_that_only_exif_turns(encode_image):
    """The orientation in an AVIF's EXIF data is recorded. Pillow replaces it by 1, because the file's boxes give
    none."""
    exif = with_orientation(1)
    exif[0x0110] = "camera"
    data = bytearray(encode_image(NOISE, "AVIF", exif=exif))
    assert read_facts(bytes(data)).exif_orientation == 1
    camera = struct.pack(">HHI", 0x0110, 2, 7)  # becomes an orientation: one short
    assert bytes(data).count(camera) == 1
    at = bytes(data).index(camera)
    data[at : at + 12] = struct.pack(">HHIHH", ORIENTATION, 3, 1, 6, 0)
    assert read_facts(bytes(data)).exif_orientation == 6


@pytest.mark.parametrize(
    ("transforms", "orientation"),
    [
        ((), 1),
        ((("clap", 0, 0, 0, 16, 64, 64),), 1),
        ((("irot", 270),), 6),
        ((("irot", 270), ("imir", 1)), 5),
        ((("imir", 1), ("irot", 90)), 5),
        ((("imir", 0), ("clap", 0, 0, 0, 16, 64, 64), ("irot", 180)), 2),
        ((("irot", 180), ("irot", 180)), 1),
        ((("imir", 1), ("imir", 0)), 3),
    ],
)
def test_boxes_add_up_to_an_orientation(transforms, orientation):
    assert transform_orientation(transforms) == orientation


@pytest.mark.parametrize("compressed", [False, True])
def test_white_may_be_zero(compressed):
    """In TIFFs where 0 is white, Pillow inverts 8-bit values but not 16-bit ones, which used to be stored as
    negatives."""
    values = np.random.default_rng(1).integers(0, 65536, (13, 17, 1), dtype=np.uint16)
    found = decode_rgb(tiff(values, compressed=compressed, photometric=0))
    np.testing.assert_array_equal(found[..., :1], np.rint((65535 - values) / 257))
    eight = (values >> 8).astype(np.uint8)
    found = decode_rgb(tiff(eight, compressed=compressed, photometric=0))
    np.testing.assert_array_equal(found[..., :1], 255 - eight)


@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_planes_of_one_sample_mean_nothing(photometric, kind):
    values = np.random.default_rng(1).integers(0, 256, (13, 17, 1)).astype(kind)
    apart = decode_rgb(tiff(values, planar=2, photometric=photometric))
    np.testing.assert_array_equal(apart, decode_rgb(tiff(values, photometric=photometric)))


def test_planes_of_eight_bits_come_together():
    planes = np.ascontiguousarray(NOISE.transpose(2, 0, 1))
    sized = len(planes[0].tobytes())
    data = tiff(
        planes.reshape(NOISE.shape), planar=2, more={273: (4, [8, 8 + sized, 8 + 2 * sized]), 279: (4, [sized] * 3)}
    )
    np.testing.assert_array_equal(decode_rgb(data), NOISE)


@pytest.mark.parametrize(("masks", "low"), [((0xF800, 0x7E0, 0x1F), 6), ((0x7C00, 0x3E0, 0x1F), 5)])
def test_a_bmp_of_five_and_six_bits_is_taken(masks, low):
    """A BMP of 5 or 6 bits per channel is read with each channel scaled to 0 … 255. It is not an image of 16 bits per
    channel."""
    values = np.random.default_rng(1).integers(0, 1 << 10 + low, (6, 8), dtype=np.uint16)
    header = struct.pack("<IiiHHIIiiII", 40, 8, -6, 1, 16, 3, 96, 0, 0, 0, 0)
    body = header + struct.pack("<III", *masks) + values.astype("<u2").tobytes()
    data = b"BM" + struct.pack("<IHHI", 14 + len(body), 0, 0, 66) + body
    shifts = (5 + low, 5, 0)
    for channel, (shift, bits) in enumerate(zip(shifts, (5, low, 5), strict=True)):
        level = (values >> shift) & ((1 << bits) - 1)
        exact = level * 255 / ((1 << bits) - 1)
        assert np.abs(decode_rgb(data)[..., channel] - exact).max() <= 1
    assert read_facts(data).bit_depth == 8


def png_with_text(encode_image, unpacked: int, name: bytes, place: int) -> bytes:
    data = encode_image(NOISE, "PNG")
    text = {
        b"zTXt": b"workflow\0\0" + zlib.compress(bytes(unpacked)),
        b"iTXt": b"workflow\0\1\0\0\0" + zlib.compress(bytes([65]) * unpacked),
        b"iCCP": b"profile\0\0" + zlib.compress(bytes(unpacked)),
    }[name]
    at = 33 if place == 0 else len(data) - 12
    return data[:at] + chunk(name, text) + data[at:]


@pytest.mark.parametrize(
    ("name", "place"),
    [
        (b"zTXt", 0),
        (b"iTXt", 1),
        (b"iCCP", 0),
        *(pytest.param(*pair, marks=pytest.mark.slow) for pair in ((b"zTXt", 1), (b"iTXt", 0), (b"iCCP", 1))),
    ],
)
def test_long_texts_in_a_png_cost_no_image(name, place, encode_image, monkeypatch):
    """Images with texts of several megabytes are read, up to a limit. Generators write such texts, for example
    workflows, so rejecting them would remove one class."""
    data = png_with_text(encode_image, 3 << 20, name, place)
    np.testing.assert_array_equal(decode_rgb(data), NOISE)
    monkeypatch.setenv("GLASS_MAX_PNG_TEXT_BYTES", str(1 << 20))
    with pytest.raises(RejectedImage, match="GLASS_MAX_PNG_TEXT_BYTES=1048576") as caught:
        decode_rgb(data)
    assert caught.value.reason == "too_large"


@pytest.mark.parametrize("kind", [np.int8, np.int16])
@pytest.mark.parametrize("channels", [1, 3])
def test_signed_samples_have_no_rule(kind, channels):
    """TIFFs with signed samples are rejected. Pillow would show negative values of 8-bit grey as the brightest ones."""
    values = np.arange(-60, 60).astype(kind).reshape(8, 15, 1).repeat(channels, axis=2)
    with pytest.raises(RejectedImage, match=r"signed"):
        decode_rgb(tiff(values, sample_format=2))
