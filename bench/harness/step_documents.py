"""Typed schemas of the result documents of benches that measure the memory or time of training steps."""

from typing import TypedDict

from bench.harness.image_documents import Environment, Measured, Ranges
from shards.files.documents import Number

__all__ = ["Memory", "MemoryFit", "MemoryRow", "StepRow", "Train", "TrainRow"]


class StepRow(TypedDict):
    """The settings of a training step."""

    bench: str
    method: str
    preset: str
    backbone: str
    num_crops: int
    crop_chunk: int | None
    batch_size: int
    crop_size: int
    global_size: int
    settings: list[str]
    threads: int
    device: str
    precision: str


class MemoryFit(TypedDict):
    """A line fitted to the peak memory as a function of the number of crops."""

    preset: str
    method: str
    intercept_bytes: Number
    slope_bytes_per_crop: Number
    r_squared: Number
    crops: list[int]


class MemoryRow(StepRow):
    """The memory use of a training step, and its time if that was measured."""

    counted_by: str
    rounds: int
    step_time_s: Number | None
    spread: list[Number] | None
    peak_bytes: Number
    weights_bytes: Number
    gradients_bytes: Number
    optimiser_bytes: Number
    input_bytes: Number
    activations_bytes: Number
    activations_after_forward_bytes: Number
    kept_by_autograd_bytes: Number
    process_peak_bytes: Number | None


class Memory(Measured):
    """The document that ``bench memory`` writes."""

    fits: list[MemoryFit]
    rows: list[MemoryRow]


class TrainRow(StepRow):
    """Times and rates of a training step: times are medians over all steps; rates and their ratio are medians over the
    rounds."""

    data: str
    rounds: int
    steps: int
    step_s: Number
    data_wait_s: Number
    forward_s: Number
    backward_s: Number
    optimiser_s: Number
    images_per_s: Number
    loader_images_per_s: Number
    share_of_loader: Number
    ranges: Ranges


class Train(TypedDict):
    """The document that ``bench train`` writes."""

    bench: str
    environment: Environment
    rows: list[TrainRow]
