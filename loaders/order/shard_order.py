"""A sample order that visits the shards one after another, as a pure function of (seed, epoch).

The shards are put in random order, and their samples are laid end to end. This sequence is cut into ``shuffle_lanes``
equal lanes. Within each lane, every ``shuffle_shards`` consecutive shards form a group, and the samples of a group are
permuted. A batch takes equally many samples from every lane. As a result:

- there is no shuffle buffer to save in checkpoints;
- the order does not depend on the number of ranks;
- a rank that reads only some of the lanes needs only the shards in those lanes.
"""

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from loaders.config import LoaderConfig
from loaders.order.randomness import stream

__all__ = ["shard_order", "upcoming_shards"]

Rows = npt.NDArray[np.int64]

SHARD_PURPOSE = 6 << 32
"""``purpose`` of the streams that permute the shards."""

WITHIN_PURPOSE = 7 << 32
"""``purpose`` of the streams that permute the samples of consecutive shards."""


def shard_order(
    content_id: npt.NDArray[np.int64], shard: npt.NDArray[np.integer], config: LoaderConfig, epoch: int
) -> Rows:
    """Returns the order of the samples in an epoch: (n,) indices into ``content_id`` and ``shard``, which are both
    (n,). ``shard`` holds the index of each sample's shard.

    A shard is identified by the smallest content id in it, so the order stays the same if shards are renamed. Every
    sample occurs exactly once.
    """
    seed, lanes = config.seed, config.shuffle_lanes
    line = _line(content_id, shard, seed, epoch)
    ends = np.linspace(0, len(line), lanes + 1).astype(np.int64)
    keys = stream(seed, epoch, content_id, WITHIN_PURPOSE)
    parts = [_mixed(line[a:b], shard, keys, config.shuffle_shards) for a, b in pairwise(ends)]
    return _interleaved(parts, config.global_batch_size // lanes)


def _line(content_id: npt.NDArray[np.int64], shard: npt.NDArray[np.integer], seed: int, epoch: int) -> Rows:
    """(n,) indices of all samples, with the shards in random order and the samples of each shard together."""
    _, number = np.unique(shard, return_inverse=True)
    name = np.full(number.max(initial=-1) + 1, np.iinfo(np.int64).max)
    np.minimum.at(name, number, content_id)
    place = np.empty(len(name), np.int64)
    place[np.argsort(stream(seed, epoch, name, SHARD_PURPOSE), kind="stable")] = np.arange(len(name))
    return np.argsort(place[number], kind="stable")


def _mixed(lane: Rows, shard: npt.NDArray[np.integer], keys: npt.NDArray[np.uint64], window: int) -> Rows:
    """Returns ``lane`` with the samples permuted within each group of ``window`` consecutive shards."""
    here = shard[lane]
    turn = np.cumsum(np.r_[False, here[1:] != here[:-1]]) if len(lane) else here
    return lane[np.lexsort((keys[lane], turn // window))]


def _interleaved(parts: list[Rows], share: int) -> Rows:
    """Takes ``share`` samples from each part in turn. Once the shorter parts are used up, the remaining samples of
    longer parts follow."""
    turns = [np.arange(len(part)) // share for part in parts]
    lane = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    return np.concatenate(parts)[np.lexsort((lane, np.concatenate(turns)))]


def upcoming_shards(shard: npt.NDArray[np.integer]) -> list[int]:
    """The distinct shards in ``shard`` (n,), in order of their first occurrence."""
    numbers, first = np.unique(shard, return_index=True)
    return numbers[np.argsort(first)].tolist()
