"""Fuzzes tiled TIFFs and stored global views: each must yield pixels or be refused, without a read beyond the file."""

import sys
from collections import Counter
from pathlib import Path

import numpy as np

from loaders.reading.mapped_shards import UnreadableMember, global_view_header, read_global_view
from shards.build.make_sample import encode_global_view
from shards.images.tiled_tiff import BadTiles, TiledImage, encode_tiled
from tests.fuzz.fuzz_harness import mutated, run_main
from tests.fuzz.fuzz_jpeg import GuardedBuffer

__all__ = ["MemberTarget"]

WORDS = tuple(
    value.to_bytes(4, "little") for value in (0, 1, 2, 3, 16, 192, 1024, 65535, 50000, 2**31 - 1, 2**31, 2**32 - 1)
)


class MemberTarget:
    """Mutates files in a buffer that ends at an unreadable page, so that reading beyond them crashes the process."""

    def __init__(self, folder: Path) -> None:
        rng = np.random.default_rng(1)
        shapes = ((30, 40, 3), (200, 250, 3), (300, 20, 1), (1, 1, 3))
        images = [np.cumsum(rng.integers(0, 3, shape), 1).astype(np.uint8) for shape in shapes]
        images = [np.repeat(i, 3, 2) if i.shape[2] == 1 else i for i in images]
        self._tiles = [encode_tiled(image, 1 << 20) for image in images]
        self._view = encode_global_view(images[0][:16, :16])
        self._header = global_view_header(16)
        self._buffer = GuardedBuffer(1 << 18)

    def run(self, rng: np.random.Generator, counts: Counter[str]) -> None:
        if rng.random() < 0.1:
            out = np.zeros((16, 16, 3), np.uint8)
            try:
                read_global_view(self._buffer.put(mutated(rng, self._view)), self._header, out)
                counts["view: taken"] += 1
            except UnreadableMember:
                counts["view: refused"] += 1
            return
        base = self._tiles[int(rng.integers(len(self._tiles)))]
        if rng.random() < 0.6:  # the directory, which everything depends on
            data = mutated(rng, base[:220], WORDS) + base[220:]
        else:
            data = mutated(rng, base, WORDS)
        try:
            image = TiledImage(self._buffer.put(data[: 1 << 18]))
            counts["tiles: opened"] += 1
            side = min(32, image.height), min(32, image.width)
            windows = np.array([(0, 0, *side), (image.height - side[0], 0, *side)])
            assert image.bytes_touched(windows) >= 0
            image.read(windows, [np.zeros((32, 32, 3), np.uint8) for _ in windows])
            counts["tiles: read"] += 1
            image.read(rng.integers(-5, 400, (1, 4)), [np.zeros((400, 400, 3), np.uint8)])
        except BadTiles:
            counts["tiles: refused"] += 1


if __name__ == "__main__":
    sys.exit(run_main(MemberTarget, __doc__ or ""))
