"""Measures what each additional crop per image costs and gains, both in training and in prediction with one trained
model.

Training and prediction are measured for each number of crops N. Each N has its own folder, so an interrupted study can
be resumed. Memory and time are fitted as linear functions of N, as in the reference study. If an N does not fit in
memory, this is recorded and the study continues with the next.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from glass.config.dataset_digest import dataset_digest
from glass.config.run_config import RunConfig, config_to_dict
from glass.studies import device_memory
from glass.studies.crop_documents import CropStudy, Fit, InferenceCurve, InferenceRow, NotFitting, TrainingRow
from glass.studies.crop_inference import inference_row
from glass.studies.plan import PLAN_FILE, check_trainable, settle_plan
from glass.studies.training_cost import measured_settings, run_folder, training_cost, training_rows
from loaders.reading.open_shards import OpenShards
from shards.cli.wording import counted
from shards.errors import InputError
from shards.files.documents import read_document, write_document
from shards.files.outputs import make_folder

__all__ = ["CropPlan", "finished_crop_study", "line_fit", "run_crop_study"]

FORMAT_VERSION = 1
STUDY_FILE = "crop_study.json"

Report = Callable[[str], None]
Row = TypeVar("Row", TrainingRow, InferenceRow)


@dataclass(frozen=True)
class CropPlan:
    """A crop study's settings. ``config.epochs`` and ``config.loader.global_batch_size`` apply to every number of
    crops.
    """

    config: RunConfig
    crops: tuple[int, ...]
    steps: int | None = None
    """Length of each training run in optimiser steps. If given, each run is a single epoch on as many images as these
    steps use, so ``config.epochs`` must be 1. If None, each run trains on all images for ``config.epochs`` epochs."""
    draws: int = 1000
    """Number of bootstrap repetitions for the inference curve's intervals."""

    def with_crops(self, crops: int) -> RunConfig:
        """The settings for training with ``crops`` crops."""
        return replace(self.config, loader=replace(self.config.loader, num_crops=crops))

    def curve_model(self, trained: Sequence[int]) -> int:
        """Returns how many crops the model for the inference curve was trained with.

        This is the number in ``config`` if ``trained`` contains it, else the nearest in ``trained`` (the smaller if two
        are equally near).
        """
        wanted = self.config.loader.num_crops
        return min(trained, key=lambda crops: (abs(crops - wanted), crops))


def finished_crop_study(plan: CropPlan, output: Path, data: OpenShards) -> CropStudy | None:
    """Returns the document of the study in ``output`` if the study is finished, else None. Records the plan in
    ``output``.

    Raises ``InputError`` if ``output`` contains another study, or if ``plan`` cannot be trained.
    """
    if not (output / PLAN_FILE).exists():
        check_trainable(data.dataset, plan.config)
    settings = measured_settings(data, plan.config, plan.steps)
    settle_plan(output / PLAN_FILE, "a crop study", settings)
    path = output / STUDY_FILE
    if not path.is_file():
        return None
    remedy = "delete it and run the same command again"
    document = read_document(path, CropStudy, "a crop study", remedy)
    gone = [row["num_crops"] for row in document["did_not_fit"] if row["part"] == "training"]
    done = [row["num_crops"] for row in document["training"]]
    return document if sorted([*done, *gone]) == sorted(plan.crops) else None


def run_crop_study(data: OpenShards, plan: CropPlan, output: Path, report: Report = lambda _: None) -> CropStudy:
    """Measures the numbers of crops not measured yet, writes ``crop_study.json`` and returns its contents.

    ``report`` is called with a line of text for each measurement. Raises ``TrainingStopped`` if a signal asked to stop.
    """
    make_folder(output)
    document = finished_crop_study(plan, output, data)
    if document is not None:
        return document
    study = _Parts(data, plan, output, report)
    rows = study.training()
    if not rows:
        raise InputError(
            f"none of the numbers of crops fits into memory ({study.did_not_fit[0]['why']}): give a smaller --batch "
            "or --set model.crop_chunk=1"
        )
    document = {
        "format_version": FORMAT_VERSION,
        "preset": plan.config.preset,
        "dataset": dataset_digest(data.dataset.root),
        "config": config_to_dict(plan.config),
        "steps": plan.steps,
        "device": device_memory.device_name(),
        "memory_is": device_memory.meaning_of_counts(),
        "train_images": len(training_rows(data, plan.config, plan.steps)),
        "training": rows,
        "fits": _fits(rows),
        "inference": study.inference([row["num_crops"] for row in rows]),
        "did_not_fit": study.did_not_fit,
    }
    write_document(output / STUDY_FILE, document, CropStudy)
    return document


