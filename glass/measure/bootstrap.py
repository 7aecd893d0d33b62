"""Percentile intervals for every metric by resampling scenes, and paired differences of two models.

A draw is a weight per sample, not a copy of samples: the scores are sorted once, and each metric of
a block of draws is a handful of cumulative sums over (draws, samples) arrays. 1,000 draws of 1,000
samples take about a tenth of a second. ``glass.measure.metrics.binary_metrics`` is the slow obvious
reference of :func:`weighted_metrics`; a test holds them together.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "FPR_LIMITS",
    "LEVEL",
    "LIKELIER",
    "NUM_ECE_BINS",
    "bootstrap_intervals",
    "checked_samples",
    "clusters",
    "expected_calibration_error",
    "paired_difference",
    "weighted_metrics",
]

NUM_ECE_BINS = 15
FPR_LIMITS = {"tpr_at_fpr_1": 0.01, "tpr_at_fpr_5": 0.05, "tpr_at_fpr_10": 0.10}
NLL_CLIP = 1e-7
LEVEL = 0.95
LIKELIER = 0.5
"""From this probability on "generated" is the likelier class, whatever the threshold."""

# Blocks of draws hold at most this many weights (8 bytes each, about ten arrays alive at a time).
MAX_WEIGHTS_PER_BLOCK = 2_000_000

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class _Sorted:
    """Samples in descending order of probability, with what the metrics need of each."""

    label: Array  # (n,) float64, 0 or 1
    probability: Array  # (n,) float64
    predicted: Array  # (n,) float64, 0 or 1
    confidence: Array  # (n,) float64, probability of the likelier class
    likelier_right: Array  # (n,) float64, 1 where that is the label
    tie_starts: Array  # first position of each run of equal probabilities
    cluster: Array  # (n,) int64, 0 … clusters - 1


def bootstrap_intervals(
    label: Array,
    probability: Array,
    draws: int = 1000,
    seed: int = 0,
    groups: Sequence[str] | Array | None = None,
    threshold: float = 0.5,
) -> dict[str, list[float] | None]:
    """95 % percentile intervals ``[low, high]`` of every metric of ``binary_metrics``.

    What is resampled, with replacement, is the *scene*: samples of one group are drawn together,
    because renderings of one scene err together and counting them as independent makes intervals
    too narrow. A sample with the group ``""``, or every sample where ``groups`` is None, is a scene
    of its own. Scenes are not drawn class by class: a class of few scenes, each in a stratum of its
    own, would never vary. A draw that misses what a metric needs is left out for that metric.

    A metric undefined in more than half the draws has the interval None. An interval of width zero
    says that no draw showed an error, not that there can be none.
    """
    table = _sort(label, probability, threshold, groups)
    blocks = [weighted_metrics_sorted(w, table) for w in _weights(table, draws, seed)]
    if not blocks:
        return {}
    return {name: _interval(np.concatenate([b[name] for b in blocks])) for name in blocks[0]}


def paired_difference(
    label: Array,
    probability: Array,
    baseline_probability: Array,
    metric: str = "auroc",
    draws: int = 1000,
    seed: int = 0,
    groups: Sequence[str] | Array | None = None,
) -> dict[str, Any]:
    """How much better one model is than another *on the same samples*, with its interval.

    Both models are measured on the same draws of scenes, so what the scenes have in common cancels:
    ``{"difference", "interval", "share_of_draws_above_zero"}``; None where undefined.
    """
    ours = _sort(label, probability, 0.5, groups)
    theirs = _sort(label, baseline_probability, 0.5, groups)
    unit = np.ones((1, len(ours.label)))
    point = weighted_metrics_sorted(unit, ours)[metric] - weighted_metrics_sorted(unit, theirs)[metric]
    differences = np.concatenate(
        [
            weighted_metrics_sorted(a, ours)[metric] - weighted_metrics_sorted(b, theirs)[metric]
            for a, b in zip(_weights(ours, draws, seed), _weights(theirs, draws, seed), strict=True)
        ]
        or [np.empty(0)]
    )
    defined = differences[np.isfinite(differences)]
    return {
        "difference": float(point[0]) if np.isfinite(point[0]) else None,
        "interval": _interval(differences),
        "share_of_draws_above_zero": float((defined > 0).mean()) if len(defined) else None,
    }


def weighted_metrics(label: Array, probability: Array, weights: Array, threshold: float = 0.5) -> dict[str, Array]:
    """Every metric for each row of ``weights`` (draws, n): (draws,) float64, NaN if undefined."""
    table = _sort(label, probability, threshold, None)
    return weighted_metrics_sorted(np.asarray(weights, float)[:, table.cluster], table)


def weighted_metrics_sorted(weights: Array, table: _Sorted) -> dict[str, Array]:
    """:func:`weighted_metrics` for ``weights`` already in the table's order."""
    correct = table.likelier_right
    with np.errstate(divide="ignore", invalid="ignore"):
        counts = _counts(weights, table)
        result = _threshold_metrics(counts)
        result |= _ranking_metrics(weights, table, counts["generated"], counts["real"])
        clipped = np.clip(table.probability, NLL_CLIP, 1 - NLL_CLIP)
        nll = -np.log(np.where(table.label == 1, clipped, 1 - clipped))
        result["ece"] = expected_calibration_error(table.confidence, correct, weights)
        result["brier"] = weights @ (table.probability - table.label) ** 2 / counts["all"]
        result["nll"] = weights @ nll / counts["all"]
        right, wrong = weights @ correct, weights @ (1 - correct)
        result["mean_confidence"] = weights @ table.confidence / counts["all"]
        result["mean_confidence_correct"] = weights @ (table.confidence * correct) / right
        result["mean_confidence_wrong"] = weights @ (table.confidence * (1 - correct)) / wrong
    return result


