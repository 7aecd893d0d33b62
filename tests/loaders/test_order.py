"""Properties of the sample order: every sample once per epoch, equally many steps on all ranks, and the same global
batches for any world size."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glass.measure import perturbations
from loaders.augment import augment
from loaders.order import order, shard_order
from loaders.order.order import EpochOrder, balanced_order, check_partition, shuffled_order
from loaders.windows import sampling
from shards.errors import InputError


def epoch_order(num_samples, global_batch_size, rank=0, world_size=1, seed=0, epoch=0):
    rows = shuffled_order(np.arange(num_samples) * 977, seed, epoch)
    return EpochOrder(rows, np.zeros(num_samples, np.int32), global_batch_size, rank, world_size)


@settings(max_examples=30)
@given(st.integers(1, 60), st.integers(1, 5), st.integers(1, 7))
def test_every_sample_once_over_all_ranks(num_samples, device_batch_size, world_size):
    """The valid rows over all ranks and batches contain each sample exactly once, and all ranks take equally many
    steps."""
    orders = [epoch_order(num_samples, device_batch_size * world_size, rank, world_size) for rank in range(world_size)]
    assert len({len(order) for order in orders}) == 1
    seen = [
        row
        for order in orders
        for index in range(len(order))
        for row in order.batch(index).rows[order.batch(index).is_valid].tolist()
    ]
    assert sorted(seen) == list(range(num_samples))


@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 6])
def test_global_batches_do_not_depend_on_the_world_size(world_size):
    """The parts of all ranks, joined in rank order, are the batch of a single process."""
    alone = epoch_order(50, 12)
    parts = [epoch_order(50, 12, rank, world_size) for rank in range(world_size)]
    for index in range(len(alone)):
        joined = np.concatenate([order.batch(index).rows for order in parts])
        valid = np.concatenate([order.batch(index).is_valid for order in parts])
        assert joined.tolist() == alone.batch(index).rows.tolist()
        assert valid.tolist() == alone.batch(index).is_valid.tolist()


def test_order_is_pinned():
    """The order equals the golden one. It may change only with a new major version, because resumed runs depend on
    it."""
    content = np.arange(10) * 1_000_003
    assert shuffled_order(content, 606, 0).tolist() == GOLDEN_ORDER[0]
    assert shuffled_order(content, 606, 1).tolist() == GOLDEN_ORDER[1]


GOLDEN_ORDER = [[7, 0, 2, 5, 8, 6, 4, 9, 1, 3], [9, 0, 2, 8, 7, 5, 1, 6, 4, 3]]


def test_order_survives_repacking():
    """Samples are ordered by their content, whatever the order of the manifest's rows."""
    content = np.arange(100) * 77 + 5
    repacked = content[np.random.default_rng(0).permutation(100)]
    first = content[shuffled_order(content, 1, 2)]
    assert repacked[shuffled_order(repacked, 1, 2)].tolist() == first.tolist()


def test_balanced_order_shows_both_labels_equally_often():
    """Each image of the more frequent label appears once. Those of the rarer label are repeated evenly, and each
    repetition has the next appearance number, starting at 0."""
    label = np.array([0] * 30 + [1] * 7)
    order, appearance = balanced_order(np.arange(37) * 31, label, 0, 0)
    assert len(order) == 60
    assert (label[order].reshape(-1, 2).sum(axis=1) == 1).all()
    assert sorted(order[label[order] == 0].tolist()) == list(range(30))
    counts = np.bincount(order[label[order] == 1])[30:]
    assert set(counts.tolist()) <= {4, 5}
    for row in range(30, 37):
        assert sorted(appearance[order == row].tolist()) == list(range(counts[row - 30]))


def test_balanced_order_needs_both_labels():
    with pytest.raises(InputError, match="both classes"):
        balanced_order(np.arange(3), np.zeros(3, np.int8), 0, 0)


@pytest.mark.parametrize(("batch", "rank", "world", "word"), [(10, 0, 3, "multiple of 3"), (4, 2, 2, "rank")])
def test_batches_that_cannot_be_split_are_refused(batch, rank, world, word):
    with pytest.raises(InputError, match=word):
        check_partition(batch, rank, world)


def test_no_two_uses_draw_from_one_stream():
    """Random streams for different purposes start from numbers that differ in the bits above the lowest 32. The lowest
    bits are left for counting the appearances of a sample and the cycles of an epoch."""
    purposes = [
        sampling.WINDOW_PURPOSE,
        order.ORDER_PURPOSE,
        order.PAIR_PURPOSE,
        augment.AUGMENT_PURPOSE,
        perturbations.PERTURBATION_PURPOSE,
        shard_order.SHARD_PURPOSE,
        shard_order.WITHIN_PURPOSE,
    ]
    assert len({purpose >> 32 for purpose in purposes}) == len(purposes)
