"""What one more crop costs and brings: training, and prediction from one trained model, for each N.

A folder per number of crops, so whatever was killed goes on. Straight lines are fitted to memory
and time against N, as in the reference study.
"""

import copy
import json
import math
import shutil
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from glass.config import RunConfig, config_to_dict
from glass.documents import Map, Maybe, check_document, write_document
from glass.evaluation import EvaluationOptions, evaluate_run
from glass.export import load_model
from glass.run_folder import dataset_digest
from glass.training import TrainingStopped, train
from loaders import build_loader
from loaders.open_shards import OpenShards
from loaders.order import shuffled_order
from loaders.sampling import MAX_GRID
from shards.command import InputError

__all__ = [
    "CROP_SCHEMA",
    "CropPlan",
    "MemoryMeters",
    "is_finished",
    "line_fit",
    "run_crop_study",
    "study_device",
]

FORMAT_VERSION = 1
ROW_FILE, STUDY_FILE = "row.json", "crop_study.json"
CURVE_METRICS = ("accuracy", "auroc", "ece", "brier", "nll")
LATENCY_ROUNDS = 15

Memory = dict[str, float]

FIT = {"intercept": float, "slope": float, "r2": Maybe(float), "intercept_interval": Maybe([float]),
       "slope_interval": Maybe([float])}  # fmt: skip
TRAINING_ROW: dict[str, Any] = {
    "num_crops": int,
    "step_time_s": float,  # median over epochs of the mean step, data wait included
    "epoch_time_s": float,  # median, training and validation
    "data_wait_s": float,  # of the median epoch's training part
    "images_per_s": float,
    "epochs": int,
    "steps_per_epoch": int,
    "accuracy": Maybe(float),  # best validation epoch
    "images_without_grid": int,  # whose grid has less than N cells: uniform crops, the paper's rule
    "memory": Map(float),  # of one training step, see "memory_is"
}
INFERENCE_ROW: dict[str, Any] = {
    "num_crops": int,
    "metrics": Map(Maybe(float)),
    "intervals": Map(Maybe([float])),
    "images_per_s": float,  # loader and model, in batches
    "latency_s": float,  # of the model on a batch of one image, median
    "memory": Map(float),  # of one batch
}
CROP_SCHEMA: dict[str, Any] = {
    "format_version": int,
    "preset": str,
    "dataset": {"name": str, "dataset_json_sha256": str},
    "config": dict,
    "device": str,
    "memory_is": str,
    "train_images": int,
    "training": [TRAINING_ROW],
    "fits": Map(FIT),  # what → the line of what against num_crops
    "inference": {
        "trained_with": int,  # crops
        "split": str,
        "images": int,
        "rows": [INFERENCE_ROW],
    },
}


@dataclass(frozen=True)
class CropPlan:
    """What is studied; ``config.epochs`` and ``loader.global_batch_size`` hold for every N."""

    config: RunConfig
    crops: tuple[int, ...]
    steps: int | None = None
    """Optimiser steps, instead of whole epochs: one epoch over so many batches' images."""
    draws: int = 1000
    """Bootstrap draws of the inference curve's intervals."""

    @property
    def curve_model(self) -> int:
        """The number of crops of the model that the inference curve is of: the preset's, or the
        nearest that was trained."""
        wanted = self.config.loader.num_crops
        return min(self.crops, key=lambda crops: (abs(crops - wanted), crops))


@dataclass(frozen=True)
class MemoryMeters:
    """How memory is measured; functions, since what can be measured hangs on the machine."""

    meaning: str
    """What their numbers are, for people."""
    training: Callable[[RunConfig], Memory]
    """Of one training step: name → bytes."""
    inference: Callable[[Any, dict[str, Any]], Memory]
    """Of a model's pass over one batch: name → bytes."""


def is_finished(plan: CropPlan, output: Path, data: OpenShards) -> bool:
    """Whether the study in ``output`` is done; ``InputError`` where it is another one."""
    path = output / STUDY_FILE
    if not path.is_file():
        return False
    document = json.loads(path.read_text(encoding="utf-8"))
    wanted = _identity(plan, data)
    for key, value in wanted.items():
        if document.get(key) != value:
            raise InputError(
                f"{output} holds a crop study with another {key}: give another --output"
            )
    rows = [row["num_crops"] for row in document["training"]]
    return rows == list(plan.crops)


