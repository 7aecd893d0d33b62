"""Verdicts as text for the terminal: an explanation of the figures, one line per image, and the totals."""

from collections.abc import Sequence

from glass.claims.read import claims_sentence
from glass.measure.applied_calibration import THRESHOLD, why_not_applicable
from glass.predict.detector import Detector
from glass.predict.options import PredictOptions
from glass.predict.prediction_files import PredictionHead
from glass.predict.verdicts import ImageVerdict
from shards.cli.command import one_line, printable
from shards.cli.wording import counted, percent
from shards.images.rejection import explained

__all__ = ["WARNING", "data_note_line", "document_head", "heading", "learnt_line", "stability_line", "verdict_line"]

WARNING = "WARNING: "

LEARNT = {"train": "trained on this image", "valid": "its epoch was chosen on a set that contains this image"}
"""Maps how training used an image (see ``ImageVerdict.learnt``) to a remark on its verdict."""


def heading(detector: Detector, options: PredictOptions) -> str:
    """Text that explains the figures in :func:`verdict_line`."""
    calibration = detector.calibration_for(options)
    if calibration is not None:
        alarms = calibration.false_alarms
        between = ", between: uncertain" if calibration.real_below < calibration.threshold else ""
        return (
            f"calibrated probability that the image is generated; {calibration.threshold:.4f} and above: generated, "
            f"below {calibration.real_below:.4f}: real{between}; false alarms {percent(alarms['low'])} to "
            f"{percent(alarms['high'])} on images like those of the calibration"
        )
    if detector.trained.calibration is not None:
        why = why_not_applicable(detector.trained.calibration, detector.views(options))
    else:
        why = "the model is not calibrated (run glass calibrate)"
    return f"raw scores; 0.5 and above means generated; {why}"


def document_head(detector: Detector, options: PredictOptions, model: str) -> PredictionHead:
    """Returns the fields that precede the images in the ``predict --json`` document. ``model`` is the model path to
    state there.
    """
    calibration, views = detector.calibration_for(options), detector.views(options)
    return {
        "model": {
            "path": printable(model),
            "kind": detector.trained.config.model.kind,
            "weights_sha256": detector.trained.weights_sha256,
        },
        "views": {
            "num_crops": views.num_crops,
            "sampling": views.sampling,
            "coverage": views.coverage,
            "draws": views.draws,
        },
        "calibrated": calibration is not None,
        "threshold": THRESHOLD if calibration is None else calibration.threshold,
        "real_below": THRESHOLD if calibration is None else calibration.real_below,
        "note": heading(detector, options),
        "data_notes": detector.trained.data_notes(views),
    }


def data_note_line(note: str) -> str:
    """Formats one of the model's ``data_notes`` as a line that begins with "Note on the data of this model"."""
    return f"Note on the data of this model: {one_line(note)}"


def verdict_line(verdict: ImageVerdict) -> str:
    """Formats the line that ``glass predict`` prints for an image.

    The line gives the verdict, the probability or raw score, ``unstable`` if the verdict is unstable, the path,
    remarks, and the file's claims. If the image cannot be read, it says why instead.
    """
    path = one_line(verdict.path)
    if verdict.reason is not None:
        hint = "; to score the images in a list, give - and the list on stdin" if _is_list(verdict) else ""
        return f"{'unreadable':<10} {'':6} {'':8}  {path}: {printable(explained(verdict.reason))}{hint}"
    value = verdict.score if verdict.probability is None else verdict.probability
    spread = ""
    if len(verdict.draw_scores) > 1:
        low, high = min(verdict.draw_scores), max(verdict.draw_scores)
        spread = f"  (raw scores of the draws {low:.3f} to {high:.3f})"
    unstable = "unstable" if verdict.unstable else ""
    learnt = f"  ({LEARNT[verdict.learnt]})" if verdict.learnt else ""
    claims = "" if verdict.claims is None else f"; {claims_sentence(verdict.claims)}"
    return f"{verdict.verdict:<10} {value:6.4f} {unstable:<8}  {path}{spread}{learnt}{claims}"


def _is_list(verdict: ImageVerdict) -> bool:
    """Whether an unreadable file is probably a list of images, which the user gave in place of an image."""
    return (verdict.reason or "").startswith("not_an_image") and verdict.path.lower().endswith((".csv", ".txt"))


def stability_line(verdicts: Sequence[ImageVerdict]) -> str:
    """States how many of the tested verdicts are unstable."""
    tried = [verdict.unstable for verdict in verdicts if verdict.unstable is not None]
    if not tried:
        return "stability not tested"
    scored = sum(verdict.reason is None for verdict in verdicts)
    of = "" if len(tried) == scored else f" of {len(tried):,} tested"
    return f"{sum(tried):,} unstable{of}"


def learnt_line(verdicts: Sequence[ImageVerdict]) -> str:
    """States how many of the images were used to train the model or to choose its epoch. Verdicts on these images say
    nothing about the model's performance on new ones.
    """
    uses = [verdict.learnt for verdict in verdicts if verdict.reason is None]
    if not uses:
        return "no image could be read"
    if all(use is None for use in uses):
        return "note: it is unknown which images the model was trained on"
    trained, chosen = uses.count("train"), uses.count("valid")
    if not trained and not chosen:
        return "none of these images, pixel for pixel, was used to train the model"
    epoch = "its epoch" if trained else "the epoch of the model"
    if len(verdicts) == 1:
        used = "the model was trained" if trained else f"{epoch} was chosen"
        return f"{WARNING}{used} on this image. This verdict does not test the model"
    parts = [f"the model was trained on {trained:,}"] if trained else []
    parts += [f"{epoch} was chosen on {chosen:,}"] if chosen else []
    verdicts_do = "That verdict does" if trained + chosen == 1 else "Their verdicts do"
    return f"{WARNING}of {counted(len(uses), 'image')}, {' and '.join(parts)}. {verdicts_do} not test the model"
