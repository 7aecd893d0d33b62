"""Results in the folder of a run: those of one data set never replace those of another.

``evaluation-<split>.json`` and ``robustness-<split>.json`` are results on the data set that the run
was trained on, as its ``run.json`` says; in a folder without such a record, on the data set that
came first. Results on any other data set carry its digest, the first 12 digits of the SHA-256 of
its ``dataset.json``: ``evaluation-<split>-of-<digits>.json``. Earlier results stay and are found.
"""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from glass.measure.evaluation_schema import Evaluation, check_evaluation
from glass.measure.predictions import predictions_path
from glass.measure.robustness_schema import Robustness, check_robustness
from shards.errors import InputError
from shards.files.atomic import atomic_path, write_text_atomic
from shards.files.documents import document_text, write_document
from shards.files.json_file import read_json
from shards.files.outputs import is_json_with, is_parquet_with

__all__ = [
    "EVALUATION",
    "OUR_EVALUATION",
    "OUR_PREDICTIONS",
    "ROBUSTNESS",
    "evaluation_in",
    "evaluation_path",
    "found_of",
    "named_of",
    "read_evaluation",
    "read_robustness",
    "robustness_path",
    "write_evaluation",
    "write_robustness",
]

EVALUATION, ROBUSTNESS = "evaluation", "robustness"
"""Kinds of results, with which their names begin."""

OUR_EVALUATION = is_json_with("split", "model", "dataset", "metrics")
OUR_PREDICTIONS = is_parquet_with(("sample_key", "label", "probability"))

DIGITS = 12
"""Digits of the digest in a name: 48 bits, for the few data sets that one model is measured on."""


def named_of(folder: Path, kind: str, split: str, digest: str, variant: str = "") -> str:
    """The end of the file name for new results on the data set with ``digest``, the SHA-256 of its ``dataset.json``:
    ``variant``, and ``-of-<12 digits>`` if the name without it belongs to results on another data set."""
    held = _digest_in(_path(folder, kind, split, variant), "dataset")
    own = _digest_in(folder / "run.json", "data")
    first = own if held is None else held
    return variant if first in (None, digest) else variant + _ending(digest)


def found_of(folder: Path, kind: str, split: str, digest: str, variant: str = "") -> str:
    """The end of the file name of existing results on the data set with ``digest``, see :func:`named_of`; only
    ``variant`` if there are none with the digest in their name."""
    other = variant + _ending(digest)
    held = _digest_in(_path(folder, kind, split, variant), "dataset")
    return other if held != digest and _path(folder, kind, split, other).is_file() else variant


def evaluation_path(run: Path, split: str, variant: str = "") -> Path:
    """``evaluation-<split>.json``; ``variant`` ("-crops8", :func:`named_of`) keeps other settings, and
    other data sets, beside it."""
    return _path(run, EVALUATION, split, variant)


def robustness_path(run: Path, split: str, variant: str = "") -> Path:
    """The path of ``robustness-<split>.json``, the table of ``glass robustness``, in ``run``; ``variant`` as in
    :func:`named_of`."""
    return _path(run, ROBUSTNESS, split, variant)


def write_evaluation(run: Path, document: Evaluation, table: pa.Table, variant: str = "") -> None:
    """Writes both files whole. The document is written last and an older one removed first, so
    that a document never stands beside predictions of another evaluation."""
    text, split = document_text(document, Evaluation), document["split"]
    evaluation_path(run, split, variant).unlink(missing_ok=True)
    with atomic_path(predictions_path(run, split, variant)) as temporary:
        pq.write_table(table, temporary, compression="zstd")
    write_text_atomic(evaluation_path(run, split, variant), text)


def read_evaluation(run: Path, split: str, variant: str = "") -> Evaluation:
    """The evaluation of ``split`` in ``run``; ``InputError`` if there is none that is whole."""
    path = evaluation_path(run, split, variant)
    if not path.is_file():
        raise InputError(
            f"{run} has no evaluation of {split}: run glass evaluate {run} --data DATA --split {split} first"
        )
    return evaluation_in(path)


def evaluation_in(path: Path) -> Evaluation:
    """The evaluation in ``path``; ``InputError`` if it is not whole."""
    try:
        return check_evaluation(read_json(path))
    except (ValueError, OSError) as error:
        raise InputError(
            f"{path} is not an evaluation of this version ({error}): move it away and evaluate again"
        ) from error


def write_robustness(path: Path, document: Robustness) -> None:
    """Writes the table into ``path``, whole."""
    write_document(path, document, Robustness)


def read_robustness(run: Path, split: str, variant: str = "") -> Robustness | None:
    """The table of ``split`` in ``run``, None if there is none; ``InputError`` if it is not whole."""
    path = robustness_path(run, split, variant)
    if not path.is_file():
        return None
    try:
        return check_robustness(read_json(path))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not a table of this version ({error}): run glass robustness again") from error


def _path(folder: Path, kind: str, split: str, variant: str) -> Path:
    return folder / f"{kind}-{split}{variant}.json"


def _ending(digest: str) -> str:
    return f"-of-{digest[:DIGITS]}"


def _digest_in(path: Path, entry: str) -> str | None:
    """The digest of the data set that a JSON document is about; None if it does not say."""
    try:
        document: Any = read_json(path)
        digest = document[entry]["dataset_json_sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return digest if isinstance(digest, str) else None
