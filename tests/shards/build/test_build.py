"""Building a data set: what is taken in, what is refused, and that only sources and settings determine the bytes."""

import errno
import hashlib
import json
import os
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from shards.build.build import build_dataset
from shards.build.settings import BuildSettings
from shards.errors import InputError
from shards.images.pixels import decode_rgb
from shards.manifest.dataset import ShardDataset
from tests.conftest import remount
from tests.images.coded_images import write_small_images
from tests.images.small_builds import build
from tests.machine.folder_contents import contents


@pytest.fixture
def small_images(tmp_path: Path) -> Path:
    """A folder of eight small JPEGs that a test may alter."""
    write_small_images(tmp_path / "images", 8)
    return tmp_path / "images"


def rejected(out: Path) -> dict[str, str]:
    rows = pq.read_table(out / "rejected.parquet").to_pylist()
    return {row["source_path"]: row["reason"] for row in rows}


def test_everything_of_the_source_is_in_the_data_set(synthetic_images, synthetic_dataset):
    dataset = synthetic_dataset
    files = {p.relative_to(synthetic_images).as_posix() for p in synthetic_images.rglob("*.*")}
    assert set(dataset.column("source_path")) == files
    for row in dataset.table.to_pylist():
        data = (synthetic_images / row["source_path"]).read_bytes()
        assert row["sha256"] == hashlib.sha256(data).digest()
        assert row["content_id"] == int.from_bytes(row["pixel_sha256"][:8], "big", signed=True)
        with dataset.shard_path(row["shard"]).open("rb") as tar:
            tar.seek(row["image_offset"])
            stored = tar.read(row["image_length"])
        assert (stored == data) == (row["stored_as"] == "source")
        np.testing.assert_array_equal(decode_rgb(stored), decode_rgb(data))
        real = row["source_path"].startswith("real/")
        assert (row["label"], row["class_name"]) == ((0, "real") if real else (1, "generated"))
        assert row["generator"] == ("" if real else row["source_path"].split("/")[1])
    assert len(set(dataset.column("sample_key"))) == len(dataset)
    stored_as = Counter(dataset.column("stored_as"))
    assert stored_as["source"] >= 14  # all baseline JPEGs at least


def test_bytes_depend_on_nothing_but_sources_and_settings(synthetic_images, synthetic_shards, tmp_path):
    """A build by two processes, from a copy of the images in another folder, made in another order, gives the same
    bytes."""
    info = ShardDataset.open(synthetic_shards).info
    settings = BuildSettings(dict(info.split_shares), 606, info.samples_per_shard, info.global_size)
    copy = tmp_path / "copy"
    for path in sorted(synthetic_images.rglob("*.*"), reverse=True):
        target = copy / path.relative_to(synthetic_images)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)
    build_dataset(copy, tmp_path / "out", settings, workers=2, progress=False)
    assert contents(tmp_path / "out") == contents(synthetic_shards)


def test_a_shuffled_list_gives_the_same_bytes(small_images, tmp_path):
    names = sorted(path.relative_to(small_images).as_posix() for path in small_images.rglob("*.jpg"))
    lines = [f"{name},{name.split('/')[0]},,scene {i // 2},\n" for i, name in enumerate(names)]
    header = "path,label,generator,group,split\n"
    (small_images / "one.csv").write_text(header + "".join(lines))
    (small_images / "two.csv").write_text(header + "".join(lines[::-1]))
    build(small_images / "one.csv", tmp_path / "one")
    build(small_images / "two.csv", tmp_path / "two")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    rows = ShardDataset.open(tmp_path / "one").table.to_pylist()
    splits = {(row["group"], row["split"]) for row in rows}
    assert len(splits) == len({group for group, _ in splits}) == 4


