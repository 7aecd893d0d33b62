"""Which data set: by what it holds, wherever it lies; and its note, which goes where the data set is named."""

import hashlib
from pathlib import Path
from typing import NotRequired, TypedDict

from shards.files.json_file import read_json_bytes
from shards.manifest.fetch import name_of
from shards.manifest.info import INFO_NAME, parse_info
from shards.manifest.note import Note

__all__ = ["DatasetDigest", "dataset_digest", "dataset_json_sha256"]


class DatasetDigest(TypedDict):
    """The name of a data set, what no other has, and what a reader must know."""

    name: str
    """That of its folder, or of its address in a store."""
    dataset_json_sha256: str
    """Digest of ``dataset.json``, which holds those of the shards."""
    note: NotRequired[Note]
    """What a reader of any verdict must know about it. Absent where it says nothing, and in older documents."""


def dataset_digest(root: Path) -> DatasetDigest:
    """The data set that lies in ``root``. Raises ``InputError`` if its ``dataset.json`` is damaged."""
    data = read_json_bytes(root / INFO_NAME)
    digest: DatasetDigest = {"name": name_of(root), "dataset_json_sha256": hashlib.sha256(data).hexdigest()}
    if note := parse_info(data, str(root / INFO_NAME)).note:
        digest["note"] = note
    return digest


def dataset_json_sha256(root: Path) -> str:
    """The digest alone, of whatever lies there."""
    return hashlib.sha256(read_json_bytes(root / INFO_NAME)).hexdigest()
