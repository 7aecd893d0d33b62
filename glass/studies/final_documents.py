"""The types of ``final_runs.json`` and ``seeds.json``: tests of one model trained with several seeds."""

from typing import TYPE_CHECKING, Any, TypedDict

from glass.config.dataset_digest import DatasetDigest
from glass.measure.applied_calibration import Quality
from glass.measure.weighted_metrics import FPR_LIMITS
from shards.files.documents import Interval, Number

__all__ = [
    "GENERATOR_METRICS",
    "CalibratedSeed",
    "CalibratedSeeds",
    "FinalRuns",
    "OverSeeds",
    "QualitySummaries",
    "SeedResults",
    "SeedRow",
    "Seeds",
    "Summaries",
    "Summary",
]

GENERATOR_METRICS = ("auroc", *FPR_LIMITS)
"""The metrics that are kept of each generator."""


class Summary(TypedDict):
    """A value over seeds."""

    mean: Number | None
    sd: Number | None
    """Standard deviation (n - 1)."""
    interval: Interval
    """Student's 95 % interval of the mean."""
    seeds: int
    """Those for which the value is defined."""


if TYPE_CHECKING:  # code reads these by the names of metrics
    SeedMetrics = dict[str, float | None]
    Summaries = dict[str, Summary]
    SeedGenerator = dict[str, Any]
    GeneratorSummaries = dict[str, Any]
else:
    _METRICS = dict.fromkeys(GENERATOR_METRICS, Number | None)
    _SUMMARIES = dict.fromkeys(GENERATOR_METRICS, Summary)
    SeedMetrics = TypedDict("SeedMetrics", _METRICS)
    Summaries = TypedDict("Summaries", _SUMMARIES)
    SeedGenerator = TypedDict("SeedGenerator", {"images": int, **_METRICS})
    GeneratorSummaries = TypedDict("GeneratorSummaries", {"images": int, **_SUMMARIES})


# -- one seed --------------------------------------------------------------------------------------


class SeedSlice(TypedDict):
    """False alarms of a seed on a kind of real images."""

    slice: str
    images: int
    false_positive_rate: Number


class CalibratedSeed(TypedDict):
    """The effect of a calibration on the test of a seed."""

    before: Quality
    after: Quality
    false_positive_rate: Number | None
    max_fpr: Number
    verdict: str | None
    """On the promised rate."""


class SeedResults(TypedDict):
    """The test of a seed beyond its metrics."""

    generators: dict[str, SeedGenerator]
    generators_mean: SeedMetrics
    generators_minimum: SeedMetrics
    real_slices: list[SeedSlice]
    calibration: CalibratedSeed | None


class SeedRow(TypedDict):
    """A seed that was trained and tested."""

    seed: int
    folder: str
    """Relative to the document's."""
    best_epoch: int
    valid: Number | None
    """The metric that chose it."""
    metrics: dict[str, Number | None]
    results: SeedResults
    train_time_s: Number
    """All epochs, validation included."""


# -- all seeds -------------------------------------------------------------------------------------


class SummarySlice(TypedDict):
    """False alarms over seeds on a kind of real images."""

    slice: str
    images: int
    false_positive_rate: Summary


class QualitySummaries(TypedDict):
    """How well probabilities fit, over seeds."""

    ece: Summary
    nll: Summary
    brier: Summary


class CalibratedSeeds(TypedDict):
    """The effect of a calibration over seeds."""

    before: QualitySummaries
    after: QualitySummaries
    false_positive_rate: Summary
    max_fpr: Number
    verdicts: dict[str, int]
    """Verdict on the promised rate → seeds."""


class OverSeeds(TypedDict):
    """The tests of all seeds."""

    generators: dict[str, GeneratorSummaries]
    generators_mean: Summaries
    generators_minimum: Summaries
    real_slices: list[SummarySlice]
    calibration: CalibratedSeeds | None


class HoldOut(TypedDict):
    """The part of train+valid that chooses the epoch."""

    share: Number
    learnt: int
    held_back: int


class FinalRuns(TypedDict):
    """``final_runs.json``."""

    format_version: int
    preset: str
    kind: str
    """``glass`` or ``single_view``."""
    epochs: int
    hold_out: HoldOut
    split: str
    dataset: DatasetDigest
    config: dict[str, Any]
    """The settings of the first seed."""
    seeds: list[SeedRow]
    summary: dict[str, Summary]
    """By metric."""
    tests: OverSeeds


class Seeds(TypedDict):
    """``seeds.json``: none of them may be left out."""

    format_version: int
    seeds: list[int]
