"""Our loader over shards that exist, batch by batch."""

import itertools
import time
from collections.abc import Generator
from typing import Any

from bench.harness.task import Task
from bench.methods.loader_path import per_image
from loaders import LoaderConfig, build_loader
from shards.manifest.dataset import ShardDataset

__all__ = ["LoaderBatches"]

MAX_WARM_UP_BATCHES = 64


class LoaderBatches:
    """A pass is one batch. Every turn takes the same batches, from the start of epoch 0 on; a data
    set of fewer batches is taken again from the start."""

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
        self._num_batches = 1
        self._before: dict[str, Any] = {}

    def warm_up(self) -> float:
        """See :class:`bench.harness.task.Method`. Checksums are verified on first touch, in here."""
        self._take(1)  # compiles, builds pipelines
        start, taken = time.perf_counter(), 0
        for _ in itertools.islice(self._batches(), MAX_WARM_UP_BATCHES):
            taken += 1
            if time.perf_counter() - start > self._seconds:
                break
        return (time.perf_counter() - start) / taken

    def prepare(self, passes: int) -> None:
        """See :class:`bench.harness.task.Method`."""
        self._num_batches = passes
        self.run()
        self._before = self._loader.stats()

    def run(self) -> int:
        """See :class:`bench.harness.task.Method`."""
        return self._take(self._num_batches)

    def report(self) -> dict[str, float]:
        """See :class:`bench.harness.task.Method`."""
        return per_image(self._before, self._loader.stats())

    def close(self) -> None:
        """See :class:`bench.harness.task.Method`."""
        self._loader.close()

    def _take(self, number: int) -> int:
        batches = self._batches()
        taken = sum(int(b["is_valid"].sum()) for b in itertools.islice(batches, number))
        batches.close()  # gives up what was read ahead
        return taken

    def _batches(self) -> Generator[Any, None, None]:
        while True:
            epoch: Any = iter(self._loader)  # a generator: closing it ends the reading ahead
            try:
                yield from epoch
            finally:
                epoch.close()
