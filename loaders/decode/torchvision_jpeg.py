"""JPEG decoding with torchvision, which uses nvJPEG on a GPU and libjpeg-turbo on a CPU. This is the ``nvjpeg``
backend. It is also used on a GPU if DALI is not installed, and on a CPU if simplejpeg is not installed.

On a GPU, torchvision decodes on its own CUDA stream, and the caller's stream waits for the result. But torchvision does
not wait for the caller's stream. It writes to memory allocated on that stream, and earlier work on the stream may still
be using this memory. So the caller's stream must be idle before the call.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torchvision.io import ImageReadMode, decode_jpeg

from loaders.decode.dali_files import not_for_nvjpeg
from loaders.decode.jobs import DecodeFailure, Job, WholeJob, WindowJob
from loaders.decode.reference import ReferenceDecoder, place_windows
from loaders.stats import LoaderStats

__all__ = ["TorchvisionDecoder"]

REFUSED = "refused by torchvision"
PIXELS_AT_A_TIME = {"cpu": 1, "cuda": 1 << 28}
"""Maps each device to the maximum number of pixels decoded in one call; a single larger image is still decoded. On a
GPU, each call should decode many images. All of them stay in memory until their windows are cut, and occupy up to 800
MB."""


class TorchvisionDecoder:
    """Decodes batches of JPEGs with torchvision's ``decode_jpeg``. Leaves unsuitable files to the reference decoder."""

    def __init__(self, device: Literal["cpu", "cuda"], stats: LoaderStats | None = None) -> None:
        """Images that are decoded by the reference decoder are counted by reason, under ``on_host`` in ``stats``."""
        self.splits_batches = device == "cpu"  # on a GPU a batch is one piece of work on the loader's stream
        self._device = device
        self._stats = stats or LoaderStats()
        self._reference = ReferenceDecoder()

    def decode(self, jobs: Sequence[Job], crops: torch.Tensor) -> list[DecodeFailure]:
        """See :class:`loaders.decode.jobs.Decoder`."""
        on_host: list[Job] = []
        here: list[WindowJob | WholeJob] = []
        for job in jobs:
            if reason := not_for_nvjpeg(job):
                self._stats.reason("on_host", reason)
                on_host.append(job)
            elif isinstance(job, WindowJob | WholeJob):
                here.append(job)
        failures = [f for group in _groups(here, PIXELS_AT_A_TIME[self._device]) for f in self._decode(group, crops)]
        return failures + self._reference.decode(on_host, crops)

    def close(self) -> None:
        """Does nothing: this decoder holds no resources."""

    def _decode(self, jobs: Sequence[WindowJob | WholeJob], crops: torch.Tensor) -> list[DecodeFailure]:
        """Decodes all jobs in one call; if that fails, decodes them one by one, so that a bad file does not make the
        others fail."""
        try:
            return self._decode_at_once(jobs, crops)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:
            if len(jobs) == 1:
                self._stats.reason("on_host", REFUSED)
                return self._reference.decode(jobs, crops)
        return [failure for job in jobs for failure in self._decode([job], crops)]

    def _decode_at_once(self, jobs: Sequence[WindowJob | WholeJob], crops: torch.Tensor) -> list[DecodeFailure]:
        encoded = [_tensor(job.data) for job in jobs]
        stream = torch.cuda.current_stream() if self._device == "cuda" else None
        if stream:
            stream.synchronize()  # it may still be using memory that torchvision allocates and writes to
        wrong = []
        for job, image in zip(jobs, decode_jpeg(encoded, ImageReadMode.RGB, self._device), strict=True):
            if image.shape != (3, job.height, job.width):
                wrong.append(job)
            elif stream:
                place_windows(image.permute(1, 2, 0), job, crops)
            else:
                place_windows(image.permute(1, 2, 0).numpy(), job, crops.numpy())
        if stream:
            stream.synchronize()  # nvJPEG may read the files until then
        return self._reference.decode(wrong, crops)


def _tensor(data: npt.NDArray[np.uint8]) -> torch.Tensor:
    """Returns ``data`` as a tensor. Read-only data, such as a view of a mapped shard, is copied, since torch needs
    writable memory."""
    return torch.from_numpy(data if data.flags.writeable else data.copy())


def _groups(jobs: Sequence[WindowJob | WholeJob], most_pixels: int) -> Iterator[list[WindowJob | WholeJob]]:
    """Splits ``jobs``, in order, into groups of at most ``most_pixels`` pixels. A job with more pixels forms a group by
    itself."""
    group: list[WindowJob | WholeJob] = []
    pixels = 0
    for job in jobs:
        if group and pixels + job.height * job.width > most_pixels:
            yield group
            group, pixels = [], 0
        group.append(job)
        pixels += job.height * job.width
    if group:
        yield group
