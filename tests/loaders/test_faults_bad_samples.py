"""Damaged samples found during training are masked, counted and named, and never replaced by other samples.

Epochs still contain every sample once, in equally many steps on all ranks.
"""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from loaders import LoaderConfig, build_loader
from loaders.loader import Loader
from loaders.reading.read import SampleReader
from shards.build.build import build_dataset
from shards.build.settings import BuildSettings
from shards.manifest.dataset import ShardDataset

CONFIG = LoaderConfig(backend="turbo", global_batch_size=4, num_crops=2, crop_size=32, global_size=64, seed=7)


@pytest.fixture
def damaged(synthetic_shards, tmp_path) -> Path:
    """A copy of ``synthetic_shards`` that a test may damage."""
    return shutil.copytree(synthetic_shards, tmp_path / "data")


def flip(dataset: ShardDataset, row: int, member: str, at: float = 0.5) -> str:
    """Flips one bit of the sample's member, at the fraction ``at`` of its length. Returns the sample's key."""
    offset, length = (int(dataset.column(f"{member}_{what}")[row]) for what in ("offset", "length"))
    path = dataset.shard_path(dataset.column("shard")[row])
    with path.open("r+b") as tar:
        tar.seek(offset + int(at * length))
        (byte,) = tar.read(1)
        tar.seek(-1, os.SEEK_CUR)
        tar.write(bytes([byte ^ 1]))
    return str(dataset.column("sample_key")[row])


def spliced_row(dataset: ShardDataset) -> int:
    rows = dataset.split_rows("train")
    return int(rows[np.flatnonzero(dataset.column("mcu_length")[rows] > 0)[0]])


def validity(loader: Loader) -> dict[str, bool]:
    """Returns sample key → whether the sample was valid, over the batches of an epoch. The last batch must have no
    fillers."""
    found: dict[str, bool] = {}
    for batch in loader:
        for key, valid in zip(batch["sample_key"], batch["is_valid"].tolist(), strict=True):
            found[key] = found.get(key, True) and valid
    return found


@pytest.mark.parametrize(
    ("backend", "member"),
    [
        ("turbo", "image"),
        ("dali", "global"),
        *(
            pytest.param(*pair, marks=pytest.mark.slow)  # checksums are compared before a backend gets the bytes
            for pair in (("turbo", "global"), ("dali", "image"), ("reference", "image"), ("reference", "global"))
        ),
    ],
)
def test_one_flipped_bit_is_found_and_costs_one_sample(damaged, member, backend):
    """If a flipped bit changes pixels but causes no decoding error, its sample alone is masked, both in the first epoch
    and in later ones, in which checksums are not computed again."""
    dataset = ShardDataset.open(damaged)
    row = spliced_row(dataset)
    key = flip(dataset, row, member)
    config = replace(CONFIG, backend=backend, decode="window", global_batch_size=1)
    with build_loader(damaged, "train", config) as loader:
        for number in range(2):
            loader.set_epoch(number)
            assert [name for name, valid in validity(loader).items() if not valid] == [key]
        (bad,) = loader.bad_samples()
        assert (bad.sample_key, bad.reason, bad.epoch) == (key, "checksum", 0)
        assert bad.shard == dataset.column("shard")[row]
        assert loader.bad_samples(since=1) == []
        assert loader.stats()["failed"] == {"checksum": 2}
        verified = loader.stats()["bytes_verified"]
        loader.set_epoch(2)
        list(loader)
        assert loader.stats()["bytes_verified"] == verified  # each sample once


def test_nothing_is_looked_at_when_switched_off(damaged):
    dataset = ShardDataset.open(damaged)
    flip(dataset, spliced_row(dataset), "global", 0.9)
    with build_loader(damaged, "train", replace(CONFIG, verify="off")) as loader:
        list(loader)
        assert loader.bad_samples() == []
        assert "bytes_verified" not in loader.stats()


@pytest.mark.parametrize(
    "at",
    [0.02, 0.6, *(pytest.param(at, marks=pytest.mark.slow) for at in (0.3, 0.99))],  # header and entries
)
def test_a_flipped_bit_in_an_index_costs_a_full_decode_and_no_sample(synthetic_shards, damaged, at):
    """A flipped bit anywhere in the entry points costs a full decode. The header of the entry points has its own
    checksums, but the entries have none."""
    dataset = ShardDataset.open(damaged)
    flip(dataset, spliced_row(dataset), "mcu", at)
    config = replace(CONFIG, decode="window")
    with build_loader(damaged, "train", config) as loader:
        batches = list(loader)
        assert loader.stats()["fallback"]["damaged entry points"] == 1
        assert loader.bad_samples() == []
    with build_loader(synthetic_shards, "train", config) as loader:
        for before, after in zip(loader, batches, strict=True):
            assert torch.equal(before["local_crops"], after["local_crops"])


