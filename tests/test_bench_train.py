"""``bench train`` and ``bench scale`` on small data."""

import json

import pytest

from bench import scale, train
from bench.scale_manifest import write_dataset
from bench.schemas import check_result
from shards.command import InputError
from shards.dataset import ShardDataset

QUICK = ["--presets", "glass_tiny", "--batch", "2", "--steps", "2", "--threads", "1"]
SMALL = ["--set", "loader.crop_size=32", "--set", "loader.num_crops=2"]


def last_line(capsys) -> dict:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_the_parts_of_a_step_add_up(synthetic_shards, tmp_path, capsys):
    arguments = ["--data", str(synthetic_shards), *QUICK, *SMALL, "--output", str(tmp_path)]
    assert train.main(arguments) == 0
    document = last_line(capsys)
    check_result("train", document)
    (row,) = document["rows"]
    assert row["num_crops"] == 2
    parts = [row[name] for name in train.PARTS]
    assert min(parts[1:]) > 0
    assert row["images_per_s"] == pytest.approx(2 / row["step_s"])
    assert (
        0
        < row["share_of_loader"]
        == pytest.approx(row["images_per_s"] / row["loader_images_per_s"])
    )
    assert json.loads((tmp_path / "train.json").read_text()) == document


def test_too_few_images_are_told(synthetic_shards):
    with pytest.raises(InputError, match="less --steps"):
        train.main(["--data", str(synthetic_shards), *QUICK[:4], "--steps", "99", *SMALL])


def test_synthetic_manifests_are_data_sets(tmp_path):
    write_dataset(tmp_path / "data", 1000)
    dataset = ShardDataset.open(tmp_path / "data")
    assert len(dataset) == 1000
    sizes = {name: len(dataset.split_rows(name)) for name in ("train", "valid", "test")}
    assert sizes == {"train": 700, "valid": 150, "test": 150}
    assert len(set(dataset.column("content_id").tolist())) == 1000
    found = scale.measure(tmp_path / "data")
    assert set(scale.MEASURED) <= set(found)
    assert all(found[name] > 0 for name in scale.MEASURED)
