"""Measures how well a calibration's threshold, promise and band of doubt hold on images that it was not fitted to.

The promise is the highest false-alarm rate that a calibration allows. The threshold was chosen on a few hundred real
images, and a test set contains only a few hundred as well, so the measured rate may exceed the promised one by chance
alone. :func:`glass.measure.rates.expected_counts` returns the range of counts that chance can explain. On the images
used to choose the threshold, the promise holds by construction, so it is not measured there.
"""

from pathlib import Path
from typing import Annotated, NotRequired, TypedDict

import numpy as np
import pyarrow as pa
from msgspec import Meta

from glass.config.dataset_digest import dataset_json_sha256
from glass.measure.calibration import Calibration, CalibrationData, MeasuredRate, ViewSettings, sigmoid
from glass.measure.metrics import binary_metrics
from glass.measure.rates import accuracy_interval, expected_counts, rate_interval
from shards.files.documents import Interval, Number

__all__ = [
    "FEWER",
    "IN_SAMPLE",
    "KEPT",
    "NOT_KEPT",
    "THRESHOLD",
    "UNCALIBRATED",
    "AppliedCalibration",
    "Promise",
    "Quality",
    "applicable",
    "calibrated_results",
    "chosen_here",
    "decision_threshold",
    "why_not_applicable",
]

THRESHOLD = 0.5
UNCALIBRATED = "fixed at 0.5, not calibrated"
IN_SAMPLE = "chosen on these very images"
KEPT, FEWER, NOT_KEPT = "kept", "fewer than promised", "not kept"


class Quality(TypedDict):
    """Three measures of how well probabilities match the labels."""

    ece: Number | None
    nll: Number | None
    brier: Number | None


class _CalibratedOn(TypedDict):
    images: int
    false_alarms: int


class Promise(TypedDict):
    """The promised and the measured false-alarm rate."""

    max_fpr: Number
    calibrated_on: _CalibratedOn
    """Number of real images used to choose the threshold, and number of false alarms among them."""
    images: int
    """Number of real images in this split."""
    false_alarms: int
    """Number of real images in this split that are called generated."""
    rate: Number
    interval: Interval
    expected: Annotated[list[int], Meta(min_length=2, max_length=2)]
    """[low, high]: the range of false-alarm counts that chance alone can explain (95 % prediction interval)."""
    verdict: str


class Uncertain(TypedDict):
    """The fraction of each class's images whose verdict is "uncertain"."""

    real: Number | None
    generated: Number | None


class Decided(TypedDict):
    """Results on the images outside the band of doubt."""

    images: int
    accuracy: Number | None
    interval: Interval


class AppliedCalibration(TypedDict):
    """The calibration used to compute an evaluation's probabilities, and its effect on the results."""

    temperature: Number
    false_alarms: MeasuredRate
    real_below: NotRequired[Number]
    """Lower end of the band of doubt: from this probability up to the threshold, the verdict is "uncertain". Absent in
    older documents, as are ``data``, ``in_sample``, ``cautious``, ``promise``, ``uncertain`` and ``decided``."""
    data: NotRequired[CalibrationData]
    in_sample: NotRequired[bool]
    """Whether the threshold was chosen on images from the evaluated split."""
    cautious: NotRequired[bool]
    """Whether the probabilities fit the calibration images worse than the raw scores do, because so few images justify
    only cautious probabilities."""
    promise: NotRequired[Promise | None]
    """Null if ``in_sample`` is true, or if there are no real images."""
    uncertain: NotRequired[Uncertain]
    decided: NotRequired[Decided]
    before: Quality
    """Quality of the raw scores on this split."""
    after: Quality


def chosen_here(calibration: Calibration, data: Path, split: str) -> bool:
    """Whether the threshold was chosen on images in ``split`` of the data set at ``data``."""
    chosen = calibration.data
    if chosen.get("dataset_json_sha256") != dataset_json_sha256(data):
        return False
    return not set(split.split("+")).isdisjoint(str(chosen.get("split", "")).split("+"))


