"""How many bytes of a file hold pixels: metadata must not change the count by a single byte."""

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from shards.images.rejection import RejectedImage
from shards.metadata.facts import read_facts
from shards.metadata.iso_items import iso_picture

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def picture(seed: int = 0, width: int = 96, height: int = 64) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def saved(kind: str, image: Image.Image | None = None, **options) -> bytes:
    buffer = io.BytesIO()
    (image or picture()).save(buffer, kind, **options)
    return buffer.getvalue()


def exif_with_thumbnail() -> bytes:
    """Returns EXIF data that contains a whole JPEG, with its own scans and markers."""
    exif = Image.Exif()
    exif[0x010E] = "a description"
    return b"Exif\0\0" + exif.tobytes()[6:] + saved("JPEG", picture(9, 160, 120))


def segment(marker: int, payload: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def signature(size: int) -> bytes:
    """Returns the APP11 segments of a C2PA manifest of ``size`` bytes."""
    parts = b""
    for number, start in enumerate(range(0, size, 60_000)):
        body = b"jumbjumdc2pa" + bytes(min(size - start, 60_000))
        parts += segment(0xEB, struct.pack(">2sHII", b"JP", 1, number + 1, len(body)) + body)
    return parts


def with_segments(jpeg: bytes, segments: bytes) -> bytes:
    return jpeg[:2] + segments + jpeg[2:]


def chunk(name: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + name + payload + bytes(4)


JPEG_EXTRAS = {
    "ICC": lambda jpeg: with_segments(jpeg, segment(0xE2, b"ICC_PROFILE\0\1\1" + PROFILE)),
    "Exif": lambda jpeg: with_segments(jpeg, segment(0xE1, exif_with_thumbnail())),
    "C2PA": lambda jpeg: with_segments(jpeg, signature(4096)),
    "comment": lambda jpeg: with_segments(jpeg, segment(0xFE, b"\xff\xda" * 500)),
    "APP7": lambda jpeg: with_segments(jpeg, segment(0xE7, b"maker")),
    "bytes behind the end": lambda jpeg: jpeg + saved("JPEG", picture(5)),
}


@pytest.mark.parametrize("name", JPEG_EXTRAS)
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 3}, {"optimize": True}])
def test_what_lies_beside_a_jpeg_changes_no_count(name, options):
    plain = saved("JPEG", **options)
    facts, more = read_facts(plain), read_facts(JPEG_EXTRAS[name](plain))
    assert 0 < more.pixel_bytes == facts.pixel_bytes < len(plain)
    assert set(more.metadata.split(", ")) == {"JFIF", name}
    assert facts.metadata == "JFIF"


def test_a_long_signature_counts_as_little_as_a_short_one():
    plain = saved("JPEG")
    signed = with_segments(plain, signature(100_000))
    assert len(signed) > 100_000 + len(plain)
    assert read_facts(signed).pixel_bytes == read_facts(plain).pixel_bytes
    assert read_facts(signed).metadata == "C2PA, JFIF"


def test_of_several_pictures_the_first_counts():
    plain = saved("JPEG", quality=80)
    several = saved("MPO", quality=80, save_all=True, append_images=[picture(3, 400, 300)])
    facts = read_facts(several)
    assert facts.pixel_bytes == read_facts(plain).pixel_bytes
    assert {"MPF", "bytes behind the end"} <= set(facts.metadata.split(", "))


def test_all_scans_count_and_metadata_between_them_does_not():
    plain = saved("JPEG", progressive=True)
    second = plain.index(b"\xff\xda", plain.index(b"\xff\xda") + 2)
    between = plain[:second] + segment(0xFE, b"between") + plain[second:]
    assert read_facts(between).pixel_bytes == read_facts(plain).pixel_bytes
    assert read_facts(plain).pixel_bytes > 0.5 * len(plain)


def test_restart_markers_hold_no_pixels():
    restarts = saved("JPEG", restart_marker_blocks=1)
    markers = restarts.count(b"\xff\xd0") + sum(restarts.count(bytes((0xFF, 0xD0 + number))) for number in range(1, 8))
    start = restarts.index(b"\xff\xda") + 14
    assert read_facts(restarts).pixel_bytes == len(restarts) - start - 2 - 2 * markers


def png_text() -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_text("workflow", "x" * 3000)
    info.add_itxt("prompt", "y" * 3000, zip=True)
    return info


@pytest.mark.parametrize(
    ("kind", "options", "extra", "names"),
    [
        ("PNG", {}, {"pnginfo": png_text()}, "text"),
        ("PNG", {}, {"icc_profile": PROFILE, "exif": exif_with_thumbnail()}, "Exif, ICC"),
        ("WEBP", {}, {"exif": exif_with_thumbnail(), "xmp": b"<x/>"}, "Exif, XMP"),
        ("WEBP", {"lossless": True}, {"icc_profile": PROFILE}, "ICC"),
        ("AVIF", {}, {"exif": exif_with_thumbnail()[6:], "icc_profile": PROFILE}, "Exif, ICC"),
        ("AVIF", {"subsampling": "4:4:4"}, {"xmp": b"<x/>" * 400}, "XMP"),
        ("TIFF", {"compression": "tiff_lzw"}, {"description": "words", "artist": "who"}, "artist, description"),
        ("GIF", {}, {"comment": b"made by"}, "comment"),
    ],
)
def test_metadata_as_encoders_write_it_changes_no_count(kind, options, extra, names):
    plain, more = saved(kind, **options), saved(kind, **options, **extra)
    assert len(more) > len(plain)
    facts = read_facts(more)
    assert 0 < facts.pixel_bytes == read_facts(plain).pixel_bytes < len(plain)
    assert facts.metadata == names
    assert read_facts(plain).metadata == ""


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_bytes_behind_the_end_are_named(kind):
    plain = saved(kind)
    facts = read_facts(plain + bytes(500))
    assert facts.pixel_bytes == read_facts(plain).pixel_bytes
    assert facts.metadata == "bytes behind the end"


