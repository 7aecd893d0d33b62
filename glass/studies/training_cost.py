"""Measures the memory and time that a study's training takes: with a given number of crops, or for a resize-only
baseline.

Each measurement is stored in its own folder, so an interrupted study can be resumed.
"""

import copy
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from glass.config.dataset_digest import dataset_json_sha256
from glass.config.run_config import RunConfig, config_to_dict
from glass.config.run_folder import RunFolder
from glass.studies import device_memory
from glass.studies.crop_documents import BaselineCost, TrainingRow
from glass.studies.plan import PLAN_FILE, check_trainable, settle_plan
from glass.train.run import TrainingStopped, train
from loaders.order.order import shuffled_order
from loaders.reading.open_shards import OpenShards
from loaders.windows.sampling import MAX_GRID
from shards.files.documents import read_document, write_document
from shards.files.outputs import make_folder

__all__ = ["baseline_memory", "measured_settings", "run_folder", "training_cost", "training_rows"]

ROW_FILE = "row.json"


def training_cost(data: OpenShards, config: RunConfig, steps: int | None, folder: Path) -> TrainingRow:
    """Returns the measurement stored in ``folder``, after making and storing it if there is none.

    Trains for ``config.epochs`` epochs on the whole training split or, if ``steps`` is given, on a subset that is just
    large enough for that many optimiser steps per epoch. Raises ``TrainingStopped`` if a signal asked to stop.
    Out-of-memory errors are not caught.
    """
    if not (folder / ROW_FILE).is_file():
        row = _measure(data, config.untracked(), steps, folder)
        write_document(folder / ROW_FILE, row, TrainingRow)
        shutil.rmtree(RunFolder(run_folder(folder)).checkpoints, ignore_errors=True)
    return read_document(
        folder / ROW_FILE, TrainingRow, "a measured row", f"delete {folder} and run the same command again"
    )


def baseline_memory(data: OpenShards, config: RunConfig, steps: int | None, folder: Path) -> BaselineCost:
    """Measures a resize-only baseline's training cost, and stores it in ``folder`` like :func:`training_cost`.

    If training does not fit in memory, the result contains the reason instead of the cost. Raises ``TrainingStopped``
    if a signal asked to stop.
    """
    make_folder(folder)
    if not (folder / PLAN_FILE).exists():
        check_trainable(data.dataset, config)
    settings = measured_settings(data, config, steps)
    settle_plan(folder / PLAN_FILE, "a baseline's memory study", settings)
    row: BaselineCost = {
        "batch": config.loader.global_batch_size * config.grad_accum_steps,
        "memory": {},
        "step_time_s": None,
        "epoch_time_s": None,
        "why": None,
    }
    try:
        found = training_cost(data, config, steps, folder)
        row["memory"], row["step_time_s"] = found["memory"], found["step_time_s"]
        row["epoch_time_s"] = found["epoch_time_s"]
        return row
    except Exception as error:
        row["why"] = device_memory.why_it_does_not_fit(error)
        if row["why"] is None:
            raise
    device_memory.free_memory()
    return row


def run_folder(folder: Path) -> Path:
    """Returns the run folder for the measurement in ``folder``."""
    return folder / "run"


def training_rows(data: OpenShards, config: RunConfig, steps: int | None) -> np.ndarray:
    """Returns (n,) sorted manifest row indices to train on.

    If ``steps`` is None, these are all rows in the training split; otherwise, a random subset, chosen with the loader's
    seed, that suffices for that many optimiser steps.
    """
    rows = data.dataset.split_rows(config.train_split)
    if steps is None:
        return rows
    loader = config.loader
    images = steps * loader.global_batch_size * config.grad_accum_steps
    order = shuffled_order(data.dataset.column("content_id")[rows], loader.seed, 0)
    return np.sort(rows[order[:images]])


def measured_settings(data: OpenShards, config: RunConfig, steps: int | None) -> dict[str, Any]:
    """Returns all settings that affect the measurements. One table may only combine measurements with equal
    settings.
    """
    return {
        "config": config_to_dict(config),
        "steps": steps,
        "data": dataset_json_sha256(data.dataset.root),
        "device": device_memory.device_name(),
    }


def _measure(data: OpenShards, config: RunConfig, steps: int | None, folder: Path) -> TrainingRow:
    memory = device_memory.training_memory(config)
    rows = training_rows(data, config, steps)
    part = copy.copy(data)  # the same open shards
    part.dataset = data.dataset.with_splits({"measured": rows})
    if not train(part, replace(config, train_split="measured"), run_folder(folder)):
        raise TrainingStopped
    lines = RunFolder(run_folder(folder)).read_metrics()
    # The first epoch also warms up caches, so it is only used if there is no other.
    timed = lines[1:] or lines
    middle = sorted(timed, key=lambda line: line["epoch_time_s"])[len(timed) // 2]
    steps_per_epoch = lines[-1]["step"] // len(lines)
    accuracies = [line["valid_accuracy"] for line in lines if line["valid_accuracy"] is not None]
    return {
        "num_crops": config.loader.num_crops,
        "step_time_s": middle["train_time_s"] / steps_per_epoch,
        "epoch_time_s": middle["epoch_time_s"],
        "data_wait_s": middle["data_wait_s"],
        "images_per_s": middle["images_per_s"],
        "epochs": len(lines),
        "steps_per_epoch": steps_per_epoch,
        "accuracy": max(accuracies, default=None),
        "images_without_grid": _without_grid(data, rows, config),
        "memory": memory,
    }


def _without_grid(data: OpenShards, rows: np.ndarray, config: RunConfig) -> int:
    """Counts the images whose grid (g × g cells at least as large as a crop) has fewer cells than ``num_crops``.

    Returns 0 for sampling rules other than ``stratified_grid``.
    """
    if config.loader.sampling != "stratified_grid":
        return 0
    shorter = np.minimum(data.samples.height[rows], data.samples.width[rows])
    grid = np.minimum(shorter // config.loader.crop_size, MAX_GRID)
    return int((grid * grid < config.loader.num_crops).sum())