class _Parts:
    """Measures a study's rows. ``did_not_fit`` lists the numbers of crops that do not fit in memory."""

    def __init__(self, data: OpenShards, plan: CropPlan, output: Path, report: Report) -> None:
        self.data, self.plan, self.output, self.report = data, plan, output, report
        self.did_not_fit: list[NotFitting] = []

    def training(self) -> list[TrainingRow]:
        """Measures training and returns one row per crop count that fits in memory."""
        plan = self.plan

        def measured(crops: int) -> TrainingRow:
            return training_cost(self.data, plan.with_crops(crops), plan.steps, self._folder(crops))

        rows = []
        for crops in plan.crops:
            row = self._unless_too_large("training", crops, measured)
            if row is None:
                continue
            rows.append(row)
            self.report(
                f"{counted(crops, 'crop')}: step {row['step_time_s']:.3f} s, epoch"
                f" {row['epoch_time_s']:.1f} s, "
                + ", ".join(f"{k} {v / 2**20:.0f} MiB" for k, v in row["memory"].items())
            )
        return rows

    def inference(self, trained: Sequence[int]) -> InferenceCurve:
        """Measures one trained model's inference curve. ``trained`` lists the numbers of crops with which models were
        trained.
        """
        plan, chosen = self.plan, self.plan.curve_model(trained)

        def measured(crops: int) -> InferenceRow:
            run = run_folder(self._folder(chosen))
            return inference_row(self.data, run, plan.config, crops, plan.draws)

        rows = []
        for crops in plan.crops:
            row = self._unless_too_large("prediction", crops, measured)
            if row is None:
                continue
            rows.append(row)
            self.report(
                f"{counted(crops, 'crop')} at prediction: accuracy"
                f" {row['metrics']['accuracy']:.4f}, {1e3 * row['latency_s']:.1f} ms an image"
            )
        return {"trained_with": chosen, "split": plan.config.valid_split, "rows": rows}

    def _folder(self, crops: int) -> Path:
        return self.output / f"crops-{crops:02d}"

    def _unless_too_large(self, part: str, crops: int, measure: Callable[[int], Row]) -> Row | None:
        try:
            return measure(crops)
        except Exception as error:
            why = device_memory.why_it_does_not_fit(error)
            if why is None:
                raise
        self.did_not_fit.append({"num_crops": crops, "part": part, "why": why})
        self.report(f"{counted(crops, 'crop')}, {part}: {why}")
        device_memory.free_memory()
        return None


def line_fit(x: Sequence[float], y: Sequence[float]) -> Fit:
    """Fits a line to the points (``x``, ``y``) by least squares. At least two values in ``x`` must differ.

    The 95 % intervals use Student's t with n - 2 degrees of freedom; they are None for fewer than three points.
    """
    from scipy.stats import linregress, t

    fit = linregress(x, y)
    factor = float(t.ppf(0.975, len(x) - 2)) if len(x) > 2 else None

    def interval(value: float, error: float) -> list[float] | None:
        return None if factor is None else [float(value - factor * error), float(value + factor * error)]

    r2 = float(fit.rvalue**2)
    return {
        "intercept": float(fit.intercept),
        "slope": float(fit.slope),
        "r2": r2 if math.isfinite(r2) else None,
        "slope_interval": interval(fit.slope, fit.stderr),
        "intercept_interval": interval(fit.intercept, fit.intercept_stderr),
    }


def _fits(rows: Sequence[TrainingRow]) -> dict[str, Fit]:
    """Fits memory, step time and epoch time as linear functions of the number of crops; returns an empty dict for fewer
    than two rows."""
    if len(rows) < 2:
        return {}
    crops = [row["num_crops"] for row in rows]
    fits = {name: line_fit(crops, [row[name] for row in rows]) for name in ("step_time_s", "epoch_time_s")}
    for name in rows[0]["memory"]:
        fits[name] = line_fit(crops, [row["memory"][name] for row in rows])
    return fits