def test_what_a_bmp_does_not_compress_is_its_array():
    plain = saved("BMP")
    assert read_facts(plain).pixel_bytes == 3 * 96 * 64
    assert read_facts(plain + bytes(999)).pixel_bytes == 3 * 96 * 64


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP", "TIFF"])
def test_further_frames_and_pages_do_not_count(kind):
    """Only the first picture of a file counts. Each file has four similar pictures, so the first takes 0.1 to 0.4 of
    its bytes, however it is coded."""
    base = picture().quantize(32) if kind == "GIF" else picture()
    more = [picture(seed).quantize(32) if kind == "GIF" else picture(seed) for seed in (1, 2, 3)]
    options = {"lossless": True} if kind == "WEBP" else {}
    several = saved(kind, base, save_all=True, append_images=more, **options)
    facts = read_facts(several)
    assert facts.num_frames == (2 if kind == "TIFF" else 4)  # the pages of a TIFF are not counted
    assert 0.1 * len(several) < facts.pixel_bytes < 0.4 * len(several)


def test_heic_counts_its_primary_item():
    heif = pytest.importorskip("pillow_heif")

    def made(**options) -> bytes:
        buffer = io.BytesIO()
        heif.from_pillow(picture(0, 160, 120)).save(buffer, quality=60, **options)
        return buffer.getvalue()

    plain, more = made(), made(exif=exif_with_thumbnail()[6:])
    facts = read_facts(more)
    assert 0 < facts.pixel_bytes == read_facts(plain).pixel_bytes < len(plain)
    assert facts.metadata == "Exif"
    assert facts.subsampling == "4:2:0"
    assert read_facts(made(chroma=444)).subsampling == "4:4:4"


def box(name: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", 8 + len(payload)) + name + payload


def iso_file(parts: dict[int, list[int]], kinds: dict[int, bytes], lengths: dict[int, int]) -> bytes:
    """Returns an ISO media file of items: item → the items that it is made from, its type, and the length that it
    claims."""
    entries = b"".join(
        box(b"infe", struct.pack(">IHH4s", 2 << 24, number, 0, kind) + b"\0") for number, kind in kinds.items()
    )
    places = b"".join(struct.pack(">HHHII", number, 0, 1, 8, length) for number, length in lengths.items())
    references = b"".join(
        box(b"dimg", struct.pack(f">HH{len(to)}H", number, len(to), *to)) for number, to in parts.items()
    )
    meta = (
        box(b"pitm", struct.pack(">IH", 0, 1))
        + box(b"iinf", struct.pack(">IH", 0, len(kinds)) + entries)
        + box(b"iloc", struct.pack(">IHH", 0, 0x4400, len(lengths)) + places)
        + box(b"iref", struct.pack(">I", 0) + references)
    )
    return box(b"ftyp", b"heic\0\0\0\0") + box(b"meta", bytes(4) + meta) + bytes(1000)


def test_the_tiles_of_a_grid_count_each_once_and_a_thumbnail_does_not():
    kinds = {1: b"grid", 2: b"hvc1", 3: b"hvc1", 4: b"hvc1"}
    found = iso_picture(iso_file({1: [2, 3, 2]}, kinds, {2: 100, 3: 50, 4: 77}))
    assert found is not None
    assert found.num_bytes == 150


def test_items_that_are_made_of_each_other_end():
    kinds = dict.fromkeys(range(1, 60), b"grid")
    parts = {number: list(range(1, 60)) for number in kinds}
    found = iso_picture(iso_file(parts, kinds, {1: 100}))
    assert found is not None
    assert found.num_bytes == 0


def test_an_item_is_no_longer_than_its_file():
    data = iso_file({}, {1: b"hvc1"}, {1: 0xFFFFFFFF})
    found = iso_picture(data)
    assert found is not None
    assert found.num_bytes <= len(data)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {"compression": "tiff_deflate"}),
        ("BMP", {}),
        ("GIF", {}),
        ("AVIF", {}),
    ],
)
def test_numbers_of_a_stranger_lead_nowhere(kind, options):
    """With header bytes set to 255, or the file cut off, the count stays within the file or the file is rejected."""
    data = saved(kind, **options)
    random = np.random.default_rng(4)
    places = [*range(12, min(len(data), 200), 8), *random.integers(12, len(data), 12).tolist()]
    taken = 0
    for place in places:
        for broken in (
            data[:place] + b"\xff" + data[place + 1 :],
            data[:place] + b"\xff\xff\xff\xff" + data[place + 4 :],
            data[:place],
        ):
            try:
                facts = read_facts(broken)
            except RejectedImage:
                continue
            taken += 1
            assert 0 <= facts.pixel_bytes <= len(broken)
    assert taken
