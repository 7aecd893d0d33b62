"""Making the files of both classes look alike: which images are left out, which stay, and what is recorded."""

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from glass.auditing.metadata_audit import audit_metadata
from scripts import build_shards
from shards.build.build import build_dataset
from shards.build.class_differences import RAW_FACTS, Classes, compared_facts
from shards.build.equalise import recompressed
from shards.build.matching import match_classes
from shards.build.settings import BuildSettings
from shards.build.split import parse_shares
from shards.errors import InputError
from shards.images.pixels import RejectedImage, decode_rgb
from shards.manifest.dataset import ShardDataset
from shards.metadata.facts import read_facts
from shards.verify import verify_dataset

NAMES = ("real", "generated")
SHARES = parse_shares("0.5,0.25,0.25")


def make_images(root: Path, count: int, options, seed: int = 0) -> Path:
    """Writes ``count`` tiny pictures of random size, half of them real. Returns the path of the list that names them.

    ``options(label, random)`` returns (Pillow's name of the format, options of ``save``).
    """
    random = np.random.default_rng(seed)
    rows = []
    root.mkdir()
    for number in range(count):
        label = number % 2
        width, height = random.integers(30, 60, 2)
        coarse = random.integers(0, 256, (5, 5, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((int(width), int(height)), Image.Resampling.BICUBIC)
        kind, how = options(label, random)
        name = f"{number:03d}.{kind.lower()}"
        picture.save(root / name, kind, **how)
        rows.append((name, label))
    with (root / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "is_generated"), *rows])
    return root / "list.csv"


def alike(label, random):
    return ("PNG", {}) if random.random() < 0.3 else ("JPEG", {"quality": int(random.integers(80, 96))})


def generated_as_png(label, random):
    return ("PNG", {}) if label else alike(label, random)


def real_at_75(label, random):
    return ("JPEG", {"quality": 90 if label else 75})


def build(source: Path, out: Path, equalise: str, workers: int = 1) -> ShardDataset:
    settings = BuildSettings(split_shares=SHARES, samples_per_shard=40, global_size=32, equalise=equalise)
    build_dataset(source, out, settings, workers, progress=False)
    return ShardDataset.open(out)


