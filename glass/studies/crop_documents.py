"""Typed schema of ``crop_study.json``: cost and quality of training and prediction by number of crops."""

from typing import Any, TypedDict

from glass.config.dataset_digest import DatasetDigest
from shards.files.documents import Interval, Number

__all__ = ["BaselineCost", "CropStudy", "Fit", "InferenceCurve", "InferenceRow", "NotFitting", "TrainingRow"]

Memory = dict[str, Number]
"""Name of a memory measurement → bytes. The document's ``memory_is`` explains what is measured."""


class TrainingRow(TypedDict):
    """Cost of training with a given number of crops per image. Times are in seconds and are those of the epoch with the
    median duration. The first epoch is disregarded unless it is the only one."""

    num_crops: int
    step_time_s: Number
    """Mean duration of a step, including the time spent waiting for data."""
    epoch_time_s: Number
    """Duration of training and validation."""
    data_wait_s: Number
    images_per_s: Number
    epochs: int
    steps_per_epoch: int
    accuracy: Number | None
    """Highest validation accuracy of any epoch."""
    images_without_grid: int
    """Number of images whose grid has fewer cells than there are crops. Under the paper's rule, the crops of such
    images are placed uniformly at random."""
    memory: Memory
    """Memory used by one training step."""


class InferenceRow(TypedDict):
    """Quality and cost of prediction with a given number of crops per image."""

    num_crops: int
    images: int
    """Number of images that were scored."""
    metrics: dict[str, Number | None]
    intervals: dict[str, Interval]
    images_per_s: Number
    """Throughput of loader and model combined, in images per second, when images are scored in batches."""
    latency_s: Number
    """Median time that the model takes for a batch of one image, in seconds."""
    memory: Memory
    """Memory used by prediction on one batch."""


class InferenceCurve(TypedDict):
    """Measurements of prediction with a single trained model, one row per number of crops."""

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
    """A number of crops for which training or prediction did not fit in memory."""

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
    """Length of each training run in optimiser steps; null if each run lasted ``config.epochs`` epochs instead."""
    device: str
    memory_is: str
    train_images: int
    training: list[TrainingRow]
    fits: dict[str, Fit]
    """Name of a measured quantity → line fitted to it as a function of the number of crops."""
    inference: InferenceCurve
    did_not_fit: list[NotFitting]


class BaselineCost(TypedDict):
    """Cost of training a resize-only baseline."""

    batch: int
    memory: Memory
    """Memory used by one training step."""
    step_time_s: Number | None
    epoch_time_s: Number | None
    """Duration of an epoch with this batch size, on the same number of images as in the crop studies."""
    why: str | None
    """Why the cost was not measured; null if it was."""
