"""The verdict on one image, as an object, a JSON record or a CSV row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NotRequired, TypedDict

import msgspec
import numpy as np
import numpy.typing as npt

from glass.claims.claim import Claim
from glass.claims.read import claims_sentence
from shards.files.documents import Number
from shards.manifest.schema import content_id_from_hex, content_id_hex

__all__ = ["CSV_COLUMNS", "ImageRecord", "ImageVerdict", "csv_columns", "csv_row", "json_row", "verdict_of"]

CSV_COLUMNS = (
    "path",
    "score",
    "probability",
    "verdict",
    "unstable",
    "reason",
    "width",
    "height",
    "content_id",
    "score_low",
    "score_high",
    "learnt",
)


class WindowRecord(TypedDict):
    """A window, in source pixels, and its attention weight, which is null if the model has no attention."""

    top: int
    left: int
    height: int
    width: int
    attention: Number | None


class ImageRecord(TypedDict):
    """An image's record in ``predict --json``. If the image could not be read, only ``path`` and ``reason`` are set."""

    path: str
    score: Number | None
    """Raw score: the network's softmax probability of "generated", before calibration."""
    probability: Number | None
    """Calibrated probability; null if the model is not calibrated for these views."""
    verdict: str | None
    """``generated``, ``real`` or ``uncertain``."""
    unstable: bool | None
    """Whether any harmless change flips the verdict; null if not tested."""
    reason: str | None
    """Why there is no verdict; null if there is one."""
    width: int | None
    """Width of the stored image in pixels, before any rotation specified by its metadata."""
    height: int | None
    learnt: str | None
    """``train``: the model was trained on this image; ``valid``: the image was used to choose the model's epoch; "":
    neither; null: unknown."""
    content_id: str | None
    """The image's content id, as 16 hexadecimal digits."""
    windows: list[WindowRecord]
    draw_scores: list[Number]
    change_scores: dict[str, Number]
    claims: NotRequired[list[Claim]]
    """The file's claims about its origin; absent if not requested."""


_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


@dataclass(frozen=True)
class ImageVerdict:
    """The verdict on an image. If the image could not be read, only ``path`` and ``reason`` are set."""

    path: str
    reason: str | None = None
    """Why there is no verdict; None if there is one."""
    score: float | None = None
    """Raw score: the network's softmax probability of "generated", 0 … 1, before calibration."""
    margin: float | None = None
    """Logit of "generated" minus logit of "real"; ``score`` is its sigmoid."""
    probability: float | None = None
    """Calibrated probability; None if the model is not calibrated for these views."""
    verdict: str | None = None
    """``generated``, ``real`` or ``uncertain``."""
    unstable: bool | None = None
    """Whether any harmless change flips the verdict, even if only to ``uncertain``; None if not tested."""
    width: int | None = None
    height: int | None = None
    content_id: int | None = None
    learnt: str | None = None
    """``train``: the model was trained on this image; ``valid``: the image was used to choose the model's epoch; "":
    neither; None: unknown."""
    windows: npt.NDArray[np.int32] = field(default_factory=lambda: np.zeros((0, 4), np.int32))
    """(n, 4) int32 windows from the first draw: top, left, height, width in source pixels."""
    attention: npt.NDArray[np.float32] | None = None
    """(n,) float32 attention weights of the windows; None for a model without attention."""
    draw_scores: tuple[float, ...] = ()
    """One score per draw of windows. ``score`` is computed from the mean logits over all draws."""
    change_scores: Mapping[str, float] = field(default_factory=dict)
    """Maps each harmless change to the changed image's score, from the same number of draws. The JPEG change is missing
    if the image is too large for a JPEG."""
    change_verdicts: Mapping[str, str] = field(default_factory=dict)
    """Maps each harmless change to the verdict on the changed image."""
    change_probabilities: Mapping[str, float] = field(default_factory=dict)
    """Maps each harmless change to the changed image's calibrated probability; empty if the model is not calibrated for
    these views."""
    data_notes: tuple[str, ...] = ()
    """Notes on the model's training and calibration data, to be shown to every reader of the verdict."""
    claims: tuple[Claim, ...] | None = None
    """The file's claims about its origin; None if not requested. Scores do not depend on them."""


