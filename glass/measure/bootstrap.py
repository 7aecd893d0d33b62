"""Percentile intervals for every metric by resampling scenes, and paired differences between two models.

1,000 draws of 1,000 samples take about a tenth of a second; see ``glass.measure.weighted_metrics``.
"""

from collections.abc import Iterator, Sequence
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

from glass.measure.weighted_metrics import SortedSamples, sorted_samples, weighted_metrics_sorted
from shards.files.documents import Interval, Number

__all__ = [
    "LEAST_SCENES",
    "LEVEL",
    "Difference",
    "bootstrap_intervals",
    "clusters",
    "enough_scenes",
    "paired_difference",
]

LEVEL = 0.95

LEAST_SCENES = 6
"""Minimum number of scenes in each class for a bootstrap interval.

The values of n independent scenes lie all on the same side of their true median with a probability of 2 ** (1 - n): 6 %
for five scenes, 3 % for six. With fewer than six, even the range of all scenes, which no percentile interval exceeds,
is therefore too narrow for 95 % (the sign test's interval for a median; Conover, Practical Nonparametric Statistics).
"""

# Maximum number of weights in a block of draws (8 bytes each; about ten such arrays are in memory at a time).
MAX_WEIGHTS_PER_BLOCK = 2_000_000

Array = npt.NDArray[Any]


class Difference(TypedDict):
    """The difference between two models in one metric, with its interval. Undefined values are null."""

    difference: Number | None
    interval: Interval
    share_of_draws_above_zero: Number | None


def bootstrap_intervals(
    label: Array,
    probability: Array,
    draws: int = 1000,
    seed: int = 0,
    groups: Sequence[str] | Array | None = None,
    threshold: float = 0.5,
) -> dict[str, list[float] | None]:
    """Returns the 95 % percentile interval ``[low, high]`` of every metric in ``binary_metrics``, or None if undefined.

    ``label`` and ``probability`` are (n,), and ``groups`` holds n group names. *Scenes* are resampled, with
    replacement: all samples of a group are drawn together. Errors on images of one scene are correlated, so treating
    them as independent would make the intervals too narrow. A sample with the group ``""`` is its own scene, as is
    every sample if ``groups`` is None.

    The draws are not stratified by class. Stratification would fix the number of scenes drawn from each class, so with
    few scenes in a class, the intervals would understate the uncertainty. For each metric, draws in which it is
    undefined are ignored; if these are more than half of all draws, the interval is None. It is also None if a class
    has fewer than ``LEAST_SCENES`` scenes and the draws differ. An interval of width zero means that no draw showed an
    error, not that errors are impossible. Reports print "too few to tell" for both.
    """
    table = _table(label, probability, threshold, groups)
    blocks = [weighted_metrics_sorted(w, table) for w in _weights(table, draws, seed)]
    if not blocks:
        return {}
    enough = enough_scenes(table.label, table.cluster)
    return {name: _interval(np.concatenate([b[name] for b in blocks]), enough) for name in blocks[0]}


def paired_difference(
    label: Array,
    probability: Array,
    baseline_probability: Array,
    metric: str = "auroc",
    draws: int = 1000,
    seed: int = 0,
    groups: Sequence[str] | Array | None = None,
) -> Difference:
    """Returns by how much one model's metric exceeds another's *on the same samples*, with its interval.

    ``label``, ``probability`` and ``baseline_probability`` are (n,); the result is positive if the metric is higher for
    ``probability``. Both models are measured on the same draws of scenes, so shared variation cancels out.
    """
    ours = _table(label, probability, 0.5, groups)
    theirs = _table(label, baseline_probability, 0.5, groups)
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
        "interval": _interval(differences, enough_scenes(ours.label, ours.cluster)),
        "share_of_draws_above_zero": float((defined > 0).mean()) if len(defined) else None,
    }


def _table(label: Array, probability: Array, threshold: float, groups: Sequence[str] | Array | None) -> SortedSamples:
    return sorted_samples(label, probability, threshold, clusters(groups, len(label)))


def clusters(groups: Sequence[str] | Array | None, count: int) -> Array:
    """Returns the scene index of each of the n = ``count`` samples, (n,) int64.

    Samples in the same group share an index; a sample without a group is its own scene.
    """
    if groups is None:
        return np.arange(count)
    names = np.asarray(groups, dtype=object).astype(str)
    _, numbers = np.unique(names, return_inverse=True)
    alone = np.flatnonzero(names == "")
    numbers[alone] = count + alone
    return np.unique(numbers, return_inverse=True)[1]


def _weights(table: SortedSamples, draws: int, seed: int) -> Iterator[Array]:
    """Yields weights in blocks, (draws in the block, n): how often each draw contains each sample's scene.

    Scene indices do not depend on the order of the scores, so the draws are the same for two models evaluated on the
    same samples.
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


def enough_scenes(label: Array, scenes: Array) -> bool:
    """Whether each class that has samples has at least ``LEAST_SCENES`` scenes.

    ``label`` is (n,), and ``scenes`` (n,) are the scene indices from :func:`clusters`.
    """
    of_class = [scenes[label == kind] for kind in (0, 1)]
    return all(len(np.unique(numbers)) >= LEAST_SCENES for numbers in of_class if len(numbers))


def _interval(values: Array, enough: bool) -> list[float] | None:
    defined = values[np.isfinite(values)]
    if len(defined) == 0 or 2 * len(defined) < len(values):
        return None
    low, high = np.percentile(defined, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    if high - low > 1e-9 and not enough:
        return None
    return [float(low), float(high)]
