"""Malicious JSON documents, lists and tables are refused with an ``InputError``, and within the limits on size and
memory."""

import io
import json
import shutil
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from glass.config.run_config import RunConfig
from glass.config.run_folder import RunFolder
from glass.export.card_file import read_model_card
from glass.measure.predictions import PREDICTION_SCHEMA, read_predictions
from glass.predict.source_paths import find_images
from glass.report.run_data import _read_epochs, _read_record
from glass.train.checkpoint import CheckpointStore
from shards.adopt.key_list import read_key_list
from shards.build.first_pass import examine
from shards.build.writer import read_shard_manifest
from shards.errors import InputError
from shards.files.json_file import parse_json, read_json
from shards.manifest.dataset import ShardDataset
from shards.manifest.group_list import read_group_list
from shards.sources.files import LocalFiles
from shards.sources.read import read_sources
from shards.verify import verify_dataset


@pytest.fixture
def data(synthetic_shards, tmp_path) -> Path:
    """A copy of ``synthetic_shards`` that a test may damage."""
    return shutil.copytree(synthetic_shards, tmp_path / "data")


BOMBS = {
    "deep": b"[" * 200_000,
    "deep objects": b'{"a":' * 200_000,
    "a number of a million digits": b'{"format_version": ' + b"9" * 1_000_000 + b"}",
    "not a number": b'{"format_version": NaN}',
    "not UTF-8": b'{"format_version": "\xff"}',
    "no object": b"[1, 2]",
}


@pytest.mark.parametrize("what", BOMBS)
@pytest.mark.timeout(60)
def test_json_bombs_in_every_place(what, data, tmp_path):
    (data / "dataset.json").write_bytes(BOMBS[what])
    with pytest.raises(InputError, match=r"dataset\.json"):
        ShardDataset.open(data)
    run = tmp_path / "run"
    (run / "model").mkdir(parents=True)
    (run / "run.json").write_bytes(BOMBS[what])
    with pytest.raises(InputError, match=r"run\.json is not the record of a run of this version"):
        RunFolder(run).is_finished(RunConfig(), {})
    (run / "model" / "config.json").write_bytes(BOMBS[what])
    with pytest.raises(InputError, match=r"config\.json"):
        read_model_card(run / "model")
    (run / "checkpoints" / "step-00000001").mkdir(parents=True)
    (run / "checkpoints" / "step-00000001" / "checkpoint.json").write_bytes(BOMBS[what])
    with pytest.raises(InputError, match="every checkpoint"):
        CheckpointStore(run / "checkpoints").newest()


@pytest.mark.parametrize("what", BOMBS)
def test_json_bombs_in_a_report_and_in_a_tar(what, tmp_path):
    (tmp_path / "run.json").write_bytes(BOMBS[what])
    with pytest.raises(InputError, match=r"run\.json"):
        _read_record(tmp_path / "run.json")
    (tmp_path / "metrics.jsonl").write_bytes(BOMBS[what] + b"\n")
    with pytest.raises(InputError, match=r"metrics\.jsonl, line 1"):
        _read_epochs(tmp_path / "metrics.jsonl")
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, content in (("k.jpg", b"\xff\xd8\xff"), ("k.json", BOMBS[what][: 1 << 20])):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    (source,) = find_images([str(tmp_path / "a.tar")]).sources
    assert source.identity is None


def test_the_limits_are_settings(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(list(range(100))))
    assert len(read_json(path)) == 100
    monkeypatch.setenv("GLASS_MAX_JSON_BYTES", "50")
    with pytest.raises(ValueError, match="GLASS_MAX_JSON_BYTES=50"):
        read_json(path)
    monkeypatch.setenv("GLASS_MAX_JSON_BYTES", "lots")
    with pytest.raises(InputError, match="must be a whole number"):
        read_json(path)
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json(b"[" * 100_000)


def test_lists_that_claim_too_much(tmp_path, monkeypatch):
    rows = {"path": ["a.jpg"] * 9, "key": ["k"] * 9, "label": ["real"] * 9}
    pq.write_table(pa.table(rows), tmp_path / "list.parquet")
    monkeypatch.setenv("GLASS_MAX_LIST_ROWS", "8")
    for read in (read_sources, read_key_list):
        with pytest.raises(InputError, match="9 rows, more than GLASS_MAX_LIST_ROWS=8"):
            read(tmp_path / "list.parquet")
    monkeypatch.setenv("GLASS_MAX_LIST_ROWS", "9")
    monkeypatch.setenv("GLASS_MAX_PARQUET_BYTES", "10")
    with pytest.raises(InputError, match="GLASS_MAX_PARQUET_BYTES=10"):
        read_sources(tmp_path / "list.parquet")


def test_rows_that_take_no_room_in_a_file(tmp_path):
    """A Parquet list with more than a million equal rows is refused, although the file has only a few kilobytes: a
    small file may still have rows that need much memory."""
    path = tmp_path / "list.parquet"
    pq.write_table(pa.table({"path": pa.repeat("a.jpg", 1_000_001)}), path)
    for read in (read_sources, read_key_list, read_group_list):
        with pytest.raises(InputError, match=r"1,000,001 rows in [\d,]+ bytes"):
            read(path)
    no_images = pa.nulls(1_000_001, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    pq.write_table(pa.table({"image": no_images}), path)
    with pytest.raises(InputError, match=r"1,000,001 rows in [\d,]+ bytes"):
        read_sources(path)


def test_parquet_files_that_claim_too_much(small_set, tmp_path, monkeypatch):
    row = {
        "sample_key": "1",
        "content_id": 1,
        "label": 1,
        "generator": "g",
        "group": "",
        "probability": 0.5,
        "logits": [0.0, 0.0],
        "crop_windows": [],
        "source_path": "a.jpg",
    }
    table = pa.Table.from_pylist([row] * 9, schema=PREDICTION_SCHEMA)
    pq.write_table(table, tmp_path / "predictions-test.parquet")
    dataset = ShardDataset.open(small_set / "out")
    manifest = next((small_set / "out").glob("train-*.parquet"))
    assert read_predictions(tmp_path, "test").num_rows == 9
    assert verify_dataset(dataset, 1, lambda n: None) == []
    monkeypatch.setenv("GLASS_MAX_LIST_ROWS", "3")
    with pytest.raises(InputError, match="9 rows, more than GLASS_MAX_LIST_ROWS=3"):
        read_predictions(tmp_path, "test")
    with pytest.raises(InputError, match="rows, more than GLASS_MAX_LIST_ROWS=3"):
        read_shard_manifest(manifest)
    found = verify_dataset(dataset, 1, lambda n: None)
    assert "GLASS_MAX_LIST_ROWS=3" in found[0].detail


@pytest.mark.parametrize("name", ["a" * 5000 + ".jpg", "x/" * 3000 + "a.jpg", "a\x01b.jpg"])
def test_names_in_a_list_that_no_file_can_have(tmp_path, name):
    """File names that cannot exist count as missing files. Fuzzing had found that Python raises an error for very long
    ones."""
    path = tmp_path / "list.csv"
    path.write_text(f"path,label\n{name},real\nb.jpg,fake\n")
    with pytest.raises(InputError, match="none of the files listed"):
        read_sources(path)
    (tmp_path / "b.jpg").write_bytes(b"")
    assert read_sources(path).table.num_rows == 2
    assert examine(LocalFiles(tmp_path), name).reason == "unreadable"
