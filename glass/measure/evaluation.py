"""From scores to a document: predictions beside their manifest rows, then metrics with intervals.

``evaluate_run`` scores a split with a run's exported model and yields the table of predictions and
the evaluation document; ``write_evaluation`` puts them into the run's folder as
``predictions-<split>.parquet`` and ``evaluation-<split>.json``. The document (checked by
``glass.measure.evaluation_schema`` whenever one is written or read):

``format_version``  int, 1
``split``           str
``model``           ``kind`` "glass" | "single_view", ``weights_sha256`` of model.safetensors,
                    ``chosen``: object | null, the epoch it is of and why, as training recorded it
``dataset``         ``name`` of its folder, ``dataset_json_sha256``
``settings``        what the loader was told (``num_crops``, ``sampling``, ``seed`` …), ``device``,
                    ``precision``
``threshold``       ``value``, ``source``: where it comes from (0.5 until a model is calibrated)
``calibration``     object | null, absent in older documents: ``temperature``; ``data`` and
                    ``false_alarms`` of the images calibrated on; ``ece``, ``nll``, ``brier`` of
                    this split ``before`` and ``after``; the metrics are of calibrated
                    probabilities then. In newer documents also ``in_sample``: whether the
                    threshold was chosen on these very images; ``promise`` (null then, or without
                    real images): ``max_fpr``, ``calibrated_on``, the ``false_alarms`` of
                    ``images`` here with ``rate`` and ``interval``, the counts ``expected``
                    [low, high], ``verdict``;
                    ``uncertain``: share of the ``real`` and of the ``generated``; ``decided``:
                    ``images``, their ``accuracy`` and its ``interval``
``samples``         ``scored``, ``real``, ``generated``, ``scenes`` (what the bootstrap resamples),
                    ``undecodable`` (in the split, but without a score)
``missing``         absent in older documents: an object for each of those, with ``shard``,
                    ``sample_key``, ``reason``, ``detail``
``learnt``          absent in older documents: of the ``images`` scored, how many the model was
                    trained on (``train``) or its epoch was chosen by (``valid``); null where that
                    is not known
``bootstrap``       ``draws``, ``seed``, ``level``
``metrics``         name → float | null, see ``glass.measure.metrics.binary_metrics``
``intervals``       name → [low, high] | null, see ``glass.measure.rates.metric_intervals``
``confusion``       ``hits``, ``misses``, ``false_alarms``, ``real_passed``
``per_generator``   see ``glass.measure.metrics.per_generator``
``real_slices``     absent in older documents: see ``glass.measure.real_slices.real_slices``
``roc``             ``fpr``, ``tpr``, ``threshold`` lists | null
``reliability``     list of bins, see ``glass.measure.metrics.reliability_bins``
``timing``          ``time_s``, ``images_per_s`` of the scoring
``versions``        distribution → version
"""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from glass.config.learnt_ids import overlap, read_learnt_ids
from glass.config.run_folder import dataset_digest
from glass.config.versions import installed_versions
from glass.measure.applied_calibration import (
    THRESHOLD,
    UNCALIBRATED,
    applicable,
    calibrated_results,
    decision_threshold,
)
from glass.measure.evaluation_schema import FORMAT_VERSION, check_evaluation
from glass.measure.metrics import METRIC_NAMES, binary_metrics, per_generator, reliability_bins, roc_points
from glass.measure.predictions import prediction_table, predictions_path
from glass.measure.rates import metric_intervals
from glass.measure.real_slices import real_slices
from shards.errors import InputError
from shards.files.atomic import atomic_path, write_text_atomic
from shards.files.json_file import read_json

if TYPE_CHECKING:  # torch takes seconds to import, and reading an evaluation needs none of it
    from glass.config.run_config import RunConfig
    from glass.measure.scoring import Predictions
    from loaders.config import LoaderConfig
    from shards.manifest.dataset import ShardDataset

__all__ = [
    "THRESHOLD",
    "EvaluationOptions",
    "check_evaluation",
    "evaluate_run",
    "evaluate_table",
    "evaluation_path",
    "read_evaluation",
    "write_evaluation",
]


@dataclass(frozen=True)
class EvaluationOptions:
    """What a person may change about an evaluation; None keeps what the run was trained with."""

    device: str = "auto"
    """"cpu", "cuda", or "auto": the GPU where there is one."""
    num_crops: int | None = None
    batch_size: int | None = None
    num_threads: int | None = None
    draws: int = 1000
    """Bootstrap draws."""
    seed: int = 0
    """Of the bootstrap; the windows keep the run's own seed."""
    calibrated: bool = True
    """Use the calibration beside the model, where there is one of the views asked for."""
    progress: bool = False
    """Show a progress bar on stderr."""


