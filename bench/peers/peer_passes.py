"""What the peers have in common: whole epochs over the corpus, converted beforehand."""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.corpora.corpus import Corpus
from bench.harness.task import Task

__all__ = ["PeerPasses"]

LARGEST_BATCH = 8


class PeerPasses(ABC):
    """A turn is a number of epochs; each runs until the last batch is in memory.

    With so few images, batches are made small and their number a multiple of the workers, so that
    no worker waits for another at the end of an epoch.
    """

    def __init__(self, task: Task) -> None:
        torch.set_num_threads(1)  # an image is one thread's work
        self.corpus = Corpus.open(task.data)
        self.windows = self.corpus.windows(task.num_crops)[0]
        self.threads = task.threads
        self.num_workers = task.threads if task.threads > 1 else 0
        batches = task.threads * -(-len(self.corpus) // (LARGEST_BATCH * task.threads))
        self.batch_size = -(-len(self.corpus) // batches)
        self._passes = 1
        folder = Path(task.data) / f"{task.method}-{task.num_crops}-{task.threads}"
        self.write(folder)
        self._batches = self.open(folder)

    @abstractmethod
    def write(self, folder: Path) -> None:
        """Converts the corpus to the library's format, in the new ``folder``."""

    @abstractmethod
    def open(self, folder: Path) -> Iterable[Any]:
        """The loader, whose ``iter()`` is one epoch of batches ((B, 3, S, S), (B, N, 3, C, C))."""

    def warm_up(self) -> float:
        """See :class:`bench.harness.task.Method`."""
        self.run()
        start = time.perf_counter()
        self.run()
        return time.perf_counter() - start

    def prepare(self, passes: int) -> None:
        """See :class:`bench.harness.task.Method`."""
        self._passes = passes

    def run(self) -> int:
        """See :class:`bench.harness.task.Method`. Raises ``RuntimeError`` where images are missing."""
        images = sum(len(views) for _ in range(self._passes) for views, _ in self._batches)
        if images != self._passes * len(self.corpus):
            raise RuntimeError(f"{images} images in {self._passes} × {len(self.corpus)}")
        return images

    def report(self) -> dict[str, float]:
        """See :class:`bench.harness.task.Method`."""
        return {"bytes_read_per_image": float(np.mean([i.num_bytes for i in self.corpus.images]))}

    def close(self) -> None:
        """See :class:`bench.harness.task.Method`. Worker processes end with this one."""
        del self._batches
