"""An order that goes through shards one after the other: a pure function of (seed, epoch), too.

The shards are permuted and laid end to end; that line is cut into ``lanes`` equal parts, and in
each, the samples of every ``window`` shards that follow one another are permuted together. A batch
takes equally many samples from every lane. So there is no buffer whose contents would have to be
saved, the order does not depend on the number of ranks, and a rank that reads some of the lanes needs
the shards of these only.
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
"""``purpose`` of the streams that permute the samples of a window."""


def shard_order(
    content_id: npt.NDArray[np.int64], shard: npt.NDArray[np.integer], config: LoaderConfig, epoch: int
) -> Rows:
    """Positions (n,) of samples in the order of the epoch; ``content_id`` and ``shard``, a shard's number, are (n,).

    A shard is identified by the smallest content id in it, so the order survives renaming. Every sample comes exactly
    once.
    """
    seed, lanes = config.seed, config.shuffle_lanes
    line = _line(content_id, shard, seed, epoch)
    ends = np.linspace(0, len(line), lanes + 1).astype(np.int64)
    keys = stream(seed, epoch, content_id, WITHIN_PURPOSE)
    parts = [_mixed(line[a:b], shard, keys, config.shuffle_shards) for a, b in pairwise(ends)]
    return _interleaved(parts, config.global_batch_size // lanes)


def _line(content_id: npt.NDArray[np.int64], shard: npt.NDArray[np.integer], seed: int, epoch: int) -> Rows:
    """The shards in random order, the samples of each together."""
    _, number = np.unique(shard, return_inverse=True)
    name = np.full(number.max(initial=-1) + 1, np.iinfo(np.int64).max)
    np.minimum.at(name, number, content_id)
    place = np.empty(len(name), np.int64)
    place[np.argsort(stream(seed, epoch, name, SHARD_PURPOSE), kind="stable")] = np.arange(len(name))
    return np.argsort(place[number], kind="stable")


def _mixed(lane: Rows, shard: npt.NDArray[np.integer], keys: npt.NDArray[np.uint64], window: int) -> Rows:
    """A lane with the samples of each window of shards permuted."""
    here = shard[lane]
    turn = np.cumsum(np.r_[False, here[1:] != here[:-1]]) if len(lane) else here
    return lane[np.lexsort((keys[lane], turn // window))]


def _interleaved(parts: list[Rows], share: int) -> Rows:
    """``share`` samples of each part in turn; what is left of the longer ones comes last."""
    turns = [np.arange(len(part)) // share for part in parts]
    lane = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    return np.concatenate(parts)[np.lexsort((lane, np.concatenate(turns)))]


def upcoming_shards(shard: npt.NDArray[np.integer]) -> list[int]:
    """The shards in ``shard`` (n,), each once, in the order of their first places."""
    numbers, first = np.unique(shard, return_index=True)
    return numbers[np.argsort(first)].tolist()
