"""The types of ``crop_study.json`` and of its parts: training and prediction by number of crops."""

from typing import Any, TypedDict

from glass.config.dataset_digest import DatasetDigest
from shards.files.documents import Interval, Number

__all__ = ["BaselineCost", "CropStudy", "Fit", "InferenceCurve", "InferenceRow", "NotFitting", "TrainingRow"]

Memory = dict[str, Number]
"""Name of a count → bytes, see ``memory_is`` of the document."""


class TrainingRow(TypedDict):
    """Training with a number of crops; times are the median epoch's."""

    num_crops: int
    step_time_s: Number
    """Mean step, data wait included."""
    epoch_time_s: Number
    """Training and validation."""
    data_wait_s: Number
    images_per_s: Number
    epochs: int
    steps_per_epoch: int
    accuracy: Number | None
    """The best validation epoch's."""
    images_without_grid: int
    """Those whose grid has less than N cells: uniform crops, the paper's rule."""
    memory: Memory
    """One training step's."""


class InferenceRow(TypedDict):
    """Prediction with a number of crops."""

    num_crops: int
    images: int
    """Those scored."""
    metrics: dict[str, Number | None]
    intervals: dict[str, Interval]
    images_per_s: Number
    """Loader and model, in batches."""
    latency_s: Number
    """The model on a batch of one image, median."""
    memory: Memory
    """One batch's."""


class InferenceCurve(TypedDict):
    """Prediction with one trained model."""

    trained_with: int
    """Crops."""
    split: str
    rows: list[InferenceRow]


class Fit(TypedDict):
    """A straight line with 95 % intervals."""

    intercept: Number
    slope: Number
    r2: Number | None
    intercept_interval: Interval
    slope_interval: Interval


class NotFitting(TypedDict):
    """A number of crops that did not fit into memory."""

    num_crops: int
    part: str
    """``training`` or ``prediction``."""
    why: str


class CropStudy(TypedDict):
    """``crop_study.json``."""

    format_version: int
    preset: str
    dataset: DatasetDigest
    config: dict[str, Any]
    steps: int | None
    """The length of each training, instead of ``config.epochs``."""
    device: str
    memory_is: str
    train_images: int
    training: list[TrainingRow]
    fits: dict[str, Fit]
    """Quantity → its line against ``num_crops``."""
    inference: InferenceCurve
    did_not_fit: list[NotFitting]


class BaselineCost(TypedDict):
    """Training of a resize-only baseline."""

    batch: int
    memory: Memory
    """One training step's."""
    step_time_s: Number | None
    epoch_time_s: Number | None
    """At this batch, over as many images as in the crop studies."""
    why: str | None
    """Why it was not measured; None if it was."""
