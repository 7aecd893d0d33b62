"""Fuzzes JPEGs and entry points through ``read_detail``: it must return None, or bit counts that are not negative."""

import sys
from collections import Counter
from pathlib import Path

import numpy as np

from loaders.windows.detail import read_detail
from shards.jpeg.entry_points import build_entry_points
from tests.fuzz.fuzz_harness import mutated, run_main
from tests.fuzz.fuzz_jpeg import GuardedBuffer, reseal
from tests.images.jpeg_variants import VARIANTS, photograph

__all__ = ["DetailTarget"]

WORDS = (
    b"\xff\xff\xff\xff",
    b"\x00\x00\x00\x80",
    b"\xff\xff\xff\x7f",
    b"\x00\x00\x00\x00",
    b"\x01",
    b"\xff\xc0",
    b"\xff\xda",
    b"\xff\xd9",
    b"\xff\xd0",
    b"\x80\x80",
)


class DetailTarget:
    """Mutates JPEGs and their entry points. Both are in buffers that end at an unreadable page, so any read beyond the
    end crashes the process."""

    def __init__(self, folder: Path) -> None:
        pixels = [photograph(90, 70, seed=1), photograph(33, 140, seed=2)]
        names = ("grey", "4:4:4", "4:2:2", "4:2:0", "restart every 3 MCUs", "optimised")
        jpegs = [VARIANTS[name](image) for name in names for image in pixels]
        self._files = [(jpeg, build_entry_points(jpeg)) for jpeg in jpegs]
        self._jpeg, self._points = GuardedBuffer(1 << 18), GuardedBuffer(1 << 16)

    def run(self, rng: np.random.Generator, counts: Counter[str]) -> None:
        jpeg, points = self._files[int(rng.integers(len(self._files)))]
        if rng.random() < 0.3:
            jpeg = mutated(rng, jpeg[:700], WORDS) + jpeg[700:]  # the header, which is all it reads
        if rng.random() < 0.8:
            head = 64 if rng.random() < 0.5 else len(points)
            points = mutated(rng, points[:head], WORDS) + points[head:]
        if rng.random() < 0.8:  # as an attacker would
            points = reseal(jpeg, points)
        detail = read_detail(self._jpeg.put(jpeg), self._points.put(points))
        if detail is None:
            counts["refused"] += 1
            return
        counts["taken"] += 1
        assert (np.diff(detail.positions) >= 0).all()
        rows, columns = (int(n) for n in rng.integers(1, 40, 2))
        bits = detail.cell_bits(rows, columns)
        assert bits.shape == (rows * columns,)
        assert (bits >= 0).all()


if __name__ == "__main__":
    sys.exit(run_main(DetailTarget, __doc__ or ""))
