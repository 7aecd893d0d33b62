"""Shards are plain WebDataset tars: other readers open them and find what the manifest records."""

import gc
import io
import json
import sys
import tarfile
import warnings

import numpy as np
import pytest

from shards.images.pixels import decode_rgb, global_view
from shards.manifest.schema import content_id_hex


def rows_of(dataset, shard):
    return [row for row in dataset.table.to_pylist() if row["shard"] == shard.name]


def test_tarfile_finds_four_adjacent_members_per_sample(synthetic_dataset):
    for shard in synthetic_dataset.info.shards:
        with tarfile.open(synthetic_dataset.shard_path(shard.name), "r:") as tar:
            members = tar.getmembers()
            rows = rows_of(synthetic_dataset, shard)
            assert len(members) == 4 * len(rows)
            for row, *four in zip(rows, *(iter(members),) * 4, strict=True):
                keys, extensions = zip(*(m.name.split(".", 1) for m in four), strict=True)
                assert set(keys) == {row["sample_key"]}
                assert extensions[0] in ("jpg", "tif", "png")
                assert extensions[1:] == ("json", "global.npy", "mcu")
                for member, name in zip(four, ("image", "json", "global", "mcu"), strict=True):
                    assert member.offset_data == row[f"{name}_offset"]
                    assert member.size == row[f"{name}_length"]
                    assert (member.mtime, member.uid, member.gid) == (315_532_800, 0, 0)
                assert bool(row["mcu_length"]) == (row["not_indexable"] is None)


def test_members_hold_what_they_should(synthetic_dataset, synthetic_images):
    for row in synthetic_dataset.table.to_pylist():
        with synthetic_dataset.shard_path(row["shard"]).open("rb") as tar:
            member = {}
            for name in ("json", "global"):
                tar.seek(row[f"{name}_offset"])
                member[name] = tar.read(row[f"{name}_length"])
        said = json.loads(member["json"])
        for name in ("label", "width", "height", "format", "generator", "split"):
            assert said[name] == row[name]
        assert said["content_id"] == content_id_hex(row["content_id"])
        assert said["sha256"] == row["sha256"].hex()
        pixels = decode_rgb((synthetic_images / row["source_path"]).read_bytes())
        assert pixels.shape == (row["height"], row["width"], 3)
        view = np.load(io.BytesIO(member["global"]))
        np.testing.assert_array_equal(view, global_view(pixels, 64))


def test_webdataset_reads_them(synthetic_dataset):
    import webdataset

    names = [shard.name for shard in synthetic_dataset.info.shards]
    urls = [str(synthetic_dataset.shard_path(name)) for name in names]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # WebDataset leaves its files open
        samples = list(webdataset.WebDataset(urls, shardshuffle=False, empty_check=False).decode())
        gc.collect()
    rows = synthetic_dataset.table.to_pylist()
    assert [sample["__key__"] for sample in samples] == [row["sample_key"] for row in rows]
    for sample, row in zip(samples, rows, strict=True):
        assert sample["json"]["label"] == row["label"]
        assert sample["global.npy"].shape == (64, 64, 3)
        assert len(sample["mcu"]) == row["mcu_length"]


def test_index_equals_dalis_own(synthetic_dataset, tmp_path):
    wds2idx = pytest.importorskip("wds2idx")
    for shard in synthetic_dataset.info.shards:
        path = synthetic_dataset.shard_path(shard.name)
        with wds2idx.IndexCreator(str(path), str(tmp_path / "own.idx"), verbose=False) as creator:
            creator.create_index()
        assert path.with_suffix(".idx").read_text() == (tmp_path / "own.idx").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="DALI comes for Linux only")
def test_dali_reads_them_by_our_index(synthetic_dataset):
    from nvidia.dali import fn, pipeline_def

    @pipeline_def(batch_size=4, num_threads=1, device_id=None)
    def read(paths, indexes):
        return tuple(
            fn.readers.webdataset(
                paths=paths,
                index_paths=indexes,
                ext=["jpg", "json", "global.npy"],
                missing_component_behavior="error",
                pad_last_batch=True,
            )
        )

    shards = [shard for shard in synthetic_dataset.info.shards if shard.format == "JPEG"]
    paths = [synthetic_dataset.shard_path(shard.name) for shard in shards]
    pipeline = read([str(p) for p in paths], [str(p.with_suffix(".idx")) for p in paths])
    rows = [row for shard in shards for row in rows_of(synthetic_dataset, shard)]
    found = []
    while len(found) < len(rows):
        found += list(zip(*(output.as_cpu() for output in pipeline.run()), strict=True))
    for row, (image, facts, view) in zip(rows, found, strict=False):
        with synthetic_dataset.shard_path(row["shard"]).open("rb") as tar:
            tar.seek(row["image_offset"])
            assert np.asarray(image).tobytes() == tar.read(row["image_length"])
        assert json.loads(np.asarray(facts).tobytes())["sample_key"] == row["sample_key"]
        assert np.load(io.BytesIO(np.asarray(view).tobytes())).shape == (64, 64, 3)
