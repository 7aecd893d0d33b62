"""The default decoder on a CPU: libjpeg-turbo and libwebp, running in the loader's threads. Images that neither library
decodes exactly are left to the reference decoder."""

import threading
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import simplejpeg
import torch

from loaders.decode.jobs import DecodeFailure, Job, TiledJob, WholeJob, WindowJob
from loaders.decode.reference import ReferenceDecoder, place_windows
from loaders.decode.webp import decode_webp

__all__ = ["TurboDecoder"]

KEPT_SCRATCH_BYTES = 64 << 20
"""Maximum size, in bytes, of the decode buffer that a thread keeps; enough for 22 megapixels. A larger buffer is freed
after use."""


class TurboDecoder:
    """Decodes JPEGs with simplejpeg, which releases the GIL, so that one thread per core keeps every core busy."""

    splits_batches = True

    def __init__(self) -> None:
        self._reference = ReferenceDecoder()
        self._scratch = threading.local()

    def _buffer(self, num_bytes: int) -> npt.NDArray[np.uint8]:
        """Returns ``num_bytes`` bytes of this thread's reusable buffer. With fresh memory, the page faults (one per 4
        kB) would cost as much time as decoding a crop."""
        buffer = getattr(self._scratch, "buffer", None)
        if buffer is None or buffer.size < num_bytes:
            buffer = np.empty(max(num_bytes, 1 << 20), np.uint8)
            if buffer.size <= KEPT_SCRATCH_BYTES:
                self._scratch.buffer = buffer
        return buffer[:num_bytes]

    def decode(self, jobs: Sequence[Job], crops: torch.Tensor) -> list[DecodeFailure]:
        """See :class:`loaders.decode.jobs.Decoder`; ``crops`` is in host memory."""
        pixels = crops.numpy()
        failures = []
        for job in jobs:
            image = self._decoded(job)
            if image is None:
                failures += self._reference.decode([job], crops)
            else:
                assert not isinstance(job, TiledJob)
                place_windows(image, job, pixels)
        return failures

    def _decoded(self, job: Job) -> npt.NDArray[np.uint8] | None:
        """Returns the pixels of a job, (height, width, 3), or ``None`` if the reference decoder has to decode it."""
        if isinstance(job, TiledJob):
            return None
        if not job.turbo_decodes:
            return decode_webp(job) if isinstance(job, WholeJob) else None
        try:
            image = simplejpeg.decode_jpeg(
                job.padded if isinstance(job, WindowJob) else job.data,
                "RGB",
                buffer=self._buffer(job.height * job.width * 3),
            )
        except ValueError:
            # simplejpeg refuses what libjpeg only warns about (rubbish between markers, rare
            # subsampling); the reference decoder decides, and names what is really broken.
            return None
        return image if image.shape[:2] == (job.height, job.width) else None

    def close(self) -> None:
        """Does nothing: a thread's buffer is freed when the thread ends."""
