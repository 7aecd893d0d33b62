"""Which properties of files differ between two classes: the test that the audit and ``--equalise match`` share."""

import csv
import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shards.build.build import build_dataset
from shards.build.class_differences import FACT_NAMES, PIXEL_FACTS, RAW_FACTS, Classes, compared_facts, scene_numbers
from shards.build.matching import match_classes
from shards.build.settings import BuildSettings
from shards.errors import InputError
from shards.manifest.dataset import ShardDataset

COUNT = 80


def app11(size: int) -> dict[str, bytes]:
    """Returns, as an option of Pillow's ``save``, the APP11 segments of a signature of ``size`` bytes. A long one takes
    several."""
    rest, segments = size, b""
    while rest > 0:
        body = b"JP\0\1\0\0\0\1" + b"jumbc2pa" + bytes(min(rest, 60_000))
        segments += b"\xff\xeb" + (len(body) + 2).to_bytes(2, "big") + body
        rest -= 60_000
    return {"extra": segments}


def tables_near(quality: int) -> dict[str, list[list[int]]]:
    """Returns quantisation tables that are read as ``quality``, because their luminance table is libjpeg's. Chrominance
    differs."""
    Image.new("RGB", (8, 8)).save(buffer := io.BytesIO(), "JPEG", quality=quality)
    tables = Image.open(buffer).quantization
    return {"qtables": [list(tables[0]), [value + 1 for value in tables[1]]]}


def build(tmp_path: Path, marked, plain=None, equalise: str = "match", count: int = COUNT):
    """Builds a data set whose classes show the same kind of pictures. Generated ones are saved with ``marked`` and real
    ones with ``plain``, each a pair (format, options of ``save``)."""
    random = np.random.default_rng(7)
    source, rows = tmp_path / "images", []
    source.mkdir()
    for number in range(count):
        label = number % 2
        coarse = random.integers(0, 256, (7, 7, 3), dtype=np.uint8)
        width, height = random.integers(40, 70, 2).tolist()
        picture = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        kind, options = marked if label else plain or ("JPEG", {"quality": 90})
        picture.save(source / f"{number:03d}.{kind.lower()}", kind, **options)
        rows.append((f"{number:03d}.{kind.lower()}", label))
    with (source / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "is_generated"), *rows])
    settings = BuildSettings(split_shares={"train": 1.0}, samples_per_shard=200, global_size=16, equalise=equalise)
    build_dataset(source / "list.csv", tmp_path / "out", settings, progress=False)
    return ShardDataset.open(tmp_path / "out")


@pytest.mark.parametrize(
    "options",
    [
        app11(4096),
        pytest.param(app11(100_000), marks=pytest.mark.slow),
        pytest.param({"optimize": True}, marks=pytest.mark.slow),
        pytest.param({"comment": b"made by a model" * 50}, marks=pytest.mark.slow),
        pytest.param({"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0" + bytes(900)}, marks=pytest.mark.slow),
        pytest.param({"icc_profile": b"\0" * 600}, marks=pytest.mark.slow),
    ],
    ids=["4 kB signature", "100 kB signature", "Huffman", "comment", "Exif", "ICC"],
)
def test_no_image_is_left_out_for_what_no_pixel_shows(options, tmp_path):
    dataset = build(tmp_path, ("JPEG", {"quality": 90, **options}), count=40)
    assert len(dataset) == 40
    assert "did not differ" in dataset.info.equalised


@pytest.mark.slow  # a signature, which no pixel shows either, is tested above
@pytest.mark.parametrize(
    ("hard", "soft"),
    [
        (("PNG", {"compress_level": 9}), ("PNG", {"compress_level": 1})),
        pytest.param(
            ("WEBP", {"lossless": True, "method": 4, "quality": 75}),
            ("WEBP", {"lossless": True, "method": 0, "quality": 0}),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ("TIFF", {"compression": "tiff_adobe_deflate"}), ("TIFF", {"compression": "raw"}), marks=pytest.mark.slow
        ),
    ],
    ids=["PNG", "WebP", "TIFF"],
)
def test_nor_for_how_hard_a_lossless_file_is_packed(hard, soft, tmp_path):
    dataset = build(tmp_path, hard, soft)
    assert len(dataset) == COUNT
    assert "did not differ" in dataset.info.equalised


