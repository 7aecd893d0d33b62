"""Typed schemas of ``final_runs.json`` and ``seeds.json``: tests of one model that was trained with several seeds."""

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
"""The metrics that are recorded for each generator."""


class Summary(TypedDict):
    """Summary of a value over seeds."""

    mean: Number | None
    sd: Number | None
    """Standard deviation over the seeds, with n - 1 in the denominator."""
    interval: Interval
    """95 % interval of the mean, by Student's t."""
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
    """The seed's run folder, relative to the folder of the document."""
    best_epoch: int
    valid: Number | None
    """Best-epoch value of the validation metric by which the epoch was chosen."""
    metrics: dict[str, Number | None]
    results: SeedResults
    train_time_s: Number
    """Duration of all epochs, including validation."""


# -- all seeds -------------------------------------------------------------------------------------


class SummarySlice(TypedDict):
    """False alarms on one subset of the real images, summarised over seeds."""

    slice: str
    images: int
    false_positive_rate: Summary


class QualitySummaries(TypedDict):
    """Measures of how well probabilities match the labels, summarised over seeds."""

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
    """Outcome of the comparison with the promised false-alarm rate → number of seeds with this outcome."""


class OverSeeds(TypedDict):
    """Test results summarised over seeds."""

    generators: dict[str, GeneratorSummaries]
    generators_mean: Summaries
    generators_minimum: Summaries
    real_slices: list[SummarySlice]
    calibration: CalibratedSeeds | None


class HoldOut(TypedDict):
    """The fraction of train+valid that is held back to choose the epoch, and the number of samples in each of the two
    resulting parts."""

    share: Number
    learnt: int
    held_back: int


class FinalRuns(TypedDict):
    """The content of ``final_runs.json``."""

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
    """Metric → its summary over seeds."""
    tests: OverSeeds


class Seeds(TypedDict):
    """The content of ``seeds.json``: the seeds of the runs in the folder. Later invocations must include all of
    them."""

    format_version: int
    seeds: list[int]
