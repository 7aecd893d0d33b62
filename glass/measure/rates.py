"""Confidence intervals for proportions of images, and prediction intervals for counts in a new set of images.

For an observed rate of 0 or 1, the bootstrap interval has zero width, since no draw can contain errors that the sample
lacks. Clopper-Pearson intervals are therefore used for proportions. Because errors on images of one scene are
correlated, these intervals are computed with an effective sample size: the number of independent images that would give
the same variance (Korn and Graubard 1998).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from glass.measure.bootstrap import LEAST_SCENES, LEVEL, bootstrap_intervals, clusters, enough_scenes
from glass.measure.weighted_metrics import FPR_LIMITS

__all__ = ["accuracy_interval", "clopper_pearson", "expected_counts", "metric_intervals", "rate_interval"]

Array = npt.NDArray[Any]

TAIL = (1 - LEVEL) / 2


def clopper_pearson(count: float, total: float) -> tuple[float, float]:
    """Returns the 95 % confidence interval of a rate observed as ``count`` out of ``total`` independent images."""
    # Takes a moment to import, and most commands do not need it. scipy.stats gives the same numbers forty times slower.
    from scipy.special import betaincinv

    count, total = float(count), float(total)  # NumPy's float32 would be computed with seven digits
    low = float(betaincinv(count, total - count + 1, TAIL)) if count > 0 else 0.0
    high = float(betaincinv(count + 1, total - count, 1 - TAIL)) if count < total else 1.0
    return low, high


def rate_interval(hit: Array, groups: Sequence[str] | Array | None = None) -> list[float] | None:
    """Returns the 95 % confidence interval for the fraction of true values in ``hit`` (n,), or None if n is 0.

    ``groups`` is as in :func:`glass.measure.bootstrap.bootstrap_intervals`. Without groups, this is the interval from
    :func:`clopper_pearson`. With groups, n is replaced by the effective sample size. That is the number of scenes
    if all values are equal. It is at most the number of scenes if there are fewer than ``LEAST_SCENES``: so few show
    too little of the variance between scenes, and where their rates agree by chance, the images would seem
    independent. Images of m scenes of one size are worth at least m independent ones (Kish 1965, Survey Sampling).
    """
    hit = np.asarray(hit, bool)
    if not len(hit):
        return None
    scenes, rate = clusters(groups, len(hit)), float(hit.mean())
    num_scenes = float(scenes.max() + 1)
    if 0 < rate < 1:
        spread = np.bincount(scenes, hit - rate)  # per scene; the sum of their squares gives the variance
        alone = rate * (1 - rate) * len(hit) ** 2 / float(spread @ spread + 1e-12)
    else:
        alone = num_scenes
    alone = min(alone, num_scenes if num_scenes < LEAST_SCENES else float(len(hit)))
    return list(clopper_pearson(rate * alone, alone))


def accuracy_interval(right: Array, label: Array, groups: Sequence[str] | Array | None = None) -> list[float] | None:
    """Returns the 95 % confidence interval for the accuracy over both classes, or None if a class has fewer than
    ``LEAST_SCENES`` scenes.

    ``right`` (n,) says which verdicts are right; for ``groups``, see :func:`rate_interval`. This accuracy
    rests on the scenes of both classes. Few of one class are not seen among many of the other, and errors of the two
    classes can cancel within a scene, as if scenes hardly differed. It therefore follows the bootstrap's rule.
    """
    label = np.asarray(label)
    return rate_interval(right, groups) if enough_scenes(label, clusters(groups, len(label))) else None


def metric_intervals(
    label: Array, probability: Array, draws: int, seed: int, groups: Sequence[str] | Array | None, threshold: float
) -> dict[str, list[float] | None]:
    """Returns each metric's interval, from :func:`rate_interval` for proportions of images and from the bootstrap
    otherwise.

    For some proportions, the threshold or the denominator is itself random (detection rate at a low false-alarm rate,
    precision). The bootstrap is used for these as well, because it describes their variation better. However, if such a
    proportion is 0 in every draw or 1 in every draw, its interval comes from :func:`rate_interval`. Like all metrics of
    both classes, these and the accuracy have none if a class has fewer than ``LEAST_SCENES`` scenes.
    """
    intervals = bootstrap_intervals(label, probability, draws, seed, groups, threshold)
    label, right = np.asarray(label), (np.asarray(probability) >= threshold) == label
    names = None if groups is None else np.asarray(groups, dtype=object)
    intervals["accuracy"] = accuracy_interval(right, label, groups)
    for metric, keep in (("accuracy_real", label == 0), ("accuracy_generated", label == 1)):
        intervals[metric] = rate_interval(right[keep], None if names is None else names[keep])
    flagged = np.asarray(probability) >= threshold
    enough = enough_scenes(label, clusters(groups, len(label)))
    wholes = {"precision": flagged} | dict.fromkeys(FPR_LIMITS, label == 1)
    for metric, keep in wholes.items():
        end = intervals.get(metric)
        if end in ([0.0, 0.0], [1.0, 1.0]):
            same = np.full(int(keep.sum()), end[0] == 1.0)
            intervals[metric] = rate_interval(same, None if names is None else names[keep]) if enough else None
    return intervals | {"recall": intervals["accuracy_generated"]}


def expected_counts(count: int, total: int, new_total: int) -> tuple[int, int]:
    """Returns a 95 % prediction interval for how many of ``new_total`` new images score above a threshold.

    The threshold was chosen on ``total`` other images, of which ``count`` lie above it. For any continuous score
    distribution, the fraction of new images above the k-th highest of n scores is distributed as Beta(k, n - k + 1). If
    the threshold lies between the k-th and the (k+1)-th highest score, that fraction is bounded by the two
    corresponding Beta variables, and the count of new images by two beta-binomial ones. A confidence interval for the
    rate would be narrower: it describes an infinitely large test set, whereas the count in a small test set varies
    more.

    Every image counts as independent. If images share scenes, chance alone can exceed this interval.
    """
    from scipy.stats import betabinom

    low = betabinom.ppf(TAIL, new_total, count, total - count + 1) if count else 0
    high = betabinom.ppf(1 - TAIL, new_total, count + 1, total - count) if count < total else new_total
    return int(low), int(high)
