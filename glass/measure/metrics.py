"""Computes a detector's metrics, ROC curve and reliability from labels and probabilities.

The positive class is "generated" (label 1), and ``probability`` is the probability of this class. A metric that is
undefined for the given samples (e.g. AUROC if there is only one class, or precision if nothing is flagged) is None,
never NaN, because JSON has no NaN.
"""

from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
import numpy.typing as npt

from glass.measure.weighted_metrics import METRIC_NAMES, NUM_ECE_BINS, checked_samples, weighted_metrics
from shards.files.documents import Interval, Number

__all__ = ["MetricIntervals", "Metrics", "ReliabilityBin", "Roc", "binary_metrics", "reliability_bins", "roc_points"]

Array = npt.NDArray[Any]

if TYPE_CHECKING:  # for mypy, since code reads these by metric names that are not literals
    Metrics = dict[str, float | None]
    MetricIntervals = dict[str, list[float] | None]
else:
    Metrics = TypedDict("Metrics", dict.fromkeys(METRIC_NAMES, Number | None))
    MetricIntervals = TypedDict("MetricIntervals", dict.fromkeys(METRIC_NAMES, Interval))


class Roc(TypedDict):
    """Points of a ROC curve, see :func:`roc_points`."""

    fpr: list[Number]
    tpr: list[Number]
    threshold: list[Number]


class ReliabilityBin(TypedDict):
    """Images whose probability of "generated" falls into one bin."""

    low: Number
    high: Number
    count: int
    """Number of images in the bin."""
    mean_probability: Number
    share_generated: Number


def binary_metrics(label: Array, probability: Array, threshold: float = 0.5) -> Metrics:
    """Returns the metrics listed in ``METRIC_NAMES`` as floats. Undefined metrics are None, as are all metrics if there
    are no samples.

    Raises ``ValueError`` unless ``label`` (n,) contains only 0 and 1, and ``probability`` (n,) only values in [0, 1].
    An image is flagged as generated if its probability is at least ``threshold``. For the definitions, see
    :func:`glass.measure.weighted_metrics.weighted_metrics`.
    """
    label, probability = checked_samples(label, probability)
    if len(label) == 0:
        return dict.fromkeys(METRIC_NAMES)
    values = weighted_metrics(label, probability, np.ones((1, len(label))), threshold)
    return {name: float(values[name][0]) if np.isfinite(values[name][0]) else None for name in METRIC_NAMES}


def roc_points(label: Array, probability: Array, max_points: int = 1001) -> Roc | None:
    """Returns the ROC curve from (0, 0) to (1, 1), in order of descending threshold; None if only one class is present.

    Points inside straight segments are omitted. If more than ``max_points`` points remain, about ``max_points`` of them
    are kept, evenly spaced along the curve. Each point's threshold is a value in ``probability``, except for the first:
    its threshold is 1 + the highest probability, above every score.
    """
    label, probability = checked_samples(label, probability)
    if not 0 < label.sum() < len(label):
        return None
    order = np.argsort(-probability, kind="stable")
    label, probability = label[order], probability[order]
    last = np.append(np.flatnonzero(np.diff(probability)), len(probability) - 1)  # the last of each run of equal scores
    hits = np.cumsum(label)[last]
    alarms = 1 + last - hits
    bends = (np.diff(hits, 2) != 0) | (np.diff(alarms, 2) != 0)
    corner = np.concatenate([[True], bends, [True]])[: len(last)]
    fpr, tpr = (np.append(0, count[corner]) / count[-1] for count in (alarms, hits))
    threshold = np.append(1 + probability[0], probability[last][corner])
    along = np.linspace(0, 2, max_points)
    keep = np.unique(np.minimum(np.searchsorted(fpr + tpr, along), len(fpr) - 1))
    if len(fpr) > max_points:
        fpr, tpr, threshold = fpr[keep], tpr[keep], threshold[keep]
    return {"fpr": fpr.tolist(), "tpr": tpr.tolist(), "threshold": threshold.tolist()}


def reliability_bins(label: Array, probability: Array) -> list[ReliabilityBin]:
    """Sorts the probabilities of "generated" into 15 equal-width bins over [0, 1], and returns the fraction of
    generated images in each bin.

    Empty bins are left out. The probability is binned rather than the confidence, so that a bias towards one class is
    visible.
    """
    label, probability = checked_samples(label, probability)
    numbers = np.minimum((probability * NUM_ECE_BINS).astype(np.int64), NUM_ECE_BINS - 1)
    return [
        {
            "low": number / NUM_ECE_BINS,
            "high": (number + 1) / NUM_ECE_BINS,
            "count": int(inside.sum()),
            "mean_probability": float(probability[inside].mean()),
            "share_generated": float(label[inside].mean()),
        }
        for number in range(NUM_ECE_BINS)
        if (inside := numbers == number).any()
    ]
