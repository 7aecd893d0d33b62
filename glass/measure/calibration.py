"""Defines the temperature, threshold and band of doubt that turn scores into verdicts, and the file that stores them.

A calibration is valid only for the weights and the view settings it was fitted with. The view settings are the number
of crops, the coverage, the draws and the sampling rule; scores computed with other view settings count as uncalibrated.
The calibration is stored as ``calibration.json`` next to the model.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypedDict

import numpy as np
import numpy.typing as npt
from msgspec import Meta

from glass.config.versions import installed_versions
from shards.errors import InputError
from shards.files.atomic import write_text_atomic
from shards.files.documents import Number, typed_document
from shards.files.json_file import read_json
from shards.manifest.note import Note

__all__ = [
    "CALIBRATION_FILE",
    "TEMPERATURES",
    "Calibration",
    "CalibrationData",
    "MeasuredRate",
    "ViewSettings",
    "read_calibration",
    "verdict_of",
    "why_worse",
    "write_calibration",
]

FORMAT_VERSION = 1
CALIBRATION_FILE = "calibration.json"
TEMPERATURES = (0.02, 50.0)
AT_THE_END = 1.001
"""A fitted temperature within this factor of either bound in TEMPERATURES counts as having hit the bound."""

Array = npt.NDArray[Any]

Share = Annotated[float, Meta(ge=0, le=1)]


class CalibrationData(TypedDict):
    """The images that the calibration was fitted to: counts by class, and the data set and split that they come
    from."""

    real: Annotated[int, Meta(ge=1)]
    real_scenes: NotRequired[Annotated[int, Meta(ge=1)]]
    """Number of scenes of the real images. Absent in older documents, whose intervals count images."""
    generated: int
    name: NotRequired[str]
    dataset_json_sha256: NotRequired[str]
    note: NotRequired[Note]
    split: NotRequired[str]


class MeasuredRate(TypedDict):
    """A fraction of the calibration images, with its 95 % Clopper-Pearson interval, which counts scenes as that of an
    evaluation does (:func:`glass.measure.rates.rate_interval`)."""

    rate: Share
    low: Share
    high: Share


@dataclass(frozen=True)
class ViewSettings:
    """The user-selectable settings that determine which parts of an image the model sees."""

    num_crops: int
    sampling: str
    coverage: str = "sample"
    """``sample``: ``num_crops`` windows; ``all``: a window in every cell of the grid. If this is ``all``, ``num_crops``
    is 64 (the maximum number of cells), and ``sampling`` is ``all``."""
    draws: int = 1
    """Number of window draws per image; their logits are averaged."""

    def __str__(self) -> str:
        if self.coverage == "all":
            crops = "a crop from every cell"
            if self.sampling != "all":  # made by a version in which "all" meant a square grid
                crops += " of a square grid"
        else:
            crops = f"{self.num_crops} crops by {self.sampling}"
        return crops + (f", {self.draws} draws" if self.draws > 1 else "")


@dataclass(frozen=True)
class Calibration:
    """Converts one model's scores, computed with ``views``, into probabilities and verdicts.

    Scores are given as margins, i.e. logit(generated) - logit(real). ``calibration.json`` holds these
    fields, and in addition ``rules`` and ``versions``.
    """

    temperature: Annotated[float, Meta(ge=TEMPERATURES[0], le=TEMPERATURES[1])]
    threshold: Share
    """Calibrated probability at or above which the verdict is "generated"."""
    real_below: Share
    """Calibrated probability below which the verdict is "real"; at most ``threshold``."""
    views: ViewSettings
    weights_sha256: str
    max_fpr: Share
    max_misses: Share
    data: CalibrationData
    false_alarms: MeasuredRate
    """Fraction of the real images whose verdict is "generated"."""
    called_real: MeasuredRate
    """Fraction of the generated images whose verdict is "real"."""
    before: dict[str, Number | None] = field(default_factory=dict)
    """``nll``, ``ece`` and ``brier`` of the calibration images' uncalibrated scores."""
    after: dict[str, Number | None] = field(default_factory=dict)

    @property
    def num_alarms(self) -> int:
        """Number of false alarms among the real images used for the calibration."""
        return round(self.false_alarms["rate"] * self.data["real"])

    @property
    def is_at_bound(self) -> bool:
        """Whether the fitted temperature lies at a bound of its allowed range, which means that no temperature fits the
        scores."""
        low, high = TEMPERATURES
        return self.temperature <= low * AT_THE_END or self.temperature >= high / AT_THE_END

    @property
    def is_cautious(self) -> bool:
        """Whether the probabilities fit the calibration images worse than the raw scores do, see :func:`why_worse`."""
        before, after = self.before.get("nll"), self.after.get("nll")
        return before is not None and after is not None and after > before

    def probability(self, margin: npt.ArrayLike) -> Array:
        """Calibrated probabilities of "generated" for margins of any shape; float64."""
        return sigmoid(np.asarray(margin, np.float64) / self.temperature)

    def verdict(self, probability: float) -> str:
        """The verdict for a calibrated probability, see :func:`verdict_of`."""
        return verdict_of(probability, self.threshold, self.real_below)


def why_worse(data: CalibrationData) -> str:
    """Explains why probabilities can be worse than raw scores; ``data`` describes the calibration images."""
    return (
        f"worse on these images on purpose: the few images of the calibration ({data['real']} real and "
        f"{data['generated']} generated) justify only cautious probabilities"
    )


def verdict_of(probability: float, threshold: float, real_below: float) -> str:
    """``generated`` at or above ``threshold``, ``real`` below ``real_below``, ``uncertain`` in between."""
    if probability >= threshold:
        return "generated"
    return "real" if probability < real_below else "uncertain"


def sigmoid(values: npt.ArrayLike) -> Array:
    """1 / (1 + exp(-values)) without overflow, float64."""
    return np.exp(-np.logaddexp(0.0, -np.asarray(values, np.float64)))


def write_calibration(folder: Path, calibration: Calibration) -> None:
    """Atomically writes ``calibration.json`` into an exported model's folder."""
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
    """Returns the calibration stored next to an exported model, or None if it was never calibrated.

    Raises ``InputError`` if the file is damaged or was made for other weights.
    """
    path = folder / CALIBRATION_FILE
    if not path.is_file():
        return None
    try:
        document = read_json(path)
        version = document["format_version"]
        if version == FORMAT_VERSION:
            written = {"before": None, "after": None} | document  # without the defaults: a file must hold both
            calibration = typed_document(written, Calibration)
            if calibration.real_below > calibration.threshold:
                raise ValueError("real_below is above threshold")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged: remove it, or run glass calibrate again") from error
    if version != FORMAT_VERSION:
        raise InputError(
            f"{path} has format_version {version!r}, this version reads {FORMAT_VERSION}: run glass calibrate again"
        )
    if calibration.weights_sha256 != weights_sha256:
        raise InputError(
            f"{path} belongs to weights other than those in its folder: run glass calibrate again, or remove it"
        )
    return calibration
