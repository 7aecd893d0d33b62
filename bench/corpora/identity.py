"""What must be equal for two rows of a bench to be measured alike, and which figures they hold.

``data`` is a digest of the bytes that were read, so that other photographs, or shards built in
another way, are never compared by their names alone. A row that lacks a field of its identity is
of an older version and compared with nothing: its document does not pass ``bench.harness.schemas``.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from bench.corpora.corpus import Corpus
from shards.manifest.info import DatasetInfo

__all__ = ["IDENTITY", "METRICS", "Key", "corpus_digest", "data_digest", "row_key"]

Key = tuple[str | int | float | None, ...]

_TURNS = ("threads", "seconds_per_round")
_STEP = (
    "backbone",
    "num_crops",
    "crop_chunk",
    "batch_size",
    "crop_size",
    "global_size",
    "settings",
    "precision",
    "threads",
)

IDENTITY: Mapping[str, tuple[str, ...]] = {
    "decode": ("method", "images", "megapixels", "num_crops", "crop_size", "data", *_TURNS),
    "build": ("method", "images", "megapixels", "data", *_TURNS),
    "loader": ("method", "images", "num_crops", "batch_size", "crop_size", "global_size", "data", *_TURNS),
    "train": ("preset", *_STEP, "device", "data"),
    "memory": ("preset", "method", *_STEP, "counted_by"),
    "scale": ("samples", "batch_size"),
}
"""Bench → fields. Memory is counted on random pixels, so without data; which GPU it was is what
``counted_by`` leaves open, since machines are to be compared."""

METRICS: Mapping[str, tuple[str, ...]] = {
    "decode": ("images_per_s",),
    "build": ("images_per_s",),
    "loader": ("images_per_s",),
    "train": ("images_per_s", "share_of_loader"),
    "memory": ("peak_bytes", "process_peak_bytes", "step_time_s"),
    "scale": ("open_s", "first_batch_s", "order_s", "resume_s", "open_peak_rss_mib", "peak_rss_mib"),
}
"""Bench → figures that are set side by side; the first is plotted."""


def row_key(bench: str, row: Mapping[str, Any]) -> Key:
    """The values of the identity; lists (``settings``) as their JSON text."""
    values = (row[name] for name in IDENTITY[bench])
    return tuple(json.dumps(value) if isinstance(value, list) else value for value in values)


def data_digest(info: DatasetInfo) -> str:
    """Of all bytes of a data set: the checksums of its tars, whatever the folder is called."""
    return _digest(f"{shard.sha256} {shard.sidecar_sha256}" for shard in info.shards)


def corpus_digest(corpus: Corpus) -> str:
    """Of the images of a comparison: their source bytes and their length as the shards hold
    them. Versions of the libraries that built the shards leave it alone."""
    return _digest(f"{image.file_id} {image.num_bytes}" for image in corpus.images)


def _digest(parts: Iterable[str]) -> str:
    """16 hexadecimal digits that depend on the parts in any order."""
    return hashlib.sha256("\n".join(sorted(parts)).encode()).hexdigest()[:16]
