"""Continues a prediction that was stopped, from the verdicts that its partial files contain.

The partial file of the JSON document holds every verdict in full, in the order of the images, so the command can go on
behind the last one.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from glass.predict.image_sources import FileSource, ImageSource, MemberSource
from glass.predict.partial_rows import FileStamp, PartialHead, PartialRecord, RowOptions, StoppedRun, partial_path
from glass.predict.prediction_files import PredictionHead, csv_text, made_by
from glass.predict.verdicts import ImageVerdict, json_row, verdict_of
from shards.errors import InputError
from shards.files.documents import typed_document
from shards.files.json_file import parse_json, read_json_bytes
from shards.files.regular_file import open_regular

__all__ = ["file_stamp", "require_same_table", "stopped_run"]

_REMEDY = "move it away or delete it, then run the command without --resume"


def stopped_run(
    json_path: Path, head: PredictionHead, options: RowOptions, sources: Sequence[ImageSource]
) -> StoppedRun | None:
    """Returns what is in the partial file of ``json_path``; None if there is no such file.

    A last line that a killed process cut off is ignored. Raises ``InputError`` if the file is damaged, if its verdicts
    were made with another model, other views, another calibration or other options, if its images are not the first of
    ``sources``, or if the file of one of them has changed, or is another file, since the run began.
    """
    partial = partial_path(json_path)
    if partial.is_symlink():
        raise InputError(f"{partial} is a link: {_REMEDY}")
    if not partial.exists():
        return None
    theirs, verdicts, files = _read(partial)
    if theirs is None:
        return StoppedRun([], [], partial.stat().st_mtime_ns)
    made = zip(("model", "choice of views", "calibration"), made_by(theirs), made_by(head), strict=True)
    for what, their, our in made:
        if their != our:
            raise InputError(f"{partial} holds verdicts with another {what}: {_REMEDY}")
    if theirs["options"] != options or theirs["data_notes"] != head["data_notes"]:
        raise InputError(
            f"{partial} was made with other options (--no-stability, --claims, --trust), or the model has changed "
            f"since: {_REMEDY}"
        )
    for verdict, read, source in zip(verdicts, files, sources, strict=False):
        if verdict.path != source.name:
            raise InputError(f"{partial} holds a verdict on {verdict.path} where {source.name} is given now: {_REMEDY}")
        now = file_stamp(source)  # not only the time: a folder that takes the place of another may be the older one
        if _changed_ns(source) > theirs["began_ns"] or (now is not None and now != read):
            raise InputError(
                f"{partial} holds a verdict on {source.name}, which has changed since: move {partial.name} away or "
                "delete it, then run the command without --resume"
            )
    if len(verdicts) > len(sources):
        raise InputError(f"{partial} holds verdicts on more images than are given now: {_REMEDY}")
    return StoppedRun(verdicts, files, theirs["began_ns"])


def file_stamp(source: ImageSource) -> FileStamp:
    """The stamp of the file of ``source``. Two files have different ones, even if a program copied the times."""
    path = _path(source)
    try:
        found = None if path is None else path.stat()
    except OSError:
        return None
    return found and [found.st_size, found.st_ctime_ns]


def _read(partial: Path) -> tuple[PartialHead | None, list[ImageVerdict], list[FileStamp]]:
    """Returns (head, verdicts, their files). The head is None if the run was killed before it had written it."""
    try:
        first, *lines = read_json_bytes(partial).split(b"\n")[:-1] or [b""]
        if not first:
            return None, [], []
        head = typed_document(parse_json(first), PartialHead, "line 1")
        records = [typed_document(parse_json(line), PartialRecord, f"line {n}") for n, line in enumerate(lines, 2)]
        with np.errstate(over="raise"):  # attention above float32
            verdicts = [verdict_of(record, head["data_notes"]) for record in records]
        for verdict in verdicts:  # whatever is in the file can be written again
            json.dumps(json_row(verdict), allow_nan=False)
        csv_text(verdicts).encode()
    except (OSError, ArithmeticError, ValueError, KeyError, TypeError) as error:
        remedy = "set it to more" if "GLASS_MAX_JSON_BYTES" in str(error) else _REMEDY
        raise InputError(f"{partial} cannot be continued ({error}): {remedy}") from error
    return head, verdicts, [record["file"] for record in records]


def _changed_ns(source: ImageSource) -> int:
    """When the file of ``source``, or a link on the way to it, was last changed or replaced; 0 if the file is gone.
    Programs that copy a file's times cannot set this one."""
    path = _path(source)
    try:
        if path is None:
            return 0
        return max(path.stat().st_ctime_ns, *(link.lstat().st_ctime_ns for link in _links(path.absolute())), 0)
    except OSError:  # its verdict stands
        return 0


def _path(source: ImageSource) -> Path | None:
    return source.path if isinstance(source, FileSource) else source.tar if isinstance(source, MemberSource) else None


def _links(path: Path) -> Iterator[Path]:
    """Yields the links on the way to an existing file, also those to which other links lead."""
    for place in (path, *path.parents):
        if place.is_symlink():
            yield place
            yield from _links(place.parent / place.readlink())


def require_same_table(csv_path: Path, verdicts: Sequence[ImageVerdict], columns: Sequence[str]) -> None:
    """Raises ``InputError`` if the partial file of ``csv_path`` exists and does not belong to ``verdicts``."""
    partial = partial_path(csv_path)
    if partial.is_symlink():
        raise InputError(f"{partial} is a link: move it away or delete it")
    if not partial.exists():
        return
    expected = csv_text(verdicts, columns).encode()
    try:
        with open_regular(partial) as file:
            found = file.read(len(expected) + 1)
    except OSError as error:
        raise InputError(f"{partial} cannot be read ({error}): move it away or delete it") from error
    if not expected.startswith(found):
        raise InputError(f"{partial} holds the table of another prediction: move it away or delete it")
