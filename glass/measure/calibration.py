"""What a score means: temperature, threshold and a band of doubt, chosen on images of their own.

A calibration belongs to the weights, and to the views (number of crops, coverage, draws, sampling
rule) that it was made with; with other views a score is only a score. It is kept as
``calibration.json`` beside the model.

The rules. *Temperature*: the one that minimises the negative log-likelihood of softmax(logits /
T), against Platt's targets (n+1)/(n+2) instead of 1, so that it stays finite where the images
separate perfectly. *Threshold*: of all with at most 1 % false alarms among the real images, the one
that detects most; where several detect as many, the middle of the gap between the highest real and
the lowest detected score. *Band of doubt*: from where at most 5 % of the generated images lie
below, up to the threshold; below it the verdict is "real".
"""

import json
import math
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from glass.config.documents import Map, Maybe, check_document
from glass.config.versions import installed_versions
from glass.measure.rates import clopper_pearson
from shards.errors import InputError
from shards.files.atomic import write_text_atomic
from shards.files.json_file import read_json

__all__ = [
    "CALIBRATION_FILE",
    "MAX_FPR",
    "MAX_MISSES",
    "Calibration",
    "ViewSettings",
    "calibration_fault",
    "fit_calibration",
    "read_calibration",
    "write_calibration",
]

FORMAT_VERSION = 1
CALIBRATION_FILE = "calibration.json"
MAX_FPR = 0.01
MAX_MISSES = 0.05
TEMPERATURES = (0.02, 50.0)
AT_THE_END = 1.001
"""A temperature within this factor of an end of TEMPERATURES is where the search was stopped."""
CHANCE = 0.05
"""A model that ranks the classes no better than one in twenty at random does is at chance."""

Array = npt.NDArray[Any]

_RATE = {"rate": float, "low": float, "high": float}
SCHEMA = {
    "temperature": float,
    "threshold": float,
    "real_below": float,
    "views": {"num_crops": int, "sampling": str, "coverage": str, "draws": int},
    "weights_sha256": str,
    "max_fpr": float,
    "max_misses": float,
    "data": {"real": int, "generated": int},
    "false_alarms": _RATE,
    "called_real": _RATE,
    "before": Map(Maybe(float)),
    "after": Map(Maybe(float)),
}
"""Of ``calibration.json``, which holds ``rules`` and ``versions`` besides."""


@dataclass(frozen=True)
class ViewSettings:
    """What of an image the model sees, as far as a person can change it."""

    num_crops: int
    sampling: str
    coverage: str = "sample"
    """``sample``: ``num_crops`` windows; ``all``: one in every cell of the grid, so ``num_crops``
    is the 64 that it has at most, and ``sampling`` the rule ``all``."""
    draws: int = 1
    """Draws of windows whose logits are averaged."""

    def __str__(self) -> str:
        if self.coverage == "all":
            crops = "a crop from every cell"
            if self.sampling != "all":  # calibrations of before it tiled the image
                crops += " of a square grid"
        else:
            crops = f"{self.num_crops} crops by {self.sampling}"
        return crops + (f", {self.draws} draws" if self.draws > 1 else "")


@dataclass(frozen=True)
class Calibration:
    """See the module. ``margin`` below is logit(generated) - logit(real)."""

    temperature: float
    threshold: float
    """Calibrated probability from which on the verdict is "generated"."""
    real_below: float
    """Calibrated probability below which it is "real"; at most ``threshold``."""
    views: ViewSettings
    weights_sha256: str
    max_fpr: float
    max_misses: float
    data: dict[str, Any] = field(default_factory=dict)
    """``name``, ``dataset_json_sha256``, ``split``, ``real``, ``generated``."""
    false_alarms: dict[str, float] = field(default_factory=dict)
    """``rate`` on the images calibrated on, ``low``, ``high`` (Clopper-Pearson, 95 %)."""
    called_real: dict[str, float] = field(default_factory=dict)
    """The same for generated images with the verdict "real"."""
    before: dict[str, float | None] = field(default_factory=dict)
    """``nll``, ``ece``, ``brier`` of the raw scores on the same images."""
    after: dict[str, float | None] = field(default_factory=dict)

    @property
    def num_alarms(self) -> int:
        """Of the real images calibrated on, how many are called generated."""
        return round(self.false_alarms["rate"] * self.data["real"])

    @property
    def is_at_bound(self) -> bool:
        """Whether the temperature is the end of its range, and not what fits the scores."""
        low, high = TEMPERATURES
        return self.temperature <= low * AT_THE_END or self.temperature >= high / AT_THE_END

    def probability(self, margin: npt.ArrayLike) -> Array:
        """Calibrated probabilities of "generated", float64."""
        return sigmoid(np.asarray(margin, np.float64) / self.temperature)

    def verdict(self, probability: float) -> str:
        """``generated``, ``real`` or ``uncertain``."""
        if probability >= self.threshold:
            return "generated"
        return "real" if probability < self.real_below else "uncertain"


def sigmoid(values: npt.ArrayLike) -> Array:
    """1 / (1 + exp(-values)) without overflow, float64."""
    return np.exp(-np.logaddexp(0.0, -np.asarray(values, np.float64)))


