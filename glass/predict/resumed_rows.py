"""Continues a prediction that was stopped, from the verdicts that its partial files contain.

The partial file of the JSON document holds every verdict in full, in the order of the images, so the command can go on
behind the last one.
"""

from collections.abc import Sequence
from pathlib import Path

from glass.predict.image_sources import FileSource, ImageSource
from glass.predict.options import PredictOptions
from glass.predict.partial_rows import partial_path
from glass.predict.prediction_files import PredictionHead, csv_text, made_by
from glass.predict.verdicts import ImageRecord, ImageVerdict, verdict_of
from shards.errors import InputError
from shards.files.documents import typed_document
from shards.files.json_file import parse_json, read_json_bytes
from shards.files.regular_file import open_regular

__all__ = ["finished_verdicts", "require_same_table"]


def finished_verdicts(
    json_path: Path, head: PredictionHead, sources: Sequence[ImageSource], options: PredictOptions, claims: bool
) -> list[ImageVerdict] | None:
    """Returns the verdicts in the partial file of ``json_path``, which are those on the first images of ``sources``;
    None if there is no such file.

    A last line that a killed process cut off is ignored. Raises ``InputError`` if the file is damaged, if its verdicts
    were made with another model, other views, another calibration or other options, if its images are not the first of
    ``sources``, or if one of them was changed after the prediction was stopped.
    """
    partial = partial_path(json_path)
    if not partial.exists():
        return None
    remedy = "move it away or delete it, then run the command without --resume"
    try:
        first, *lines = read_json_bytes(partial).split(b"\n")[:-1]
        made = made_by(parse_json(first))
        records = [typed_document(parse_json(line), ImageRecord, f"line {n}") for n, line in enumerate(lines, 2)]
        verdicts = [verdict_of(record, head["data_notes"]) for record in records]
    except (OSError, ArithmeticError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{partial} is damaged ({error}): {remedy}") from error
    for what, their, our in zip(("model", "choice of views", "calibration"), made, made_by(head), strict=True):
        if their != our:
            raise InputError(f"{partial} holds verdicts with another {what}: {remedy}")
    for verdict, record, source in zip(verdicts, records, sources, strict=False):
        if verdict.path != source.name:
            raise InputError(f"{partial} holds a verdict on {verdict.path} where {source.name} is given now: {remedy}")
        scored = verdict.reason is None
        if (scored and (verdict.unstable is not None) != options.stability) or ("claims" in record) != claims:
            raise InputError(f"{partial} was made with other options (--no-stability, --claims): {remedy}")
    if len(verdicts) > len(sources):
        raise InputError(f"{partial} holds verdicts on more images than are given now: {remedy}")
    _require_unchanged(partial, sources[: len(verdicts)], remedy)
    return verdicts


def _require_unchanged(partial: Path, sources: Sequence[ImageSource], remedy: str) -> None:
    stopped = partial.stat().st_mtime_ns
    for source in sources:
        if not isinstance(source, FileSource):
            continue
        try:
            changed = source.path.stat().st_mtime_ns > stopped
        except OSError:  # deleted: its verdict stands
            continue
        if changed:
            raise InputError(f"{source.name} was changed after {partial} was written: {remedy}")


def require_same_table(csv_path: Path, verdicts: Sequence[ImageVerdict], columns: Sequence[str]) -> None:
    """Raises ``InputError`` if the partial file of ``csv_path`` exists and does not belong to ``verdicts``."""
    partial = partial_path(csv_path)
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
