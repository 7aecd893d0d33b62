"""The reference decoder: Pillow decodes every image whole, following the rules in ``shards.images.pixels``, and the
windows are sliced out of it. The only exception is an image stored as tiles, which is read tile by tile if the job asks
for that."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from loaders.decode.jobs import DecodeFailure, Job, TiledJob, WholeJob, WindowJob
from shards.images.formats import open_image
from shards.images.pixels import RejectedImage, load_rgb

__all__ = ["ReferenceDecoder", "blank", "place_windows"]

PixelsT = TypeVar("PixelsT", npt.NDArray[np.uint8], torch.Tensor)


def place_windows(image: PixelsT, job: WindowJob | WholeJob, crops: PixelsT) -> None:
    """Copies the job's windows from ``image`` (H, W, 3) into their slots in ``crops`` (B·N, C, C, 3), padded with zeros
    below and to the right. ``image`` and ``crops`` are both uint8 arrays, or both tensors on one device."""
    for slot, (top, left, height, width) in job.crops():
        crop = crops[slot]
        crop[:height, :width] = image[top : top + height, left : left + width]
        _blank_rest(crop, height, width)


def _place_windows_of(image: Image.Image, job: WindowJob | WholeJob, crops: npt.NDArray[np.uint8]) -> None:
    """:func:`place_windows` for an RGB Pillow image. Copying a megapixel out of Pillow takes a millisecond. So the
    whole image is copied only if it is no larger than its windows together; otherwise each window is copied by itself.
    """
    windows = [window for _, window in job.crops()]
    if sum(height * width for _, _, height, width in windows) >= image.width * image.height:
        place_windows(np.asarray(image), job, crops)
        return
    for slot, (top, left, height, width) in job.crops():
        crop = crops[slot]
        crop[:height, :width] = np.asarray(image.crop((left, top, left + width, top + height)))
        _blank_rest(crop, height, width)


def _blank_rest(crop: PixelsT, height: int, width: int) -> None:
    """Fills ``crop`` (C, C, 3) with zeros below and to the right of its window of ``height`` × ``width`` pixels."""
    if height < crop.shape[0]:
        crop[height:] = 0
    if width < crop.shape[1]:
        crop[:height, width:] = 0


def blank(job: Job, crops: npt.NDArray[np.uint8]) -> None:
    """Fills the job's slots in ``crops``, (B·N, C, C, 3) uint8, with zeros."""
    crops[job.slots] = 0


class ReferenceDecoder:
    """Decodes with Pillow in the calling thread: slow but simple."""

    splits_batches = True

    def decode(self, jobs: Sequence[Job], crops: torch.Tensor) -> list[DecodeFailure]:
        """See :class:`loaders.decode.jobs.Decoder`; ``crops`` may be on any device."""
        if crops.device.type != "cpu":
            return self._decode_to_device(jobs, crops)
        pixels = crops.numpy()
        failures = []
        for job in jobs:
            failure = self._decode(job, pixels)
            if failure is not None:
                failures.append(failure)
                blank(job, pixels)
        return failures

    def _decode(self, job: Job, pixels: npt.NDArray[np.uint8]) -> DecodeFailure | None:
        if isinstance(job, TiledJob):
            return self._read_tiles(job, pixels)
        try:
            data = job.data.tobytes()
            image = load_rgb(open_image(data), data)
            if image.size != (job.width, job.height):
                detail = f"{image.width}x{image.height}, not {job.width}x{job.height}"
                return DecodeFailure(job.sample, "size differs from manifest", detail)
            _place_windows_of(image, job, pixels)
        except RejectedImage as error:
            return DecodeFailure(job.sample, "undecodable", str(error))
        return None

    def _read_tiles(self, job: TiledJob, pixels: npt.NDArray[np.uint8]) -> DecodeFailure | None:
        from shards.images.tiled_tiff import BadTiles  # making the job has already imported Numba

        for slot, (_, _, height, width) in job.crops():
            _blank_rest(pixels[slot], height, width)
        try:
            job.tiles.read(job.windows, [pixels[slot] for slot in job.slots.tolist()])
        except BadTiles as error:
            return DecodeFailure(job.sample, "undecodable", str(error))
        return None

    def _decode_to_device(self, jobs: Sequence[Job], crops: torch.Tensor) -> list[DecodeFailure]:
        failures = []
        for job in jobs:
            host = torch.empty((len(job.slots), *crops.shape[1:]), dtype=torch.uint8)
            failures += self.decode([job.into_first_slots()], host)
            slots = torch.from_numpy(np.asarray(job.slots, np.int64))
            crops.index_copy_(0, slots.to(crops.device), host.to(crops.device))
        return failures

    def close(self) -> None:
        """Does nothing: this decoder holds no resources."""
