"""Computes the metrics with scikit-learn, as a reference for tests of ``glass.measure.weighted_metrics``."""

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn import metrics as sk

from glass.measure.weighted_metrics import FPR_LIMITS, METRIC_NAMES

__all__ = ["metrics_by_scikit_learn"]

Array = npt.NDArray[Any]
Metrics = dict[str, float | None]


def metrics_by_scikit_learn(label: Array, probability: Array, threshold: float) -> Metrics:
    """Returns all metrics in METRIC_NAMES, or None for those that are undefined. Requires at least one sample."""
    predicted = (probability >= threshold).astype(np.int64)
    result: Metrics = dict.fromkeys(METRIC_NAMES)
    result |= _verdict_metrics(label, predicted)
    if 0 < label.sum() < len(label):
        result |= _ranking_metrics(label, probability)
    result |= _probability_metrics(label, probability)
    return {name: None if value is None else float(value) for name, value in result.items()}


def _verdict_metrics(label: Array, predicted: Array) -> Metrics:
    """The metrics that depend only on the verdicts at the threshold."""
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
    """The metrics that depend only on the order of the probabilities; they need both classes."""
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
    """The metrics that depend on the values of the probabilities, such as how well they are calibrated."""
    confidence = np.maximum(probability, 1 - probability)
    right = label == (probability >= 0.5)
    clipped = np.clip(probability, 1e-7, 1 - 1e-7)
    return {
        "ece": _calibration_error(confidence, right),
        "brier": sk.brier_score_loss(label, probability, pos_label=1),
        "nll": sk.log_loss(label, clipped, labels=[0, 1]),
        "mean_confidence": confidence.mean(),
        "mean_confidence_correct": confidence[right].mean() if right.any() else None,
        "mean_confidence_wrong": confidence[~right].mean() if not right.all() else None,
    }


def _calibration_error(confidence: Array, right: Array) -> float:
    """The calibration error of Guo et al. (2017) over 15 bins. The last bin includes 1."""
    bins = np.minimum((confidence * 15).astype(int), 14)
    gaps = [abs(right[bins == k].mean() - confidence[bins == k].mean()) * (bins == k).mean() for k in set(bins)]
    return float(sum(gaps))
