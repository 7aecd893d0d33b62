"""A run as a report reads it: everything that its folder holds about one split."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from glass.config.documents import Maybe, check_document
from glass.config.run_folder import dataset_digest
from glass.measure.predictions import read_predictions
from glass.measure.result_files import EVALUATION, found_of, read_evaluation
from glass.report.robustness import own_robustness
from shards.errors import InputError
from shards.files.json_file import parse_json, read_json, read_json_bytes

if TYPE_CHECKING:
    from shards.manifest.dataset import ShardDataset

__all__ = ["RunData", "load_run"]

_EPOCH_NUMBERS = (
    "train_loss",
    "valid_loss",
    "valid_auroc",
    "valid_accuracy",
    "train_images",
    "train_time_s",
    "data_wait_s",
    "epoch_time_s",
)
"""The numbers of a line of ``metrics.jsonl`` that a report shows, where they are there."""


@dataclass(frozen=True)
class RunData:
    """One run as its folder holds it."""

    name: str
    """Its name in the report."""
    folder: Path
    record: dict[str, Any]
    """``run.json``."""
    epochs: list[dict[str, Any]]
    """Lines of ``metrics.jsonl`` by epoch; of an epoch run twice (after a resume) the last."""
    evaluation: dict[str, Any]
    """See ``glass.measure.evaluation``."""
    predictions: pa.Table
    """``glass.measure.predictions.PREDICTION_SCHEMA``."""
    robustness: dict[str, Any] | None = None
    """See ``glass.measure.robustness``; None where these weights were not measured on this data."""


def load_run(name: str, folder: Path, split: str, dataset: "ShardDataset") -> RunData:
    """Reads ``folder``; ``InputError`` names the file that is missing, damaged or of other data."""
    digest = dataset_digest(dataset.root)["dataset_json_sha256"]
    variant = found_of(folder, EVALUATION, split, digest)
    evaluation = read_evaluation(folder, split, variant)
    if evaluation["dataset"]["dataset_json_sha256"] != digest:
        raise InputError(
            f"{folder} was evaluated on another data set than {dataset.where} (or on it before it "
            "was rebuilt): give the data set it was evaluated on, or evaluate again"
        )
    record = _read_json(folder / "run.json")
    return RunData(
        name=name,
        folder=folder,
        record=record,
        epochs=_read_epochs(folder / "metrics.jsonl"),
        evaluation=evaluation,
        predictions=read_predictions(folder, split, variant),
        robustness=own_robustness(folder, evaluation),
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = read_json(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}): is its folder a finished run?") from error
    if not isinstance(document, dict):
        raise InputError(f"{path} holds no JSON object: is its folder a finished run?")
    for name in ("config", "data", "environment"):
        if not isinstance(document.get(name, {}), dict):
            raise InputError(f"{path} is damaged: its {name} is no object")
    return document


def _read_epochs(path: Path) -> list[dict[str, Any]]:
    try:
        lines = read_json_bytes(path).splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}): is its folder a finished run?") from error
    by_epoch: dict[int, dict[str, Any]] = {}
    for number, line in enumerate(lines, start=1):
        try:
            entry = parse_json(line)
            check_document(entry, {"epoch": int}, "line")
            present = {name: Maybe(float) for name in _EPOCH_NUMBERS if name in entry}
            check_document(entry, present, "line")
            by_epoch[entry["epoch"]] = entry
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(
                f"{path}, line {number}, is not an epoch's metrics ({error!r}): remove the line"
            ) from error
    return [by_epoch[epoch] for epoch in sorted(by_epoch)]
