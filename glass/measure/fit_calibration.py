"""Fits a calibration to a model's scores on a split reserved for this purpose.

* *Temperature*: T minimises the negative log-likelihood of softmax(logits / T). The target probability of the correct
  class is not 1 but Platt's (n+1)/(n+2), where n is the number of images in that class. So T stays above 0 even if the
  classes are perfectly separated.
* *Threshold*: at most 1 % of the real images may be false alarms. Among the thresholds that satisfy this, the one that
  detects the most generated images is chosen. If several detect equally many, the threshold is the midpoint between the
  lowest detected score and the highest real score below it.
* *Band of doubt*: the scores just below the threshold. Its lower end is the highest score, up to the threshold, with at
  most 5 % of the generated images below it. Below the band, the verdict is "real".
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from glass.measure.bootstrap import clusters
from glass.measure.calibration import TEMPERATURES, Calibration, MeasuredRate, ViewSettings, sigmoid
from glass.measure.metrics import binary_metrics
from glass.measure.rates import rate_interval
from shards.errors import InputError

__all__ = ["MAX_FPR", "MAX_MISSES", "calibration_fault", "fit_calibration"]

MAX_FPR = 0.01
MAX_MISSES = 0.05
CHANCE = 0.05
"""Significance level of the test against chance: a model with a higher p-value is considered no better than chance."""

Array = npt.NDArray[Any]


def fit_calibration(
    margin: Array,
    label: Array,
    views: ViewSettings,
    weights_sha256: str,
    max_fpr: float = MAX_FPR,
    max_misses: float = MAX_MISSES,
    groups: Sequence[str] | Array | None = None,
) -> Calibration:
    """Fits a calibration to n images with (n,) margins and labels (1 = generated, 0 = real).

    ``groups`` holds n group names, as in :func:`glass.measure.bootstrap.bootstrap_intervals`. The intervals of the two
    rates count scenes, as those of an evaluation do, and come from the same function.

    Raises ``InputError`` if a class is missing or a margin is not finite.
    """
    margin, label = np.asarray(margin, np.float64), np.asarray(label)
    if not np.isfinite(margin).all():
        raise InputError("the model gives scores that are not finite numbers: train it again")
    real, generated = margin[label == 0], margin[label == 1]
    if not len(real) or not len(generated):
        raise InputError(
            f"calibration needs real and generated images, but the split has {len(real)} real and {len(generated)} "
            "generated: choose another split"
        )
    temperature = _temperature(real, generated)
    threshold, lower = _thresholds(real, generated, max_fpr, max_misses)
    names = np.asarray([""] * len(label) if groups is None else groups, dtype=object)
    real_names, generated_names = names[label == 0], names[label == 1]
    return Calibration(
        temperature=temperature,
        threshold=float(sigmoid(threshold / temperature)),
        real_below=float(sigmoid(lower / temperature)),
        views=views,
        weights_sha256=weights_sha256,
        max_fpr=max_fpr,
        max_misses=max_misses,
        data={
            "real": len(real),
            "real_scenes": int(clusters(real_names, len(real)).max()) + 1,
            "generated": len(generated),
        },
        false_alarms=_rate(real >= threshold, real_names),
        called_real=_rate(generated < lower, generated_names),
        before=_quality(label, sigmoid(margin)),
        after=_quality(label, sigmoid(margin / temperature)),
    )


def calibration_fault(calibration: Calibration, margin: Array, label: Array) -> str | None:
    """Returns a message saying why ``calibration``, fitted to (n,) margins and labels, must not be used, or None if it
    is sound.

    A calibration is sound if the model ranks the classes better than chance (one-sided Mann-Whitney test) and the
    temperature does not lie at a bound of its range.
    """
    from scipy.stats import mannwhitneyu

    margin, label = np.asarray(margin, np.float64), np.asarray(label)
    test = mannwhitneyu(margin[label == 1], margin[label == 0], alternative="greater")
    real, generated = int((label == 0).sum()), int((label == 1).sum())
    auroc = float(test.statistic) / (real * generated)
    if test.pvalue > CHANCE + 1e-9:
        return (
            f"on these {real} real and {generated} generated images the model's scores do not separate the classes "
            f"better than chance could (AUROC {auroc:.2f}, p = {test.pvalue:.2g}): train it longer, or calibrate on "
            "more images"
        )
    if calibration.is_at_bound:
        return (
            f"the temperature {calibration.temperature:.4g} is the end of its range ({TEMPERATURES[0]:g} to "
            f"{TEMPERATURES[1]:g}), so no temperature fits the model's scores: train it again"
        )
    return None


def _temperature(real: Array, generated: Array) -> float:
    from scipy.optimize import minimize_scalar

    low_target = 1 / (len(real) + 2)
    high_target = (len(generated) + 1) / (len(generated) + 2)

    def nll(log_temperature: float) -> float:
        scale = math.exp(-log_temperature)
        total = 0.0
        for margins, target in ((real, low_target), (generated, high_target)):
            scaled = margins * scale
            # -log sigmoid(x) = logaddexp(0, -x); the other class's is logaddexp(0, x)
            yes, no = np.logaddexp(0.0, -scaled).sum(), np.logaddexp(0.0, scaled).sum()
            total += float(target * yes + (1 - target) * no)
        return total

    bounds = tuple(math.log(value) for value in TEMPERATURES)
    return math.exp(minimize_scalar(nll, bounds=bounds, method="bounded").x)


def _thresholds(real: Array, generated: Array, max_fpr: float, max_misses: float) -> tuple[float, float]:
    """Returns (threshold, lower end of the band of doubt) as margins, following the rules in the module's docstring."""
    allowed = min(int(max_fpr * len(real) + 1e-9), len(real) - 1)
    limit = np.sort(real)[::-1][allowed]  # a threshold must lie above this real image
    detected = generated[generated > limit]
    if not len(detected):
        # Under the rule, no generated image can be detected, so nothing is called generated.
        threshold = float(max(real.max(), generated.max())) + 1.0
    else:
        lowest = float(detected.min())
        threshold = (float(real[real < lowest].max()) + lowest) / 2
        if not threshold > limit:  # there is no float between two neighbouring ones
            threshold = lowest
    allowed = min(int(max_misses * len(generated) + 1e-9), len(generated) - 1)
    lower = float(np.sort(generated)[allowed])  # exactly ``allowed`` generated images lie below, if none are equal
    return threshold, min(lower, threshold)


def _rate(hit: Array, groups: Array) -> MeasuredRate:
    """Returns the share of true values in ``hit`` (n,), n > 0, with its interval over scenes."""
    low, high = rate_interval(hit, groups) or (0.0, 1.0)
    return {"rate": float(hit.mean()), "low": low, "high": high}


def _quality(label: Array, probability: Array) -> dict[str, float | None]:
    metrics = binary_metrics(label, probability)
    return {name: metrics[name] for name in ("nll", "ece", "brier")}
