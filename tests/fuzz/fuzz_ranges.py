"""Fuzzes a data set in a store through the range reader: mutates the numbers in the manifest, and sometimes also the
bytes that the store returns."""

import os
import sys
import uuid
from collections import Counter
from pathlib import Path
from unittest.mock import patch

import numpy as np

from loaders.reading.batch_plan import Reads
from loaders.reading.checksums import BadChecksum
from loaders.reading.link import Link
from loaders.reading.mapped_shards import UnreadableMember
from loaders.reading.open_shards import OpenShards
from loaders.reading.sample_table import Member
from shards.build.build import build_dataset
from shards.build.settings import BuildSettings
from shards.errors import InputError
from shards.manifest.dataset import ShardDataset
from tests.fuzz.fuzz_harness import mutated, run_main
from tests.images.coded_images import write_images

__all__ = ["RangeTarget", "stored_copy"]

MOST = 300_000
"""Maximum size of an image file in bytes, several times that of the largest in the data set."""

NUMBERS = (
    0,
    1,
    2,
    3,
    7,
    8,
    100,
    511,
    512,
    513,
    1 << 16,
    MOST,
    MOST + 1,
    1 << 20,
    1 << 31,
    1 << 40,
    (1 << 60) - 1,
    1 << 60,
    -1,
)


def stored_copy(folder: Path) -> str:
    """Copies the data set in ``folder`` to a store in memory and returns its URL."""
    import fsspec

    name = f"fuzz-{uuid.uuid4().hex}"
    for path in folder.iterdir():
        fsspec.filesystem("memory").pipe_file(f"/{name}/set/{path.name}", path.read_bytes())
    return f"memory://{name}/set"


class RangeTarget:
    """Changes numbers in the manifest of a data set of 8 small images in a store."""

    def __init__(self, folder: Path) -> None:
        write_images(folder / "images", 8)
        settings = BuildSettings(split_shares={"train": 0.5, "test": 0.5}, samples_per_shard=8, global_size=32)
        build_dataset(folder / "images", folder / "out", settings, progress=False)
        self._environment = {
            "GLASS_CACHE_DIR": str(folder / "cache"),
            "GLASS_REMOTE_ATTEMPTS": "1",
            "GLASS_REMOTE_CONNECTIONS": "4",
            "GLASS_MAX_IMAGE_BYTES": str(MOST),
        }
        with patch.dict(os.environ, self._environment):
            self._data = OpenShards(ShardDataset.open(stored_copy(folder / "out")))
        samples = self._data.samples
        self._members = {name: getattr(samples, name) for name in ("image", "global_view", "entry_points")}
        self._sides = {name: getattr(samples, name) for name in ("height", "width", "shard")}
        assert self._data.ranges is not None
        self._ranges = self._data.ranges
        self._ranges.link = Link(latency_s=0.001, bytes_per_s=1e6, connections=4)
        self._tars = list(self._ranges._images)

    def run(self, rng: np.random.Generator, counts: Counter[str]) -> None:
        row = self._change_numbers(rng)
        samples = self._data.samples
        if any(wrong[row] for _, wrong in samples._impossible(slice(None))):
            counts["refused"] += 1
            return
        rows = np.array([row, *rng.integers(len(samples), size=2).tolist()], np.int64)
        windows = np.concatenate([rng.integers(0, 480, (6, 2)), rng.integers(1, 64, (6, 2))], axis=1).astype(np.int32)
        windowed, tiled = samples.entry_points.length[rows] > 0, samples.tiled(rows)
        with (
            patch.dict(os.environ, self._environment),
            patch.object(self._ranges, "_remote", _Store(self._ranges._remote, rng)) as store,
            patch.object(self._ranges, "_is_damaged", store.is_damaged),
        ):
            batch = self._ranges.begin(Reads(rows, windows, np.arange(6), [0, 2, 4, 6], windowed & ~tiled, tiled))
            for number in rows.tolist():
                try:
                    parts, image = batch.image_parts(number), batch.image(number)
                    assert len(parts) <= MOST
                    assert len(image) == samples.image.length[number]
                    counts["read whole" if image is parts else "read in parts"] += 1
                except BadChecksum:
                    counts["damaged"] += 1
                except UnreadableMember:
                    counts["outside, or too long"] += 1
                except InputError:
                    counts["not in the store"] += 1

    def _change_numbers(self, rng: np.random.Generator) -> int:
        """Changes up to three numbers in a random row, and sometimes the recorded lengths of the tars. Returns the
        row's index."""
        samples = self._data.samples
        row = int(rng.integers(len(samples)))
        copies = {n: Member(m.offset.copy(), m.length.copy()) for n, m in self._members.items()}
        sides = {name: values.copy() for name, values in self._sides.items()}
        for _ in range(int(rng.integers(0, 4))):
            arrays = [a for m in copies.values() for a in (m.offset, m.length)]
            arrays += [sides["height"], sides["width"]]
            chosen = arrays[int(rng.integers(len(arrays)))]
            number = NUMBERS[int(rng.integers(len(NUMBERS)))]
            if rng.random() < 0.5:  # near what is true
                number = int(chosen[row]) + int(rng.integers(-20, 21))
            limits = np.iinfo(chosen.dtype)
            chosen[row] = min(max(number, limits.min), limits.max)
        for name, member in copies.items():
            setattr(samples, name, member)
        for name, values in sides.items():
            setattr(samples, name, values)
        longer = rng.random() < 0.3
        tars = [type(t)(t.name, t.sha256, 1 << 50 if longer else t.num_bytes) for t in self._tars]
        self._ranges._images = self._ranges._members = tars
        return row


class _Store:
    """Wraps a store. In some runs, it returns changed bytes, and their checksums are then not verified."""

    def __init__(self, remote: object, rng: np.random.Generator) -> None:
        self._remote = remote
        self._changes, self._seed = rng.random() < 0.4, int(rng.integers(1 << 31))

    def read_range(self, name: str, start: int, stop: int) -> bytes:
        assert stop - start <= MOST, "more was asked for than an image may have"
        data: bytes = self._remote.read_range(name, start, stop)  # type: ignore[attr-defined]
        if not self._changes:
            return data
        rng = np.random.default_rng([self._seed, start, stop])
        return mutated(rng, data)[: len(data)].ljust(len(data), b"\0")

    def is_damaged(self, name: str, row: int, data: np.ndarray) -> bool:
        return not self._changes and name == "image" and not data.size


if __name__ == "__main__":
    sys.exit(run_main(RangeTarget, __doc__ or ""))
