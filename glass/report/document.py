"""Typed schema of the whole ``report.json``; ``glass.report.data`` explains the fields."""

from collections.abc import Sequence
from typing import Any, TypedDict

from glass.auditing.document import AuditSummary
from glass.config.dataset_digest import DatasetDigest
from glass.config.learnt_ids import Overlap
from glass.measure.applied_calibration import AppliedCalibration
from glass.measure.bootstrap import Difference
from glass.measure.evaluation_schema import (
    Bootstrap,
    Confusion,
    EvaluationSettings,
    MeasuredModel,
    Samples,
    Threshold,
    Timing,
)
from glass.measure.generators import PerGenerator
from glass.measure.metrics import MetricIntervals, Metrics
from glass.measure.real_slices import RealSlice
from glass.measure.robustness_schema import WorstRow
from shards.files.documents import Interval, Number, typed_document

__all__ = [
    "Comparison",
    "DatasetSummary",
    "FileFacts",
    "Report",
    "RobustnessSummary",
    "RunReport",
    "SplitClassCount",
    "SplitResults",
    "SummaryRow",
    "SummaryRowModel",
    "TrainingSummary",
    "check_report",
]


SplitClassCount = TypedDict("SplitClassCount", {"split": str, "class": str, "generator": str, "images": int})
"""Image count for one combination of split, class and generator."""


class FileFacts(TypedDict):
    """File formats and median size of one class's evaluated images."""

    formats: dict[str, int]
    median_megapixels: Number | None


class EvaluatedFacts(TypedDict):
    """File formats and median size of the evaluated images, by class."""

    real: FileFacts
    generated: FileFacts


class DatasetSummary(DatasetDigest):
    """The data set on which the runs were evaluated."""

    counts: list[SplitClassCount]
    evaluated: EvaluatedFacts


class Comparison(Difference):
    """A comparison of the first run with another run, ``baseline``."""

    run: str
    baseline: str
    metric: str
    images: int


class Report(TypedDict):
    """The ``report.json`` fields. It also has a :class:`RunReport` under each run's name."""

    format_version: int
    created: str
    note: str | None
    split: str
    dataset: DatasetSummary
    audit: AuditSummary | None
    comparisons: list[Comparison]


class SplitResults(TypedDict):
    """Everything in a run's evaluation except the metrics, which are stored beside these fields."""

    intervals: MetricIntervals
    confusion: Confusion
    per_generator: PerGenerator
    samples: Samples
    threshold: Threshold
    settings: EvaluationSettings
    bootstrap: Bootstrap
    timing: Timing
    calibration: AppliedCalibration | None
    real_slices: list[RealSlice]
    learnt: Overlap | None


class TrainingSummary(TypedDict):
    """A summary of the training; a field is null if ``metrics.jsonl`` lacks its value."""

    epochs: int
    kept_epoch: int | None
    """The epoch whose model was evaluated."""
    valid_auroc: Number | None
    valid_accuracy: Number | None
    valid_loss: Number | None
    time_s: Number | None
    """Total training and validation time over all epochs, in seconds."""
    images_per_s: Number | None
    """Training throughput in images per second, excluding validation."""
    data_wait_share: Number | None
    """Share of training time spent waiting for the loader."""


class FinishedTraining(TrainingSummary):
    """A summary of the training, and whether the run is finished."""

    finished: bool


class _SummaryIntervals(TypedDict):
    auroc: Interval
    tpr_at_fpr_1: Interval


class SummaryRowModel(TypedDict):
    """One model's results in a robustness table row."""

    auroc: Number | None
    tpr_at_fpr_1: Number | None
    intervals: _SummaryIntervals
    minimum: Number | None
    worst: str | None
    false_positive_rate: Number | None


class SummaryRow(TypedDict):
    """A row of the robustness table."""

    name: str
    title: str
    models: dict[str, SummaryRowModel]
    differences: dict[str, Difference]


class RobustnessSummary(TypedDict):
    """The figures shown in the robustness table."""

    worst: dict[str, WorstRow]
    rows: list[SummaryRow]


class RunReport(TypedDict):
    """The entry for one run. It has one more field, named after the evaluated split: an object with the metrics on that
    split and the :class:`SplitResults` fields.
    """

    training: FinishedTraining
    model: MeasuredModel
    settings: dict[str, Any]
    """Maps dotted setting names to values, in the form that ``--set`` takes."""
    robustness: RobustnessSummary | None
    versions: dict[str, Any]


def check_report(document: dict[str, Any], runs: Sequence[str]) -> None:
    """Raises ``ValueError`` naming the first entry that is missing or invalid."""
    split = typed_document(document, Report)["split"]
    for run in runs:
        if run not in document:
            raise ValueError(f"document.{run} is missing")
        typed_document(document[run], RunReport, f"document.{run}")
        if split not in document[run]:
            raise ValueError(f"document.{run}.{split} is missing")
        for parts in (Metrics, SplitResults):
            typed_document(document[run][split], parts, f"document.{run}.{split}")