def evaluate_run(
    run: Path, dataset: "ShardDataset", split: str, options: EvaluationOptions
) -> tuple[dict[str, Any], pa.Table]:
    """Scores ``split`` with ``run``'s exported model: the document and the table of predictions.

    Windows are those of epoch 0, so a score is a function of image, weights and seed. Raises
    ``InputError`` for a split that is not there, a run without a model, or a loader that refuses;
    warns with ``DecoderWarning`` where pixels may differ from training's.
    """
    rows = dataset.split_rows(split)
    import torch  # here, so that whoever only reads evaluations does not wait for it

    from glass.export.model_folder import load_model, read_model_card
    from glass.export.pixel_rules import warn_of_other_pixels
    from glass.measure.calibration import ViewSettings, read_calibration
    from glass.model.precision import precision_in_use

    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    model, config = load_model(run / "model", device)
    card = read_model_card(run / "model")
    warn_of_other_pixels(card.get("pixels"), str(run))
    sha256 = card["weights_sha256"]
    calibration = read_calibration(run / "model", sha256) if options.calibrated else None
    loader_config = _loader_config(config, options, device)
    precision = precision_in_use(config.precision, device)
    start = time.perf_counter()
    predictions, missing = _scores(model, dataset, split, loader_config, precision, options.progress)
    time_s = time.perf_counter() - start
    _check_scores(predictions, run, dataset, split)
    views = ViewSettings(loader_config.num_crops, loader_config.sampling)
    applied = applicable(calibration, views)
    if applied is not None:
        predictions = replace(predictions, temperature=applied.temperature)
    table = prediction_table(predictions, dataset, split)
    document = {
        "format_version": FORMAT_VERSION,
        "split": split,
        "model": {"kind": config.model.kind, "weights_sha256": card["weights_sha256"], "chosen": card.get("chosen")},
        "dataset": dataset_digest(dataset.root),
        "settings": asdict(loader_config) | {"precision": precision},
        **evaluate_table(
            table, *decision_threshold(calibration, views, dataset.root, split), options.draws, options.seed
        ),
        "calibration": applied and calibrated_results(applied, table, dataset.root, split),
        "timing": {"time_s": time_s, "images_per_s": len(table) / time_s},
        "versions": installed_versions(),
    }
    document["samples"]["undecodable"] = len(rows) - len(table)
    document["missing"] = missing
    document["learnt"] = overlap(read_learnt_ids(run / "model", sha256), table["content_id"].to_numpy())
    threshold = document["threshold"]["value"]
    document["real_slices"] = real_slices(table, dataset, threshold)
    check_evaluation(document)
    return document, table


def _check_scores(predictions: "Predictions", run: Path, dataset: "ShardDataset", split: str) -> None:
    """Raises ``InputError`` where nothing was scored or a score is no number."""
    if len(predictions) == 0:
        raise InputError(
            f"none of the images of {split} in {dataset.where} could be read: run "
            f"python -m scripts.verify_shards {dataset.where}"
        )
    if not np.isfinite(predictions.logits).all():
        raise InputError(
            f"the model in {run} gives scores that are not finite: train it again, if it was "
            "trained in fp16 then with precision=float32"
        )


def _loader_config(config: "RunConfig", options: EvaluationOptions, device: str) -> "LoaderConfig":
    """The run's loader, made deterministic, with what the person asked to change."""
    if options.num_crops is not None and config.model.kind == "single_view":
        raise InputError("a single_view model sees no crops: leave out --crops")
    wanted = {
        "num_crops": options.num_crops,
        "global_batch_size": options.batch_size,
        "num_threads": options.num_threads,
    }
    changes: dict[str, Any] = {name: value for name, value in wanted.items() if value is not None}
    return config.loader.for_evaluation(device=device, **changes)


def _scores(
    model: Any, dataset: "ShardDataset", split: str, config: "LoaderConfig", precision: str, progress: bool
) -> tuple["Predictions", list[dict[str, Any]]]:
    """The scores, and what had none."""
    from tqdm import tqdm

    from glass.measure.bad_samples import bad_sample_rows
    from glass.measure.scoring import score
    from loaders import build_loader

    with build_loader(dataset, split, config) as loader:
        batches = tqdm(loader, f"scoring {split}", unit=" batches", disable=not progress)
        predictions = score(model, batches, config.device, precision)
        return predictions, bad_sample_rows(loader.bad_samples(), split)


def evaluate_table(
    table: pa.Table, threshold: float = THRESHOLD, source: str = UNCALIBRATED, draws: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """The measured parts of the document, from a table of PREDICTION_SCHEMA alone.

    A function of the table, ``threshold`` (``source`` says where it comes from), ``draws`` and
    ``seed``; ``undecodable`` is 0 here.
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


def evaluation_path(run: Path, split: str, variant: str = "") -> Path:
    """``evaluation-<split>.json``; ``variant`` ("-crops8", :func:`glass.measure.result_files.named_of`)
    keeps other settings, and other data sets, beside it."""
    return run / f"evaluation-{split}{variant}.json"


def write_evaluation(run: Path, document: Mapping[str, Any], table: pa.Table, variant: str = "") -> None:
    """Writes both files whole. The document is written last and an older one removed first, so
    that a document never stands beside predictions of another evaluation."""
    check_evaluation(document)
    split = document["split"]
    evaluation_path(run, split, variant).unlink(missing_ok=True)
    with atomic_path(predictions_path(run, split, variant)) as temporary:
        pq.write_table(table, temporary, compression="zstd")
    text = json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    write_text_atomic(evaluation_path(run, split, variant), text)


def read_evaluation(run: Path, split: str, variant: str = "") -> dict[str, Any]:
    """The evaluation of ``split`` in ``run``; ``InputError`` where there is none that is whole."""
    path = evaluation_path(run, split, variant)
    if not path.is_file():
        raise InputError(
            f"{run} has no evaluation of {split}: run python -m scripts.evaluate {run} "
            f"--data DATA --split {split} first"
        )
    try:
        document = read_json(path)
        check_evaluation(document)
    except (ValueError, OSError) as error:
        raise InputError(
            f"{path} is no evaluation of this version ({error}): move it away and evaluate again"
        ) from error
    return document