def expected_calibration_error(confidence: Array, correct: Array, weights: Array) -> Array:
    """Σ over bins of (share of samples) × |accuracy - mean confidence|, per row of ``weights``.

    15 bins of equal width over [0, 1]: bin i is [i/15, (i+1)/15), the last one closed, so that a
    confidence of exactly 1 counts (Guo et al. 2017 up to which edge is closed).
    """
    bins = np.minimum((confidence * NUM_ECE_BINS).astype(np.int64), NUM_ECE_BINS - 1)
    gaps = np.zeros((len(bins), NUM_ECE_BINS))
    gaps[np.arange(len(bins)), bins] = correct - confidence
    return np.abs(weights @ gaps).sum(axis=1) / weights.sum(axis=1)


def checked_samples(label: Array, probability: Array) -> tuple[Array, Array]:
    """(n,) int64 of 0 and 1, (n,) float64 in [0, 1]; ``ValueError`` for anything else."""
    label, probability = np.asarray(label), np.asarray(probability, dtype=np.float64)
    if label.ndim != 1 or label.shape != probability.shape:
        raise ValueError(f"labels {label.shape} and probabilities {probability.shape} must be (n,)")
    if not np.isin(label, (0, 1)).all():
        raise ValueError(f"labels must be 0 or 1, found {sorted(set(label.tolist()) - {0, 1})[:3]}")
    if not ((probability >= 0) & (probability <= 1)).all():
        raise ValueError("probabilities must be finite and from 0 to 1")
    return label.astype(np.int64), probability


def _sort(label: Array, probability: Array, threshold: float, groups: Sequence[str] | Array | None) -> _Sorted:
    label, probability = checked_samples(label, probability)
    order = np.argsort(-probability, kind="stable")
    label, probability = label[order].astype(float), probability[order]
    predicted = (probability >= threshold).astype(float)
    return _Sorted(
        label=label,
        probability=probability,
        predicted=predicted,
        confidence=np.maximum(probability, 1 - probability),
        likelier_right=((probability >= LIKELIER) == label).astype(float),
        tie_starts=np.flatnonzero(np.diff(probability, prepend=np.inf) != 0),
        cluster=clusters(groups, len(order))[order],
    )


