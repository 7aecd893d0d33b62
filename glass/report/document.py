"""The types of ``report.json``, to the bottom; ``glass.report.data`` says what the fields mean."""

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
"""Images of a class and generator in a split."""


class FileFacts(TypedDict):
    """How the evaluated images of a class are stored."""

    formats: dict[str, int]
    median_megapixels: Number | None


class EvaluatedFacts(TypedDict):
    """Of both classes."""

    real: FileFacts
    generated: FileFacts


class DatasetSummary(DatasetDigest):
    """The data set that was evaluated on."""

    counts: list[SplitClassCount]
    evaluated: EvaluatedFacts


class Comparison(Difference):
    """The first run against another."""

    run: str
    baseline: str
    metric: str
    images: int


class Report(TypedDict):
    """``report.json``; beside these fields it has a :class:`RunReport` per run name."""

    format_version: int
    created: str
    note: str | None
    split: str
    dataset: DatasetSummary
    audit: AuditSummary | None
    comparisons: list[Comparison]


class SplitResults(TypedDict):
    """Parts of the evaluation of a run; its metrics stand beside them, by name."""

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
    """How training went; None if ``metrics.jsonl`` does not say."""

    epochs: int
    kept_epoch: int | None
    """Whose model is evaluated."""
    valid_auroc: Number | None
    valid_accuracy: Number | None
    valid_loss: Number | None
    time_s: Number | None
    """With validation."""
    images_per_s: Number | None
    """Of training alone."""
    data_wait_share: Number | None
    """Share of that time in which it waited for the loader."""


class FinishedTraining(TrainingSummary):
    """The same with whether the run is finished."""

    finished: bool


class _SummaryIntervals(TypedDict):
    auroc: Interval
    tpr_at_fpr_1: Interval


class SummaryRowModel(TypedDict):
    """A model on a row of the table of robustness."""

    auroc: Number | None
    tpr_at_fpr_1: Number | None
    intervals: _SummaryIntervals
    minimum: Number | None
    worst: str | None
    false_positive_rate: Number | None


class SummaryRow(TypedDict):
    """A row of the table of robustness."""

    name: str
    title: str
    models: dict[str, SummaryRowModel]
    differences: dict[str, Difference]


class RobustnessSummary(TypedDict):
    """What the table of robustness shows, as numbers."""

    worst: dict[str, WorstRow]
    rows: list[SummaryRow]


class RunReport(TypedDict):
    """One run, beside its :class:`SplitResults` under the name of the split."""

    training: FinishedTraining
    model: MeasuredModel
    settings: dict[str, Any]
    """Dotted name → value, as ``--set`` takes them."""
    robustness: RobustnessSummary | None
    versions: dict[str, Any]


def check_report(document: dict[str, Any], runs: Sequence[str]) -> None:
    """Raises ``ValueError`` naming the first place that is not as declared here."""
    split = typed_document(document, Report)["split"]
    for run in runs:
        if run not in document:
            raise ValueError(f"document.{run} is missing")
        typed_document(document[run], RunReport, f"document.{run}")
        if split not in document[run]:
            raise ValueError(f"document.{run}.{split} is missing")
        for parts in (Metrics, SplitResults):
            typed_document(document[run][split], parts, f"document.{run}.{split}")
