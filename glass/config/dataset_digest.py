"""Which data set: by what it holds, wherever it lies."""

import hashlib
from pathlib import Path
from typing import TypedDict

from shards.files.json_file import read_json_bytes
from shards.manifest.fetch import name_of

__all__ = ["DatasetDigest", "dataset_digest"]


class DatasetDigest(TypedDict):
    """The name of a data set, and what no other has."""

    name: str
    """That of its folder, or of its address in a store."""
    dataset_json_sha256: str
    """Digest of ``dataset.json``, which holds those of the shards."""


def dataset_digest(root: Path) -> DatasetDigest:
    """The data set that lies in ``root``."""
    digest = hashlib.sha256(read_json_bytes(root / "dataset.json")).hexdigest()
    return {"name": name_of(root), "dataset_json_sha256": digest}
