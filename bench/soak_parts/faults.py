"""Faults for the soak: reads that stall, fail or raise what nobody foresaw, and damaged shards."""

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from loaders.reading.mapped_shards import MappedShards, UnreadableMember
from shards.build.build import build_dataset
from shards.build.settings import BuildSettings
from shards.manifest.dataset import ShardDataset

__all__ = ["FAULTS", "damaged_shards", "faulty_reads"]

FAULTS = {"stall": 0.004, "unreadable": 0.004, "unforeseen": 0.001}
"""What happens to a read of a member → how often."""

NUM_IMAGES = 480
DAMAGED_SHARE = 0.01
GLOBAL_SIZE = 64


def damaged_shards(folder: Path, seed: int) -> ShardDataset:
    """480 photographs' worth of noise in shards, one image in a hundred with a flipped bit."""
    from PIL import Image

    rng = np.random.default_rng(seed)
    for number in range(NUM_IMAGES):
        place = folder / "images" / ("real" if number % 2 else "generated/noise")
        place.mkdir(parents=True, exist_ok=True)
        small = rng.integers(0, 256, (30, 40, 3), np.uint8)
        width = 480 + 16 * (number % 20)
        Image.fromarray(small).resize((width, 480)).save(place / f"{number}.jpg", quality=90)
    settings = BuildSettings(split_shares={"train": 0.8, "valid": 0.2}, samples_per_shard=60, global_size=GLOBAL_SIZE)
    out = folder / "shards"
    build_dataset(folder / "images", out, settings, progress=False)
    dataset = ShardDataset.open(out)
    rows = rng.choice(len(dataset), int(DAMAGED_SHARE * len(dataset)), replace=False)
    for row in rows.tolist():
        _flip_bit(dataset, row)
    return dataset


def _flip_bit(dataset: ShardDataset, row: int) -> None:
    offset, length = (int(dataset.column(f"image_{w}")[row]) for w in ("offset", "length"))
    with dataset.shard_path(dataset.column("shard")[row]).open("r+b") as tar:
        tar.seek(offset + length // 2)
        (byte,) = tar.read(1)
        tar.seek(offset + length // 2)
        tar.write(bytes([byte ^ 1]))


@contextmanager
def faulty_reads(seed: int, longest_stall_s: float = 0.5) -> Iterator[Counter[str]]:
    """While entered, reads of this process go wrong by :data:`FAULTS`; yields what was done."""
    done: Counter[str] = Counter()
    dice, lock = random.Random(seed), threading.Lock()
    member = MappedShards.member

    def faulty(self: MappedShards, *arguments: Any) -> Any:
        with lock:
            drawn, stall_s = dice.random(), dice.uniform(0, longest_stall_s)
            for fault, share in FAULTS.items():
                drawn -= share
                if drawn < 0:
                    done[fault] += 1
                    break
            else:
                fault = ""
        if fault == "stall":
            time.sleep(stall_s)
        elif fault == "unreadable":
            raise UnreadableMember("planted by the soak")
        elif fault == "unforeseen":
            raise RuntimeError("planted by the soak")
        return member(self, *arguments)

    MappedShards.member = faulty  # type: ignore[method-assign, assignment]
    try:
        yield done
    finally:
        MappedShards.member = member  # type: ignore[method-assign]
