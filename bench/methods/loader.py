"""Methods that run the complete loader, from manifest to batch, on a corpus or on existing shards."""

import itertools
import shutil
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from bench.corpora.corpus import GLOBAL_SIZE, SEED, SPLIT, Corpus
from bench.corpora.repeated import repeat_dataset
from bench.harness.task import Method, Task
from loaders import LoaderConfig, build_loader
from shards.manifest.dataset import ShardDataset

__all__ = ["LoaderBatches", "LoaderPath", "even_batch_size", "per_image"]

BATCH_SIZES = range(16, 49)
BEST_BATCH_SIZE = 32
MAX_WARM_UP_BATCHES = 64


class LoaderPath(Method):
    """Runs the loader on a corpus. A turn is one whole epoch, so the queues are empty before and after it. If a turn
    has several passes, its epoch contains every image several times, with different windows.

    The batch size is chosen to leave as few fillers as possible in the last batch. The loader verifies checksums only
    when it first reads a sample, which happens during the warm-up and is not timed.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._dataset = ShardDataset.open(Corpus.open(task.data).shards)
        self._folder = Path(tempfile.mkdtemp(dir=task.data))
        self._loader = self._build(1)
        self._before: dict[str, Any] = {}

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
            raise RuntimeError(f"{self._loader.num_samples - images} samples could not be decoded: {stats['failed']}")
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


class LoaderBatches(Method):
    """Runs the loader on existing shards. A pass is one batch. Every turn takes the same batches, from the start of
    epoch 0. If a turn needs more batches than the epoch has, the epoch starts again."""

    def __init__(self, task: Task) -> None:
        choices: dict[str, Any] = dict(task.options)
        self._split = choices.pop("split")
        batch_size = int(choices.pop("batch_size"))
        dataset = ShardDataset.open(task.data)
        config = LoaderConfig(
            num_crops=task.num_crops,
            num_threads=task.threads,
            global_batch_size=batch_size,
            global_size=dataset.info.global_size,
            **choices,
        )
        self._seconds = task.seconds_per_round
        self._loader = build_loader(dataset, self._split, config)
        self._before: dict[str, Any] = {}

    def warm_up(self) -> float:
        """See :class:`bench.harness.task.Method`. The loader verifies checksums only when it first reads a sample,
        which happens here."""
        self._take(1)  # compiles, builds pipelines
        start, taken = time.perf_counter(), 0
        for _ in itertools.islice(self._batches(), MAX_WARM_UP_BATCHES):
            taken += 1
            if time.perf_counter() - start > self._seconds:
                break
        return (time.perf_counter() - start) / taken

    def prepare(self, passes: int) -> None:
        """See :class:`bench.harness.task.Method`."""
        self.passes = passes
        self.run()
        self._before = self._loader.stats()

    def run(self) -> int:
        """See :class:`bench.harness.task.Method`."""
        return self._take(self.passes)

    def report(self) -> dict[str, float]:
        """See :class:`bench.harness.task.Method`."""
        return per_image(self._before, self._loader.stats())

    def close(self) -> None:
        """See :class:`bench.harness.task.Method`."""
        self._loader.close()

    def _take(self, number: int) -> int:
        batches = self._batches()
        taken = sum(int(b["is_valid"].sum()) for b in itertools.islice(batches, number))
        batches.close()  # drops the prefetched batches
        return taken

    def _batches(self) -> Generator[Any, None, None]:
        while True:
            epoch: Any = iter(self._loader)  # a generator: closing it ends the prefetching
            try:
                yield from epoch
            finally:
                epoch.close()


def even_batch_size(num_samples: int) -> int:
    """Returns the batch size, from 16 to 48, that leaves the fewest fillers in the last batch of an epoch. Among
    equally good sizes, this is the one nearest to 32. If there are fewer than 16 samples, it is their number."""
    if num_samples < BATCH_SIZES.start:
        return num_samples
    return min(BATCH_SIZES, key=lambda size: (-num_samples % size, abs(size - BEST_BATCH_SIZE)))


def per_image(before: dict[str, Any], after: dict[str, Any]) -> dict[str, float]:
    """Calculates ``bytes_read_per_image``, ``windowed_share`` and the milliseconds per image of every stage. The
    figures cover the time between two snapshots of a loader's counters."""

    def grown(name: str) -> float:
        return float(after.get(name, 0) - before.get(name, 0))

    images = max(1.0, grown("windowed") + grown("full"))
    report = {"bytes_read_per_image": grown("bytes_read") / images, "windowed_share": grown("windowed") / images}
    for name in sorted(after):
        if name.endswith("_s"):
            report[f"{name.removesuffix('_s')}_ms"] = grown(name) / images * 1e3
    return report
