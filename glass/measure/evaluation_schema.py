"""The types of ``evaluation-<split>.json``, to the bottom: a report shows all of it.

The parts that are counted, such as :class:`glass.measure.generators.PerGenerator`, are declared beside
what counts them.
"""

from typing import Annotated, Any, NotRequired, TypedDict

from msgspec import Meta

from glass.config.dataset_digest import DatasetDigest
from glass.config.learnt_ids import Overlap
from glass.measure.applied_calibration import AppliedCalibration
from glass.measure.generators import PerGenerator
from glass.measure.metrics import MetricIntervals, Metrics, ReliabilityBin, Roc
from glass.measure.real_slices import RealSlice
from shards.files.documents import Count, Number, versioned_document
from shards.manifest.note import Note

__all__ = [
    "FORMAT_VERSION",
    "Bootstrap",
    "Confusion",
    "Evaluation",
    "EvaluationSettings",
    "MeasuredModel",
    "Results",
    "Samples",
    "Threshold",
    "Timing",
    "check_evaluation",
]

FORMAT_VERSION = 1
MAX_DRAWS = 1_000_000
"""Draws of a bootstrap at most. A report draws as often as the document says."""


class MeasuredModel(TypedDict):
    """The model that was scored."""

    kind: str
    """``glass`` or ``single_view``."""
    weights_sha256: str
    """Digest of ``model.safetensors``."""
    chosen: dict[str, Any] | None
    """The epoch that it is of and why, as training recorded it; None where nobody did."""
    weight_average: NotRequired[float]
    """Decay of the moving average that the weights are; absent where they are those of a step."""
    data_note: NotRequired[Note]
    """That of the data set that it learnt from; absent where that says nothing."""


class EvaluationSettings(TypedDict):
    """The settings of the loader, of which these are read again, and the precision."""

    num_crops: int
    crop_size: int
    sampling: str
    seed: int
    device: str
    precision: str


class Threshold(TypedDict):
    """The probability from which on an image is called generated."""

    value: Number
    source: str
    """Where it comes from; 0.5 until a model is calibrated."""


class Samples(TypedDict):
    """The images, counted."""

    scored: int
    real: int
    generated: int
    scenes: int
    """The units that the bootstrap resamples."""
    undecodable: int
    """Those in the split that have no score."""


class Bootstrap(TypedDict):
    """How intervals were drawn."""

    draws: Annotated[int, Meta(ge=0, le=MAX_DRAWS)]
    seed: Count
    level: Number


class Confusion(TypedDict):
    """Images by verdict at the threshold."""

    hits: int
    misses: int
    false_alarms: int
    real_passed: int


class Timing(TypedDict):
    """The time that scoring took."""

    time_s: Number
    images_per_s: Number


class Results(TypedDict):
    """The measured parts: functions of the table of predictions alone."""

    threshold: Threshold
    samples: Samples
    bootstrap: Bootstrap
    metrics: Metrics
    """Calibrated probabilities', where there is a ``calibration``."""
    intervals: MetricIntervals
    confusion: Confusion
    per_generator: PerGenerator
    roc: Roc | None
    reliability: list[ReliabilityBin]


class Evaluation(Results):
    """``evaluation-<split>.json``."""

    format_version: int
    split: str
    model: MeasuredModel
    dataset: DatasetDigest
    settings: EvaluationSettings
    timing: Timing
    versions: dict[str, Any]
    """Distribution → version."""
    calibration: NotRequired[AppliedCalibration | None]
    """Absent in older documents, as are the next three."""
    missing: NotRequired[list[dict[str, Any]]]
    """The images without a score: ``shard``, ``sample_key``, ``reason``, ``detail``."""
    learnt: NotRequired[Overlap | None]
    """How many of the scored images the model learnt from; None where that is not known."""
    real_slices: NotRequired[list[RealSlice]]


def check_evaluation(document: object) -> Evaluation:
    """``document``, an evaluation. Raises ``ValueError`` naming the first place that is not as declared."""
    return versioned_document(document, Evaluation, FORMAT_VERSION)
