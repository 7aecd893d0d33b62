"""Progressive and multi-scan JPEGs become baseline JPEGs with the same coefficients and pixels."""

import io
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import jpeglib
import numpy as np
import pytest
from PIL import Image

from shards.images.baseline import NotConvertible, to_baseline
from shards.images.pixels import decode_rgb
from shards.images.stored_form import stored_form
from shards.jpeg.entry_points import NotIndexable, build_entry_points
from shards.jpeg.header_parser import read_header
from tests.images.entry_points_reader import read_entry_points


@pytest.fixture(autouse=True)
def _temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts temporary files into ``tmp_path``, because jpeglib leaves one behind when it fails."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


PROGRESSIVE = ["+PROGRESSIVE_MODE"]


def scene(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Returns (height, width, 3) uint8 with smooth parts, edges and noise, so that all kinds of Huffman codes occur."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    smooth = np.stack([x * 3 % 256, y * 2 % 256, (x + y) % 256], -1)
    noise = random.integers(-40, 40, (height, width, 3)) * (random.random((height, width, 1)) < 0.3)
    return np.clip(smooth + noise, 0, 255).astype(np.uint8)


def pillow_jpeg(pixels: np.ndarray, mode: str = "RGB", **options: object) -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(pixels).convert(mode)
    image.save(buffer, "JPEG", **{"progressive": True, **options})
    return buffer.getvalue()


def sampled_jpeg(pixels: np.ndarray, factors: list[list[int]], folder: Path) -> bytes:
    """Returns a progressive JPEG with any sampling factors, written by the old libjpeg that is part of jpeglib."""
    image = jpeglib.from_spatial(pixels)
    image.samp_factor = np.array(factors)  # rows of (vertical, horizontal)
    image.write_spatial(str(folder / "sampled.jpg"), flags=PROGRESSIVE)
    return (folder / "sampled.jpg").read_bytes()


def in_separate_scans(pixels: np.ndarray, folder: Path, *options: str) -> bytes:
    """Returns a sequential JPEG with one scan per component, written by ``cjpeg``. Skips the test if that is not
    installed."""
    if shutil.which("cjpeg") is None:
        pytest.skip("cjpeg is not installed (Debian: libjpeg-turbo-progs)")
    script, source = folder / "scans.txt", folder / "source.ppm"
    script.write_text("0; 1; 2;")
    Image.fromarray(pixels).save(source)
    command = ["cjpeg", *options, "-scans", str(script), str(source)]
    return subprocess.run(command, check=True, capture_output=True).stdout


def jpeglib_coefficients(jpeg: bytes, folder: Path) -> list[np.ndarray]:
    (folder / "read.jpg").write_bytes(jpeg)
    image = jpeglib.read_dct(str(folder / "read.jpg"))
    return [plane for plane in (image.Y, image.Cb, image.Cr) if plane is not None]


def assert_same_image(source: bytes, converted: bytes, folder: Path) -> None:
    """Asserts that both files have the same pixels by libjpeg-turbo, and the same coefficients by another libjpeg."""
    header = read_header(converted)
    assert header.baseline
    assert not header.progressive
    assert header.subsampling == read_header(source).subsampling
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(source))), np.asarray(Image.open(io.BytesIO(converted))))
    for one, other in zip(jpeglib_coefficients(source, folder), jpeglib_coefficients(converted, folder), strict=True):
        assert np.array_equal(one, other)


VARIANTS = {
    "444": {"subsampling": 0},
    "422": {"subsampling": 1},
    "420": {"subsampling": 2},
    "fine": {"subsampling": 0, "quality": 100},
    "coarse": {"quality": 3},
    "restarts": {"subsampling": 2, "restart_marker_blocks": 3},
    "rgb": {"keep_rgb": True},
    "grey": {"mode": "L"},
}


@pytest.mark.parametrize(
    ("variant", "size"),
    [
        *((variant, (17, 33)) for variant in VARIANTS),
        *(("420", size) for size in ((1, 1), (8, 8), (130, 97))),
        *(
            pytest.param(variant, size, marks=pytest.mark.slow)
            for variant in VARIANTS
            for size in ((1, 1), (8, 8), (130, 97))
            if variant != "420"
        ),
    ],
)
def test_progressive_becomes_baseline(variant: str, size: tuple[int, int], tmp_path: Path) -> None:
    source = pillow_jpeg(scene(*size), **VARIANTS[variant])
    assert_same_image(source, to_baseline(source), tmp_path)


