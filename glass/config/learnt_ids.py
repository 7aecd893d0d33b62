"""Records which images a model learnt from, so that results on them are not mistaken for results on new images.

A run keeps ``learnt_ids.parquet``: the content ids of the images it was trained on, and of the validation images used
to choose its best epoch. An exported model includes the file only on request, because the ids reveal to anyone who has
an image whether the model learnt from it. In an exported model, the file also holds the weights' digest.

The columns are ``content_id`` (int64, ascending, unique) and ``chosen_on`` (bool: used only to choose the epoch). The
metadata contain ``format_version``, ``identity`` (how ids are computed, ``shards.manifest.schema.IDENTITY``), and, in
an exported model, ``weights_sha256``.
"""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from shards.errors import InputError
from shards.files.atomic import write_bytes_atomic
from shards.files.parquet_file import read_parquet
from shards.manifest.dataset import ShardDataset
from shards.manifest.schema import IDENTITY

__all__ = ["LEARNT_FILE", "LearntIds", "Overlap", "learnt_path", "overlap", "read_learnt_ids"]

LEARNT_FILE = "learnt_ids.parquet"
FORMAT_VERSION = 1
TRAINED_ON, CHOSEN_BY = "train", "valid"
"""How a model can have used an image: as training data, or only to choose its epoch."""

_SCHEMA = pa.schema([pa.field("content_id", pa.int64()), pa.field("chosen_on", pa.bool_())])

Ids = npt.NDArray[np.int64]


class Overlap(TypedDict):
    """How many images in a given set were used to train a model or to choose its epoch."""

    images: int
    """Number of images in the set."""
    train: int
    """Number of these images that the model was trained on."""
    valid: int
    """Number of these images that were used only to choose the model's epoch."""


@dataclass(frozen=True)
class LearntIds:
    """The content ids of the images that a model learnt from."""

    content_id: Ids
    """Content ids, (n,) int64, ascending, unique."""
    chosen_on: npt.NDArray[np.bool_]
    """(n,) bool: True if the image served only to choose the epoch, False if the model was trained on it."""
    identity: str = IDENTITY
    """How the ids were computed; only ids that were computed in the same way can be compared."""

    @classmethod
    def of_splits(cls, dataset: ShardDataset, train: str, valid: str) -> "LearntIds":
        """Returns the ids for a run that trains on the split ``train`` of ``dataset`` and uses ``valid`` to choose its
        epoch."""
        ids = dataset.column("content_id")
        trained = np.unique(ids[dataset.split_rows(train)])
        chosen = np.setdiff1d(ids[dataset.split_rows(valid)], trained)
        together = np.concatenate([trained, chosen])
        order = np.argsort(together, kind="stable")
        return cls(together[order], (np.arange(len(together)) >= len(trained))[order])

    @property
    def is_comparable(self) -> bool:
        """Whether the ids were computed by the same method as content ids in this version's data sets."""
        return self.identity == IDENTITY

    def uses(self, content_id: npt.ArrayLike) -> npt.NDArray[np.int8]:
        """Returns how the images with the content ids ``content_id`` (m,) were used, as (m,) int8: 0 = not at all, 1 =
        only to choose the epoch, 2 = for training."""
        wanted = np.atleast_1d(np.asarray(content_id, np.int64))
        if not len(self.content_id):
            return np.zeros(len(wanted), np.int8)
        places = np.minimum(np.searchsorted(self.content_id, wanted), len(self.content_id) - 1)
        found = self.content_id[places] == wanted
        return np.where(found, np.where(self.chosen_on[places], 1, 2), 0).astype(np.int8)

    def use_of(self, content_id: int) -> str | None:
        """Returns how the model used one image: ``"train"``, ``"valid"`` or ``""`` (not at all); None if the ids are
        not comparable."""
        if not self.is_comparable:
            return None
        return ("", CHOSEN_BY, TRAINED_ON)[int(self.uses(content_id)[0])]

    def to_bytes(self, weights_sha256: str = "") -> bytes:
        """Returns the content of ``learnt_ids.parquet``.

        For an exported model, ``weights_sha256`` is the digest of its weights; for a run, it is ``""``.
        """
        metadata = {"format_version": str(FORMAT_VERSION), "identity": self.identity}
        if weights_sha256:
            metadata["weights_sha256"] = weights_sha256
        schema = _SCHEMA.with_metadata(metadata)
        table = pa.table([pa.array(self.content_id), pa.array(self.chosen_on)], schema=schema)
        buffer = io.BytesIO()
        # Ids are random bits: neither a dictionary nor a codec makes them smaller.
        pq.write_table(table, buffer, compression="none", use_dictionary=False, write_page_checksum=True)
        return buffer.getvalue()

    def write(self, run: Path) -> None:
        """Atomically writes ``learnt_ids.parquet`` into the run folder ``run``."""
        write_bytes_atomic(run / LEARNT_FILE, self.to_bytes())


def overlap(learnt: LearntIds | None, content_id: npt.ArrayLike) -> Overlap | None:
    """Counts how many of the images ``content_id`` (m,) were used to train the model or to choose its epoch.

    Returns None if ``learnt`` is None or holds ids that are not comparable.
    """
    if learnt is None or not learnt.is_comparable:
        return None
    counts = np.bincount(learnt.uses(content_id), minlength=3).tolist()
    return {"images": sum(counts), "train": counts[2], "valid": counts[1]}


def learnt_path(folder: Path) -> Path | None:
    """Returns the path of ``learnt_ids.parquet`` for the model in ``folder``. Looks in ``folder``, then in the run that
    contains it; returns None if neither has the file."""
    places = [folder, *([folder.parent] if folder.name == "model" else [])]
    return next((path for place in places if (path := place / LEARNT_FILE).exists()), None)


def read_learnt_ids(folder: Path, weights_sha256: str) -> LearntIds | None:
    """Reads which images the model in ``folder`` learnt from.

    Returns None if they are unknown, because the run was written by an earlier version or the model was exported
    without the ids. Raises ``InputError`` if the file is damaged or belongs to weights with a digest other than
    ``weights_sha256``.
    """
    path = learnt_path(folder)
    if path is None:
        return None
    remedy = "copy it again, or move it away, after which nobody can tell which images the model learnt from"
    try:
        table = read_parquet(path)
        metadata = table.schema.metadata or {}
        if not table.schema.equals(_SCHEMA) or any(column.null_count for column in table.columns):
            raise ValueError("other columns")
        if metadata.get(b"format_version") != str(FORMAT_VERSION).encode():
            raise ValueError("another format version")
        content_id, chosen_on = (table[name].to_numpy() for name in _SCHEMA.names)
        if not (content_id[1:] > content_id[:-1]).all():
            raise ValueError("ids out of order")
        identity = metadata[b"identity"].decode("ascii")
        bound_to = metadata.get(b"weights_sha256", weights_sha256.encode()).decode("ascii")
    except (OSError, pa.ArrowException, ValueError, KeyError) as error:
        raise InputError(f"{path} is damaged ({error}): {remedy}") from error
    if bound_to != weights_sha256:
        raise InputError(f"{path} belongs to weights other than those in its folder: {remedy}")
    return LearntIds(content_id, chosen_on, identity)
