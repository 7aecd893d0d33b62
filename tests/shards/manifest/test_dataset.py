"""Opening a data set: what it provides, what it refuses, and that it takes next to no time."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from shards.build.finish import split_counts, write_manifest
from shards.errors import InputError
from shards.manifest.dataset import ShardDataset
from shards.manifest.info import DatasetInfo
from shards.manifest.schema import SAMPLE_SCHEMA
from tests.images.small_builds import build


@pytest.fixture
def copy(synthetic_shards, tmp_path):
    """A copy of ``dataset.json`` and ``samples.arrow`` of ``synthetic_shards`` that a test may damage."""
    for name in ("dataset.json", "samples.arrow"):
        shutil.copy(synthetic_shards / name, tmp_path)
    return tmp_path


def change_info(folder, **changes):
    info = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps({**info, **changes}))


def test_splits_partition_the_rows(synthetic_dataset):
    parts = [synthetic_dataset.split_rows(name) for name in ("train", "valid", "test")]
    np.testing.assert_array_equal(np.concatenate(parts), np.arange(len(synthetic_dataset)))
    assert [len(part) for part in parts] == [12, 6, 6]
    joined = synthetic_dataset.split_rows("test+train")
    assert joined.dtype == np.int64
    np.testing.assert_array_equal(joined, np.sort(np.concatenate([parts[2], parts[0]])))
    np.testing.assert_array_equal(synthetic_dataset.split_rows("train+train"), parts[0])


@pytest.mark.parametrize("split", ["calibration", "dev", "", "train+", "train valid"])
def test_unknown_split_names_the_known_ones(split, synthetic_dataset):
    with pytest.raises(InputError, match=r"has no split .*: give one of train, valid, test"):
        synthetic_dataset.split_rows(split)


def test_columns_are_arrays(synthetic_dataset):
    table = synthetic_dataset.table
    for name, kind in [
        ("label", np.int8),
        ("content_id", np.int64),
        ("width", np.int32),
        ("jpeg_quality", np.int16),
        ("progressive", np.bool_),
    ]:
        values = synthetic_dataset.column(name)
        assert values.dtype == kind
        expected = [-1 if v is None else v for v in table.column(name).to_pylist()]
        assert values.tolist() == expected
    for name in ("sample_key", "split", "generator", "source_path", "not_indexable", "group"):
        assert synthetic_dataset.column(name).tolist() == table.column(name).to_pylist()
    for name in ("sha256", "pixel_sha256"):
        values = synthetic_dataset.column(name)
        assert [row.tobytes() for row in values] == table.column(name).to_pylist()
    assert (synthetic_dataset.column("jpeg_quality") == -1).any()


def test_numbers_are_views_of_the_mapped_file(synthetic_dataset):
    column = synthetic_dataset.table.column("image_offset")
    assert column.num_chunks == 1
    address = column.chunk(0).buffers()[1].address
    assert synthetic_dataset.column("image_offset").__array_interface__["data"][0] == address
    assert not synthetic_dataset.column("image_offset").flags.writeable


def test_codes_point_into_names(synthetic_dataset):
    for name in ("shard", "split", "not_indexable"):
        codes, names = synthetic_dataset.codes(name)
        assert codes.dtype == np.int32
        found = [names[code] if code >= 0 else None for code in codes]
        assert found == synthetic_dataset.column(name).tolist()
    with pytest.raises(InputError, match="is not a column of names"):
        synthetic_dataset.codes("width")
    with pytest.raises(InputError, match="no column 'hight'"):
        synthetic_dataset.column("hight")


def test_info_agrees_with_the_rows(synthetic_dataset, synthetic_shards):
    info = synthetic_dataset.info
    assert info.num_samples == len(synthetic_dataset) == 24
    assert info.global_size == 64
    assert info.counts == split_counts(synthetic_dataset.table)
    assert sum(counts.generated for counts in info.counts.values()) == 12
    assert synthetic_dataset.generators == ["gan_a", "gan_b"]
    assert [shard.name for shard in info.shards] == synthetic_dataset.codes("shard")[1]
    for shard in info.shards:
        path = synthetic_dataset.shard_path(shard.name)
        assert path.parent == synthetic_shards
        assert path.stat().st_size == shard.num_bytes


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: shutil.rmtree(d), "does not exist: build it"),
        (lambda d: (d / "dataset.json").unlink(), r"has no dataset\.json"),
        (lambda d: (d / "samples.arrow").unlink(), r"samples\.arrow is missing"),
        (lambda d: (d / "dataset.json").write_text("{"), "does not describe a data set"),
        (lambda d: (d / "dataset.json").write_text("[]"), "does not describe a data set"),
        (lambda d: (d / "dataset.json").write_bytes(b"\xff\xfe"), "does not describe a data set"),
        (
            lambda d: change_info(d, format_version=1),
            r"has format version 1, but this program reads 2: .*glass build SRC OUT$",
        ),
        (
            lambda d: change_info(d, format_version=1, shards=[{"sidecar": "a.sidecar.tar"}]),
            r"has format version 1, but this program reads 2: .*glass index TAR… --out OUT$",
        ),
        (lambda d: change_info(d, format_version=3), "has format version 3.*that wrote it"),
        (lambda d: change_info(d, format_version=True), "has format version True"),
        (lambda d: change_info(d, format_version=None, shards=3), "has format version None"),
        (lambda d: change_info(d, shards=3), "is damaged"),
        (lambda d: change_info(d, surprise=3), "is damaged"),
        (lambda d: change_info(d, num_samples=25), "has 24 rows, but dataset.json says 25"),
        (lambda d: (d / "samples.arrow").write_bytes(b"ARROW1\0\0 no"), "is not a manifest"),
        (lambda d: (d / "samples.arrow").write_bytes(b""), "is not a manifest"),
    ],
)
def test_what_is_missing_or_damaged_is_named(damage, message, copy):
    damage(copy)
    with pytest.raises(InputError, match=message):
        ShardDataset.open(copy)


def test_manifest_with_other_columns_is_refused(copy):
    table = pa.table({"sample_key": ["1"] * 24})
    with pa.ipc.new_file(copy / "samples.arrow", table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(InputError, match="has other columns"):
        ShardDataset.open(copy)


def test_a_manifest_of_another_build_is_refused(small_copy):
    """A manifest of another build is refused even if that build has the same images, and equally many rows and
    shards."""
    build(small_copy / "images", small_copy / "other", split_seed=7)
    shutil.copy(small_copy / "other/samples.arrow", small_copy / "out/samples.arrow")
    with pytest.raises(InputError, match=r"samples\.arrow is from another build than .*dataset\.json"):
        ShardDataset.open(small_copy / "out")


def test_a_data_set_of_a_version_that_noted_no_digests_opens(copy, synthetic_dataset):
    table = synthetic_dataset.table.replace_schema_metadata(None)
    write_manifest(table, copy / "samples.arrow")
    info = json.loads((copy / "dataset.json").read_text())
    del info["manifest_sha256"]
    (copy / "dataset.json").write_text(json.dumps(info))
    assert len(ShardDataset.open(copy)) == len(synthetic_dataset)


def test_a_file_is_no_data_set(copy):
    with pytest.raises(InputError, match="is a file: give the folder of a data set"):
        ShardDataset.open(copy / "dataset.json")


OPEN_AND_MEASURE = """
import re, sys, time
import pyarrow, numpy
import shards.manifest.dataset
start = time.perf_counter()
dataset = shards.manifest.dataset.ShardDataset.open(sys.argv[1])
rows = dataset.split_rows("train+valid")
total = int(dataset.column("image_offset")[rows].sum() + dataset.column("content_id").min())
seconds = time.perf_counter() - start
# Not ru_maxrss, which counts the parent's memory at the time of the fork.
peak_kib = re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]
print(seconds, peak_kib, len(rows))
"""


@pytest.mark.slow
def test_a_million_samples_open_in_two_seconds(tmp_path):
    rows = 1_000_000
    numbers = np.arange(rows)
    columns: dict[str, pa.Array] = {}
    names = {
        "split": np.array(["train", "valid", "test"]).repeat([700_000, 150_000, 150_000]),
        "shard": np.char.add("train-", (numbers // 1000).astype(str)),
        "class_name": np.array(["real", "generated"])[numbers % 2],
        "generator": np.array(["", "gan"])[numbers % 2],
        "sample_key": np.char.zfill(numbers.astype(str), 12),
        "source_path": np.char.add("generated/some_generator/image_", numbers.astype(str)),
    }
    random = np.random.default_rng(0)
    for field in SAMPLE_SCHEMA:
        kind = field.type
        if pa.types.is_dictionary(kind) or pa.types.is_string(kind):
            values = pa.array(names.get(field.name, np.full(rows, "x")))
            columns[field.name] = values.dictionary_encode() if kind != pa.string() else values
        elif pa.types.is_fixed_size_binary(kind):
            hashes = random.integers(0, 256, rows * 32, dtype=np.uint8)
            columns[field.name] = pa.FixedSizeBinaryArray.from_buffers(kind, rows, [None, pa.py_buffer(hashes)])
        else:
            columns[field.name] = pa.array(numbers % 2).cast(kind)
    table = write_manifest(pa.table(columns, schema=SAMPLE_SCHEMA), tmp_path / "samples.arrow")
    info = DatasetInfo(224, 606, {"train": 0.7}, 1000, rows, split_counts(table), {}, {}, ())
    (tmp_path / "dataset.json").write_text(info.to_json())
    done = subprocess.run(
        [sys.executable, "-c", OPEN_AND_MEASURE, str(tmp_path)], capture_output=True, text=True, check=True
    )
    seconds, kib, found = done.stdout.split()
    assert int(found) == 850_000
    assert float(seconds) < 2
    assert int(kib) < 1_000_000