@pytest.mark.parametrize(
    "factors",
    [[[2, 1], [1, 1], [1, 1]], [[1, 4], [1, 1], [1, 1]], [[2, 2], [2, 1], [1, 2]], [[1, 1], [1, 2], [1, 2]]],
    ids=["440", "411", "mixed", "luma smaller"],
)
def test_rare_sampling(factors: list[list[int]], tmp_path: Path) -> None:
    source = sampled_jpeg(scene(61, 83), factors, tmp_path)
    assert_same_image(source, to_baseline(source), tmp_path)


def test_cmyk_keeps_four_components() -> None:
    source = pillow_jpeg(scene(50, 70), "CMYK")
    converted = to_baseline(source)
    assert len(read_header(converted).components) == 4
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(source))), np.asarray(Image.open(io.BytesIO(converted))))
    assert np.array_equal(decode_rgb(source), decode_rgb(converted))


@pytest.mark.parametrize("options", [["-sample", "1x1"], ["-sample", "2x2"], ["-rgb"]])
def test_separate_scans_become_one(options: list[str], tmp_path: Path) -> None:
    source = in_separate_scans(scene(75, 61), tmp_path, *options)
    assert read_header(source).num_scans_at_least == 2
    assert_same_image(source, to_baseline(source), tmp_path)


def test_metadata_goes_along_but_not_the_directory_of_pictures() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    plain = pillow_jpeg(scene(40, 40), exif=exif, icc_profile=bytes(300), comment="hello")
    pictures = b"\xff\xe2" + struct.pack(">H", 2 + 8) + b"MPF\0II*\0"
    many = b"".join(b"\xff\xe1" + struct.pack(">H", 12) + b"x" * 10 for _ in range(60))
    converted = to_baseline(plain[:2] + pictures + many + plain[2:] + b"trailing")
    image = Image.open(io.BytesIO(converted))
    assert image.getexif()[0x0112] == 6
    assert image.info["icc_profile"] == bytes(300)
    assert image.info["comment"] == b"hello"
    assert b"MPF\0" not in converted
    assert converted.count(b"x" * 10) == 60
    assert converted.endswith(b"\xff\xd9")


def scan_starts(jpeg: bytes) -> list[int]:
    """Returns the positions of the SOS markers. The file must not contain a thumbnail."""
    return [at for at in range(len(jpeg) - 1) if jpeg[at : at + 2] == b"\xff\xda"]


def test_missing_scans_are_refused_because_pillow_smooths_them() -> None:
    source = pillow_jpeg(scene(200, 200), quality=30)
    cut = source[: source.rindex(b"\xff\xc4", 0, scan_starts(source)[3])] + b"\xff\xd9"
    assert decode_rgb(cut).shape == (200, 200, 3)
    with pytest.raises(NotConvertible, match="pixels"):
        to_baseline(cut)


def without_segments(jpeg: bytes, *markers: int) -> bytes:
    for segment in reversed(read_header(jpeg).segments):
        if segment.marker in markers:
            jpeg = jpeg[: segment.offset - 4] + jpeg[segment.offset + segment.length :]
    return jpeg


def test_rgb_by_identifiers_alone_stays_rgb(tmp_path: Path) -> None:
    """A JPEG stays RGB if only its components' identifiers say so, although jpeglib changes these."""
    source = without_segments(pillow_jpeg(scene(50, 70), keep_rgb=True), 0xEE)
    header = read_header(source)
    assert (header.adobe_transform, header.has_jfif) == (None, False)
    converted = to_baseline(source)
    assert_same_image(source, converted, tmp_path)
    assert bytes(c.id for c in read_header(converted).components) == b"RGB"
    assert read_header(converted).adobe_transform is None
    build_entry_points(converted)