def clusters(groups: Sequence[str] | Array | None, count: int) -> Array:
    """A number per sample, equal within a group; samples without a group are alone."""
    if groups is None:
        return np.arange(count)
    names = np.asarray(groups, dtype=object).astype(str)
    _, numbers = np.unique(names, return_inverse=True)
    alone = np.flatnonzero(names == "")
    numbers[alone] = count + alone
    return np.unique(numbers, return_inverse=True)[1]


def _weights(table: _Sorted, draws: int, seed: int) -> Iterator[Array]:
    """Blocks of (draws, n) weights: how often each draw holds the scene of each sample.

    Numbered by scene, not by position, so that two models' tables of one sample get the same draws.
    """
    if not len(table.label) or draws < 1:
        return
    num_scenes = int(table.cluster.max()) + 1
    stream = np.random.Generator(np.random.Philox(seed))
    block = max(1, MAX_WEIGHTS_PER_BLOCK // len(table.label))
    for start in range(0, draws, block):
        size = min(block, draws - start)
        picks = stream.integers(num_scenes, size=(size, num_scenes))
        picks += np.arange(size)[:, None] * num_scenes  # a separate range of bins per draw
        drawn = np.bincount(picks.ravel(), minlength=size * num_scenes)
        yield drawn.reshape(size, num_scenes)[:, table.cluster].astype(float)


def _counts(weights: Array, table: _Sorted) -> dict[str, Array]:
    """Weighted numbers of samples by label and by verdict, each (draws,)."""
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


def _ranking_metrics(weights: Array, table: _Sorted, generated: Array, real: Array) -> dict[str, Array]:
    """What depends on the order of the scores only, equal scores entering together."""
    hits = np.cumsum(np.add.reduceat(weights * table.label, table.tie_starts, axis=1), axis=1)
    alarms = np.cumsum(np.add.reduceat(weights * (1 - table.label), table.tie_starts, axis=1), axis=1)
    tpr, fpr = hits / generated[:, None], alarms / real[:, None]
    start = np.zeros((len(weights), 1))
    tpr_steps = np.diff(tpr, axis=1, prepend=start)
    both = hits + alarms
    precision = np.divide(hits, both, out=np.zeros_like(hits), where=both > 0)
    # Counts below are whole numbers, so equal rankings have equal areas to the last bit, and a
    # difference of two models that rank alike is 0.
    heights = np.concatenate([start, hits[:, :-1]], axis=1) + hits
    area = (np.diff(alarms, axis=1, prepend=start) * heights).sum(axis=1)
    undefined = (generated == 0) | (real == 0)
    result = {
        "ap": (tpr_steps * precision).sum(axis=1),
        "auroc": area / (2 * generated * real),
        "eer": _equal_error_rate(np.hstack([start, fpr]), np.hstack([start, tpr])),
    }
    for name, limit in FPR_LIMITS.items():
        # No interpolation: the rate of a threshold that exists and keeps the promise.
        result[name] = np.where(fpr <= limit, tpr, 0).max(axis=1)
    return {name: np.where(undefined, np.nan, value) for name, value in result.items()}


def _equal_error_rate(fpr: Array, tpr: Array) -> Array:
    """Where the false-positive rate equals the miss rate, straight lines between thresholds."""
    gap = fpr + tpr - 1  # FPR - miss rate: -1 at the first point, 1 at the last
    after = np.argmax(gap >= 0, axis=1)
    rows, before = np.arange(len(gap)), np.maximum(after - 1, 0)
    low, high = gap[rows, before], gap[rows, after]
    share = -low / (high - low)
    return fpr[rows, before] + share * (fpr[rows, after] - fpr[rows, before])


def _interval(values: Array) -> list[float] | None:
    defined = values[np.isfinite(values)]
    if len(defined) == 0 or 2 * len(defined) < len(values):
        return None
    low, high = np.percentile(defined, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return [float(low), float(high)]
