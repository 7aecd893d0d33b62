"""Typed schema for ``evaluation-<split>.json``. Every entry is typed, because reports display all of them.

Types of computed entries, such as :class:`glass.measure.generators.PerGenerator`, are declared next to the code that
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
"""Maximum number of bootstrap draws that a document may state. A report repeats the bootstrap with that many draws, so
the number must be bounded."""


class MeasuredModel(TypedDict):
    """The model that was scored."""

    kind: str
    """``glass`` or ``single_view``."""
    weights_sha256: str
    """Digest of ``model.safetensors``."""
    chosen: dict[str, Any] | None
    """The epoch whose weights were kept, and the metrics by which it was chosen; null if not recorded."""
    weight_average: NotRequired[float]
    """Decay of the weights' moving average; absent if the exported weights are not averaged."""
    data_note: NotRequired[Note]
    """The note attached to the data set that the model was trained on; absent if there is none."""


class EvaluationSettings(TypedDict):
    """An evaluation's precision and loader settings. Only those loader settings that this project reads back are
    declared here; the document contains all of them."""

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
    """A description of the threshold's origin. Without a calibration, the threshold is 0.5."""


class Samples(TypedDict):
    """Counts of images and scenes."""

    scored: int
    real: int
    generated: int
    scenes: int
    """Number of scenes, the units that the bootstrap resamples."""
    undecodable: int
    """Number of images in the split that could not be scored."""


class Bootstrap(TypedDict):
    """The settings of the bootstrap that yields the intervals."""

    draws: Annotated[int, Meta(ge=0, le=MAX_DRAWS)]
    seed: Count
    level: Number


class Confusion(TypedDict):
    """Counts of images by true class and verdict at the threshold."""

    hits: int
    misses: int
    false_alarms: int
    real_passed: int


class Timing(TypedDict):
    """Duration and speed of scoring."""

    time_s: Number
    images_per_s: Number


class Results(TypedDict):
    """The entries of an evaluation that are computed from the prediction table."""

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
    """Maps each installed distribution to its version."""
    calibration: NotRequired[AppliedCalibration | None]
    """Null if no calibration was applied. Absent in older documents, as are ``missing``, ``learnt`` and
    ``real_slices``."""
    missing: NotRequired[list[dict[str, Any]]]
    """The images without a score, each with ``shard``, ``sample_key``, ``reason`` and ``detail``."""
    learnt: NotRequired[Overlap | None]
    """How many of the scored images were used to train the model or to choose its epoch; null if unknown."""
    real_slices: NotRequired[list[RealSlice]]


def check_evaluation(document: object) -> Evaluation:
    """Validates ``document`` and returns it as an evaluation. Raises ``ValueError`` naming the first entry that does
    not match :class:`Evaluation`."""
    return versioned_document(document, Evaluation, FORMAT_VERSION)
