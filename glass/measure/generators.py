"""Results by generator: metrics computed on a generator's images together with all real images."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
import numpy.typing as npt

from glass.measure.metrics import binary_metrics
from glass.measure.rates import metric_intervals, rate_interval
from glass.measure.weighted_metrics import FPR_LIMITS, checked_samples
from shards.files.documents import Interval, Number

__all__ = [
    "GENERATOR_METRICS",
    "UNNAMED",
    "GeneratorMetrics",
    "GeneratorRow",
    "PerGenerator",
    "RealRow",
    "per_generator",
]

Array = npt.NDArray[Any]

GENERATOR_METRICS = ("auroc", "ap", *FPR_LIMITS, "recall")
"""The metrics in each row that :func:`per_generator` returns."""

UNNAMED = "(unnamed)"
"""Name of the row for generated images whose generator is not known."""

if TYPE_CHECKING:  # for mypy, since code reads these by metric names that are not literals
    GeneratorMetrics = dict[str, float | None]
    GeneratorRow = dict[str, Any]
else:
    GeneratorMetrics = TypedDict("GeneratorMetrics", dict.fromkeys(GENERATOR_METRICS, Number | None))
    _Intervals = TypedDict("_Intervals", dict.fromkeys(GENERATOR_METRICS, Interval))
    GeneratorRow = TypedDict(
        "GeneratorRow",
        {
            "images": int,
            **dict.fromkeys(GENERATOR_METRICS, Number | None),
            "mean_probability": Number | None,
            "intervals": _Intervals,
        },
    )


class _AlarmInterval(TypedDict):
    false_positive_rate: Interval


class RealRow(TypedDict):
    """Results on the real images, which do not depend on the generator."""

    images: int
    false_positive_rate: Number | None
    mean_probability: Number | None
    intervals: _AlarmInterval


class PerGenerator(TypedDict):
    """One row per generator, comparing its images with *all* real images, and one row for the real images."""

    generators: dict[str, GeneratorRow]
    """Maps each generator's name to its row, sorted by name."""
    real: RealRow
    mean: GeneratorMetrics
    """Mean of each metric over generators. Each generator has equal weight, regardless of its number of images."""
    minimum: GeneratorMetrics
    worst: str | None
    """Name of the generator with the lowest AUROC; null if no generator has an AUROC."""


def per_generator(
    label: Array,
    probability: Array,
    generator: Sequence[str] | Array,
    threshold: float = 0.5,
    draws: int = 1000,
    seed: int = 0,
    groups: Sequence[str] | Array | None = None,
) -> PerGenerator:
    """Computes the results for each generator from ``label``, ``probability`` and ``generator``, each (n,).

    ``generator`` holds names, with "" for real images; generated images without a name are assigned to ``UNNAMED``.
    ``draws``, ``seed`` and ``groups`` are as in :func:`glass.measure.bootstrap.bootstrap_intervals`.
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
    mean, minimum, worst = _over_generators(rows)
    return {
        "generators": rows,
        "real": _real_row(probability[real], threshold, None if scenes is None else scenes[real]),
        "mean": mean,
        "minimum": minimum,
        "worst": worst,
    }


def _row(
    label: Array, probability: Array, threshold: float, draws: int, seed: int, groups: Array | None
) -> GeneratorRow:
    values = binary_metrics(label, probability, threshold)
    intervals = metric_intervals(label, probability, draws, seed, groups, threshold)
    return {
        "images": int(label.sum()),
        **{name: values[name] for name in GENERATOR_METRICS},
        "mean_probability": float(probability[label == 1].mean()),
        "intervals": {name: intervals.get(name) for name in GENERATOR_METRICS},
    }


def _real_row(probability: Array, threshold: float, groups: Array | None) -> RealRow:
    alarms = probability >= threshold
    return {
        "images": len(probability),
        "false_positive_rate": float(alarms.mean()) if len(alarms) else None,
        "mean_probability": float(probability.mean()) if len(alarms) else None,
        "intervals": {"false_positive_rate": rate_interval(alarms, groups)},
    }


def _over_generators(rows: dict[str, GeneratorRow]) -> tuple[GeneratorMetrics, GeneratorMetrics, str | None]:
    """Returns (mean of each metric, minimum of each metric, name of the generator with the lowest AUROC)."""
    mean: GeneratorMetrics = dict.fromkeys(GENERATOR_METRICS)
    minimum: GeneratorMetrics = dict.fromkeys(GENERATOR_METRICS)
    for name in GENERATOR_METRICS:
        values = [row[name] for row in rows.values() if row[name] is not None]
        if values:
            mean[name], minimum[name] = float(np.mean(values)), float(min(values))
    ranked = [name for name in rows if rows[name]["auroc"] is not None]
    worst = min(ranked, key=lambda name: rows[name]["auroc"], default=None)
    return mean, minimum, worst
