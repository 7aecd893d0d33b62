"""A model's scores for one image, and the verdict based on them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from glass.config.learnt_ids import LearntIds
from glass.measure.applied_calibration import THRESHOLD
from glass.measure.calibration import Calibration, sigmoid
from glass.predict.verdicts import ImageVerdict

__all__ = ["ImageScores", "verdict_on"]


@dataclass(frozen=True)
class ImageScores:
    """A model's scores for one image. A margin is logit(generated) - logit(real)."""

    margins: npt.NDArray[np.float64]
    """(K,) margins, one per draw of windows."""
    windows: npt.NDArray[np.int32]
    """(n, 4) windows from the first draw: top, left, height, width in source pixels. Empty windows are left out."""
    attention: npt.NDArray[np.float32] | None
    """(n,) attention weights of these windows; None for a model without attention."""
    size: tuple[int, int]
    """(height, width) of the image in pixels."""
    content_id: int
    changes: Mapping[str, float] = field(default_factory=dict)
    """Maps each harmless change to the changed image's margin, averaged over the draws."""


def verdict_on(
    name: str, scores: ImageScores, calibration: Calibration | None, learnt: LearntIds | None
) -> ImageVerdict:
    """Returns the verdict on the image ``name``.

    ``calibration`` must be for the views that were scored; if None, the verdict is based on the raw score. ``learnt``
    tells which images were used in training; None means that this is unknown.
    """
    margin = float(np.mean(scores.margins))
    verdict = _word(margin, calibration)
    after = {change: _word(changed, calibration) for change, changed in scores.changes.items()}
    # Empty if stability was not tested, or if the image is too long for every change.
    unstable = any(word != verdict for word in after.values()) if after else None
    return ImageVerdict(
        name,
        score=float(sigmoid(margin)),
        margin=margin,
        probability=None if calibration is None else float(calibration.probability(margin)),
        verdict=verdict,
        unstable=unstable,
        height=scores.size[0],
        width=scores.size[1],
        content_id=scores.content_id,
        learnt=None if learnt is None else learnt.use_of(scores.content_id),
        windows=scores.windows,
        attention=scores.attention,
        draw_scores=tuple(sigmoid(scores.margins).tolist()),
        change_scores={change: float(sigmoid(value)) for change, value in scores.changes.items()},
        change_verdicts=after,
        change_probabilities=_probabilities(scores.changes, calibration),
    )


def _probabilities(margins: Mapping[str, float], calibration: Calibration | None) -> dict[str, float]:
    if calibration is None:
        return {}
    return {name: float(calibration.probability(margin)) for name, margin in margins.items()}


def _word(margin: float, calibration: Calibration | None) -> str:
    """The verdict for ``margin``: ``generated``, ``real`` or ``uncertain``."""
    if calibration is not None:
        return calibration.verdict(float(calibration.probability(margin)))
    return "generated" if sigmoid(margin) >= THRESHOLD else "real"
