"""Typed schema for ``robustness-<split>.json``, written by ``glass robustness``."""

from typing import Any, NotRequired, TypedDict

from glass.config.dataset_digest import DatasetDigest
from glass.config.learnt_ids import Overlap
from glass.measure.bootstrap import Difference
from glass.measure.evaluation_schema import Bootstrap, Confusion, MeasuredModel, Samples, Threshold
from glass.measure.generators import PerGenerator
from glass.measure.metrics import MetricIntervals, Metrics
from shards.files.documents import Number, versioned_document

__all__ = [
    "FORMAT_VERSION",
    "ContenderResults",
    "MeasuredContender",
    "Robustness",
    "RobustnessRow",
    "WorstRow",
    "check_robustness",
]

FORMAT_VERSION = 1


class MeasuredContender(MeasuredModel):
    """One of the models compared in the table."""

    threshold: Threshold
    settings: dict[str, Any]
    """The model's loader settings, and its ``precision``."""
    learnt: NotRequired[Overlap | None]
    """How many images of the split were used to train the model or to choose its epoch; null if unknown. Absent in
    older documents."""


class ContenderResults(TypedDict):
    """A model's results on the images of one row; the entries have the same types as in an evaluation."""

    samples: Samples
    metrics: Metrics
    intervals: MetricIntervals
    confusion: Confusion
    per_generator: PerGenerator


class RobustnessRow(TypedDict):
    """Results on the images after one perturbation."""

    name: str
    title: str
    undecodable: int
    models: dict[str, ContenderResults]
    differences: dict[str, Difference]
    """Maps each model except the first to the difference between its AUROC and the first model's."""


class WorstRow(TypedDict):
    """The row on which a model has its lowest AUROC."""

    row: str | None
    auroc: Number | None


class RobustnessTiming(TypedDict):
    """Time taken to measure the whole table."""

    time_s: Number


class Robustness(TypedDict):
    """The content of ``robustness-<split>.json``."""

    format_version: int
    split: str
    dataset: DatasetDigest
    models: dict[str, MeasuredContender]
    bootstrap: Bootstrap
    rows: list[RobustnessRow]
    """The rows of the table, the clean one first."""
    worst: dict[str, WorstRow]
    timing: RobustnessTiming
    versions: dict[str, Any]
    """Maps each installed distribution to its version."""


def check_robustness(document: object) -> Robustness:
    """Validates ``document`` and returns it as a robustness table. Raises ``ValueError`` naming the first entry that
    does not match :class:`Robustness`."""
    table = versioned_document(document, Robustness, FORMAT_VERSION)
    models = set(table["models"])
    if not models or not table["rows"]:
        raise ValueError("no model, or no row")
    if set(table["worst"]) != models:
        raise ValueError(f"worst is not of the models {', '.join(sorted(models))}")
    for row in table["rows"]:
        if set(row["models"]) != models:
            raise ValueError(f"row {row['name']} is not of the models {', '.join(sorted(models))}")
    return table
