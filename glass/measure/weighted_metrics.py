"""Computes every metric of a detector for many weightings of the same samples at once.

A bootstrap draw is represented by a weight per sample rather than by a copy of the samples. The scores are sorted only
once. For a block of draws, each metric then requires only a handful of cumulative sums over (draws, samples) arrays.
With equal weights, the result is the ordinary, unweighted metric. A test compares these metrics with those of
scikit-learn.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "FPR_LIMITS",
    "METRIC_NAMES",
    "NUM_ECE_BINS",
    "SortedSamples",
    "checked_samples",
    "sorted_samples",
    "weighted_metrics",
    "weighted_metrics_sorted",
]

NUM_ECE_BINS = 15
FPR_LIMITS = {"tpr_at_fpr_1": 0.01, "tpr_at_fpr_5": 0.05, "tpr_at_fpr_10": 0.10}
NLL_CLIP = 1e-7
LIKELIER = 0.5
"""At or above this probability, "generated" is the likelier class, regardless of the threshold."""

METRIC_NAMES = (
    "accuracy",
    "balanced_accuracy",
    "accuracy_real",
    "accuracy_generated",
    "precision",
    "recall",
    "weighted_f1",
    "ap",
    "auroc",
    "eer",
    "tpr_at_fpr_1",
    "tpr_at_fpr_5",
    "tpr_at_fpr_10",
    "ece",
    "brier",
    "nll",
    "mean_confidence",
    "mean_confidence_correct",
    "mean_confidence_wrong",
)

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class SortedSamples:
    """Samples in descending order of probability, with the values from which the metrics are computed."""

    label: Array  # (n,) float64, 0 or 1
    probability: Array  # (n,) float64
    predicted: Array  # (n,) float64, 0 or 1
    confidence: Array  # (n,) float64, probability of the likelier class
    likelier_right: Array  # (n,) float64, 1 if that is the label
    tie_starts: Array  # first position of each run of equal probabilities
    cluster: Array  # (n,) int64, 0 … clusters - 1


def weighted_metrics(label: Array, probability: Array, weights: Array, threshold: float = 0.5) -> dict[str, Array]:
    """Computes every metric in METRIC_NAMES for each row of ``weights`` (draws, n), as (draws,) float64; NaN if
    undefined.

    ``label`` (n,) is 0 or 1, and ``probability`` (n,) is in [0, 1]; other values raise ``ValueError``.

    * ``recall`` is the same as ``accuracy_generated``.
    * ``balanced_accuracy`` is the mean of the two classes' accuracies.
    * ``weighted_f1`` is the mean of the two classes' F1 scores, weighted by class counts. A class without hits has an
      F1 of 0.
    * ``eer`` is the rate at which the false-positive rate equals the miss rate, linearly interpolated between
      thresholds.
    * ``tpr_at_fpr_N`` is the highest detection rate among thresholds whose false-positive rate on these samples is at
      most N %, without interpolation.
    * ``ece`` uses 15 equal-width bins of confidence over [0, 1], the last one closed.
    * ``brier`` is the mean squared error of the probability.
    * ``nll`` is in nats, with probabilities clipped to [1e-7, 1 - 1e-7].

    *Confidence* is the probability of the likelier class. For the confidence metrics, an image counts as correctly
    classified if the likelier class is its label, regardless of the threshold.
    """
    table = sorted_samples(label, probability, threshold, None)
    return weighted_metrics_sorted(np.asarray(weights, float)[:, table.cluster], table)


def weighted_metrics_sorted(weights: Array, table: SortedSamples) -> dict[str, Array]:
    """Computes :func:`weighted_metrics` for samples that have been sorted into ``table``.

    The columns of ``weights`` (draws, n) must be in the order of ``table``.
    """
    correct = table.likelier_right
    with np.errstate(divide="ignore", invalid="ignore"):
        counts = _counts(weights, table)
        result = _threshold_metrics(counts)
        result |= _ranking_metrics(weights, table, counts["generated"], counts["real"])
        clipped = np.clip(table.probability, NLL_CLIP, 1 - NLL_CLIP)
        nll = -np.log(np.where(table.label == 1, clipped, 1 - clipped))
        result["ece"] = _calibration_error(table.confidence, correct, weights)
        result["brier"] = weights @ (table.probability - table.label) ** 2 / counts["all"]
        result["nll"] = weights @ nll / counts["all"]
        right, wrong = weights @ correct, weights @ (1 - correct)
        result["mean_confidence"] = weights @ table.confidence / counts["all"]
        result["mean_confidence_correct"] = weights @ (table.confidence * correct) / right
        result["mean_confidence_wrong"] = weights @ (table.confidence * (1 - correct)) / wrong
    return result


def sorted_samples(label: Array, probability: Array, threshold: float, cluster: Array | None = None) -> SortedSamples:
    """Sorts the samples and prepares them for :func:`weighted_metrics_sorted`.

    ``cluster`` (n,) holds each sample's scene index; if None, each sample is its own scene.
    """
    label, probability = checked_samples(label, probability)
    order = np.argsort(-probability, kind="stable")
    label, probability = label[order].astype(float), probability[order]
    predicted = (probability >= threshold).astype(float)
    return SortedSamples(
        label=label,
        probability=probability,
        predicted=predicted,
        confidence=np.maximum(probability, 1 - probability),
        likelier_right=((probability >= LIKELIER) == label).astype(float),
        tie_starts=np.flatnonzero(np.diff(probability, prepend=np.inf) != 0),
        cluster=order if cluster is None else cluster[order],
    )


def checked_samples(label: Array, probability: Array) -> tuple[Array, Array]:
    """Validates ``label`` and ``probability``, and returns them as (n,) int64 and (n,) float64.

    Raises ``ValueError`` if they are not (n,) arrays of the same length, if a label is not 0 or 1, or if a probability
    is not in [0, 1].
    """
    label, probability = np.asarray(label), np.asarray(probability, dtype=np.float64)
    if label.ndim != 1 or label.shape != probability.shape:
        raise ValueError(f"labels {label.shape} and probabilities {probability.shape} must be (n,)")
    if not np.isin(label, (0, 1)).all():
        raise ValueError(f"labels must be 0 or 1, found {sorted(set(label.tolist()) - {0, 1})[:3]}")
    if not ((probability >= 0) & (probability <= 1)).all():
        raise ValueError("probabilities must be finite and from 0 to 1")
    return label.astype(np.int64), probability


def _counts(weights: Array, table: SortedSamples) -> dict[str, Array]:
    """Returns weighted counts of samples by label and verdict, each of shape (draws,)."""
    label, predicted = table.label, table.predicted
    counts = {
        "all": weights.sum(axis=1),
        "generated": weights @ label,
        "flagged": weights @ predicted,
        "hits": weights @ (label * predicted),
    }
    counts["real"] = counts["all"] - counts["generated"]
    counts["passed"] = counts["all"] - counts["flagged"]
    counts["real_passed"] = counts["real"] - counts["flagged"] + counts["hits"]
    return counts


def _threshold_metrics(counts: dict[str, Array]) -> dict[str, Array]:
    hits, real_passed = counts["hits"], counts["real_passed"]
    recall, specificity = hits / counts["generated"], real_passed / counts["real"]
    f1_generated = 2 * hits / (counts["generated"] + counts["flagged"])
    f1_real = 2 * real_passed / (counts["real"] + counts["passed"])
    weighted = counts["generated"] * np.nan_to_num(f1_generated)
    weighted += counts["real"] * np.nan_to_num(f1_real)
    return {
        "accuracy": (hits + real_passed) / counts["all"],
        "balanced_accuracy": (recall + specificity) / 2,
        "accuracy_real": specificity,
        "accuracy_generated": recall,
        "precision": hits / counts["flagged"],
        "recall": recall,
        "weighted_f1": weighted / counts["all"],
    }


def _ranking_metrics(weights: Array, table: SortedSamples, generated: Array, real: Array) -> dict[str, Array]:
    """Computes the metrics that depend only on how the scores rank the samples. Samples with equal scores share a
    rank."""
    hits = np.cumsum(np.add.reduceat(weights * table.label, table.tie_starts, axis=1), axis=1)
    alarms = np.cumsum(np.add.reduceat(weights * (1 - table.label), table.tie_starts, axis=1), axis=1)
    tpr, fpr = hits / generated[:, None], alarms / real[:, None]
    start = np.zeros((len(weights), 1))
    tpr_steps = np.diff(tpr, axis=1, prepend=start)
    both = hits + alarms
    precision = np.divide(hits, both, out=np.zeros_like(hits), where=both > 0)
    # The counts here are whole numbers, so identical rankings yield bit-identical areas, and the difference between
    # two models with the same ranking is exactly 0.
    heights = np.concatenate([start, hits[:, :-1]], axis=1) + hits
    area = (np.diff(alarms, axis=1, prepend=start) * heights).sum(axis=1)
    undefined = (generated == 0) | (real == 0)
    result = {
        "ap": (tpr_steps * precision).sum(axis=1),
        "auroc": area / (2 * generated * real),
        "eer": _equal_error_rate(np.hstack([start, fpr]), np.hstack([start, tpr])),
    }
    for name, limit in FPR_LIMITS.items():
        # No interpolation: this is the rate of an actual threshold that stays within the limit.
        result[name] = np.where(fpr <= limit, tpr, 0).max(axis=1)
    return {name: np.where(undefined, np.nan, value) for name, value in result.items()}


def _equal_error_rate(fpr: Array, tpr: Array) -> Array:
    """Returns the rate at which the false-positive rate equals the miss rate, linearly interpolated between
    thresholds."""
    gap = fpr + tpr - 1  # FPR - miss rate: -1 at the first point, 1 at the last
    after = np.argmax(gap >= 0, axis=1)
    rows, before = np.arange(len(gap)), np.maximum(after - 1, 0)
    low, high = gap[rows, before], gap[rows, after]
    share = -low / (high - low)
    return fpr[rows, before] + share * (fpr[rows, after] - fpr[rows, before])


def _calibration_error(confidence: Array, correct: Array, weights: Array) -> Array:
    """Returns Σ over bins of (fraction of samples in the bin) × |accuracy - mean confidence|, for each row of
    ``weights`` (draws, n).

    There are 15 equal-width bins over [0, 1]. Bin i is [i/15, (i+1)/15), except that the last one also includes a
    confidence of exactly 1. Guo et al. (2017) close the bins at the upper edge instead.
    """
    bins = np.minimum((confidence * NUM_ECE_BINS).astype(np.int64), NUM_ECE_BINS - 1)
    gaps = np.zeros((len(bins), NUM_ECE_BINS))
    gaps[np.arange(len(bins)), bins] = correct - confidence
    return np.abs(weights @ gaps).sum(axis=1) / weights.sum(axis=1)