@pytest.mark.parametrize("backend", ["turbo", pytest.param("dali", marks=pytest.mark.slow)])  # bytes are read before
def test_a_shard_cut_off_under_the_run_costs_its_samples_only(damaged, backend):
    """If a shard is truncated while it is mapped into memory, only samples in the lost part are masked. Touching the
    lost pages would end the process."""
    dataset = ShardDataset.open(damaged)
    config = replace(CONFIG, backend=backend, global_batch_size=1, verify="off")
    with build_loader(damaged, "train", config) as loader:
        before = list(loader)
        name = dataset.column("shard")[dataset.split_rows("train")[0]]
        path = dataset.shard_path(name)
        os.truncate(path, path.stat().st_size // 4096 // 2 * 4096)
        loader.set_epoch(0)
        after = list(loader)
    assert len(after) == len(before)
    lost = [b["sample_key"][0] for b in after if not b["is_valid"].item()]
    in_shard = {
        dataset.column("sample_key")[row] for row in dataset.split_rows("train") if dataset.column("shard")[row] == name
    }
    assert len(lost) > 0
    assert set(lost) <= in_shard
    whole = {b["sample_key"][0]: b["local_crops"] for b in before}
    assert all(torch.equal(whole[b["sample_key"][0]], b["local_crops"]) for b in after if b["is_valid"].item())


def test_an_unforeseen_error_costs_the_sample_that_it_is_about(synthetic_shards, monkeypatch, caplog):
    dataset = ShardDataset.open(synthetic_shards)
    row = int(dataset.split_rows("train")[2])
    image = SampleReader._image

    def fail(self, reads, members, place):
        if int(reads.rows[place]) == row:
            raise ZeroDivisionError("planted")
        return image(self, reads, members, place)

    monkeypatch.setattr(SampleReader, "_image", fail)
    with build_loader(synthetic_shards, "train", replace(CONFIG, num_threads=1)) as loader:
        found = validity(loader)
        (bad,) = loader.bad_samples()
    assert bad.reason == "unforeseen error"
    assert bad.detail == "ZeroDivisionError: planted"
    assert [key for key, valid in found.items() if not valid] == [bad.sample_key]
    assert "planted" in caplog.text


@pytest.mark.parametrize("place", ["_image", "Pillow"])
def test_too_little_memory_is_no_fault_of_a_sample(synthetic_shards, monkeypatch, place):
    def fail(*_):
        raise MemoryError

    if place == "Pillow":
        monkeypatch.setattr("loaders.decode.reference.load_rgb", fail)
    else:
        monkeypatch.setattr(SampleReader, place, fail)
    config = replace(CONFIG, backend="reference", decode="full")
    with build_loader(synthetic_shards, "train", config) as loader:
        with pytest.raises(MemoryError, match=r"not enough memory to read a batch: lower loader\."):
            list(loader)
        assert loader.bad_samples() == []


# -- the laws of an epoch ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def one_percent(tmp_path_factory, encode_image):
    """Builds two data sets of the same 16 small images, one with 1 and one with 40 samples per shard, and damages two
    training images in each. Returns samples per shard → (folder, keys of the damaged samples)."""
    rng, root = np.random.default_rng(3), tmp_path_factory.mktemp("laws")
    for number in range(16):
        folder = root / "images" / ("real" if number % 2 else "generated/gan")
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (40, 40, 3), np.uint8)
        (folder / f"{number}.jpg").write_bytes(encode_image(pixels, "JPEG"))
    made = {}
    for size in (1, 40):
        settings = BuildSettings(split_shares={"train": 0.95, "valid": 0.05}, samples_per_shard=size, global_size=32)
        out = root / f"shards-{size}"
        build_dataset(root / "images", out, settings, progress=False)
        dataset = ShardDataset.open(out)
        rows = dataset.split_rows("train")
        made[size] = out, {flip(dataset, int(row), "image") for row in rows[[3, 12]]}
    return made


@pytest.mark.parametrize(
    ("world_size", "samples_per_shard", "shuffle"),
    [
        (1, 40, True),
        (2, 1, "shard"),
        (7, 1, True),
        (7, 40, "shard"),
        *(
            pytest.param(world_size, size, shuffle, marks=pytest.mark.slow)  # the rest of all of them
            for world_size in range(1, 8)
            for size in (1, 40)
            for shuffle in (True, "shard")
            if (world_size, size, shuffle) not in {(1, 40, True), (2, 1, "shard"), (7, 1, True), (7, 40, "shard")}
        ),
    ],
)
def test_each_sample_once_and_equal_steps_with_damage(one_percent, samples_per_shard, world_size, shuffle):
    """Every sample appears once and all ranks take equally many steps, even with fewer shards than ranks, or with
    shards of one sample."""
    folder, damaged = one_percent[samples_per_shard]
    dataset = ShardDataset.open(folder)
    size = {"global_batch_size": 2 * world_size, "crop_size": 16, "global_size": 32}
    config = replace(CONFIG, shuffle=shuffle, **size)
    steps, seen, masked, met = set(), [], [], set()
    for rank in range(world_size):
        with build_loader(dataset, "train", config, rank, world_size) as loader:
            loader.set_epoch(1)
            batches = list(loader)
            steps.add(len(batches))
            assert len(loader) == len(batches)
            met |= {bad.sample_key for bad in loader.bad_samples()}
        for batch in batches:
            assert len(batch["sample_key"]) == 2
            pairs = zip(batch["sample_key"], batch["is_valid"].tolist(), strict=True)
            for key, valid in pairs:
                (seen if valid else masked).append(key)
    assert len(steps) == 1
    expected = set(dataset.column("sample_key")[dataset.split_rows("train")])
    assert sorted(seen) == sorted(expected - damaged)
    assert met == damaged
    assert damaged <= set(masked)
    assert len(masked) == 2 * world_size * steps.pop() - len(seen)
