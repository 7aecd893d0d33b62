"""Commands that are given pipes or empty files instead of regular files do not hang, and do not end with a Python
traceback."""

import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from loaders import LoaderConfig, build_loader
from shards.adopt.key_list import read_key_list
from shards.adopt.listing import list_tar
from shards.errors import InputError
from shards.files.arrow_file import map_table
from shards.files.json_file import read_json
from shards.files.parquet_file import read_parquet
from shards.files.regular_file import open_regular
from shards.manifest.dataset import ShardDataset
from shards.sources.read import read_sources
from shards.verify import verify_dataset

CONFIG = LoaderConfig(backend="turbo", global_batch_size=4, num_crops=2, crop_size=32, global_size=64, verify="off")


@pytest.fixture
def data(synthetic_shards: Path, tmp_path: Path) -> Path:
    """A copy of ``synthetic_shards`` that a test may damage."""
    return shutil.copytree(synthetic_shards, tmp_path / "data")


def spoil(folder: Path, pattern: str, kind: str) -> None:
    for path in folder.glob(pattern):
        path.unlink()
        os.mkfifo(path) if kind == "pipe" else path.touch()


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("a.json", read_json),
        ("a.csv", read_sources),
        ("a.parquet", read_sources),
        ("a.csv", read_key_list),
        ("a.parquet", read_key_list),
        ("a.parquet", read_parquet),
        ("a.tar", list_tar),
        ("a.arrow", map_table),
    ],
)
def test_no_reader_waits_for_a_pipe(name, read, tmp_path):
    os.mkfifo(tmp_path / name)
    with pytest.raises((InputError, OSError), match="not a regular file"):
        read(tmp_path / name)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("kind", "said"), [("pipe", "but a pipe"), ("folder", "but a folder"), ("none", "No such file")]
)
def test_one_way_to_open_a_file_of_a_stranger(kind, said, tmp_path):
    path = tmp_path / "a"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    with pytest.raises(OSError, match=said):
        open_regular(path)
    (tmp_path / "b").write_bytes(b"12")
    with open_regular(tmp_path / "b") as file:
        assert file.read() == b"12"


OWN = {  # files that the program itself has just written, or whose size or kind was looked at
    "shards/images/baseline.py",
    "shards/build/finish.py",
    "shards/files/locks.py",
    "shards/adopt/settings.py",
    "shards/jpeg/kernel_cache.py",
    "shards/errors.py",
    "shards/store/cache.py",
    "shards/verify.py",
}


@pytest.mark.parametrize("package", ["shards", "loaders", "glass/predict", "glass/share", "glass/report"])
def test_files_are_opened_in_no_other_way(package):
    root = Path(__file__).parents[2]
    found = {
        str(path.relative_to(root))
        for path in (root / package).rglob("*.py")
        if re.search(r"open\(\"rb\"|\.read_bytes\(\)|\.read_text\(", path.read_text(encoding="utf-8"))
    }
    assert found - OWN == set()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["dataset.json", "samples.arrow"])
def test_a_data_set_with_a_pipe_in_it(name, data):
    spoil(data, name, "pipe")
    with pytest.raises(InputError, match="not a regular file"):
        ShardDataset.open(data)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("pattern", "kind"),
    [
        ("train-*.tar", "pipe"),
        ("rejected.parquet", "pipe"),
        pytest.param("train-*.tar", "empty", marks=pytest.mark.slow),
        pytest.param("rejected.parquet", "empty", marks=pytest.mark.slow),
    ],
)
def test_verify_finds_it(kind, pattern, small_copy):
    data = small_copy / "out"
    dataset = ShardDataset.open(data)
    spoil(data, pattern, kind)
    findings = verify_dataset(dataset, 1, lambda n: None)
    assert findings
    assert {pattern.split("-")[0].split(".")[0] in str(finding) for finding in findings} == {True}


@pytest.mark.timeout(60)
def test_a_pipe_in_place_of_a_shard_does_not_wait_for_ever(data):
    spoil(data, "train-*.tar", "pipe")
    with pytest.raises(InputError, match="not a regular file"):
        load(data)


def load(folder: Path, **changes) -> list:
    with build_loader(folder, "train", replace(CONFIG, **changes)) as loader:
        return list(loader)


@pytest.mark.parametrize(
    ("backend", "verify"),
    [  # each decoder that users choose, and each way to verify, once
        ("turbo", "first-touch"),
        ("dali", "off"),
        *(
            pytest.param(*pair, marks=pytest.mark.slow)
            for pair in (("turbo", "off"), ("dali", "first-touch"), ("reference", "off"), ("reference", "first-touch"))
        ),
    ],
)
def test_an_empty_shard_costs_its_own_samples(backend, verify, data):
    path = sorted(data.glob("train-*.tar"))[0]
    table = ShardDataset.open(data).table
    lost = sum(name == path.name for name in table.column("shard").to_pylist())
    path.write_bytes(b"")
    batches = load(data, backend=backend, verify=verify)
    valid = sum(int(batch["is_valid"].sum()) for batch in batches)
    train = sum(split == "train" for split in table.column("split").to_pylist())
    assert 0 < lost < train
    assert valid == train - lost
