"""How good a detector is by generator: a row for each, its images against all real ones."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from glass.measure.metrics import Metrics, binary_metrics
from glass.measure.rates import metric_intervals, rate_interval
from glass.measure.weighted_metrics import FPR_LIMITS, checked_samples

__all__ = ["GENERATOR_METRICS", "UNNAMED", "per_generator"]

Array = npt.NDArray[Any]

GENERATOR_METRICS = ("auroc", "ap", *FPR_LIMITS, "recall")
"""The metrics in a row of :func:`per_generator`."""

UNNAMED = "(unnamed)"
"""Row of the generated images whose generator is not known."""


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
