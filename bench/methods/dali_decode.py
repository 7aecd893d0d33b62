"""NVIDIA DALI on the CPU, used as its documentation shows, with a single graph that turns encoded bytes into crops.

The decoder settings are those of our loader (accurate transform, smooth chroma upsampling), so all methods produce the
same pixels.
"""

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from nvidia.dali import fn, pipeline_def, types

from bench.corpora.corpus import CROP_SIZE, GLOBAL_SIZE, Corpus, mapped
from bench.harness.task import Method, Task

__all__ = ["DaliFull", "DaliRegions"]

MAX_BATCH_SIZE = 16
MAX_BATCH_BYTES = 512 << 20
"""Maximum total size of the decoded images in a batch, in bytes. Several batches are in memory at a time."""

Array = npt.NDArray[Any]

EXACT = {
    "device": "cpu",
    "output_type": types.RGB,
    "jpeg_fancy_upsampling": True,
    "use_fast_idct": False,
    "adjust_orientation": False,
}


class _Input:
    """The input of a pipeline: batches of (encoded images, windows). Each ``iter()`` yields the batches of one turn."""

    def __init__(self, corpus: Corpus, num_crops: int, threads: int) -> None:
        self._encoded = [mapped(corpus.path(index)) for index in range(len(corpus))]
        self._windows = corpus.windows(num_crops)
        self.passes = 1
        largest = 3 * max(image.width * image.height for image in corpus.images)
        # Two per thread at least, so that threads need not wait for each other at every image.
        self.batch_size = max(2 * threads, min(MAX_BATCH_SIZE, MAX_BATCH_BYTES // largest))

    def __len__(self) -> int:
        return self.passes * len(self._encoded)

    def __iter__(self) -> Iterator[tuple[list[Array], list[Array]]]:
        for first in range(0, len(self), self.batch_size):
            last = min(first + self.batch_size, len(self))
            pairs = [self._pair(turn) for turn in range(first, last)]
            yield [encoded for encoded, _ in pairs], [windows for _, windows in pairs]

    def _pair(self, turn: int) -> tuple[Array, Array]:
        number, index = divmod(turn, len(self._encoded))
        return self._encoded[index], self._windows[number % len(self._windows), index]


class _DaliPasses(Method):
    """Base class that runs a DALI pipeline until its input is exhausted. During the warm-up, DALI's buffers grow to fit
    the largest image.

    DALI works ahead in its own threads. To include all of that work in the time, a turn starts with an empty queue. It
    ends only when the input is exhausted and every result has been taken.
    """

    def __init__(self, task: Task) -> None:
        corpus = Corpus.open(task.data)
        self._bytes_per_image = float(np.mean([image.num_bytes for image in corpus.images]))
        self._input = _Input(corpus, task.num_crops, task.threads)
        self._num_crops = task.num_crops
        self._pipeline = self._define(task.threads)
        self._pipeline.build()

    @abstractmethod
    def graph(self, encoded: Any, windows: Any, num_crops: int) -> tuple[Any, ...]:
        """Defines the graph that turns encoded images and their (N, 4) windows into the results."""

    def prepare(self, passes: int) -> None:
        """See :class:`bench.harness.task.Method`."""
        self._input.passes = passes

    def run(self) -> int:
        """See :class:`bench.harness.task.Method`."""
        return sum(len(results[0]) for results in self.results())

    def results(self) -> Iterator[tuple[Any, ...]]:
        """The results of one turn, batch by batch; each is valid until the next one is taken."""
        self._pipeline.reset()
        while True:
            try:
                yield self._pipeline.run()
            except StopIteration:
                return

    def report(self) -> dict[str, float]:
        """See :class:`bench.harness.task.Method`."""
        return {"bytes_read_per_image": self._bytes_per_image}

    def close(self) -> None:
        """See :class:`bench.harness.task.Method`."""
        del self._pipeline

    def _define(self, threads: int) -> Any:
        @pipeline_def(batch_size=self._input.batch_size, num_threads=threads, device_id=None, prefetch_queue_depth=2)
        def pipeline() -> tuple[Any, ...]:
            encoded, windows = fn.external_source(
                source=self._input,
                num_outputs=2,
                dtype=[types.UINT8, types.INT32],
                ndim=[1, 2],
                batch=True,
                cycle="raise",
                no_copy=True,
            )
            return self.graph(encoded, windows, self._num_crops)

        return pipeline()


class DaliFull(_DaliPasses):
    """Decodes each image once, resizes it to the global view, and slices the crops out of it."""

    def graph(self, encoded: Any, windows: Any, num_crops: int) -> tuple[Any, ...]:
        """See :class:`_DaliPasses`."""
        image = fn.decoders.image(encoded, **EXACT)
        view = fn.resize(
            image, resize_x=GLOBAL_SIZE, resize_y=GLOBAL_SIZE, interp_type=types.INTERP_LINEAR, antialias=True
        )
        crops = [
            fn.slice(
                image,
                start=windows[k][:2],
                shape=[CROP_SIZE, CROP_SIZE],
                axes=(0, 1),
                out_of_bounds_policy="pad",
                fill_values=0,
            )
            for k in range(num_crops)
        ]
        return view, *crops


class DaliRegions(_DaliPasses):
    """Decodes N regions of each image. For each region, DALI walks through the file again."""

    def graph(self, encoded: Any, windows: Any, num_crops: int) -> tuple[Any, ...]:
        """See :class:`_DaliPasses`."""
        return tuple(
            fn.decoders.image_slice(encoded, windows[k][:2], windows[k][2:], axes=(0, 1), **EXACT)
            for k in range(num_crops)
        )
