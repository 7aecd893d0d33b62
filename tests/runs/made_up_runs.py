"""Makes run folders with made-up predictions, for tests of reports."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from glass.config.dataset_digest import dataset_digest
from glass.config.run_folder import RunRecord
from glass.measure.evaluation import evaluate_table
from glass.measure.predictions import prediction_table
from glass.measure.result_files import write_evaluation
from glass.measure.scoring import Predictions
from glass.report import RunData, load_run
from shards.manifest.dataset import ShardDataset
from tests.runs.made_up import made_up

SPLIT, NUM_WINDOWS, CROP = "train", 3, 40


WriteRun = Callable[..., Path]


def made_up_predictions(dataset: ShardDataset, seed: int, skill: float) -> Predictions:
    """Made-up predictions whose margins differ by 2 · ``skill`` between the classes on average. Windows are inside the
    images, and the last window of each image is unused."""
    rng = np.random.default_rng(seed)
    rows = dataset.split_rows(SPLIT)
    table, count = dataset.table.take(pa.array(rows)), len(rows)
    label = table["label"].to_numpy().astype(np.int64)
    margin = rng.normal(size=count) + skill * (2 * label - 1)
    limits = np.stack([table["height"].to_numpy(), table["width"].to_numpy()], 1) - CROP
    windows = np.full((count, NUM_WINDOWS, 4), CROP, np.int32)
    windows[..., :2] = rng.integers(0, limits[:, None, :], (count, NUM_WINDOWS, 2))
    windows[:, -1] = 0  # a place of the batch that the sampling rule left empty
    weights = rng.dirichlet(np.ones(NUM_WINDOWS - 1), count).astype(np.float32)
    return Predictions(
        sample_key=table["sample_key"].to_pylist(),
        content_id=table["content_id"].to_numpy(),
        label=label,
        logits=np.stack([-margin / 2, margin / 2], 1).astype(np.float32),
        attention_weights=np.pad(weights, ((0, 0), (0, 1))),
        crop_windows=windows,
        crop_mask=windows[..., 2] > 0,
    )


def made_up_evaluation(
    table: pa.Table, dataset: ShardDataset, split: str, weights_sha256: str, num_crops: int, crop_size: int
) -> dict[str, Any]:
    """The evaluation document of a GLASS model with this table of predictions."""
    return {
        "format_version": 1,
        "split": split,
        "model": {"kind": "glass", "weights_sha256": weights_sha256, "chosen": {"epoch": 2}},
        "dataset": dataset_digest(dataset.root),
        "settings": {
            "num_crops": num_crops,
            "crop_size": crop_size,
            "sampling": "stratified_grid",
            "seed": 0,
            "device": "cpu",
            "precision": "auto",
        },
        **evaluate_table(table, draws=40),
        "timing": {"time_s": 2.0, "images_per_s": 6.0},
        "versions": {"python": "3.11"},
    }


def run_writer(dataset: ShardDataset, tmp_path_factory: pytest.TempPathFactory) -> WriteRun:
    """Returns ``write_run(name)``, which makes a new folder of a trained and evaluated run with made-up predictions."""

    def write(name: str, skill: float = 1.0, attention: bool = True, seed: int = 0) -> Path:
        folder = tmp_path_factory.mktemp("run") / name
        folder.mkdir()
        predictions = made_up_predictions(dataset, seed, skill)
        if not attention:
            predictions = replace(predictions, attention_weights=None)
        table = prediction_table(predictions, dataset, SPLIT)
        kind = "glass" if attention else "single_view"
        document = made_up_evaluation(table, dataset, SPLIT, "0" * 64, NUM_WINDOWS, CROP)
        document["model"]["kind"] = kind
        write_evaluation(folder, document, table)
        digest = dataset_digest(dataset.root)
        record = made_up(RunRecord) | {"config": {"model": {"kind": kind}, "epochs": 3}, "data": digest}
        (folder / "run.json").write_text(json.dumps(record))
        lines = [
            {
                "epoch": epoch,
                "train_loss": 1 / epoch,
                "valid_loss": 0.9 / epoch,
                "valid_auroc": None if epoch == 1 else 0.6 + epoch / 10,
                "valid_accuracy": 0.5,
                "train_images": 100,
                "train_time_s": 4.0,
                "data_wait_s": 1.0,
                "epoch_time_s": 5.0,
            }
            for epoch in (1, 2, 3)
        ]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return folder

    return write


def load(folder: Path, dataset: ShardDataset) -> RunData:
    return load_run(folder.name, folder, SPLIT, dataset)


def skilled_and_guessing(write_run: WriteRun, dataset: ShardDataset) -> list[RunData]:
    """Two runs: ``glass``, which has skill and attention, and ``single_view``, which guesses."""
    return [
        load(write_run("glass", skill=2.0), dataset),
        load(write_run("single_view", skill=0.0, attention=False, seed=1), dataset),
    ]
