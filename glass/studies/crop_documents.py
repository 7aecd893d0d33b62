"""The types of ``crop_study.json`` and its parts: cost and quality of training and prediction by number of crops."""

from typing import Any, TypedDict

from glass.config.dataset_digest import DatasetDigest
from shards.files.documents import Interval, Number

__all__ = ["BaselineCost", "CropStudy", "Fit", "InferenceCurve", "InferenceRow", "NotFitting", "TrainingRow"]

Memory = dict[str, Number]
"""Name of a count → bytes. ``memory_is`` of the document explains the counts."""


class TrainingRow(TypedDict):
    """Training with one number of crops. Times are those of the epoch of median duration."""

    num_crops: int
    step_time_s: Number
    """Mean duration of a step, including the wait for data."""
    epoch_time_s: Number
    """Duration of training and validation."""
    data_wait_s: Number
    images_per_s: Number
    epochs: int
    steps_per_epoch: int
    accuracy: Number | None
    """Validation accuracy of the best epoch."""
    images_without_grid: int
    """Images whose grid has fewer cells than crops. By the paper's rule, the crops of such images are placed
    uniformly."""
    memory: Memory
    """Memory of one training step."""


class InferenceRow(TypedDict):
    """Prediction with one number of crops."""

    num_crops: int
    images: int
    """Number of images scored."""
    metrics: dict[str, Number | None]
    intervals: dict[str, Interval]
    images_per_s: Number
    """Speed of loader and model together, in batches."""
    latency_s: Number
    """Median time of the model on a batch of one image."""
    memory: Memory
    """Memory of one batch."""


class InferenceCurve(TypedDict):
    """Prediction with one trained model, for each number of crops."""

    trained_with: int
    """Number of crops with which the model was trained."""
    split: str
    rows: list[InferenceRow]


class Fit(TypedDict):
    """A straight line fitted by least squares, with 95 % intervals."""

    intercept: Number
    slope: Number
    r2: Number | None
    intercept_interval: Interval
    slope_interval: Interval


class NotFitting(TypedDict):
    """A number of crops that needed more memory than there was."""

    num_crops: int
    part: str
    """``training`` or ``prediction``."""
    why: str


class CropStudy(TypedDict):
    """The content of ``crop_study.json``."""

    format_version: int
    preset: str
    dataset: DatasetDigest
    config: dict[str, Any]
    steps: int | None
    """Length of each training in optimiser steps; null: ``config.epochs`` epochs."""
    device: str
    memory_is: str
    train_images: int
    training: list[TrainingRow]
    fits: dict[str, Fit]
    """Measured quantity → straight line through its values against ``num_crops``."""
    inference: InferenceCurve
    did_not_fit: list[NotFitting]


class BaselineCost(TypedDict):
    """Cost of training a resize-only baseline."""

    batch: int
    memory: Memory
    """Memory of one training step."""
    step_time_s: Number | None
    epoch_time_s: Number | None
    """Duration of an epoch at this batch, over as many images as in the crop studies."""
    why: str | None
    """Why it was not measured; null if it was."""
