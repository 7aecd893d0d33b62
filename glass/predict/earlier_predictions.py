"""Stops a prediction from replacing existing files if verdicts in them would be lost."""

import csv
from collections.abc import Callable, Iterable
from pathlib import Path

from glass.predict.prediction_files import MadeBy, PredictionHead, made_by, read_page_record
from shards.cli.wording import counted
from shards.errors import InputError
from shards.files.json_file import read_json

__all__ = ["require_none_lost"]

_REMEDY = "give another name, or move the file away"


def require_none_lost(
    json_file: Path | None, csv_file: Path | None, page: Path | None, head: PredictionHead, names: Iterable[str]
) -> None:
    """Raises ``InputError`` if replacing the existing files would lose verdicts, or if any of them is damaged.

    A verdict would be lost if its image is not among ``names``, or if it was made with a model, views or a calibration
    other than those in ``head``. (A CSV file does not name its model, so only its images are compared.) When the same
    command is run again, even with more images, it may replace its own files.
    """
    asked, ours = set(names), made_by(head)
    if json_file is not None and json_file.exists():
        _require_own(json_file, _in_json, ours, asked)
    if page is not None and page.exists():
        _require_own(page, read_page_record, ours, asked)
    if csv_file is not None and csv_file.exists():
        try:
            with csv_file.open(newline="", encoding="utf-8") as file:
                before = [row["path"] or "" for row in csv.DictReader(file)]
        except (OSError, ValueError, KeyError, csv.Error) as error:
            raise InputError(f"{csv_file} is damaged ({error}): {_REMEDY}") from error
        _require_among(csv_file, before, asked | {f"'{name}" for name in asked})


def _in_json(path: Path) -> tuple[MadeBy, list[str]]:
    document = read_json(path)
    return made_by(document), [str(image["path"]) for image in document["images"]]


def _require_own(path: Path, read: Callable[[Path], tuple[MadeBy, list[str]]], ours: MadeBy, asked: set[str]) -> None:
    try:
        theirs, before = read(path)
    except (OSError, ArithmeticError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged ({error}): {_REMEDY}") from error
    for what, their, our in zip(("model", "choice of views", "calibration"), theirs, ours, strict=True):
        if their != our:
            raise InputError(f"{path} holds verdicts with another {what}: {_REMEDY}")
    _require_among(path, before, asked)


def _require_among(path: Path, before: list[str], asked: set[str]) -> None:
    if lost := [name for name in before if name not in asked]:
        raise InputError(
            f"{path} holds verdicts on {counted(len(lost), 'image')} that are not among the images given now, such as "
            f"{lost[0][:200]}: {_REMEDY}"
        )