def fit_calibration(
    margin: Array,
    label: Array,
    views: ViewSettings,
    weights_sha256: str,
    max_fpr: float = MAX_FPR,
    max_misses: float = MAX_MISSES,
) -> Calibration:
    """The calibration of n images with (n,) margins and labels (1 generated, 0 real).

    Raises ``InputError`` where a class is missing or a margin is not finite.
    """
    margin, label = np.asarray(margin, np.float64), np.asarray(label)
    if not np.isfinite(margin).all():
        raise InputError("the model gives scores that are not finite: train it again")
    real, generated = margin[label == 0], margin[label == 1]
    if not len(real) or not len(generated):
        raise InputError(f"calibrating needs real and generated images: there are {len(real)} and {len(generated)}")
    temperature = _temperature(real, generated)
    threshold, lower = _thresholds(real, generated, max_fpr, max_misses)
    alarms, misses = int((real >= threshold).sum()), int((generated < lower).sum())
    return Calibration(
        temperature=temperature,
        threshold=float(sigmoid(threshold / temperature)),
        real_below=float(sigmoid(lower / temperature)),
        views=views,
        weights_sha256=weights_sha256,
        max_fpr=max_fpr,
        max_misses=max_misses,
        data={"real": len(real), "generated": len(generated)},
        false_alarms=_rate(alarms, len(real)),
        called_real=_rate(misses, len(generated)),
        before=_quality(label, sigmoid(margin)),
        after=_quality(label, sigmoid(margin / temperature)),
    )


def calibration_fault(calibration: Calibration, margin: Array, label: Array) -> str | None:
    """Why ``calibration``, fitted to (n,) margins and labels, calibrates nothing; None where it
    does. The model's ranking is held against chance by Mann and Whitney's test, one-sided."""
    from scipy.stats import mannwhitneyu

    margin, label = np.asarray(margin, np.float64), np.asarray(label)
    test = mannwhitneyu(margin[label == 1], margin[label == 0], alternative="greater")
    real, generated = int((label == 0).sum()), int((label == 1).sum())
    auroc = float(test.statistic) / (real * generated)
    if test.pvalue > CHANCE + 1e-9:
        return (
            f"on these {real} real and {generated} generated images the model's scores tell the"
            f" classes apart no better than chance may (AUROC {auroc:.2f}, p = {test.pvalue:.2g}):"
            " train it longer, or calibrate on more images"
        )
    if calibration.is_at_bound:
        return (
            f"the temperature {calibration.temperature:.4g} is the end of its range"
            f" ({TEMPERATURES[0]:g} to {TEMPERATURES[1]:g}), not one that fits: the sizes of the"
            " model's scores say nothing, so train it again"
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
    """(threshold, lower end of the band of doubt) as margins; see the module."""
    allowed = min(int(max_fpr * len(real) + 1e-9), len(real) - 1)
    limit = np.sort(real)[::-1][allowed]  # a threshold must lie above this real image
    detected = generated[generated > limit]
    if not len(detected):
        # Nothing can be detected under the rule: nothing is called generated either.
        threshold = float(max(real.max(), generated.max())) + 1.0
    else:
        lowest = float(detected.min())
        threshold = (float(real[real < lowest].max()) + lowest) / 2
        if not threshold > limit:  # two neighbouring floats have no middle
            threshold = lowest
    allowed = min(int(max_misses * len(generated) + 1e-9), len(generated) - 1)
    lower = float(np.sort(generated)[allowed])  # so many of them lie below
    return threshold, min(lower, threshold)


def _rate(count: int, total: int) -> dict[str, float]:
    """A share with its Clopper-Pearson interval."""
    low, high = clopper_pearson(count, total)
    return {"rate": count / total, "low": low, "high": high}


def _quality(label: Array, probability: Array) -> dict[str, float | None]:
    from glass.measure.metrics import binary_metrics

    metrics = binary_metrics(label, probability)
    return {name: metrics[name] for name in ("nll", "ece", "brier")}


def write_calibration(folder: Path, calibration: Calibration) -> None:
    """``calibration.json`` into the folder of an exported model, whole."""
    document = {
        "format_version": FORMAT_VERSION,
        **asdict(calibration),
        "rules": {
            "temperature": "minimises the negative log-likelihood against Platt's targets",
            "threshold": "most detections at a false-positive rate of at most max_fpr",
            "real_below": "at most max_misses of the generated images lie below",
        },
        "versions": installed_versions(),
    }
    text = json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    write_text_atomic(folder / CALIBRATION_FILE, text)


def read_calibration(folder: Path, weights_sha256: str) -> Calibration | None:
    """The calibration beside an exported model, None where it was never calibrated.

    Raises ``InputError`` where the file is damaged or was made with other weights.
    """
    path = folder / CALIBRATION_FILE
    if not path.is_file():
        return None
    try:
        document = read_json(path)
        version = document.pop("format_version")
        if version == FORMAT_VERSION:
            known = {entry.name for entry in fields(Calibration)}
            values = {name: value for name, value in document.items() if name in known}
            calibration = Calibration(**values | {"views": ViewSettings(**values["views"])})
            _check(calibration)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is damaged: remove it, or calibrate again") from error
    if version != FORMAT_VERSION:
        raise InputError(f"{path} has format_version {version!r}, this version reads {FORMAT_VERSION}: calibrate again")
    if calibration.weights_sha256 != weights_sha256:
        raise InputError(f"{path} was made with other weights than those beside it: calibrate again, or remove it")
    return calibration


def _check(calibration: Calibration) -> None:
    check_document(asdict(calibration), SCHEMA)
    low, high = TEMPERATURES
    if not low <= calibration.temperature <= high:
        raise ValueError("temperature")
    if not 0.0 <= calibration.real_below <= calibration.threshold <= 1.0:
        raise ValueError("thresholds")
    if not isinstance(calibration.data["real"], int) or calibration.data["real"] < 1:
        raise ValueError("data")
    rates = [calibration.max_fpr, calibration.max_misses]
    for measured in (calibration.false_alarms, calibration.called_real):
        rates += [measured[name] for name in ("rate", "low", "high")]
    if not all(0.0 <= rate <= 1.0 for rate in rates):
        raise ValueError("rates")
