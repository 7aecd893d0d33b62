"""The shards that ``glass bench gpu`` runs on."""

import tempfile
from functools import cache
from pathlib import Path

from bench.corpora.repeated import repeat_dataset
from bench.gpu.part import Setting
from shards.manifest.dataset import ShardDataset

__all__ = ["SPLIT", "repeated"]

SPLIT = "train"
SAMPLES = {"cuda": 4096, "cpu": 256}
"""Minimum number of samples per epoch for each device. An epoch must not end during a measurement, because prefetching
would have to restart."""


@cache
def repeated(setting: Setting) -> ShardDataset:
    """The training split of ``setting.data``, repeated until it has enough samples. Each repetition has different
    windows."""
    assert setting.data is not None
    dataset = ShardDataset.open(setting.data)
    copies = -(-SAMPLES[setting.device] // len(dataset.split_rows(SPLIT)))
    return repeat_dataset(dataset, SPLIT, copies, Path(tempfile.mkdtemp(dir=setting.scratch)) / "shards")
