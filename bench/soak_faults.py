"""Faults for ``glass bench soak``: damaged shards, failing reads, and a training run that is killed again and again.

``python -m bench.soak_faults DATA RUN`` starts or continues a training run; :class:`KilledTraining` starts that
process, kills it at random moments and starts it again.
"""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from loaders.reading.mapped_shards import MappedShards, UnreadableMember
from shards.build.build import build_dataset
from shards.build.settings import BuildSettings
from shards.manifest.dataset import ShardDataset

__all__ = ["FAULTS", "KilledTraining", "damaged_shards", "faulty_reads", "main"]

FAULTS = {"stall": 0.004, "unreadable": 0.004, "unforeseen": 0.001}
"""Maps each fault to the probability that it affects a read."""

NUM_IMAGES = 480
DAMAGED_SHARE = 0.01
GLOBAL_SIZE = 64

TRAINING_SETTINGS = (
    "model.global_backbone=test_vit",
    "loader.global_batch_size=16",
    "loader.num_crops=2",
    "loader.crop_size=64",
    "epochs=100000",
    "tensorboard=false",
    "cpu_threads=1",
    "loader.num_threads=1",
    "max_bad_samples=0.05",
)


def damaged_shards(folder: Path, seed: int) -> ShardDataset:
    """Builds a data set of 480 noise images, half of them JPEG and half WebP. WebP images are always decoded whole. One
    image in a hundred has a flipped bit."""
    from PIL import Image

    rng = np.random.default_rng(seed)
    for number in range(NUM_IMAGES):
        place = folder / "images" / ("real" if number % 2 else "generated/noise")
        place.mkdir(parents=True, exist_ok=True)
        small = rng.integers(0, 256, (30, 40, 3), np.uint8)
        width = 480 + 16 * (number % 20)
        suffix = "webp" if number % 4 < 2 else "jpg"
        Image.fromarray(small).resize((width, 480)).save(place / f"{number}.{suffix}", quality=90)
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
    """Context manager: makes reads in this process fail with the probabilities of :data:`FAULTS`. Yields a counter of
    the faults that have occurred so far."""
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


class KilledTraining:
    """A training run in a process that is killed again and again, each time 15 to 60 seconds after it wrote a
    checkpoint. :meth:`tend` starts the process and kills it."""

    def __init__(self, data: Path, run: Path, seed: int) -> None:
        self.kills, self.failures = 0, 0
        self._command = [sys.executable, "-m", "bench.soak_faults", str(data), str(run)]
        self._run, self._dice = run, random.Random(seed)
        self._process: subprocess.Popen[bytes] | None = None
        self._die_at: float | None = None
        self._steps = 0

    def tend(self) -> None:
        """Starts the process if none is running, or kills it if it is due to be killed. Must be called about once per
        second."""
        if self._process is None:
            self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            self._steps, self._die_at = self.steps, None
        elif self._process.poll() is not None:  # it must not end by itself
            self.failures += 1
            self._process = None
        elif self._die_at is None:
            if self.steps > self._steps:  # it has written a checkpoint
                self._die_at = time.monotonic() + self._dice.uniform(15, 60)
        elif time.monotonic() > self._die_at:
            self.kill()
            self.kills += 1

    @property
    def steps(self) -> int:
        """Number of optimiser steps in the newest checkpoint; 0 if there is none."""
        names = [path.name for path in (self._run / "checkpoints").glob("step-*")]
        return max((int(name.partition("-")[2]) for name in names), default=0)

    @property
    def rss_bytes(self) -> int:
        """Resident memory of the process in bytes; 0 while no process is running."""
        try:
            alive = self._process is not None and self._process.poll() is None
            return psutil.Process(self._process.pid).memory_info().rss if alive else 0  # type: ignore[union-attr]
        except psutil.NoSuchProcess:
            return 0

    def kill(self) -> None:
        """Kills the process without warning, as a power cut would."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
        self._process = None


def main(data: str, run: str) -> int:
    """Trains, continuing from the last checkpoint, until the process is killed. Returns 0 if training is complete, or
    75 if it was stopped."""
    os.environ["ACCELERATE_USE_CPU"] = "true"
    from glass.config.overrides import apply_overrides
    from glass.presets import load_preset
    from glass.train.run import train

    config = apply_overrides(load_preset("glass_tiny"), list(TRAINING_SETTINGS))
    return 0 if train(data, config, run, checkpoint_every=10) else 75


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