def json_row(verdict: ImageVerdict) -> ImageRecord:
    """A verdict's record for ``predict --json``, as plain values."""
    attention = verdict.attention
    windows: list[WindowRecord] = [
        {
            "top": top,
            "left": left,
            "height": height,
            "width": width,
            "attention": None if attention is None else float(attention[number]),
        }
        for number, (top, left, height, width) in enumerate(verdict.windows.tolist())
    ]
    row: ImageRecord = {
        "path": verdict.path,
        "score": verdict.score,
        "probability": verdict.probability,
        "verdict": verdict.verdict,
        "unstable": verdict.unstable,
        "reason": verdict.reason,
        "width": verdict.width,
        "height": verdict.height,
        "learnt": verdict.learnt,
        "content_id": _identity(verdict),
        "windows": windows,
        "draw_scores": list(verdict.draw_scores),
        "change_scores": dict(verdict.change_scores),
    }
    if verdict.claims is not None:
        row["claims"] = msgspec.to_builtins(verdict.claims)
    return row


def verdict_of(record: ImageRecord, data_notes: Sequence[str] = ()) -> ImageVerdict:
    """Returns the verdict from which :func:`json_row` made ``record``.

    A record lacks the margin, and the verdicts and calibrated probabilities of changed images: they are None and empty.
    ``data_notes`` are those of the document. Raises ``ValueError`` if the record's content id or claims are invalid.
    """
    windows, attention = record["windows"], [window["attention"] for window in record["windows"]]
    return ImageVerdict(
        path=record["path"],
        reason=record["reason"],
        score=record["score"],
        probability=record["probability"],
        verdict=record["verdict"],
        unstable=record["unstable"],
        width=record["width"],
        height=record["height"],
        content_id=None if record["content_id"] is None else content_id_from_hex(record["content_id"]),
        learnt=record["learnt"],
        windows=np.array(
            [[window[side] for side in ("top", "left", "height", "width")] for window in windows], np.int32
        ).reshape(-1, 4),
        attention=np.array(attention, np.float32) if attention and None not in attention else None,
        draw_scores=tuple(record["draw_scores"]),
        change_scores=record["change_scores"],
        data_notes=tuple(data_notes),
        claims=msgspec.convert(record["claims"], tuple[Claim, ...]) if "claims" in record else None,
    )


def csv_columns(claims: bool, data_notes: bool = False) -> tuple[str, ...]:
    """Returns the ``predict --csv`` columns. ``claims`` adds a column for the files' claims, and ``data_notes`` adds
    one for the notes on the model's data.
    """
    return (*CSV_COLUMNS, *(["claims"] if claims else []), *(["data_notes"] if data_notes else []))


def csv_row(verdict: ImageVerdict, columns: Sequence[str] = CSV_COLUMNS) -> list[str]:
    """Returns a ``predict --csv`` row with these ``columns``; missing values are empty fields.

    Text that a spreadsheet would treat as a formula is prefixed with an apostrophe.
    """
    scores = verdict.draw_scores
    values: dict[str, Any] = {name: getattr(verdict, name, None) for name in CSV_COLUMNS if hasattr(verdict, name)} | {
        "score_low": min(scores, default=None),
        "score_high": max(scores, default=None),
    }
    values["content_id"] = _identity(verdict)
    values["data_notes"] = " ".join(verdict.data_notes)
    values["claims"] = None if verdict.claims is None else claims_sentence(verdict.claims)
    return [_cell(values[name]) for name in columns]


def _identity(verdict: ImageVerdict) -> str | None:
    return None if verdict.content_id is None else content_id_hex(verdict.content_id)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA_STARTS) else value
    return repr(value)
