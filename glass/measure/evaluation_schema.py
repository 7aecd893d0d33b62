"""The types of ``evaluation-<split>.json``. Every entry is declared, because a report shows all of them.

Types of computed parts, such as :class:`glass.measure.generators.PerGenerator`, are declared beside the code that
computes them.
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
"""Maximum number of bootstrap draws in a document. A report repeats as many draws as the document states, so the number
needs a limit."""


class MeasuredModel(TypedDict):
    """The model that was scored."""

    kind: str
    """``glass`` or ``single_view``."""
    weights_sha256: str
    """Digest of ``model.safetensors``."""
    chosen: dict[str, Any] | None
    """The epoch of the weights and its metrics, by which it was chosen; null if they were not recorded."""
    weight_average: NotRequired[float]
    """Decay of the moving average of the weights; absent if the weights are not an average."""
    data_note: NotRequired[Note]
    """Note of the data set that the model learnt from; absent if it has none."""


class EvaluationSettings(TypedDict):
    """The precision, and those loader settings that this project reads back. A document holds all loader settings."""

    num_crops: int
    crop_size: int
    sampling: str
    seed: int
    device: str
    precision: str


class Threshold(TypedDict):
    """The probability at or above which an image is called generated."""

    value: Number
    source: str
    """Where the threshold comes from, as text. The threshold is 0.5 until a model is calibrated."""


class Samples(TypedDict):
    """Numbers of images and scenes."""

    scored: int
    real: int
    generated: int
    scenes: int
    """Number of scenes, the units that the bootstrap resamples."""
    undecodable: int
    """Number of images in the split that have no score."""


class Bootstrap(TypedDict):
    """The settings of the bootstrap for the intervals."""

    draws: Annotated[int, Meta(ge=0, le=MAX_DRAWS)]
    seed: Count
    level: Number


class Confusion(TypedDict):
    """Numbers of images by class and verdict at the threshold."""

    hits: int
    misses: int
    false_alarms: int
    real_passed: int


class Timing(TypedDict):
    """Duration and speed of scoring."""

    time_s: Number
    images_per_s: Number


class Results(TypedDict):
    """The measured parts, which depend on the table of predictions alone."""

    threshold: Threshold
    samples: Samples
    bootstrap: Bootstrap
    metrics: Metrics
    """Metrics of the calibrated probabilities if there is a ``calibration``, else of the raw scores."""
    intervals: MetricIntervals
    confusion: Confusion
    per_generator: PerGenerator
    roc: Roc | None
    reliability: list[ReliabilityBin]


class Evaluation(Results):
    """The content of ``evaluation-<split>.json``."""

    format_version: int
    split: str
    model: MeasuredModel
    dataset: DatasetDigest
    settings: EvaluationSettings
    timing: Timing
    versions: dict[str, Any]
    """Name of an installed distribution → its version."""
    calibration: NotRequired[AppliedCalibration | None]
    """Null if no calibration applied. Absent in older documents, as are ``missing``, ``learnt`` and ``real_slices``."""
    missing: NotRequired[list[dict[str, Any]]]
    """The images without a score: ``shard``, ``sample_key``, ``reason``, ``detail``."""
    learnt: NotRequired[Overlap | None]
    """How many of the scored images the model learnt from; null if that is not known."""
    real_slices: NotRequired[list[RealSlice]]


def check_evaluation(document: object) -> Evaluation:
    """``document`` as an evaluation. Raises ``ValueError`` naming the first entry that does not match
    :class:`Evaluation`."""
    return versioned_document(document, Evaluation, FORMAT_VERSION)
