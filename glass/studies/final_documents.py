"""Typed schemas of ``final_runs.json`` and ``seeds.json``: test results for one model, trained with several seeds."""

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
"""The metrics recorded for each generator."""


class Summary(TypedDict):
    """A value summarised over seeds."""

    mean: Number | None
    sd: Number | None
    """Standard deviation over the seeds, with n - 1 in the denominator."""
    interval: Interval
    """95 % interval for the mean, from Student's t."""
    seeds: int
    """Number of seeds for which the value is not null."""


if TYPE_CHECKING:  # for mypy, since code reads these by metric names that are not literals
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
    """False alarms of one seed's model on one subset of the real images."""

    slice: str
    images: int
    false_positive_rate: Number


class CalibratedSeed(TypedDict):
    """Effect of calibration on one seed's test results."""

    before: Quality
    after: Quality
    false_positive_rate: Number | None
    max_fpr: Number
    verdict: str | None
    """Whether the promised false-alarm rate was kept: ``kept``, ``fewer than promised`` or ``not kept``."""


class SeedResults(TypedDict):
    """One seed's test results, apart from the metrics."""

    generators: dict[str, SeedGenerator]
    generators_mean: SeedMetrics
    generators_minimum: SeedMetrics
    real_slices: list[SeedSlice]
    calibration: CalibratedSeed | None


class SeedRow(TypedDict):
    """One seed that was trained and tested."""

    seed: int
    folder: str
    """The seed's run folder, relative to the document's folder."""
    best_epoch: int
    valid: Number | None
    """The best epoch's value of the validation metric by which it was chosen."""
    metrics: dict[str, Number | None]
    results: SeedResults
    train_time_s: Number
    """Total duration of all epochs, including validation."""


# -- all seeds -------------------------------------------------------------------------------------


class SummarySlice(TypedDict):
    """False alarms on one subset of the real images, summarised over seeds."""

    slice: str
    images: int
    false_positive_rate: Summary


class QualitySummaries(TypedDict):
    """How well probabilities match the labels, summarised over seeds."""

    ece: Summary
    nll: Summary
    brier: Summary


class CalibratedSeeds(TypedDict):
    """Effect of calibration on the test results, summarised over seeds."""

    before: QualitySummaries
    after: QualitySummaries
    false_positive_rate: Summary
    max_fpr: Number
    verdicts: dict[str, int]
    """Maps each outcome of the comparison with the promised false-alarm rate to the number of seeds with this
    outcome."""


class OverSeeds(TypedDict):
    """Test results summarised over seeds."""

    generators: dict[str, GeneratorSummaries]
    generators_mean: Summaries
    generators_minimum: Summaries
    real_slices: list[SummarySlice]
    calibration: CalibratedSeeds | None


class HoldOut(TypedDict):
    """The fraction of train+valid held back to choose the epoch, and the number of samples in each of the two parts."""

    share: Number
    learnt: int
    held_back: int


class FinalRuns(TypedDict):
    """The contents of ``final_runs.json``."""

    format_version: int
    preset: str
    kind: str
    """``glass`` or ``single_view``."""
    epochs: int
    hold_out: HoldOut
    split: str
    dataset: DatasetDigest
    config: dict[str, Any]
    """The first seed's settings."""
    seeds: list[SeedRow]
    summary: dict[str, Summary]
    """Maps metrics to their summaries over seeds."""
    tests: OverSeeds


class Seeds(TypedDict):
    """The contents of ``seeds.json``: the seeds of the folder's runs, all of which later invocations must include."""

    format_version: int
    seeds: list[int]
