"""Files of another format version are refused wherever they occur, with the command to run."""

import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from glass.predict.source_paths import find_images
from scripts import build_shards, index_shards
from shards.build.writer import read_shard_manifest
from shards.errors import InputError
from shards.manifest.dataset import ShardDataset
from shards.manifest.schema import FORMAT_VERSION, SAMPLE_SCHEMA
from shards.verify import verify_dataset

BUILD_AGAIN = r"has format version 1, but this program reads 2: .* glass build SRC"
INDEX_AGAIN = r"has format version 1, but this program reads 2: .* glass index TAR"


@pytest.fixture
def built(synthetic_images: Path, tmp_path: Path) -> Path:
    """A finished data set of four images, with its plan."""
    images = tmp_path / "images"
    for name in ("real/01.jpg", "real/03.png", "generated/gan_a/00.png", "generated/gan_b/02.jpg"):
        (images / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(synthetic_images / name, images / name)
    build_shards.main([str(images), str(tmp_path / "data"), "--global-size", "32", "--workers", "1"])
    return tmp_path / "data"


def set_version(path: Path, version: int) -> None:
    """Sets the format version in a JSON file, or in the settings of a build's plan."""
    if path.suffix == ".json":
        path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": version}))
        return
    table = pq.read_table(path)
    fields = json.loads(table.schema.metadata[b"settings"]) | {"format_version": version}
    pq.write_table(table.replace_schema_metadata({"settings": json.dumps(fields)}), path)


def test_every_record_holds_the_version(built: Path) -> None:
    assert FORMAT_VERSION == 2
    assert json.loads((built / "dataset.json").read_text())["format_version"] == 2
    with pa.ipc.open_file(built / "samples.arrow") as file:
        assert file.schema.metadata[b"format_version"] == b"2"
    for manifest in built.glob("train-*.parquet"):
        assert pq.read_schema(manifest).metadata[b"format_version"] == b"2"


def test_data_sets_and_begun_builds_of_format_one(built: Path, tmp_path: Path) -> None:
    set_version(built / ".build_plan.parquet", 1)
    with pytest.raises(InputError, match=BUILD_AGAIN):
        build_shards.main([str(tmp_path / "images"), str(built), "--global-size", "32"])
    set_version(built / "dataset.json", 1)
    tar = next(built.glob("*.tar"))
    for opened in (ShardDataset.open, lambda path: find_images([str(path)])):
        with pytest.raises(InputError, match=BUILD_AGAIN):
            opened(built)
    with pytest.raises(InputError, match=BUILD_AGAIN):
        find_images([str(tar)])


@pytest.mark.parametrize("version", [1, 3])
def test_manifests_of_another_format(version: int, built: Path) -> None:
    said = rf"samples\.arrow has format version {version}"
    metadata = {"format_version": str(version)}
    dataset = ShardDataset.open(built)
    manifest = next(built.glob("train-*.parquet"))
    rows = read_shard_manifest(manifest)
    pq.write_table(rows.cast(SAMPLE_SCHEMA.with_metadata(metadata)), manifest)
    with pytest.raises(InputError, match=rf"parquet has format version {version}"):
        read_shard_manifest(manifest)
    details = [finding.detail for finding in verify_dataset(dataset, 1, lambda done: None)]
    assert any(f"format version {version}" in detail for detail in details)
    table = dataset.table.replace_schema_metadata(metadata).combine_chunks()
    with pa.ipc.new_file(built / "new.arrow", table.schema) as writer:
        writer.write_table(table)
    (built / "new.arrow").rename(built / "samples.arrow")
    with pytest.raises(InputError, match=said):
        ShardDataset.open(built)


def test_sidecars_and_begun_indexes_of_format_one(
    tmp_path: Path, encode_image: Callable[..., bytes], coded_image: Callable[..., Any]
) -> None:
    tar = tmp_path / "a.tar"
    with tarfile.open(tar, "w") as made:
        for index in range(6):
            image = encode_image(coded_image(index, 40, 30), "JPEG")
            for name, data in ((f"{index}.jpg", image), (f"{index}.cls", b"%d" % (index % 2))):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                made.addfile(member, io.BytesIO(data))
    command = [str(tar), "--global-size", "32", "--workers", "1"]
    index_shards.main(command)
    set_version(tmp_path / ".index_plan.json", 1)
    with pytest.raises(InputError, match=INDEX_AGAIN):
        index_shards.main(command)
    set_version(tmp_path / "dataset.json", 1)
    with pytest.raises(InputError, match=INDEX_AGAIN):
        ShardDataset.open(tmp_path)
    index_shards.main([*command, "--out", str(tmp_path / "again")])
    assert len(ShardDataset.open(tmp_path / "again")) == 6
