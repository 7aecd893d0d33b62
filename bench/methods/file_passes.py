"""Base class for methods in which each thread processes one image at a time."""

import itertools
import time
from abc import abstractmethod
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.corpora.corpus import Corpus
from bench.harness.task import Method, Task

__all__ = ["FilePasses"]


class FilePasses(Method):
    """Processes images in threads. Each thread takes its next position from a shared counter, so no thread waits for
    another."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._corpus = Corpus.open(task.data)
        self._windows: npt.NDArray[np.int32] = self._corpus.windows(task.num_crops)
        self._pool = ThreadPoolExecutor(task.threads)

    @abstractmethod
    def one(self, copy: int, index: int, turn: int) -> Any:
        """Processes the image at position ``index`` with its window set ``copy``, and returns the result, which the
        caller discards. ``turn`` is the position of this call within the current turn or warm-up, from 0."""

    def warm_up(self) -> float:
        """See :class:`bench.harness.task.Method`. Runs a quarter of a pass, to estimate the time of a whole one. If a
        whole pass takes less than a round, also runs and times one."""
        total = len(self._corpus)
        first = max(1, total // 4)
        start = time.perf_counter()
        self._work(range(first))
        seconds_per_pass = (time.perf_counter() - start) / first * total
        if seconds_per_pass < self._task.seconds_per_round:
            start = time.perf_counter()
            self._work(range(total))
            seconds_per_pass = time.perf_counter() - start
        return seconds_per_pass

    def run(self) -> int:
        """See :class:`bench.harness.task.Method`."""
        total = self.passes * len(self._corpus)
        self._work(range(total))
        return total

    def report(self) -> dict[str, float]:
        """See :class:`bench.harness.task.Method`."""
        return {"bytes_read_per_image": float(np.mean([i.num_bytes for i in self._corpus.images]))}

    def close(self) -> None:
        """See :class:`bench.harness.task.Method`."""
        self._pool.shutdown()

    def _work(self, turns: range) -> None:
        counter = itertools.count(turns.start)  # its next() is atomic under the GIL

        def drain() -> None:
            for turn in counter:
                if turn >= turns.stop:
                    return
                number, index = divmod(turn, len(self._corpus))
                self.one(number % self._corpus.copies, index, turn)

        for done in [self._pool.submit(drain) for _ in range(self._task.threads)]:
            done.result()