def run_crop_study(
    data: OpenShards,
    plan: CropPlan,
    output: Path,
    meters: MemoryMeters,
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Trains and measures each number of crops that is not done; writes and returns
    ``crop_study.json``. Raises ``TrainingStopped`` where a signal asked to stop."""
    rows = []
    for crops in plan.crops:
        folder = output / f"crops-{crops:02d}"
        if not (folder / ROW_FILE).is_file():
            row = _training_row(data, plan, crops, folder, meters)
            write_document(folder / ROW_FILE, row, TRAINING_ROW)
            shutil.rmtree(folder / "run" / "checkpoints", ignore_errors=True)
        row = json.loads((folder / ROW_FILE).read_text(encoding="utf-8"))
        check_document(row, TRAINING_ROW)
        rows.append(row)
        tell(
            f"{crops} crops: step {row['step_time_s']:.3f} s, epoch {row['epoch_time_s']:.1f} s,"
            f" {', '.join(f'{k} {v / 2**20:.0f} MiB' for k, v in row['memory'].items())}"
        )
    curve = _inference(data, plan, output, meters, tell)
    document = {
        **_identity(plan, data),
        "device": study_device().type,
        "memory_is": meters.meaning,
        "train_images": len(_train_rows(data, plan)),
        "training": rows,
        "fits": _fits(rows),
        "inference": curve,
    }
    write_document(output / STUDY_FILE, document, CROP_SCHEMA)
    return document


def line_fit(x: Sequence[float], y: Sequence[float]) -> dict[str, Any]:
    """Least squares: ``intercept``, ``slope``, ``r2``, and 95 % intervals of both (Student's t with
    n - 2 degrees of freedom; None below three points). At least two different ``x``."""
    from scipy.stats import linregress, t

    fit = linregress(x, y)
    intervals: dict[str, list[float] | None] = {"slope_interval": None, "intercept_interval": None}
    if len(x) > 2:
        factor = float(t.ppf(0.975, len(x) - 2))
        for name, value, error in (
            ("slope", fit.slope, fit.stderr), ("intercept", fit.intercept, fit.intercept_stderr),
        ):  # fmt: skip
            intervals[f"{name}_interval"] = [value - factor * error, value + factor * error]
    r2 = float(fit.rvalue**2)
    return {
        "intercept": float(fit.intercept), "slope": float(fit.slope),
        "r2": r2 if math.isfinite(r2) else None, **intervals,
    }  # fmt: skip


def _identity(plan: CropPlan, data: OpenShards) -> dict[str, Any]:
    config = config_to_dict(plan.config) | {"steps": plan.steps}
    return {
        "format_version": FORMAT_VERSION,
        "preset": plan.config.preset,
        "dataset": dataset_digest(data.dataset.root),
        "config": json.loads(json.dumps(config)),
    }


def _train_rows(data: OpenShards, plan: CropPlan) -> np.ndarray:
    """Manifest rows to train on: the split, or of ``steps`` batches a seeded part of it."""
    rows = data.dataset.split_rows(plan.config.train_split)
    if plan.steps is None:
        return rows
    loader = plan.config.loader
    images = plan.steps * loader.global_batch_size * plan.config.grad_accum_steps
    order = shuffled_order(data.dataset.column("content_id")[rows], loader.seed, 0)
    return np.sort(rows[order[:images]])


def _training_row(
    data: OpenShards, plan: CropPlan, crops: int, folder: Path, meters: MemoryMeters
) -> dict[str, Any]:
    config = replace(
        plan.config, loader=replace(plan.config.loader, num_crops=crops), tensorboard=False
    )
    memory = meters.training(config)
    rows = _train_rows(data, plan)
    part = copy.copy(data)
    part.dataset = data.dataset.with_splits({"crop_study": rows})
    if not train(part, replace(config, train_split="crop_study"), folder / "run"):
        raise TrainingStopped
    text = (folder / "run" / "metrics.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    # The first epoch also warms up caches; where there is another, it does not count.
    timed = lines[1:] or lines
    middle = sorted(timed, key=lambda line: line["epoch_time_s"])[len(timed) // 2]
    steps = lines[-1]["step"] // len(lines)
    accuracies = [line["valid_accuracy"] for line in lines if line["valid_accuracy"] is not None]
    return {
        "num_crops": crops,
        "step_time_s": middle["train_time_s"] / steps,
        "epoch_time_s": middle["epoch_time_s"],
        "data_wait_s": middle["data_wait_s"],
        "images_per_s": middle["images_per_s"],
        "epochs": len(lines),
        "steps_per_epoch": steps,
        "accuracy": max(accuracies, default=None),
        "images_without_grid": _without_grid(data, rows, config, crops),
        "memory": memory,
    }


def _without_grid(data: OpenShards, rows: np.ndarray, config: RunConfig, crops: int) -> int:
    """Images whose grid (g × g cells of at least the crop's size) has less than N cells."""
    if config.loader.sampling != "stratified_grid":
        return 0
    shorter = np.minimum(data.samples.height[rows], data.samples.width[rows])
    grid = np.minimum(shorter // config.loader.crop_size, MAX_GRID)
    return int((grid * grid < crops).sum())


def _fits(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Lines of memory, step and epoch time against N, where there are two N or more."""
    if len(rows) < 2:
        return {}
    crops = [row["num_crops"] for row in rows]
    fits = {name: line_fit(crops, [row[name] for row in rows])
            for name in ("step_time_s", "epoch_time_s")}  # fmt: skip
    for name in rows[0]["memory"]:
        fits[name] = line_fit(crops, [row["memory"][name] for row in rows])
    return fits


def _inference(
    data: OpenShards, plan: CropPlan, output: Path, meters: MemoryMeters,
    tell: Callable[[str], None],
) -> dict[str, Any]:  # fmt: skip
    run = output / f"crops-{plan.curve_model:02d}" / "run"
    split, rows, images = plan.config.valid_split, [], 0
    for crops in plan.crops:
        options = EvaluationOptions(num_crops=crops, draws=plan.draws)
        document, table = evaluate_run(run, data.dataset, split, options)
        images = len(table)
        batch = _batch(data, plan, crops)
        model, _ = load_model(run / "model", study_device())
        rows.append(
            {
                "num_crops": crops,
                "metrics": {name: document["metrics"][name] for name in CURVE_METRICS},
                "intervals": {name: document["intervals"][name] for name in CURVE_METRICS},
                "images_per_s": document["timing"]["images_per_s"],
                "latency_s": _latency(model, batch),
                "memory": meters.inference(model, batch),
            }
        )
        tell(
            f"{crops} crops at prediction: accuracy {rows[-1]['metrics']['accuracy']:.4f},"
            f" {1e3 * rows[-1]['latency_s']:.1f} ms an image"
        )
    return {"trained_with": plan.curve_model, "split": split, "images": images, "rows": rows}


def _batch(data: OpenShards, plan: CropPlan, crops: int) -> dict[str, Any]:
    """The first batch of the validation split, on the device."""
    config = replace(
        plan.config.loader, num_crops=crops, shuffle=False, class_balanced=False,
        device=study_device().type,
    )  # fmt: skip
    with build_loader(data, plan.config.valid_split, config) as loader:
        return dict(next(iter(loader)))


@torch.no_grad()
def _latency(model: Any, batch: dict[str, Any]) -> float:
    """Median seconds of one image through the model, from a batch that lies on the device."""
    one = [batch[name][:1] for name in ("global_view", "local_crops", "crop_mask")]
    times = []
    for _ in range(LATENCY_ROUNDS):
        start = time.perf_counter()
        model(*one)
        if one[0].device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def study_device() -> torch.device:
    """The GPU, unless there is none or the launcher was told ``use_cpu``."""
    from accelerate.utils import parse_flag_from_env

    cuda = torch.cuda.is_available() and not parse_flag_from_env("ACCELERATE_USE_CPU")
    return torch.device("cuda" if cuda else "cpu")