def test_bad_images_are_named_and_cost_nothing_else(small_images, tmp_path, coded_image, encode_image):
    pixels = coded_image(20, 64, 48)
    jpeg = encode_image(pixels, "JPEG")
    bomb = bytearray(encode_image(pixels, "PNG"))
    bomb[16:24] = (30000).to_bytes(4, "big") * 2
    floats = Image.fromarray(np.ones((8, 8), np.float32))
    twice = encode_image(coded_image(21, 50, 50), "PNG")
    bad = {
        "truncated.jpg": (jpeg[: len(jpeg) // 2], "truncated"),
        "zero.jpg": (b"", "empty_file"),
        "text.jpg": (b"This is a text.\n", "not_an_image"),
        "bomb.png": (bytes(bomb), "corrupt"),  # its header's checksum is wrong, too
        "float.tif": (encode_image(floats, "TIFF"), "unsupported_mode"),
        "both.png": (twice, "duplicate_conflict"),
        "only.gif": (b"GIF89a, but no image", "corrupt"),
    }
    for name, (data, _) in bad.items():
        (small_images / "real" / name).write_bytes(data)
    (small_images / "generated" / "both.png").write_bytes(twice)
    os.mkfifo(small_images / "real" / "pipe.jpg")
    (small_images / "real" / "gone.jpg").symlink_to("nowhere.jpg")
    (small_images / "real" / os.fsdecode(b"\xff.jpg")).write_bytes(jpeg)
    good = {
        "one.png": encode_image(np.zeros((1, 1, 3), np.uint8), "PNG"),
        "long.png": encode_image(np.zeros((10, 20000, 3), np.uint8), "PNG"),
        "cmyk.jpg": encode_image(Image.fromarray(pixels).convert("CMYK"), "JPEG"),
        "moving.gif": encode_image(pixels, "GIF", save_all=True, append_images=[Image.fromarray(255 - pixels)]),
        "a name, with.dots\n\x1b[31m.png": encode_image(pixels, "PNG", compress_level=1),
    }
    for name, data in good.items():
        (small_images / "real" / name).write_bytes(data)

    report = build(small_images, tmp_path / "out")

    expected = {f"real/{name}": reason for name, (_, reason) in bad.items()}
    expected |= {
        "generated/both.png": "duplicate_conflict",
        "real/pipe.jpg": "unreadable",
        "real/gone.jpg": "unreadable",
        "real/\\udcff.jpg": "file_name",
    }
    assert rejected(tmp_path / "out") == expected
    assert report.info.rejected == Counter(expected.values())
    dataset = ShardDataset.open(tmp_path / "out")
    assert len(dataset) == 8 + len(good)
    facts = {row["source_path"]: row for row in dataset.table.to_pylist()}
    assert facts["real/moving.gif"]["num_frames"] == 2
    assert facts["real/cmyk.jpg"]["mode"] == "CMYK"
    assert {"real/" + name for name in good} <= set(facts)
    assert len({shard.format for shard in report.info.shards}) >= 2


def test_duplicates_share_identity_and_split(small_images, tmp_path):
    for index in range(3):
        shutil.copy(small_images / "real" / "01.jpg", small_images / "real" / f"copy{index}.jpg")
    build(small_images, tmp_path / "out")
    rows = ShardDataset.open(tmp_path / "out").table.to_pylist()
    same = [r for r in rows if "copy" in r["source_path"] or r["source_path"] == "real/01.jpg"]
    assert len(same) == 4
    assert len({(row["content_id"], row["split"], row["sha256"]) for row in same}) == 1
    assert len({row["sample_key"] for row in same}) == 4


def test_missing_files_of_a_list_are_rejected(small_images, tmp_path):
    (small_images / "list.csv").write_text(
        "path,label\nreal/01.jpg,real\ngenerated/gan/00.jpg,fake\nreal/nope.jpg,real\n"
    )
    build(small_images / "list.csv", tmp_path / "out")
    assert rejected(tmp_path / "out") == {"real/nope.jpg": "unreadable"}


def test_nothing_but_rejects_is_an_error(small_images, tmp_path):
    for path in small_images.rglob("*.jpg"):
        path.write_bytes(b"\xff\xd8\xff and no more: " + path.name.encode())
    with pytest.raises(InputError, match=r"not one of 8 images was accepted \(8 corrupt\)"):
        build(small_images, tmp_path / "out")
    assert len(rejected(tmp_path / "out")) == 8


def test_folders_of_others_are_left_alone(small_images, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match=r"not empty.*thesis\.txt"):
        build(small_images, tmp_path / "out")
    assert contents(tmp_path / "out") == {"thesis.txt": b"mine"}
    with pytest.raises(InputError, match="is a file: give a folder"):
        build(small_images, tmp_path / "out" / "thesis.txt")
    with pytest.raises(InputError, match=r"cannot write to .*: Not a directory"):
        build(small_images, tmp_path / "out" / "thesis.txt" / "below")


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_disk_full_is_one_sentence_and_the_build_continues(
    workers, small_images, tmp_path, small_disk, coded_image, encode_image
):
    noise = np.random.default_rng(0)
    for index in range(12):
        pixels = noise.integers(0, 256, (100, 100, 3), dtype=np.uint8)
        data = encode_image(pixels, "JPEG", quality=100, subsampling=0)
        (small_images / "real" / f"noise{index}.jpg").write_bytes(data)
    build(small_images, tmp_path / "straight")
    disk = small_disk(300)
    out = disk / "out"
    with pytest.raises(InputError, match=r"the disk is full at .*continues where it stopped"):
        build(small_images, out, workers)
    assert not [path for path in out.iterdir() if path.name.endswith(".tmp")]
    assert not (out / "dataset.json").exists()
    remount(disk, "size=10m")
    assert build(small_images, out, workers).continued
    assert contents(out) == contents(tmp_path / "straight")


def test_read_only_disk_is_one_sentence(small_images, small_disk):
    disk = small_disk(1000)
    remount(disk, "ro")
    with pytest.raises(InputError, match=f"cannot write to .*: {os.strerror(errno.EROFS)}"):
        build(small_images, disk / "out")


@pytest.mark.parametrize(
    "change", [{"global_size": 8}, {"global_size": 1.5}, {"samples_per_shard": 0}, {"split_seed": -1}]
)
def test_settings_out_of_range_are_named(change):
    (name,) = change
    with pytest.raises(InputError, match="--" + name.replace("_", "-")):
        BuildSettings(**change)


def test_nothing_tells_the_time(small_images, tmp_path):
    """No output contains the date of the build, and all members of a tar have the same fixed date."""
    build(small_images, tmp_path / "out")
    info = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert not [name for name in info if "time" in name or "date" in name]
    listing = subprocess.run(
        ["tar", "--utc", "--full-time", "-tvf", tmp_path / "out" / "train-000000.tar"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "TZ": "UTC"},
    )
    columns = {tuple(line.split()[:5:1])[0:2] + tuple(line.split()[3:5]) for line in listing.stdout.splitlines()}
    assert columns == {("-rw-r--r--", "0/0", "1980-01-01", "00:00:00")}
    assert not listing.stderr
