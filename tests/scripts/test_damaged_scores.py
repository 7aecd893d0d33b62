"""No command that measures gives a score to bytes that differ from those written."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from glass.export.model_folder import save_model
from glass.model.model import build_model
from glass.presets import load_preset
from scripts import evaluate, robustness
from shards.manifest.dataset import ShardDataset

pytestmark = pytest.mark.usefixtures("undrawn")

COMMON = ["--draws", "5", "--device", "cpu"]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The untrained model of a run whose settings switch off checksums."""
    torch.manual_seed(0)
    config = load_preset("single_view_tiny")
    config = replace(config, loader=replace(config.loader, verify="off"))
    save_model(tmp_path / "run" / "model", build_model(config), config, {"epoch": 1})
    return tmp_path / "run"


@pytest.fixture
def damaged(synthetic_shards: Path, tmp_path: Path) -> Path:
    """Shards with a flipped bit in one JPEG of the test split, which can still be decoded."""
    folder = tmp_path / "shards"
    shutil.copytree(synthetic_shards, folder)
    dataset = ShardDataset.open(folder)
    columns: dict[str, Any] = {
        name: dataset.column(name) for name in ("format", "shard", "image_offset", "image_length")
    }
    row = next(row for row in dataset.split_rows("test") if columns["format"][row] == "JPEG")
    path = dataset.shard_path(columns["shard"][row])
    data = bytearray(path.read_bytes())
    data[int(columns["image_offset"][row] + columns["image_length"][row]) - 60] ^= 1
    path.write_bytes(data)
    return folder


def test_evaluate_compares_checksums_whatever_training_did(run: Path, damaged: Path) -> None:
    assert evaluate.main([str(run), "--data", str(damaged), *COMMON]) == 0
    document = json.loads((run / "evaluation-test.json").read_text())
    assert [sample["reason"] for sample in document["missing"]] == ["checksum"]


def test_no_row_of_robustness_has_them(run: Path, damaged: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = [str(run), "--data", str(damaged), "--rows", "blur-1", "--output", str(out)]
    assert robustness.main([*arguments, *COMMON]) == 0
    document = json.loads((out / "robustness-test.json").read_text())
    assert [row["undecodable"] for row in document["rows"]] == [1, 1]
