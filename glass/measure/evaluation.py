"""Evaluates a model: joins its predictions with the manifest, and computes metrics with intervals.

``evaluate_run`` scores a split with a run's exported model. It returns the evaluation document and the prediction
table; ``glass.measure.result_files`` stores both in the run's folder. The document is a
:class:`glass.measure.evaluation_schema.Evaluation`, and is validated whenever it is written or read.
"""

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import pyarrow as pa

from glass.config.dataset_digest import dataset_digest
from glass.config.learnt_ids import overlap
from glass.config.versions import installed_versions
from glass.measure.applied_calibration import THRESHOLD, UNCALIBRATED, calibrated_results
from glass.measure.evaluation_schema import FORMAT_VERSION, Evaluation, EvaluationSettings, Results, check_evaluation
from glass.measure.generators import per_generator
from glass.measure.metrics import binary_metrics, reliability_bins, roc_points
from glass.measure.predictions import prediction_table
from glass.measure.rates import metric_intervals
from glass.measure.real_slices import real_slices
from glass.measure.scoring import Predictions
from glass.measure.trained_model import TrainedModel
from glass.measure.weighted_metrics import METRIC_NAMES
from loaders import LoaderConfig, build_loader
from loaders.bad_samples import bad_sample_rows
from shards.cli.progress import progress_bar
from shards.errors import InputError
from shards.manifest.dataset import ShardDataset

__all__ = ["EvaluationOptions", "evaluate_run", "evaluate_table"]


@dataclass(frozen=True)
class EvaluationOptions:
    """The settings of an evaluation. A setting that is None takes the value that the run used."""

    device: str = "auto"
    """"cpu", "cuda", or "auto" (the GPU if there is one)."""
    num_crops: int | None = None
    batch_size: int | None = None
    num_threads: int | None = None
    draws: int = 1000
    """Number of bootstrap draws."""
    seed: int = 0
    """Seed for the bootstrap. The crop windows depend on the run's own seed instead."""
    calibrated: bool = True
    """Use the calibration stored next to the model, if there is one for these view settings."""
    progress: bool = False
    """Show a progress bar on stderr."""


def evaluate_run(
    run: Path, dataset: ShardDataset, split: str, options: EvaluationOptions
) -> tuple[Evaluation, pa.Table]:
    """Scores ``split`` with the exported model of ``run``; returns (document, prediction table).

    The windows are those of epoch 0, so a score depends only on the image, the weights and the seed. Raises
    ``InputError`` if the split or the model is missing, if a model file is damaged, if the loader rejects a setting, or
    if no sample can be scored. Warns with ``DecoderWarning`` if pixels may differ from those in training.
    """
    rows = dataset.split_rows(split)
    trained = TrainedModel.open(run / "model", device=options.device, calibrated=options.calibrated, name=str(run))
    views = trained.views(options.num_crops)
    loader_config = trained.loader_config(
        views, {"global_batch_size": options.batch_size, "num_threads": options.num_threads}
    )
    start = time.perf_counter()
    predictions, missing = _scores(trained, dataset, split, loader_config, options.progress)
    time_s = time.perf_counter() - start
    applied = trained.calibration_for(views)
    if applied is not None:
        predictions = replace(predictions, temperature=applied.temperature)
    table = prediction_table(predictions, dataset, split)
    threshold, source = trained.threshold_for(views, dataset.root, split)
    document: Evaluation = {
        "format_version": FORMAT_VERSION,
        "split": split,
        "model": trained.identity,
        "dataset": dataset_digest(dataset.root),
        "settings": cast(EvaluationSettings, asdict(loader_config) | {"precision": trained.precision}),
        **evaluate_table(table, threshold, source, options.draws, options.seed),
        "calibration": None if applied is None else calibrated_results(applied, table, dataset.root, split),
        "timing": {"time_s": time_s, "images_per_s": len(table) / time_s},
        "versions": installed_versions(),
    }
    document["samples"]["undecodable"] = len(rows) - len(table)
    document["missing"] = missing
    document["learnt"] = overlap(trained.learnt, table["content_id"].to_numpy())
    document["real_slices"] = real_slices(table, dataset, threshold)
    return check_evaluation(document), table


def _scores(
    trained: TrainedModel, dataset: ShardDataset, split: str, config: LoaderConfig, progress: bool
) -> tuple[Predictions, list[dict[str, Any]]]:
    """Returns (scores, one row for each sample that could not be scored).

    Raises ``InputError`` if no sample could be scored.
    """
    with build_loader(dataset, split, config) as loader:
        predictions = trained.score(progress_bar(None, f"scoring {split}", progress, over=loader, unit=" batches"))
        missing = bad_sample_rows(loader.bad_samples(), split)
    if len(predictions) == 0:
        raise InputError(
            f"none of the images of {split} in {dataset.where} could be read: run glass verify {dataset.where}"
        )
    return predictions, missing


def evaluate_table(
    table: pa.Table, threshold: float = THRESHOLD, source: str = UNCALIBRATED, draws: int = 1000, seed: int = 0
) -> Results:
    """Computes all entries of the evaluation document that can be derived from the prediction table.

    ``table`` must follow PREDICTION_SCHEMA. The metrics depend only on the table, ``threshold``, ``draws`` and
    ``seed``. ``source`` describes the threshold's origin and is copied into the document. The table does not list
    undecodable images, so ``undecodable`` is 0 here, and the caller must set it.
    """
    label, probability = table["label"].to_numpy(), table["probability"].to_numpy()
    groups = table["group"].to_numpy(zero_copy_only=False)
    generator = table["generator"].to_numpy(zero_copy_only=False)
    intervals = metric_intervals(label, probability, draws, seed, groups, threshold)
    flagged, generated = probability >= threshold, label == 1
    named = groups[groups != ""]
    return {
        "threshold": {"value": threshold, "source": source},
        "samples": {
            "scored": len(label),
            "real": int((~generated).sum()),
            "generated": int(generated.sum()),
            "scenes": len(set(named)) + len(groups) - len(named),
            "undecodable": 0,
        },
        "bootstrap": {"draws": draws, "seed": seed, "level": 0.95},
        "metrics": binary_metrics(label, probability, threshold),
        "intervals": {name: intervals.get(name) for name in METRIC_NAMES},
        "confusion": {
            "hits": int((flagged & generated).sum()),
            "misses": int((~flagged & generated).sum()),
            "false_alarms": int((flagged & ~generated).sum()),
            "real_passed": int((~flagged & ~generated).sum()),
        },
        "per_generator": per_generator(label, probability, generator, threshold, draws, seed, groups),
        "roc": roc_points(label, probability),
        "reliability": reliability_bins(label, probability),
    }
