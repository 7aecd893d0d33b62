"""Confidence intervals of shares of images, and prediction intervals for counts of new images.

The bootstrap gives no interval for a rate of 0 or 1, since no draw can contain errors that the sample lacks. So the
intervals of shares are those of Clopper and Pearson. Errors on images of one scene are correlated, so these intervals
are computed as if there were fewer images: the number of independent images whose share would vary as much (Korn and
Graubard 1998).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from glass.measure.bootstrap import LEVEL, bootstrap_intervals, clusters
from glass.measure.weighted_metrics import FPR_LIMITS

__all__ = ["clopper_pearson", "expected_counts", "metric_intervals", "rate_interval"]

Array = npt.NDArray[Any]

TAIL = (1 - LEVEL) / 2


def clopper_pearson(count: float, total: float) -> tuple[float, float]:
    """The 95 % confidence interval of a rate, if ``count`` of ``total`` independent images have the property."""
    from scipy.stats import beta  # takes a second to import, and most commands count nothing

    low = float(beta.ppf(TAIL, count, total - count + 1)) if count > 0 else 0.0
    high = float(beta.ppf(1 - TAIL, count + 1, total - count)) if count < total else 1.0
    return low, high


def rate_interval(hit: Array, groups: Sequence[str] | Array | None = None) -> list[float] | None:
    """The 95 % confidence interval of the share of true values in ``hit`` (n,); None without images.

    ``groups`` are those of :func:`glass.measure.bootstrap.bootstrap_intervals`. Without groups the interval is that of
    :func:`clopper_pearson`. With groups, n is reduced to the number of independent images whose share would vary as
    much; if all values are equal, each scene counts as one image.
    """
    hit = np.asarray(hit, bool)
    if not len(hit):
        return None
    scenes, rate = clusters(groups, len(hit)), float(hit.mean())
    if 0 < rate < 1:
        spread = np.bincount(scenes, hit - rate)  # of each scene; the sum of their squares gives the variance
        alone = rate * (1 - rate) * len(hit) ** 2 / float(spread @ spread + 1e-12)
    else:
        alone = float(scenes.max() + 1)
    alone = min(alone, float(len(hit)))
    return list(clopper_pearson(rate * alone, alone))


def metric_intervals(
    label: Array, probability: Array, draws: int, seed: int, groups: Sequence[str] | Array | None, threshold: float
) -> dict[str, list[float] | None]:
    """The interval of every metric: :func:`rate_interval` for shares of images, the bootstrap for all others.

    The bootstrap is also used for shares whose threshold or denominator is random (detection at few false alarms,
    precision), because it describes their spread better. But if such a metric is 0 in every draw or 1 in every draw,
    its interval is that of :func:`rate_interval`.
    """
    intervals = bootstrap_intervals(label, probability, draws, seed, groups, threshold)
    label, right = np.asarray(label), (np.asarray(probability) >= threshold) == label
    names = None if groups is None else np.asarray(groups, dtype=object)
    for metric, keep in (
        ("accuracy", np.ones(len(label), bool)),
        ("accuracy_real", label == 0),
        ("accuracy_generated", label == 1),
    ):
        intervals[metric] = rate_interval(right[keep], None if names is None else names[keep])
    flagged = np.asarray(probability) >= threshold
    wholes = {"precision": flagged} | dict.fromkeys(FPR_LIMITS, label == 1)
    for metric, keep in wholes.items():
        end = intervals.get(metric)
        if end in ([0.0, 0.0], [1.0, 1.0]):
            same = np.full(int(keep.sum()), end[0] == 1.0)
            intervals[metric] = rate_interval(same, None if names is None else names[keep])
    return intervals | {"recall": intervals["accuracy_generated"]}


def expected_counts(count: int, total: int, new_total: int) -> tuple[int, int]:
    """A 95 % prediction interval for how many of ``new_total`` new images score above a threshold.

    The threshold was chosen on ``total`` other images, of which ``count`` are above it. Whatever the distribution of
    the scores, the share of new images above the k-th highest of n scores has the distribution Beta(k, n - k + 1). A
    threshold between the k-th and the next score is between two such shares, and the count of new images is between two
    beta-binomials. A confidence interval of the rate is narrower, since it describes an infinite test set; the count in
    a small test set varies more.
    """
    from scipy.stats import betabinom

    low = betabinom.ppf(TAIL, new_total, count, total - count + 1) if count else 0
    high = betabinom.ppf(1 - TAIL, new_total, count + 1, total - count) if count < total else new_total
    return int(low), int(high)
