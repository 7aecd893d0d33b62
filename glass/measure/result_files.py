"""Names of results in a folder: those of one data set never take the place of another's.

``evaluation-<split>.json`` and ``robustness-<split>.json`` are results on the data set that the run
was trained on, as its ``run.json`` says; in a folder without such a record, on the data set that
came first. Results on any other data set carry its digest, the first 12 digits of the SHA-256 of
its ``dataset.json``: ``evaluation-<split>-of-<digits>.json``. Earlier results stay and are found.
"""

from pathlib import Path
from typing import Any

from shards.files.json_file import read_json
from shards.files.outputs import is_json_with, is_parquet_with

__all__ = ["EVALUATION", "OUR_EVALUATION", "OUR_PREDICTIONS", "ROBUSTNESS", "found_of", "named_of"]

EVALUATION, ROBUSTNESS = "evaluation", "robustness"
"""Kinds of results, with which their names begin."""

OUR_EVALUATION = is_json_with("split", "model", "dataset", "metrics")
OUR_PREDICTIONS = is_parquet_with(("sample_key", "label", "probability"))

DIGITS = 12
"""Of the digest in a name: 48 bits, for the few data sets that one model is measured on."""


def named_of(folder: Path, kind: str, split: str, digest: str, variant: str = "") -> str:
    """``variant`` with what follows it in the name of results on the data set ``digest`` (the
    SHA-256 of its ``dataset.json``) that are to be written: nothing, or ``-of-<12 digits>``."""
    held = _digest_in(_plain(folder, kind, split, variant), "dataset")
    own = _digest_in(folder / "run.json", "data")
    first = own if held is None else held
    return variant if first in (None, digest) else variant + _ending(digest)


def found_of(folder: Path, kind: str, split: str, digest: str, variant: str = "") -> str:
    """As :func:`named_of`, of results that are there; those without a digest where there are
    none."""
    other = variant + _ending(digest)
    held = _digest_in(_plain(folder, kind, split, variant), "dataset")
    return other if held != digest and _plain(folder, kind, split, other).is_file() else variant


def _plain(folder: Path, kind: str, split: str, variant: str) -> Path:
    return folder / f"{kind}-{split}{variant}.json"


def _ending(digest: str) -> str:
    return f"-of-{digest[:DIGITS]}"


def _digest_in(path: Path, entry: str) -> str | None:
    """The digest of the data set that a JSON document is about; None where it does not say."""
    try:
        document: Any = read_json(path)
        digest = document[entry]["dataset_json_sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return digest if isinstance(digest, str) else None
