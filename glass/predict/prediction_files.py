"""Predictions as files: a JSON document, a CSV table, and what marks a page. None replaces a file of anyone else."""

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
    "made_by",
    "page_record",
    "predictions",
    "read_page_record",
    "write_csv",
    "write_json",
]

FORMAT, FORMAT_VERSION = "glass-predictions", 2  # 1: content ids as integers, of files' bytes
_JSON_START = f'{{\n "format": "{FORMAT}"'
_CSV_START = ",".join(CSV_COLUMNS[:4])
"""Further columns came later."""
_PAGE_MARK = 'content="glass-hires predict"'
_RECORD_START, _RECORD_END = '<script type="application/json" id="verdicts">', "</script>"


class PredictionModel(TypedDict):
    """The model that was asked."""

    path: str
    kind: str
    weights_sha256: str


class PredictionViews(TypedDict):
    """What it saw of an image: :class:`glass.measure.calibration.ViewSettings`."""

    num_crops: int
    sampling: str
    coverage: str
    draws: int


class PredictionHead(TypedDict):
    """What holds for all images of a file."""

    model: PredictionModel
    views: PredictionViews
    calibrated: bool
    threshold: Number
    """Of the probability, from which on an image is called generated."""
    real_below: Number
    """Below which it is called real; between the two: uncertain."""
    note: str
    """The meaning of the figures."""
    data_notes: list[Note]
    """What a reader must know about the data that the model learnt from and was calibrated on; empty where nothing is
    said."""


class MadeBy(NamedTuple):
    """What verdicts depend on, apart from the images: the model, what it sees of an image, where verdicts begin."""

    weights_sha256: str
    views: dict[str, object]
    calibration: tuple[bool, float, float]
    """Whether there is one, the threshold, and below which an image is real."""


def made_by(head: Mapping[str, Any]) -> MadeBy:
    """What determines the verdicts, from the head of a file or the record of a page: weights, views and calibration.
    Raises ``KeyError`` or ``TypeError`` if ``head`` is no such head."""
    calibration = (bool(head["calibrated"]), float(head["threshold"]), float(head["real_below"]))
    return MadeBy(str(head["model"]["weights_sha256"]), dict(head["views"]), calibration)


class Predictions(PredictionHead):
    """The file that ``predict --json`` writes."""

    format: str
    format_version: int
    images: list[ImageRecord]


def check_json_target(path: Path) -> None:
    """``InputError`` if ``path`` cannot be written, or is a file that is not ours."""
    check_output(path, starts_with(_JSON_START))


def check_csv_target(path: Path) -> None:
    """``InputError`` if ``path`` cannot be written, or is a file that is not ours."""
    check_output(path, starts_with(_CSV_START))


def check_page_target(path: Path) -> None:
    """``InputError`` if ``path`` cannot be written, or is a file that is not ours."""
    check_output(path, holds_mark(_PAGE_MARK))


def page_record(head: PredictionHead, verdicts: Sequence[ImageVerdict]) -> str:
    """The element of a page from which :func:`read_page_record` knows whose verdicts it holds. No browser runs it."""
    record = {**head, "paths": [verdict.path for verdict in verdicts]}
    text = json.dumps(record).replace("<", "\\u003c")  # a name of a file ends no element
    return f"{_RECORD_START}{text}{_RECORD_END}"


def read_page_record(path: Path) -> tuple[MadeBy, list[str]]:
    """What made the verdicts of a page, and their images. Raises ``OSError``, and ``ValueError``, ``KeyError`` or
    ``TypeError`` if it is damaged."""
    after = read_json_bytes(path).partition(_RECORD_START.encode())[2]
    record = parse_json(after.partition(_RECORD_END.encode())[0])
    return made_by(record), [str(name) for name in record["paths"]]


def predictions(head: PredictionHead, verdicts: Sequence[ImageVerdict]) -> Predictions:
    """``head`` and ``images``, a record for each verdict."""
    rows = [json_row(verdict) for verdict in verdicts]
    return {"format": FORMAT, "format_version": FORMAT_VERSION, **head, "images": rows}


def write_json(path: Path, head: PredictionHead, verdicts: Sequence[ImageVerdict]) -> None:
    """Writes the document of :func:`predictions`; ``ValueError`` if it is not as declared."""
    write_text_atomic(path, document_text(predictions(head, verdicts), Predictions, indent=1, ascii_only=True))


def write_csv(path: Path, verdicts: Sequence[ImageVerdict], columns: Sequence[str] = CSV_COLUMNS) -> None:
    """A header of ``columns`` and a line for each verdict."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(csv_row(verdict, columns) for verdict in verdicts)
    write_text_atomic(path, text.getvalue())
