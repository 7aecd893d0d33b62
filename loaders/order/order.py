"""The sample order: a pure function of (seed, epoch), divided into global batches and among ranks.

Global batch b holds positions [b·G, (b+1)·G) of the order, where G is ``global_batch_size``; rank r of W takes the r-th
of W equal parts of each batch. So (epoch, batch) is all that a run needs in order to resume, even with a different
number of ranks. Positions past the end are fillers (``is_valid`` is False). They repeat the start of the order, so that
batch statistics see real images.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from loaders.config import LoaderConfig
from loaders.order.randomness import stream
from loaders.order.shard_order import shard_order
from shards.errors import InputError

__all__ = ["BatchSlice", "EpochOrder", "balanced_order", "check_partition", "epoch_order", "shuffled_order"]

Rows = npt.NDArray[np.int64]

ORDER_PURPOSE = 2 << 32
"""``purpose`` (see :func:`loaders.order.randomness.stream`) of the streams that provide the samples' sort keys. If the
samples are permuted several times in an epoch, permutation k uses ORDER_PURPOSE + k."""

_BLOCK = 1 << 16

PAIR_PURPOSE = 3 << 32
"""``purpose`` of the streams that decide which sample of a balanced pair comes first."""


def shuffled_order(content_id: npt.NDArray[np.int64], seed: int, epoch: int, cycle: int = 0) -> Rows:
    """Returns the indices of ``content_id`` (n,), sorted by random keys derived from the content ids: (n,) int64.

    The order therefore stays the same if the images are packed again. Equal content ids (images with the same pixels)
    keep their relative order. Each ``cycle`` gives a different permutation within the epoch.
    """
    keys = np.empty(len(content_id), np.uint64)
    for start in range(0, len(keys), _BLOCK):  # the arithmetic's temporaries stay in the cache
        part = slice(start, start + _BLOCK)
        keys[part] = stream(seed, epoch, content_id[part], ORDER_PURPOSE + cycle)
    return np.argsort(keys, kind="stable")


def balanced_order(
    content_id: npt.NDArray[np.int64], label: npt.NDArray[np.integer], seed: int, epoch: int
) -> tuple[Rows, npt.NDArray[np.int32]]:
    """Returns an order in which both labels are equally frequent. It is a sequence of pairs: one sample of each label,
    in random order within the pair.

    Every sample of the more frequent label occurs once. Samples of the rarer label repeat, in a new permutation each
    time, and their counts differ by at most one. ``content_id`` and ``label`` (0 or 1) are (n,). Returns two arrays of
    shape (2 · m,), where m is the size of the more frequent class: rows (int64), which are indices into ``label``; and
    appearances (int32), how many times each row has already occurred in this epoch. Raises ``InputError`` if only one
    label exists.
    """
    classes = [np.flatnonzero(label == value) for value in (0, 1)]
    if not all(len(members) for members in classes):
        raise InputError(
            "loader.class_balanced needs samples of both classes, but the split has only one: set it to false"
        )
    length = max(len(members) for members in classes)
    picked, appearance = [], []
    for members in classes:
        cycles = -(-length // len(members))
        picked.append(
            np.concatenate([members[shuffled_order(content_id[members], seed, epoch, c)] for c in range(cycles)])[
                :length
            ]
        )
        appearance.append(np.repeat(np.arange(cycles, dtype=np.int32), len(members))[:length])
    # Pair k holds one of each label; which comes first depends on the real sample's key.
    first = (stream(seed, epoch, content_id[picked[0]], PAIR_PURPOSE) & np.uint64(1)).astype(np.int64)
    pairs = np.stack(picked, axis=1)
    turns = np.stack(appearance, axis=1)
    swap = np.stack([first, 1 - first], axis=1)
    return (np.take_along_axis(pairs, swap, axis=1).ravel(), np.take_along_axis(turns, swap, axis=1).ravel())


class SampleColumns(Protocol):
    """Manifest columns, each with one entry per row."""

    content_id: Rows
    label: npt.NDArray[np.integer]
    shard: npt.NDArray[np.integer]


def epoch_order(
    samples: SampleColumns, rows: Rows, config: LoaderConfig, epoch: int
) -> tuple[Rows, npt.NDArray[np.int32]]:
    """Returns two arrays for an epoch over ``rows``: the manifest rows in the order given by the settings, and how many
    times each row has already occurred in the epoch."""
    content_id = samples.content_id[rows]
    if config.class_balanced:
        order, appearance = balanced_order(content_id, samples.label[rows], config.seed, epoch)
        return rows[order], appearance
    if config.shuffle == "shard":
        rows = rows[shard_order(content_id, samples.shard[rows], config, epoch)]
    elif config.shuffle:
        rows = rows[shuffled_order(content_id, config.seed, epoch)]
    return rows, np.zeros(len(rows), np.int32)


def check_partition(global_batch_size: int, rank: int, world_size: int) -> int:
    """Returns the number of samples that each rank takes from a global batch. Raises ``InputError`` if the batch cannot
    be divided equally or the rank does not exist."""
    if world_size < 1 or not 0 <= rank < world_size:
        raise InputError(
            f"rank {rank} does not fit a world size of {world_size}: it must be from 0 to the world size minus 1"
        )
    if global_batch_size % world_size:
        raise InputError(
            f"loader.global_batch_size={global_batch_size} cannot be divided among {world_size} processes: make it a "
            f"multiple of {world_size}"
        )
    return global_batch_size // world_size


@dataclass(frozen=True)
class BatchSlice:
    """One rank's part of one batch. ``rows`` (B,) are manifest rows. ``appearance`` (B,) is the number of times that
    each row has already occurred in the epoch. ``is_valid`` (B,) is False for fillers."""

    rows: Rows
    appearance: npt.NDArray[np.int32]
    is_valid: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class EpochOrder:
    """The manifest rows of an epoch in order, divided into batches and among ranks."""

    rows: Rows
    appearance: npt.NDArray[np.int32]
    global_batch_size: int
    rank: int
    world_size: int

    def __len__(self) -> int:
        """Number of batches per epoch, the same on every rank."""
        return -(-len(self.rows) // self.global_batch_size)

    def batch(self, index: int) -> BatchSlice:
        """Returns this rank's part of global batch ``index``."""
        if not 0 <= index < len(self):
            raise IndexError(f"batch {index} of {len(self)}")
        size = self.global_batch_size // self.world_size
        start = index * self.global_batch_size + self.rank * size
        positions = np.arange(start, start + size)
        wrapped = positions % len(self.rows)
        return BatchSlice(self.rows[wrapped], self.appearance[wrapped], positions < len(self.rows))

    def rank_rows(self, start: int, stop: int) -> Rows:
        """Returns this rank's manifest rows in global batches ``start`` … ``stop - 1``, excluding fillers."""
        size = self.global_batch_size // self.world_size
        first = np.arange(start, stop) * self.global_batch_size + self.rank * size
        positions = (first[:, None] + np.arange(size)).ravel()
        return self.rows[positions[positions < len(self.rows)]]
