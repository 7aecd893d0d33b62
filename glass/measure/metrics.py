"""How good is a detector: metrics of labels and probabilities, one row per generator.

The positive class is "generated" (label 1); ``probability`` is the probability of it. Definitions
that differ between papers are stated at the function. A metric that is undefined for a sample (the
AUROC of one class, the precision when nothing is flagged) is None, never NaN: JSON has no NaN.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn import metrics as sk

from glass.measure.bootstrap import (
    FPR_LIMITS,
    LIKELIER,
    NLL_CLIP,
    NUM_ECE_BINS,
    bootstrap_intervals,
    checked_samples,
    expected_calibration_error,
    paired_difference,
)
from glass.measure.rates import metric_intervals, rate_interval

__all__ = [
    "GENERATOR_METRICS",
    "METRIC_NAMES",
    "UNNAMED",
    "binary_metrics",
    "bootstrap_intervals",
    "paired_difference",
    "per_generator",
    "reliability_bins",
    "roc_points",
]

Array = npt.NDArray[Any]
Metrics = dict[str, float | None]

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

GENERATOR_METRICS = ("auroc", "ap", *FPR_LIMITS, "recall")
"""What a row of :func:`per_generator` holds."""

UNNAMED = "(unnamed)"
"""Row of the generated images whose generator is not known."""


def binary_metrics(label: Array, probability: Array, threshold: float = 0.5) -> Metrics:
    """The metrics of ``METRIC_NAMES`` as floats, None where undefined (all None without samples).

    ``label`` (n,) of 0 and 1; ``probability`` (n,) in [0, 1]; an image is flagged as generated when
    its probability is at least ``threshold``. Raises ``ValueError`` for anything else.

    ``recall`` = ``accuracy_generated``; ``balanced_accuracy`` is the mean of both classes'
    accuracies; ``weighted_f1`` weighs both classes' F1 by their counts, an F1 of no hits being 0.
    ``eer`` is where the false-positive rate meets the miss rate, linear between thresholds.
    ``tpr_at_fpr_N`` is the highest detection rate of a threshold whose false-positive rate on this
    sample is at most N %, never interpolated beyond it. *Confidence* is the probability of the
    likelier class, and right where that is the label: neither depends on the threshold. ``ece`` uses
    15 equal-width bins of it, the last one closed. ``brier`` is the mean squared error of the
    probability; ``nll`` is in nats, probabilities clipped to [1e-7, 1 - 1e-7].
    """
    label, probability = checked_samples(label, probability)
    result: Metrics = dict.fromkeys(METRIC_NAMES)
    if len(label) == 0:
        return result
    predicted = (probability >= threshold).astype(np.int64)
    result |= _verdict_metrics(label, predicted)
    if 0 < label.sum() < len(label):
        result |= _ranking_metrics(label, probability)
    result |= _probability_metrics(label, probability)
    return {name: None if value is None else float(value) for name, value in result.items()}


def roc_points(label: Array, probability: Array, max_points: int = 1001) -> dict[str, list[float]] | None:
    """``{"fpr", "tpr", "threshold"}`` from (0, 0) to (1, 1) by falling threshold, or None.

    Points in the middle of a straight stretch are left out, and of a longer curve the about
    ``max_points`` that lie evenly along it are kept: every point is a threshold that exists. The
    first threshold, above every score, is written as 1 + the highest probability. None where only
    one class is there.
    """
    label, probability = checked_samples(label, probability)
    if not 0 < label.sum() < len(label):
        return None
    fpr, tpr, threshold = sk.roc_curve(label, probability)
    threshold[0] = 1 + probability.max()
    along = np.linspace(0, 2, max_points)
    keep = np.unique(np.minimum(np.searchsorted(fpr + tpr, along), len(fpr) - 1))
    if len(fpr) > max_points:
        fpr, tpr, threshold = fpr[keep], tpr[keep], threshold[keep]
    return {"fpr": fpr.tolist(), "tpr": tpr.tolist(), "threshold": threshold.tolist()}


def reliability_bins(label: Array, probability: Array) -> list[dict[str, float | int]]:
    """15 equal bins of the probability of "generated": how often it was right to be so sure.

    Each non-empty bin: ``low``, ``high``, ``count``, ``mean_probability``, ``share_generated``.
    Over probability, not confidence, so that leaning towards one class shows.
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


