"""Predictions as files: a JSON document, a CSV table. Neither replaces a file of anyone else."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from glass.config.documents import check_document
from glass.predict.verdicts import CSV_COLUMNS, VERDICT_SCHEMA, ImageVerdict, csv_row, json_row
from shards.files.atomic import write_text_atomic
from shards.files.outputs import check_output, starts_with

__all__ = ["PREDICTIONS_SCHEMA", "check_csv_target", "check_json_target", "write_csv", "write_json"]

FORMAT, FORMAT_VERSION = "glass-predictions", 2  # 1: content ids as integers, of files' bytes
_JSON_START = f'{{\n "format": "{FORMAT}"'
PREDICTIONS_SCHEMA: dict[str, Any] = {
    "format": str,
    "format_version": int,
    "model": {"path": str, "kind": str, "weights_sha256": str},
    "views": {"num_crops": int, "sampling": str, "coverage": str, "draws": int},
    "calibrated": bool,
    "threshold": float,  # of the probability, from which on an image is called generated
    "real_below": float,  # and below which real; between them: uncertain
    "note": str,
    "images": [VERDICT_SCHEMA],
}
"""Of the file that ``predict --json`` writes."""
_CSV_START = ",".join(CSV_COLUMNS[:4])
"""Further columns came later."""


def check_json_target(path: Path) -> None:
    """``InputError`` where ``path`` cannot be written, or is a file that is not ours."""
    check_output(path, starts_with(_JSON_START))


def check_csv_target(path: Path) -> None:
    """``InputError`` where ``path`` cannot be written, or is a file that is not ours."""
    check_output(path, starts_with(_CSV_START))


def write_json(path: Path, head: dict[str, Any], verdicts: Sequence[ImageVerdict]) -> None:
    """``head`` (model, views, calibration) and ``images``, a record for each verdict.

    Raises ``ValueError`` where that is not as ``PREDICTIONS_SCHEMA`` says.
    """
    document = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        **head,
        "images": [json_row(verdict) for verdict in verdicts],
    }
    check_document(document, PREDICTIONS_SCHEMA)
    write_text_atomic(path, json.dumps(document, indent=1, allow_nan=False) + "\n")


def write_csv(path: Path, verdicts: Sequence[ImageVerdict]) -> None:
    """A header and a line for each verdict."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    writer.writerows(csv_row(verdict) for verdict in verdicts)
    write_text_atomic(path, text.getvalue())
