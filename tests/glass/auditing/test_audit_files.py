"""From files to findings: what the audit reports about data sets built from files of real encoders."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shards.build.build import build_dataset
from shards.build.class_differences import PIXEL_FACTS
from shards.build.settings import BuildSettings
from shards.manifest.dataset import ShardDataset
from tests.glass.auditing.test_audit import manifest_audit

pytestmark = pytest.mark.slow

COUNT = 312
SIGNATURE = b"\xff\xeb" + (4106).to_bytes(2, "big") + b"JP\0\1\0\0\0\1jumbc2pa" + bytes(4088)


def build(tmp_path: Path, options, equalise: str = "none") -> ShardDataset:
    """Builds a data set of similar pictures. ``options(label, random)`` returns the options for Pillow's ``save``."""
    random = np.random.default_rng(5)
    source, rows = tmp_path / "images", []
    source.mkdir(exist_ok=True)
    for number in range(COUNT):
        label = number % 2
        scene = random.integers(0, 256, (9, 9, 3), dtype=np.uint8)
        picture = Image.fromarray(scene).resize((64, 64), Image.Resampling.BICUBIC)
        picture.save(source / f"{number:03d}.jpg", **options(label, random))
        rows.append((f"{number:03d}.jpg", label))
    with (source / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "is_generated"), *rows])
    settings = BuildSettings(split_shares={"train": 1.0}, samples_per_shard=400, global_size=16, equalise=equalise)
    build_dataset(source / "list.csv", tmp_path / equalise, settings, progress=False)
    return ShardDataset.open(tmp_path / equalise)


def differing(document) -> set[str]:
    found = document["metadata"]["features"]
    return {feature["feature"] for feature in found if feature["differs"]}


def test_a_signature_in_one_class_is_named_and_does_no_harm(tmp_path):
    def signed(label, random):
        return {"quality": 90, "extra": SIGNATURE if label else b""}

    document = manifest_audit(build(tmp_path, signed))
    assert document["severity"] == "info"
    assert differing(document) == {"metadata", "other_bytes"}
    (found,) = [f for f in document["findings"] if f["kind"] == "not_in_pixels"]
    assert "C2PA + JFIF 100 %" in found["text"]
    assert len(build(tmp_path, signed, "match")) == COUNT


def test_what_the_audit_finds_match_removes(tmp_path):
    def better(label, random):
        return {"quality": int(random.integers(78, 90)) + 4 * label, "optimize": bool(label)}

    document = manifest_audit(build(tmp_path, better))
    assert {"jpeg_quality", "huffman"} <= differing(document)
    assert any("--equalise match, which" in f["advice"] for f in document["findings"])
    matched = build(tmp_path, better, "match")
    assert 50 < len(matched) < COUNT
    after = manifest_audit(matched)
    assert not differing(after) & set(PIXEL_FACTS)
    assert not any("--equalise match, which" in f["advice"] for f in after["findings"])


def test_other_tables_at_the_same_quality_are_named(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "one.jpg", quality=85)
    with Image.open(tmp_path / "one.jpg") as image:
        tables = [list(table) for table in image.quantization.values()]
    other = [tables[0], [value + 2 for value in tables[1]]]

    def encoders(label, random):
        return {"qtables": other if label else tables}

    document = manifest_audit(build(tmp_path, encoders))
    assert "jpeg_quality" not in differing(document)
    assert document["findings"][0]["severity"] == "serious"
    assert document["findings"][0]["feature"] == "quant_digest"
    assert "quantisation tables" in document["findings"][0]["text"]
