"""Methods that decode with libjpeg-turbo through simplejpeg: whole images, or separately stored crops. Decoding stored
crops gives an upper bound on the speed of any loader."""

import threading

import numpy as np
import numpy.typing as npt
import simplejpeg

from bench.corpora.corpus import CROP_SIZE, mapped
from bench.harness.task import Task
from bench.methods.file_passes import FilePasses

__all__ = ["PrecutCrops", "WholeImages"]

Bytes = npt.NDArray[np.uint8]

BATCH_SIZE, BATCHES = 32, 4
"""Batch size, and number of batches whose results stay in memory: as many as the loader's buffers hold."""


class WholeImages(FilePasses):
    """Decodes each image into a buffer that the thread reuses, since newly allocated memory would cost page faults."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._encoded = [mapped(self._corpus.path(k)) for k in range(len(self._corpus))]
        self._largest = max(image.width * image.height for image in self._corpus.images)
        self._scratch = threading.local()

    def one(self, copy: int, index: int, turn: int) -> Bytes:
        """See :class:`FilePasses`. Returns (H, W, 3) uint8."""
        buffer = getattr(self._scratch, "buffer", None)
        if buffer is None:
            buffer = self._scratch.buffer = np.empty(3 * self._largest, np.uint8)
        return simplejpeg.decode_jpeg(self._encoded[index], "RGB", buffer=buffer)


class PrecutCrops(FilePasses):
    """Decodes each stored crop straight into its place in a batch."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._stored, self._bounds = self._corpus.precut(task.num_crops)
        size = (BATCH_SIZE * BATCHES, task.num_crops, CROP_SIZE * CROP_SIZE * 3)
        self._batches: Bytes = np.zeros(size, np.uint8)

    def one(self, copy: int, index: int, turn: int) -> list[Bytes]:
        """See :class:`FilePasses`. Returns N views of the batch, each of shape (h, w, 3) uint8."""
        places = self._batches[turn % len(self._batches)]
        return [
            simplejpeg.decode_jpeg(self._stored[first:last], "RGB", buffer=place)
            for place, (first, last) in zip(places, self._bounds[copy, index].tolist(), strict=True)
        ]

    def report(self) -> dict[str, float]:
        """See :class:`bench.harness.task.Method`."""
        lengths = self._bounds[..., 1] - self._bounds[..., 0]
        return {"bytes_read_per_image": float(lengths.sum(-1).mean())}
