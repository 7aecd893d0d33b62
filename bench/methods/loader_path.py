"""Our loader itself, over the shards of the corpus: everything from manifest to batch."""

import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.corpora.corpus import GLOBAL_SIZE, SEED, SPLIT, Corpus
from bench.corpora.repeated import repeat_dataset
from bench.harness.task import Task
from loaders import LoaderConfig, build_loader
from shards.manifest.dataset import ShardDataset

__all__ = ["LoaderPath", "even_batch_size", "per_image"]

BATCH_SIZES = range(16, 49)
BEST_BATCH_SIZE = 32


class LoaderPath:
    """A turn is one whole epoch over the images repeated with other windows, so queues are empty
    before and after.

    The batch size is chosen so that the last batch needs (almost) no fillers.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._dataset = ShardDataset.open(Corpus.open(task.data).shards)
        self._folder = Path(tempfile.mkdtemp(dir=task.data))
        self._loader = self._build(1)
        self._before: dict[str, Any] = {}

    def warm_up(self) -> float:
        """See :class:`bench.harness.task.Method`. Checksums are verified on first touch, in here."""
        self.run()
        start = time.perf_counter()
        self.run()
        return time.perf_counter() - start

    def prepare(self, passes: int) -> None:
        """See :class:`bench.harness.task.Method`."""
        if passes > 1:
            self._loader.close()
            self._loader = self._build(passes)
            self.run()
        self._before = self._loader.stats()

    def run(self) -> int:
        """See :class:`bench.harness.task.Method`."""
        images = 0
        for batch in self._loader:
            images += int(batch["is_valid"].sum())
        if images != self._loader.num_samples:
            stats = self._loader.stats()
            raise RuntimeError(f"{self._loader.num_samples - images} samples gave no pixels: {stats['failed']}")
        return images

    def report(self) -> dict[str, float]:
        """See :class:`bench.harness.task.Method`."""
        return per_image(self._before, self._loader.stats())

    def close(self) -> None:
        """See :class:`bench.harness.task.Method`."""
        self._loader.close()
        shutil.rmtree(self._folder)

    def _build(self, copies: int) -> Any:
        dataset = repeat_dataset(self._dataset, SPLIT, copies, self._folder / f"repeated-{copies}")
        choices: dict[str, Any] = dict(self._task.options)
        config = LoaderConfig(
            num_crops=self._task.num_crops,
            num_threads=self._task.threads,
            seed=SEED,
            global_size=GLOBAL_SIZE,
            global_batch_size=even_batch_size(len(dataset)),
            **choices,
        )
        return build_loader(dataset, SPLIT, config)


def even_batch_size(num_samples: int) -> int:
    """The batch size nearest to 32 among those that fill up an epoch with fewest fillers."""
    if num_samples < BATCH_SIZES.start:
        return num_samples
    return min(BATCH_SIZES, key=lambda size: (-num_samples % size, abs(size - BEST_BATCH_SIZE)))


def per_image(before: dict[str, Any], after: dict[str, Any]) -> dict[str, float]:
    """Two snapshots of a loader's counters → ``bytes_read_per_image``, ``windowed_share`` and
    milliseconds per image of every stage, in between."""

    def grown(name: str) -> float:
        return float(after.get(name, 0) - before.get(name, 0))

    images = max(1.0, grown("windowed") + grown("full"))
    report = {"bytes_read_per_image": grown("bytes_read") / images, "windowed_share": grown("windowed") / images}
    for name in sorted(after):
        if name.endswith("_s"):
            report[f"{name.removesuffix('_s')}_ms"] = grown(name) / images * 1e3
    return report
