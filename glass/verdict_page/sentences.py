"""Sentences about a verdict, for pages: its score, its stability, and what the model saw."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from glass.predict.prediction_files import PredictionHead
from glass.predict.verdict_lines import LEARNT
from glass.predict.verdicts import ImageVerdict
from shards.cli.wording import counted

__all__ = [
    "covered_share",
    "figure",
    "learnt_sentence",
    "score_name",
    "seen_sentence",
    "stability_sentence",
    "value_of",
    "verdict_sentence",
]

MOST_DIGITS = 6


def score_name(head: PredictionHead) -> str:
    """What to call the scores on which verdicts are based."""
    return "calibrated probability" if head["calibrated"] else "raw score"


def value_of(verdict: ImageVerdict) -> float:
    """The score, 0 … 1, on which the verdict is based: the calibrated probability or, if there is none, the raw
    score.
    """
    value = verdict.score if verdict.probability is None else verdict.probability
    assert value is not None, "an image that could not be read has no value"
    return value


def figure(value: float, *edges: float) -> str:
    """Formats ``value``, 0 … 1, with three decimals, or with more if it would otherwise look equal to one of ``edges``.

    At most ``MOST_DIGITS`` decimals are shown. A value above 0 that rounds to 0 is shown as ``<0.001``; a value below 1
    that rounds to 1, as ``>0.999``.
    """
    for digits in range(3, MOST_DIGITS):
        shown = _rounded(value, digits)
        if all(_rounded(edge, digits) != shown or edge == value for edge in edges):
            return shown
    return _rounded(value, MOST_DIGITS)


def _rounded(value: float, digits: int) -> str:
    least = 10.0**-digits
    if 0 < value < least / 2:
        return f"<{least:.{digits}f}"
    if 1 - least / 2 <= value < 1:
        return f">{1 - least:.{digits}f}"
    return f"{value:.{digits}f}"


def verdict_sentence(verdict: ImageVerdict, head: PredictionHead) -> str:
    """Compares the image's probability (or raw score) with the thresholds between verdicts."""
    value, edges = value_of(verdict), (head["real_below"], head["threshold"])
    low, high = (figure(edge, value) for edge in edges)
    shown = figure(value, *edges)
    if not head["calibrated"]:
        return (
            f"The raw score is {shown}. It is not a probability. Without a calibration for these views, an image is "
            f"called generated from {high} on, and real below {high}."
        )
    said = f"The calibrated probability that it was generated is {shown}"
    return {
        "generated": f"{said}; from {high} on, an image is called generated.",
        "real": f"{said}; below {low}, an image is called real.",
        "uncertain": f"{said}: too high for the verdict real (below {low}), too low for generated (from {high} on).",
    }[str(verdict.verdict)]


def stability_sentence(verdict: ImageVerdict) -> str:
    """States whether harmless changes flip the verdict and, if so, which ones."""
    if verdict.unstable is None:
        return "It was not tested whether harmless changes would flip the verdict."
    if not verdict.unstable:
        return f"Stable: harmless changes ({', '.join(verdict.change_verdicts)}) do not flip the verdict."
    turned = [f"{name} → {word}" for name, word in verdict.change_verdicts.items() if word != verdict.verdict]
    return f"Unstable: a harmless change flips the verdict ({', '.join(turned)})."


def seen_sentence(verdict: ImageVerdict, head: PredictionHead, global_size: int) -> str:
    """States, in one to three sentences, which parts of the image the model saw. ``global_size`` is the side of its
    global view, in pixels.
    """
    said = (
        f"The model saw the whole image ({verdict.width:,} × {verdict.height:,} pixels), "
        f"{_resized(verdict, global_size)}"
    )
    if not len(verdict.windows):
        return f"{said}."
    said += f", and {counted(len(verdict.windows), 'crop')} in full resolution"
    if (verdict.windows == [0, 0, verdict.height, verdict.width]).all():
        said += ". The image is no larger than a crop, so every crop shows the whole of it."
    else:
        said += f", which cover {covered_share(verdict):.3g} % of it."
    if head["views"]["draws"] > 1:
        low, high = min(verdict.draw_scores), max(verdict.draw_scores)
        said += (
            f" Crops were drawn {head['views']['draws']} times, with raw scores from {figure(low)} to {figure(high)}; "
            "the first draw is shown."
        )
    return said


def _resized(verdict: ImageVerdict, size: int) -> str:
    """What was done to the image to get a view of ``size`` × ``size`` pixels."""
    assert verdict.height is not None
    assert verdict.width is not None
    sides = verdict.height, verdict.width
    if sides == (size, size):
        return "in its own size"
    if min(sides) >= size:
        return "shrunk"
    return "enlarged" if max(sides) <= size else "resized"


def learnt_sentence(verdict: ImageVerdict) -> str:
    """A warning if the model learnt from this image; empty if it did not or if this is unknown."""
    if not verdict.learnt:
        return ""
    return (
        f"This verdict does not test the model, which was {_PAST[verdict.learnt]}." if verdict.learnt in _PAST else ""
    )


_PAST = {"train": LEARNT["train"], "valid": "chosen by its score on a set that contains this image"}


def covered_share(verdict: ImageVerdict) -> float:
    """Percentage of the image's pixels that lie in at least one window."""
    assert verdict.height is not None
    assert verdict.width is not None
    return 100 * _area(verdict.windows) / (verdict.height * verdict.width)


def _area(windows: npt.NDArray[np.int32]) -> int:
    """Number of pixels in the union of (n, 4) windows.

    Extending the windows' sides divides the image into rectangles. The result is the total area of the rectangles that
    lie in at least one window.
    """
    tops, lefts = windows[:, 0], windows[:, 1]
    bottoms, rights = tops + windows[:, 2], lefts + windows[:, 3]
    rows, columns = np.unique([*tops, *bottoms]), np.unique([*lefts, *rights])
    covered = np.zeros((max(len(rows) - 1, 0), max(len(columns) - 1, 0)), np.bool_)
    for top, bottom, left, right in zip(tops, bottoms, lefts, rights, strict=True):
        covered |= _between(rows, top, bottom)[:, None] & _between(columns, left, right)
    return int((np.diff(rows)[:, None] * np.diff(columns) * covered).sum())


def _between(edges: Sequence[int] | npt.NDArray[np.int32], low: int, high: int) -> npt.NDArray[np.bool_]:
    starts = np.asarray(edges)[:-1]
    return (starts >= low) & (starts < high)