@pytest.mark.parametrize("variant", [{"subsampling": 0}, {"subsampling": 2}, {"mode": "L"}])
def test_frames_without_tables_get_those_of_the_standard(variant: dict[str, object]) -> None:
    """JPEGs without Huffman tables, which webcams write, get the standard's tables, which decoders assume. A splice
    copies them."""
    whole = pillow_jpeg(scene(90, 120), progressive=False, **variant)
    source = without_segments(whole, 0xC4)
    with pytest.raises(NotIndexable, match="missing table"):
        build_entry_points(source)
    converted = to_baseline(source)
    assert np.array_equal(decode_rgb(source), decode_rgb(converted))
    assert read_entry_points(build_entry_points(converted)).positions.tolist() == (
        read_entry_points(build_entry_points(whole)).positions.tolist()
    )


def test_a_frame_of_a_webcam_is_stored_with_its_tables() -> None:
    source = without_segments(pillow_jpeg(scene(90, 120), progressive=False), 0xC4)
    rgb = Image.fromarray(decode_rgb(source))
    stored = stored_form(source, "JPEG", rgb, tiled=False, keep_progressive=False)
    assert (stored.stored_as, stored.not_indexable) == ("baseline", None)
    assert np.array_equal(decode_rgb(stored.data), decode_rgb(source))
    kept = stored_form(source, "JPEG", rgb, tiled=False, keep_progressive=True)
    assert (kept.data, kept.not_indexable) == (source, "missing table")


def test_arithmetic_coding_is_refused() -> None:
    source = bytearray(pillow_jpeg(scene(20, 20)))
    source[source.index(b"\xff\xc2") + 1] = 0xCA
    with pytest.raises(NotConvertible):
        to_baseline(bytes(source))


def test_truncated_files_are_refused() -> None:
    source = pillow_jpeg(scene(60, 60))
    for cut in range(3, 100, 7):
        with pytest.raises(NotConvertible):
            to_baseline(source[: len(source) * cut // 100])


def mutated(source: bytes, random: np.random.Generator) -> bytes:
    data = bytearray(source)
    start = 2 if random.random() < 0.5 else read_header(source).scan_start
    for _ in range(int(random.integers(1, 6))):
        data[int(random.integers(start, len(data)))] = int(random.integers(256))
    if random.random() < 0.2:
        del data[int(random.integers(4, len(data))) :]
    return bytes(data)


def fuzz(rounds: int, seed: int) -> int:
    """Converts damaged files and asserts that each converted one has the pixels that Pillow decodes from the damaged
    one. Returns how many could be converted."""
    random = np.random.default_rng(seed)
    sources = [
        pillow_jpeg(scene(40, 56), subsampling=2),
        pillow_jpeg(scene(33, 20), restart_marker_blocks=2),
        pillow_jpeg(scene(33, 20), "CMYK"),
    ]
    converted = 0
    for number in range(rounds):
        data = mutated(sources[number % len(sources)], random)
        try:
            result = to_baseline(data)
        except NotConvertible:
            continue
        converted += 1
        assert np.array_equal(decode_rgb(data), decode_rgb(result)), (seed, number)
    return converted


def test_damaged_files_are_refused_or_exact() -> None:
    assert fuzz(100, seed=1) > 0


@pytest.mark.slow
def test_damaged_files_never_crash_libjpeg(tmp_path: Path) -> None:
    """Converting damaged files crashes no C code. It runs in a process of its own, so that a crash fails the test."""
    code = "import tests.shards.images.test_baseline as t; print(t.fuzz(5000, seed=2))"
    root = Path(__file__).parents[3]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 0


def test_metadata_between_scans_is_refused() -> None:
    """A JPEG with metadata between its scans is not converted, because jpeglib would write beyond the end of an
    array."""
    source = pillow_jpeg(scene(64, 64))
    at = source.rindex(b"\xff\xc4", 0, scan_starts(source)[2])
    with pytest.raises(NotConvertible, match="between scans"):
        to_baseline(source[:at] + b"\xff\xe1\0\4ab" * 60 + source[at:])


def test_large_images_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shards.images.baseline.MAX_PIXELS", 64 * 64 - 1)
    with pytest.raises(NotConvertible, match="large"):
        to_baseline(pillow_jpeg(scene(64, 64)))
