"""Reads everything that a report needs about one split from a run's folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from glass.config.dataset_digest import dataset_json_sha256
from glass.config.run_folder import EpochLine, RunRecord, read_record
from glass.measure.evaluation_schema import Evaluation
from glass.measure.predictions import read_predictions
from glass.measure.result_files import EVALUATION, found_of, read_evaluation
from glass.measure.robustness_schema import Robustness
from glass.report.robustness import own_robustness
from shards.errors import InputError
from shards.files.documents import typed_document
from shards.files.json_file import parse_json, read_json_bytes
from shards.files.regular_file import file_sha256

if TYPE_CHECKING:
    from shards.manifest.dataset import ShardDataset

__all__ = ["RunData", "load_run"]


@dataclass(frozen=True)
class RunData:
    """The data read from one run's files."""

    name: str
    """The run's name in the report."""
    folder: Path
    record: RunRecord
    epochs: list[EpochLine]
    """The ``metrics.jsonl`` lines, sorted by epoch. If an epoch ran twice, only its last line is kept."""
    evaluation: Evaluation
    predictions: pa.Table
    """The predictions on the split, in the schema ``glass.measure.predictions.PREDICTION_SCHEMA``."""
    robustness: Robustness | None = None
    """The robustness table; None if there is none for the weights and data used in ``evaluation``."""


def load_run(name: str, folder: Path, split: str, dataset: "ShardDataset") -> RunData:
    """Reads the run in ``folder``. Raises ``InputError`` if a file is missing or damaged, if the evaluation used
    another data set, or if the run was trained further afterwards.
    """
    digest = dataset_json_sha256(dataset.root)
    variant = found_of(folder, EVALUATION, split, digest)
    evaluation = read_evaluation(folder, split, variant)
    if evaluation["dataset"]["dataset_json_sha256"] != digest:
        raise InputError(
            f"{folder} was evaluated on a data set other than {dataset.where}, or before it was rebuilt: give the "
            "data set of the evaluation, or run glass evaluate again"
        )
    _require_these_weights(folder, evaluation, split, dataset)
    return RunData(
        name=name,
        folder=folder,
        record=_read_record(folder / "run.json"),
        epochs=_read_epochs(folder / "metrics.jsonl"),
        evaluation=evaluation,
        predictions=read_predictions(folder, split, variant),
        robustness=own_robustness(folder, evaluation),
    )


def _require_these_weights(folder: Path, evaluation: Evaluation, split: str, dataset: "ShardDataset") -> None:
    """Raises ``InputError`` if the run was trained further after its evaluation.

    Otherwise, the report would show results from weights that no longer exist.
    """
    weights = folder / "model/model.safetensors"
    if not weights.is_file():  # the user removed them; the results are still valid
        return
    if file_sha256(weights) != evaluation["model"]["weights_sha256"]:
        raise InputError(
            f"{folder} has been trained further since its evaluation, which is of older weights: run glass evaluate "
            f"{folder} --data {dataset.where} --split {split} again"
        )


def _read_record(path: Path) -> RunRecord:
    try:
        return read_record(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}): is its folder a finished run?") from error


def _read_epochs(path: Path) -> list[EpochLine]:
    try:
        lines = read_json_bytes(path).splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}): is its folder a finished run?") from error
    by_epoch: dict[int, EpochLine] = {}
    for number, line in enumerate(lines, start=1):
        try:
            entry = typed_document(parse_json(line), EpochLine, "line")
            by_epoch[entry["epoch"]] = entry
        except ValueError as error:
            raise InputError(
                f"{path}, line {number}, does not hold the metrics of an epoch ({error}): remove the line"
            ) from error
    return [by_epoch[epoch] for epoch in sorted(by_epoch)]
