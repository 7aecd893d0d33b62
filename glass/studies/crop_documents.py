"""Typed schema of ``crop_study.json``: what training and prediction cost and achieve with each number of crops."""

from typing import Any, TypedDict

from glass.config.dataset_digest import DatasetDigest
from shards.files.documents import Interval, Number

__all__ = ["BaselineCost", "CropStudy", "Fit", "InferenceCurve", "InferenceRow", "NotFitting", "TrainingRow"]

Memory = dict[str, Number]
"""Maps memory measurements to bytes. The document's ``memory_is`` explains what is measured."""


class TrainingRow(TypedDict):
    """Training cost with a given number of crops per image. Times are in seconds, from the epoch with the median
    duration. The first epoch is ignored unless it is the only one.
    """

    num_crops: int
    step_time_s: Number
    """Mean step duration, including time spent waiting for data."""
    epoch_time_s: Number
    """Training and validation time."""
    data_wait_s: Number
    images_per_s: Number
    epochs: int
    steps_per_epoch: int
    accuracy: Number | None
    """Highest validation accuracy over all epochs."""
    images_without_grid: int
    """Number of images whose grid has fewer cells than there are crops. Under the paper's rule, their crops are placed
    uniformly at random."""
    memory: Memory
    """Memory used by one training step."""


class InferenceRow(TypedDict):
    """Prediction quality and cost with a given number of crops per image."""

    num_crops: int
    images: int
    """Number of images that were scored."""
    metrics: dict[str, Number | None]
    intervals: dict[str, Interval]
    images_per_s: Number
    """Combined throughput of loader and model for batched prediction, in images per second."""
    latency_s: Number
    """Median time, in seconds, that the model takes for a single image."""
    memory: Memory
    """Memory used to predict on one batch."""


class InferenceCurve(TypedDict):
    """Prediction measurements for a single trained model, with one row per number of crops."""

    trained_with: int
    """Number of crops that the model was trained with."""
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
    """A number of crops with which training or prediction did not fit in memory."""

    num_crops: int
    part: str
    """``training`` or ``prediction``."""
    why: str


class CropStudy(TypedDict):
    """The contents of ``crop_study.json``."""

    format_version: int
    preset: str
    dataset: DatasetDigest
    config: dict[str, Any]
    steps: int | None
    """Length of each training run in optimiser steps; null if each run lasted ``config.epochs`` epochs instead."""
    device: str
    memory_is: str
    train_images: int
    training: list[TrainingRow]
    fits: dict[str, Fit]
    """Maps each measured quantity to the line fitted to it as a function of the number of crops."""
    inference: InferenceCurve
    did_not_fit: list[NotFitting]


class BaselineCost(TypedDict):
    """Training cost of a resize-only baseline."""

    batch: int
    memory: Memory
    """Memory used by one training step."""
    step_time_s: Number | None
    epoch_time_s: Number | None
    """Epoch duration with this batch size, on as many images as in the crop studies."""
    why: str | None
    """Why the cost was not measured; null if it was."""
