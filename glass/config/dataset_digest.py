"""Identifies a data set by its content, regardless of where it is stored, and reads its note."""

import hashlib
from pathlib import Path
from typing import NotRequired, TypedDict

from shards.errors import InputError
from shards.files.json_file import read_json_bytes
from shards.files.outputs import holds_mark
from shards.manifest.fetch import name_of
from shards.manifest.info import INFO_NAME, parse_info
from shards.manifest.note import Note

__all__ = ["DatasetDigest", "dataset_digest", "dataset_json_sha256", "require_same_data"]


class DatasetDigest(TypedDict):
    """A data set as referred to in runs and results: its name, its digest, and its note."""

    name: str
    """Name of the data set's folder, or the last part of its address in a store."""
    dataset_json_sha256: str
    """SHA-256 of ``dataset.json``, which contains the shard digests."""
    note: NotRequired[Note]
    """Text that must be shown to everyone who reads a verdict, e.g. that the images are a simulation. Absent if the
    data set has no note, and in older documents."""


def dataset_digest(root: Path) -> DatasetDigest:
    """Returns the :class:`DatasetDigest` of the data set in ``root``. Raises ``InputError`` if its ``dataset.json`` is
    damaged."""
    data = read_json_bytes(root / INFO_NAME)
    digest: DatasetDigest = {"name": name_of(root), "dataset_json_sha256": hashlib.sha256(data).hexdigest()}
    if note := parse_info(data, str(root / INFO_NAME)).note:
        digest["note"] = note
    return digest


def dataset_json_sha256(root: Path) -> str:
    """Returns the SHA-256 of the ``dataset.json`` in ``root``, without checking the file's content."""
    return hashlib.sha256(read_json_bytes(root / INFO_NAME)).hexdigest()


def require_same_data(path: Path, root: Path, holds: str, remedy: str) -> None:
    """Raises ``InputError`` if the existing file ``path`` is about another data set than the one in ``root``.

    The file must contain its data set's digest near its beginning. In the message, ``holds`` names the file's content,
    such as "the audit", and ``remedy`` says what to do.
    """
    if not holds_mark(dataset_json_sha256(root))(path):
        raise InputError(f"{path} holds {holds} of another data set: {remedy}")