@pytest.mark.parametrize(
    ("marked", "plain", "name"),
    [
        (("JPEG", tables_near(90)), None, "quantisation tables"),
        pytest.param(
            ("WEBP", {"lossless": True}), ("WEBP", {"quality": 90}), "lossless coding", marks=pytest.mark.slow
        ),
        pytest.param(("AVIF", {"subsampling": "4:4:4"}), ("AVIF", {}), "chroma subsampling", marks=pytest.mark.slow),
        (("JPEG", {"quality": 90, "keep_rgb": True}), ("JPEG", {"quality": 90, "subsampling": 0}), "colour transform"),
    ],
)
def test_what_shows_in_the_pixels_is_matched_on_by_its_name(marked, plain, name, tmp_path):
    with pytest.raises(InputError, match=f"no real and generated image have the same .*{name}"):
        build(tmp_path, marked, plain, count=60)


def test_chance_differs_seldom_and_a_shift_is_found_in_few_images():
    random = np.random.default_rng(0)
    label = np.arange(96) % 2
    classes = Classes(label, np.arange(96))
    found = Counter()
    for _ in range(150):
        values = random.normal(size=96)
        found["chance"] += classes.difference("width", values).counts
        found["shift"] += classes.difference("width", values + 1.2 * label).counts
        names = random.integers(0, 4, 96)
        found["chance"] += classes.difference("format", names).counts
    assert found["chance"] == 0
    assert found["shift"] > 125


def test_much_that_tells_little_does_not_count():
    random = np.random.default_rng(0)
    label = np.arange(40_000) % 2
    values = random.normal(size=40_000) + 0.08 * label
    little = Classes(label, np.arange(40_000)).difference("width", values)
    assert little.excess > 5
    assert not little.counts


def test_images_of_a_group_count_as_one():
    random = np.random.default_rng(3)
    label = np.arange(400) % 2
    scenes = scene_numbers(np.array([f"film {i % 8}" for i in range(400)], object))
    values = random.normal(size=8)[scenes] * 100
    assert Classes(label, np.arange(400)).difference("width", values).counts
    assert not Classes(label, scenes).difference("width", values).counts


@pytest.mark.parametrize("seed", [0, 18, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (2, 12))])
def test_after_matching_the_same_test_finds_nothing(seed):
    """After ``--equalise match``, the audit's test finds no difference in properties that leave traces in the pixels,
    even if properties depend on each other and several differ."""
    random = np.random.default_rng(seed)
    count = int(random.choice([300, 1000, 4000]))
    label, images = (random.random(count) < 0.4).astype(int), np.arange(count)
    shift = random.choice([0, 0.1, 0.25, 0.45], 4)
    width, height = (np.exp(random.normal(6 + shift[i] * label, 0.3)).astype(int) for i in (0, 1))
    quality = np.clip(random.normal(85 + 12 * shift[2] * label, 5), 1, 100).astype(int)
    bits = np.exp(random.normal(shift[3] * label, 0.4))
    raw = dict.fromkeys(RAW_FACTS, np.zeros(count, int)) | {
        "width": width,
        "height": height,
        "jpeg_quality": quality,
        "quant_digest": quality,
        "standard_bytes": (width * height * bits).astype(int),
        "file_bytes": np.full(count, 10**6),
        "huffman": label,
    }
    hashes = [number.to_bytes(4, "big") for number in images.tolist()]
    kept, matched_on = match_classes(raw, label, images, hashes, 1)
    assert matched_on
    facts, classes = compared_facts(raw, kept), Classes(label[kept], images[kept])
    assert not [n for n in PIXEL_FACTS if classes.difference(n, facts[n][kept]).counts]


def test_every_fact_has_one_name():
    assert len(set(FACT_NAMES.values())) == len(FACT_NAMES)
