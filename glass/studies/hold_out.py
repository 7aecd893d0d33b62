"""Holds back part of the training data to choose the best epoch, deterministically and without splitting groups."""

from dataclasses import dataclass

import numpy as np

from shards.build.split import Splittable, assign_splits
from shards.cli.wording import counted
from shards.errors import InputError
from shards.manifest.dataset import ShardDataset
from shards.manifest.schema import TRAIN, VALID

__all__ = ["HELD_BACK", "LEARNT", "HoldOut", "hold_back"]

LEARNT, HELD_BACK = "final_train", "final_valid"
"""Names of the two resulting splits: one to train on, and one to choose the epoch."""
SEED = 606


@dataclass(frozen=True)
class HoldOut:
    """A data set with splits ``LEARNT`` and ``HELD_BACK``, and the number of samples in each."""

    dataset: ShardDataset
    learnt: int
    held_back: int


def hold_back(
    dataset: ShardDataset, splits: str = "train+valid", share: float = 0.05, remedy: str = "give another --hold-out"
) -> HoldOut:
    """Divides the samples in ``splits`` into two new splits, holding back about ``share`` of each class.

    Groups are kept together, as in ``glass build``. The seed is fixed, so the result depends only on the samples and on
    ``share``. Raises ``InputError`` if either would be empty; the message ends with ``remedy``.
    """
    rows = dataset.split_rows(splits)
    columns = {name: dataset.column(name) for name in ("sha256", "label", "group")}
    samples = [
        Splittable(columns["sha256"][row].tobytes(), int(columns["label"][row]), str(columns["group"][row]))
        for row in rows
    ]
    assigned = np.array(assign_splits(samples, {TRAIN: 1 - share, VALID: share}, SEED))
    parts = {LEARNT: rows[assigned == TRAIN], HELD_BACK: rows[assigned == VALID]}
    for name, part in parts.items():
        if not len(part):
            raise InputError(
                f"of the {counted(len(rows), 'sample')} in {splits} of {dataset.where},"
                f" {100 * share:g} % held back leave {name} empty: {remedy}"
            )
    return HoldOut(dataset.with_splits(parts), len(parts[LEARNT]), len(parts[HELD_BACK]))