def applicable(calibration: Calibration | None, views: ViewSettings) -> Calibration | None:
    """Returns ``calibration`` if it applies to scores computed with ``views``, else None."""
    return None if calibration is None or why_not_applicable(calibration, views) else calibration


def why_not_applicable(calibration: Calibration, views: ViewSettings) -> str | None:
    """Returns a message saying why ``calibration`` does not apply to scores computed with ``views``, or None if it
    does."""
    if calibration.is_at_bound:
        return (
            f"the calibration beside the model has a temperature of {calibration.temperature:.4g},"
            " the end of its range, so it does not fit the model's scores"
        )
    if calibration.views != views:
        return f"the model is calibrated for {calibration.views}, not for {views}"
    return None


def decision_threshold(
    calibration: Calibration | None, views: ViewSettings, data: Path, split: str
) -> tuple[float, str]:
    """Returns (threshold, description of its origin) for a model evaluated with ``views`` on ``split``.

    ``data`` is the data set's folder.
    """
    if calibration is None:
        return THRESHOLD, UNCALIBRATED
    if why_not := why_not_applicable(calibration, views):
        return THRESHOLD, f"fixed at 0.5: {why_not}"
    source = (
        f"at most {100 * calibration.max_fpr:.3g} % false alarms on {calibration.data['real']} real images"
        f" of {calibration.data.get('split', 'another split')}"
    )
    if chosen_here(calibration, data, split):
        source = f"{IN_SAMPLE}, so every result that depends on it looks too good: {source}"
    return calibration.threshold, source


def calibrated_results(calibration: Calibration, table: pa.Table, data: Path, split: str) -> AppliedCalibration:
    """Returns the ``calibration`` entry for an evaluation of ``split``.

    ``table`` must follow PREDICTION_SCHEMA and hold calibrated probabilities. ``data`` is the data set's folder.
    """
    label, probability = table["label"].to_numpy(), table["probability"].to_numpy()
    groups = table["group"].to_numpy(zero_copy_only=False)
    logits = np.array(table["logits"].to_pylist(), np.float64)
    raw, flagged = sigmoid(logits[:, 1] - logits[:, 0]), probability >= calibration.threshold
    doubtful = ~flagged & (probability >= calibration.real_below)
    right = (flagged == (label == 1))[~doubtful]
    real, in_sample = label == 0, chosen_here(calibration, data, split)
    return {
        "temperature": calibration.temperature,
        "false_alarms": calibration.false_alarms,
        "real_below": calibration.real_below,
        "data": calibration.data,
        "in_sample": in_sample,
        "cautious": calibration.is_cautious,
        "promise": None if in_sample else _promise(calibration, flagged[real], groups[real]),
        "uncertain": {"real": _share(doubtful[real]), "generated": _share(doubtful[~real])},
        "decided": {
            "images": len(right),
            "accuracy": _share(right),
            "interval": accuracy_interval(right, label[~doubtful], groups[~doubtful]),
        },
        "before": _quality(label, raw),
        "after": _quality(label, probability),
    }


def _quality(label: np.ndarray, probability: np.ndarray) -> Quality:
    metrics = binary_metrics(label, probability)
    return {"ece": metrics["ece"], "nll": metrics["nll"], "brier": metrics["brier"]}


def _promise(calibration: Calibration, alarms: np.ndarray, groups: np.ndarray) -> Promise | None:
    """Compares the promised rate with the measured one; returns None if there are no real images."""
    images, count = len(alarms), int(alarms.sum())
    if not images:
        return None
    low, high = expected_counts(calibration.num_alarms, calibration.data["real"], images)
    if count > max(high, calibration.max_fpr * images):
        verdict = NOT_KEPT
    else:
        verdict = FEWER if count < low else KEPT
    return {
        "max_fpr": calibration.max_fpr,
        "calibrated_on": {"images": calibration.data["real"], "false_alarms": calibration.num_alarms},
        "images": images,
        "false_alarms": count,
        "rate": count / images,
        "interval": rate_interval(alarms, groups),
        "expected": [low, high],
        "verdict": verdict,
    }


def _share(chosen: np.ndarray) -> float | None:
    return float(chosen.mean()) if len(chosen) else None