@pytest.fixture(scope="module")
def biased(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The path of a list of 100 images, in which exactly the generated ones are PNGs."""
    return make_images(tmp_path_factory.mktemp("biased") / "images", 100, generated_as_png)


def test_matching_leaves_what_has_a_counterpart(biased, tmp_path):
    dataset = build(biased, tmp_path / "out", "match")
    assert set(dataset.column("format")) == {"PNG"}
    kept = Counter(dataset.column("label").tolist())
    assert kept[0] == kept[1] > 10
    rows = pq.read_table(tmp_path / "out/rejected.parquet").to_pylist()
    assert {row["reason"] for row in rows} == {"unmatched"}
    assert dataset.info.rejected == {"unmatched": 100 - len(dataset)}
    assert len(rows) == 100 - len(dataset)
    assert "format" in rows[0]["detail"]
    assert f"{len(rows)} of 100 images left out" in dataset.info.equalised


@pytest.mark.slow  # in test_class_differences they stay by default
def test_images_that_are_alike_all_stay(tmp_path):
    dataset = build(make_images(tmp_path / "images", 120, alike), tmp_path / "out", "match")
    assert len(dataset) == 120
    assert "did not differ" in dataset.info.equalised


def test_nothing_in_common_is_said(tmp_path):
    source = make_images(tmp_path / "images", 60, real_at_75)
    with pytest.raises(InputError, match=r"JPEG quality.*--equalise recompress"):
        build(source, tmp_path / "out", "match")


@pytest.mark.slow  # and an audit
@pytest.mark.parametrize("bias", [generated_as_png, real_at_75])
def test_recompressed_classes_are_files_of_one_kind(bias, tmp_path):
    dataset = build(make_images(tmp_path / "images", 200, bias), tmp_path / "out", "recompress")
    quality = min(75, 80) if bias is real_at_75 else 80
    assert len(dataset) == 200
    assert dict(dataset.info.stored_as) == {"recompressed": 200}
    assert f"quality {quality}" in dataset.info.equalised
    for name, value in (("format", "JPEG"), ("subsampling", "4:2:0"), ("jpeg_quality", quality)):
        assert set(dataset.column(name)) == {value}
    assert not verify_dataset(dataset, 1, lambda done: None)
    audit = audit_metadata(dataset)
    assert audit is not None
    assert audit.interval[0] <= 0.5


def test_stored_pixels_are_those_of_the_new_file(tmp_path):
    source = make_images(tmp_path / "images", 20, generated_as_png)
    dataset = build(source, tmp_path / "out", "recompress")
    row = dataset.table.slice(0, 1).to_pylist()[0]
    with dataset.shard_path(row["shard"]).open("rb") as tar:
        tar.seek(row["image_offset"])
        stored = tar.read(row["image_length"])
    data = (source.parent / row["source_path"]).read_bytes()
    assert stored == recompressed(data, row["jpeg_quality"])
    assert decode_rgb(stored).shape == (row["height"], row["width"], 3)
    assert row["source_bytes"] == len(data)


def test_recompressing_drops_metadata_and_refuses_damage(coded_image, encode_image):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode_image(coded_image(1, 64, 48), "JPEG", quality=95, exif=exif, comment=b"secret")
    again = recompressed(data, 80)
    facts = read_facts(again)
    assert (facts.has_exif, facts.exif_orientation, facts.jpeg_quality) == (False, 1, 80)
    assert b"secret" not in again
    with pytest.raises(RejectedImage):
        recompressed(data[: len(data) // 2] + b"\xff\xd9", 80)


@pytest.mark.slow
@pytest.mark.parametrize("equalise", ["match", "recompress"])
def test_an_interrupted_build_continues_to_the_same_bytes(equalise, biased, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    build(biased, whole, equalise)
    build(biased, broken, equalise)
    for name in ("dataset.json", "samples.arrow", "rejected.parquet"):
        (broken / name).unlink()
    last = max(broken.glob("*.parquet"))
    last.unlink()
    last.with_suffix(".tar").unlink()
    build(biased, broken, equalise)
    assert {p.name: p.read_bytes() for p in whole.iterdir()} == {p.name: p.read_bytes() for p in broken.iterdir()}
    with pytest.raises(InputError, match="--equalise was"):
        build(biased, broken, "none")


@pytest.mark.slow
@pytest.mark.parametrize("equalise", ["match", "recompress"])
def test_bytes_do_not_depend_on_the_number_of_workers(equalise, biased, tmp_path):
    build(biased, tmp_path / "one", equalise, workers=1)
    build(biased, tmp_path / "two", equalise, workers=2)
    assert {p.name: p.read_bytes() for p in (tmp_path / "one").iterdir()} == {
        p.name: p.read_bytes() for p in (tmp_path / "two").iterdir()
    }


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_alone_has_nothing_to_be_matched_with(label, tmp_path):
    listed = make_images(tmp_path / "images", 6, alike)
    for line in listed.read_text().splitlines()[1:]:
        name, _, kind = line.partition(",")
        if int(kind) != label:
            (listed.parent / name).write_bytes(b"no image")
    with pytest.raises(InputError, match=f"only {NAMES[label]} images can be read"):
        build(listed, tmp_path / "out", "match")


def test_no_rows_match_nothing():
    nothing = np.zeros(0, int)
    kept, facts = match_classes(dict.fromkeys(RAW_FACTS, nothing), nothing, nothing, [], 7)
    assert len(kept) == 0
    assert facts == []


def test_no_readable_image_is_what_the_build_says(tmp_path):
    (tmp_path / "src" / "real").mkdir(parents=True)
    (tmp_path / "src" / "real" / "a.jpg").write_bytes(b"no image")
    (tmp_path / "src" / "generated" / "gan").mkdir(parents=True)
    (tmp_path / "src" / "generated" / "gan" / "b.jpg").write_bytes(b"no image")
    sentences = []
    for method in ("none", "match", "recompress"):
        with pytest.raises(InputError) as caught:
            build(tmp_path / "src", tmp_path / method, method)
        sentences.append(str(caught.value).replace(method, ""))
    assert len(set(sentences)) == 1


def test_matching_does_not_depend_on_order_and_keeps_the_proportion():
    """The classes have 1,000 and 3,000 images, whose widths overlap by half. The same images are kept in any order of
    rows, about three generated ones for each real one."""
    random = np.random.default_rng(1)
    label, scenes = np.repeat([0, 1], [1000, 3000]), np.arange(4000)
    raw = dict.fromkeys((*RAW_FACTS, "file_bytes"), np.ones(4000, int)) | {
        "height": np.full(4000, 100),
        "width": (1000 * (random.uniform(1, 3, 4000) + label)).astype(int),
        "lossless": random.random(4000) < 0.3 + 0.3 * label,
        "standard_bytes": np.zeros(4000, int),
    }
    hashes = [number.to_bytes(32, "big") for number in range(4000)]
    kept, matched_on = match_classes(raw, label, scenes, hashes, 7)
    assert matched_on == ["lossless coding", "width"]
    counts = np.bincount(label[kept])
    assert counts.min() > 200
    assert abs(counts[1] / counts[0] - 3) < 0.3
    facts, classes = compared_facts(raw, kept), Classes(label[kept], scenes[kept])
    for name in ("width", "lossless"):
        assert not classes.difference(name, facts[name][kept]).counts
    order = random.permutation(4000)
    shuffled, _ = match_classes(
        {name: values[order] for name, values in raw.items()}, label[order], scenes, [hashes[i] for i in order], 7
    )
    np.testing.assert_array_equal(shuffled, kept[order])


@pytest.mark.parametrize(
    ("options", "method"),
    [
        (["src", "out"], "none"),
        (["--equalise", "match", "src", "out"], "match"),
        (["src", "out", "--equalise", "recompress"], "recompress"),
    ],
)
def test_the_option_has_a_value(options, method):
    assert build_shards.parser().parse_args(options).equalise == method


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--equalise", "src", "out"], "choose from"),
        (["src", "out", "--equalise"], "expected one argument"),
        (["--equalise", "--lossless", "keep", "src", "out"], "expected one argument"),
    ],
)
def test_the_option_always_takes_its_value(options, said, capsys):
    with pytest.raises(SystemExit) as stop:
        build_shards.main(options)
    assert stop.value.code == 2
    assert said in capsys.readouterr().err