def per_generator(
    label: Array,
    probability: Array,
    generator: Sequence[str] | Array,
    threshold: float = 0.5,
    draws: int = 1000,
    seed: int = 0,
    groups: Sequence[str] | Array | None = None,
) -> dict[str, Any]:
    """One row per generator, its images against *all* real ones; the real images apart.

    ``generator`` (n,) names, "" for real images (of a generated image: ``UNNAMED``). Returns

    - ``generators``: name → ``images``, the metrics of ``GENERATOR_METRICS``, ``mean_probability``
      and ``intervals`` (metric → [low, high] or None), sorted by name;
    - ``real``: ``images``, ``false_positive_rate``, ``mean_probability``, ``intervals``;
    - ``mean`` and ``minimum`` over generators of each metric (each generator counts once, however
      many images it has), and ``worst``, the generator of the lowest AUROC.
    """
    label, probability = checked_samples(label, probability)
    names = np.asarray(generator, dtype=object).astype(str)
    names = np.where((label == 1) & (names == ""), UNNAMED, names)
    scenes = None if groups is None else np.asarray(groups, dtype=object)
    real = label == 0
    rows = {}
    for name in sorted(set(names[~real])):
        keep = real | ((names == name) & ~real)
        rows[str(name)] = _row(
            label[keep], probability[keep], threshold, draws, seed, None if scenes is None else scenes[keep]
        )
    return {
        "generators": rows,
        "real": _real_row(probability[real], threshold, None if scenes is None else scenes[real]),
        **_over_generators(rows),
    }


def _row(
    label: Array, probability: Array, threshold: float, draws: int, seed: int, groups: Array | None
) -> dict[str, Any]:
    values = binary_metrics(label, probability, threshold)
    intervals = metric_intervals(label, probability, draws, seed, groups, threshold)
    return {
        "images": int(label.sum()),
        **{name: values[name] for name in GENERATOR_METRICS},
        "mean_probability": float(probability[label == 1].mean()),
        "intervals": {name: intervals.get(name) for name in GENERATOR_METRICS},
    }


def _real_row(probability: Array, threshold: float, groups: Array | None) -> dict[str, Any]:
    """False alarms do not depend on the generator, so they have a row of their own."""
    alarms = probability >= threshold
    return {
        "images": len(probability),
        "false_positive_rate": float(alarms.mean()) if len(alarms) else None,
        "mean_probability": float(probability.mean()) if len(alarms) else None,
        "intervals": {"false_positive_rate": rate_interval(alarms, groups)},
    }


def _over_generators(rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    mean: Metrics = dict.fromkeys(GENERATOR_METRICS)
    minimum: Metrics = dict.fromkeys(GENERATOR_METRICS)
    for name in GENERATOR_METRICS:
        values = [row[name] for row in rows.values() if row[name] is not None]
        if values:
            mean[name], minimum[name] = float(np.mean(values)), float(min(values))
    ranked = [name for name in rows if rows[name]["auroc"] is not None]
    worst = min(ranked, key=lambda name: rows[name]["auroc"], default=None)
    return {"mean": mean, "minimum": minimum, "worst": worst}


def _verdict_metrics(label: Array, predicted: Array) -> Metrics:
    """What depends on the threshold alone."""
    right = label == predicted
    generated, real = label == 1, label == 0
    recall = right[generated].mean() if generated.any() else None
    specificity = right[real].mean() if real.any() else None
    both = recall is not None and specificity is not None
    return {
        "accuracy": sk.accuracy_score(label, predicted),
        "balanced_accuracy": sk.balanced_accuracy_score(label, predicted) if both else None,
        "accuracy_real": specificity,
        "accuracy_generated": recall,
        "precision": sk.precision_score(label, predicted) if predicted.any() else None,
        "recall": recall,
        "weighted_f1": sk.f1_score(label, predicted, average="weighted", zero_division=0),
    }


def _ranking_metrics(label: Array, probability: Array) -> Metrics:
    """What depends on the order of the probabilities alone; needs both classes."""
    fpr, tpr, _ = sk.roc_curve(label, probability, drop_intermediate=False)
    gap = fpr + tpr - 1  # false-positive rate minus miss rate: from -1 up to 1
    after = int(np.argmax(gap >= 0))
    share = -gap[after - 1] / (gap[after] - gap[after - 1])
    return {
        "ap": sk.average_precision_score(label, probability),
        "auroc": sk.roc_auc_score(label, probability),
        "eer": fpr[after - 1] + share * (fpr[after] - fpr[after - 1]),
        **{name: tpr[fpr <= limit].max() for name, limit in FPR_LIMITS.items()},
    }


def _probability_metrics(label: Array, probability: Array) -> Metrics:
    """Whether the probabilities mean what they say."""
    confidence = np.maximum(probability, 1 - probability)
    right = label == (probability >= LIKELIER)
    once = np.ones((1, len(label)))
    clipped = np.clip(probability, NLL_CLIP, 1 - NLL_CLIP)
    return {
        "ece": expected_calibration_error(confidence, right.astype(float), once)[0],
        "brier": sk.brier_score_loss(label, probability, pos_label=1),
        "nll": sk.log_loss(label, clipped, labels=[0, 1]),
        "mean_confidence": confidence.mean(),
        "mean_confidence_correct": confidence[right].mean() if right.any() else None,
        "mean_confidence_wrong": confidence[~right].mean() if not right.all() else None,
    }
