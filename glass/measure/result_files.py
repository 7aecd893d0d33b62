"""Names, reads and writes result files in a run's folder; results on one data set never overwrite those on another.

``evaluation-<split>.json`` and ``robustness-<split>.json`` hold results on the data set that the run was trained on, as
recorded in its ``run.json``. If there is no ``run.json``, they hold results on whichever data set was measured first.
For any other data set, the file name includes the first 12 hexadecimal digits of that data set's digest, the SHA-256 of
its ``dataset.json``: ``evaluation-<split>-of-<digits>.json``. An existing file keeps its name and can still be found,
even if this rule would now name it differently.
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
"""The kinds of results; each result file's name starts with its kind."""

OUR_EVALUATION = is_json_with("split", "model", "dataset", "metrics")
OUR_PREDICTIONS = is_parquet_with(("sample_key", "label", "probability"))

DIGITS = 12
"""Number of hexadecimal digits of the digest in a file name. 48 bits are enough to tell apart the data sets on which
one model is measured."""


def named_of(folder: Path, kind: str, split: str, digest: str, variant: str = "") -> str:
    """Returns the file-name suffix for new results on the data set with ``digest``, the SHA-256 of its
    ``dataset.json``.

    The suffix is ``variant``, followed by ``-of-<12 digits>`` if the name without the digits is reserved for another
    data set.
    """
    held = _digest_in(_path(folder, kind, split, variant), "dataset")
    own = _digest_in(folder / "run.json", "data")
    first = own if held is None else held
    return variant if first in (None, digest) else variant + _ending(digest)


def found_of(folder: Path, kind: str, split: str, digest: str, variant: str = "") -> str:
    """Returns the file-name suffix of existing results on the data set with ``digest``; see :func:`named_of`.

    The suffix is ``variant`` alone if the file with that name holds results on this data set. Otherwise, it includes
    the digest's digits if a file with that name exists. If neither file exists, the suffix is ``variant``.
    """
    other = variant + _ending(digest)
    held = _digest_in(_path(folder, kind, split, variant), "dataset")
    return other if held != digest and _path(folder, kind, split, other).is_file() else variant


def evaluation_path(run: Path, split: str, variant: str = "") -> Path:
    """Returns the path of ``evaluation-<split>.json``.

    ``variant`` (e.g. "-crops8", or the result of :func:`named_of`) is inserted before the extension to tell apart
    results for different settings or data sets.
    """
    return _path(run, EVALUATION, split, variant)


def robustness_path(run: Path, split: str, variant: str = "") -> Path:
    """Returns the path of ``robustness-<split>.json``, which holds the robustness table. ``variant`` is as in
    :func:`evaluation_path`."""
    return _path(run, ROBUSTNESS, split, variant)


def write_evaluation(run: Path, document: Evaluation, table: pa.Table, variant: str = "") -> None:
    """Writes the document and the prediction table, each atomically.

    Any older document is deleted first, and the new one is written last, so a document never lies next to predictions
    from a different evaluation.
    """
    text, split = document_text(document, Evaluation), document["split"]
    evaluation_path(run, split, variant).unlink(missing_ok=True)
    with atomic_path(predictions_path(run, split, variant)) as temporary:
        pq.write_table(table, temporary, compression="zstd")
    write_text_atomic(evaluation_path(run, split, variant), text)


def read_evaluation(run: Path, split: str, variant: str = "") -> Evaluation:
    """The evaluation of ``split`` in ``run``. Raises ``InputError`` if it is missing or damaged."""
    path = evaluation_path(run, split, variant)
    if not path.is_file():
        raise InputError(
            f"{run} has no evaluation of {split}: run glass evaluate {run} --data DATA --split {split} first"
        )
    return evaluation_in(path)


def evaluation_in(path: Path) -> Evaluation:
    """The evaluation in the file ``path``. Raises ``InputError`` if it is damaged."""
    try:
        return check_evaluation(read_json(path))
    except (ValueError, OSError) as error:
        raise InputError(
            f"{path} is not an evaluation of this version ({error}): move it away and run glass evaluate again"
        ) from error


def write_robustness(path: Path, document: Robustness) -> None:
    """Atomically writes the table to ``path``."""
    write_document(path, document, Robustness)


def read_robustness(run: Path, split: str, variant: str = "") -> Robustness | None:
    """The robustness table of ``split`` in ``run``; None if there is none. Raises ``InputError`` if it is damaged."""
    path = robustness_path(run, split, variant)
    if not path.is_file():
        return None
    try:
        return check_robustness(read_json(path))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} is not a robustness table of this version ({error}): run glass robustness again"
        ) from error


def _path(folder: Path, kind: str, split: str, variant: str) -> Path:
    return folder / f"{kind}-{split}{variant}.json"


def _ending(digest: str) -> str:
    return f"-of-{digest[:DIGITS]}"


def _digest_in(path: Path, entry: str) -> str | None:
    """Returns the SHA-256 of ``dataset.json`` stored under ``entry`` in the JSON file ``path``, or None if there is
    none."""
    try:
        document: Any = read_json(path)
        digest = document[entry]["dataset_json_sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return digest if isinstance(digest, str) else None
