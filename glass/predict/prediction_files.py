"""Predictions in files: as a JSON document, as a CSV table, and as a record inside an HTML page.

A file that this program did not write is never replaced.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

from glass.predict.verdicts import CSV_COLUMNS, ImageRecord, ImageVerdict, csv_row, json_row
from shards.files.atomic import write_text_atomic
from shards.files.documents import Number, document_text
from shards.files.json_file import parse_json, read_json_bytes
from shards.files.outputs import check_output, holds_mark, starts_with
from shards.manifest.note import Note

__all__ = [
    "MadeBy",
    "PredictionHead",
    "Predictions",
    "check_csv_target",
    "check_json_target",
    "check_page_target",
    "csv_text",
    "made_by",
    "page_record",
    "predictions",
    "read_page_record",
    "write_csv",
    "write_json",
]

FORMAT, FORMAT_VERSION = "glass-predictions", 2  # in version 1, content ids were integers, computed from files' bytes
_JSON_START = f'{{\n "format": "{FORMAT}"'
_CSV_START = ",".join(CSV_COLUMNS[:4])
"""How every CSV file that ``predict`` writes begins. All versions share these first columns; newer versions append
others."""
_PAGE_MARK = 'content="glass-hires predict"'
_RECORD_START, _RECORD_END = '<script type="application/json" id="verdicts">', "</script>"


class PredictionModel(TypedDict):
    """The model that made the predictions."""

    path: str
    kind: str
    weights_sha256: str


class PredictionViews(TypedDict):
    """What the model saw of each image; see :class:`glass.measure.calibration.ViewSettings`."""

    num_crops: int
    sampling: str
    coverage: str
    draws: int


class PredictionHead(TypedDict):
    """The part of a document that applies to all of its images."""

    model: PredictionModel
    views: PredictionViews
    calibrated: bool
    threshold: Number
    """An image is called generated if its probability (its raw score if there is no calibration) is at least this."""
    real_below: Number
    """An image is called real if its probability (its raw score if there is no calibration) is less than this. From
    here up to ``threshold``, the verdict is uncertain."""
    note: str
    """Explains the scores and probabilities in the file to readers."""
    data_notes: list[Note]
    """Notes on the model's training and calibration data, to be shown to every reader of the verdicts; empty if there
    are none."""


class MadeBy(NamedTuple):
    """Everything that verdicts depend on besides the images: the model, its views, and its calibration."""

    weights_sha256: str
    views: dict[str, object]
    calibration: tuple[bool, float, float]
    """(whether the model is calibrated, ``threshold``, ``real_below``); see :class:`PredictionHead`."""


def made_by(head: Mapping[str, Any]) -> MadeBy:
    """Returns what a file's verdicts depend on: the model, its views and its calibration.

    ``head`` is the head of a JSON document, or a page's record. Raises ``KeyError``, ``TypeError`` or ``ValueError`` if
    it is not valid.
    """
    calibration = (bool(head["calibrated"]), float(head["threshold"]), float(head["real_below"]))
    return MadeBy(str(head["model"]["weights_sha256"]), dict(head["views"]), calibration)


class Predictions(PredictionHead):
    """The document that ``predict --json`` writes."""

    format: str
    format_version: int
    images: list[ImageRecord]


def check_json_target(path: Path) -> None:
    """Raises ``InputError`` if ``path`` cannot be written, or is a file that ``predict --json`` did not write."""
    check_output(path, starts_with(_JSON_START))


def check_csv_target(path: Path) -> None:
    """Raises ``InputError`` if ``path`` cannot be written, or is a file that ``predict --csv`` did not write."""
    check_output(path, starts_with(_CSV_START))


def check_page_target(path: Path) -> None:
    """Raises ``InputError`` if ``path`` cannot be written, or is a file that ``predict --html`` did not write."""
    check_output(path, holds_mark(_PAGE_MARK))


def page_record(head: PredictionHead, verdicts: Sequence[ImageVerdict]) -> str:
    """Returns an HTML element that records which images a page shows and what their verdicts depend on.

    :func:`read_page_record` reads it; browsers neither run nor show it.
    """
    record = {**head, "paths": [verdict.path for verdict in verdicts]}
    text = json.dumps(record).replace("<", "\\u003c")  # so that no file name can close the element
    return f"{_RECORD_START}{text}{_RECORD_END}"


def read_page_record(path: Path) -> tuple[MadeBy, list[str]]:
    """Reads a page's record and returns (what its verdicts depend on, image paths).

    Raises ``OSError`` if the page cannot be read, and ``ValueError``, ``KeyError`` or ``TypeError`` if the record is
    missing or damaged.
    """
    after = read_json_bytes(path).partition(_RECORD_START.encode())[2]
    record = parse_json(after.partition(_RECORD_END.encode())[0])
    return made_by(record), [str(name) for name in record["paths"]]


def predictions(head: PredictionHead, verdicts: Sequence[ImageVerdict]) -> Predictions:
    """The document for ``predict --json``, with ``head`` and a record for each verdict."""
    rows = [json_row(verdict) for verdict in verdicts]
    return {"format": FORMAT, "format_version": FORMAT_VERSION, **head, "images": rows}


def write_json(path: Path, head: PredictionHead, verdicts: Sequence[ImageVerdict]) -> None:
    """Writes the document built by :func:`predictions`. Raises ``ValueError`` if a field has an invalid value."""
    write_text_atomic(path, document_text(predictions(head, verdicts), Predictions, indent=1, ascii_only=True))


def write_csv(path: Path, verdicts: Sequence[ImageVerdict], columns: Sequence[str] = CSV_COLUMNS) -> None:
    """Writes the table :func:`csv_text` to a file."""
    write_text_atomic(path, csv_text(verdicts, columns))


def csv_text(verdicts: Sequence[ImageVerdict], columns: Sequence[str] = CSV_COLUMNS) -> str:
    """Returns a CSV table with ``columns`` as its header and a row for each verdict."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(csv_row(verdict, columns) for verdict in verdicts)
    return text.getvalue()
