"""Fuzzes global views in their tars, and their offsets and lengths in the manifest.

The audit's reader and the loader's must return the same array, or both refuse.
"""

import sys
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from loaders.reading.mapped_shards import UnreadableMember, read_global_view
from shards.build.build import build_dataset
from shards.build.settings import BuildSettings
from shards.errors import InputError
from shards.manifest.dataset import ShardDataset
from shards.manifest.stored_views import StoredViews, global_view_header
from tests.fuzz.fuzz_harness import mutated, run_main

__all__ = ["ViewTarget"]

SIDE = 16
PLACES = (0, 1, 128, 512, 2**31, 2**40, 2**62, -1, -896)


class ViewTarget:
    """Mutates one global view of a shard before each read."""

    def __init__(self, folder: Path) -> None:
        rng = np.random.default_rng(2)
        for number in range(6):
            image = folder / "images" / ("real" if number % 2 else "generated/g") / f"{number}.png"
            image.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(image)
        settings = BuildSettings(global_size=SIDE, split_shares={"train": 1.0})
        build_dataset(folder / "images", folder / "set", settings, progress=False)
        self._dataset = ShardDataset.open(folder / "set")
        (self._tar,) = (folder / "set").glob("*.tar")
        self._sound = self._tar.read_bytes()
        self._header = global_view_header(SIDE)

    def run(self, rng: np.random.Generator, counts: Counter[str]) -> None:
        row = int(rng.integers(len(self._dataset)))
        start, length = (int(self._dataset.column(f"global_{what}")[row]) for what in ("offset", "length"))
        view = self._sound[start : start + length]
        # Half of the mutations change the header, since all other bytes are pixels.
        changed = mutated(rng, view[:128]) + view[128:] if rng.random() < 0.5 else mutated(rng, view)
        data = self._sound[:start] + changed[:length] + self._sound[start + len(changed[:length]) :]
        self._tar.write_bytes(data)
        if rng.random() < 0.3:
            start, length = (int(rng.choice((n, *PLACES, int(rng.integers(len(data)))))) for n in (start, length))
        ours = np.zeros((SIDE, SIDE, 3), np.uint8)
        inside = 0 <= start <= start + length <= len(data)
        try:
            read_global_view(
                np.frombuffer(data[start : start + length] if inside else b"", np.uint8), self._header, ours
            )
            taken = True
        except UnreadableMember:
            taken = False
        with StoredViews(self._dataset) as views:
            views._offset, views._length = views._offset.copy(), views._length.copy()
            views._offset[row], views._length[row] = start, length
            try:
                found = views[row]
            except InputError as error:
                refused = str(error)
            else:
                refused = ""
        if refused:
            assert "glass verify" in refused
            assert not taken
            counts["refused"] += 1
        else:
            assert taken
            assert np.array_equal(found, ours)
            counts["taken"] += 1


if __name__ == "__main__":
    sys.exit(run_main(ViewTarget, __doc__ or ""))
