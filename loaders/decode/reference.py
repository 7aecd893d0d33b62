"""The oracle: every image decoded whole by Pillow, by the rules for pixels, and cropped by
slicing. Images stored as tiles are read tile by tile where a job asks for that."""

import numpy as np
import numpy.typing as npt
import torch

from loaders.decode.jobs import DecodeFailure, DecodeJob
from shards.images.pixels import RejectedImage, decode_rgb
from shards.images.tiled_tiff import BadTiles, TiledImage

__all__ = ["ReferenceLeaf", "blank", "place_windows"]


def place_windows(image: npt.NDArray[np.uint8], job: DecodeJob, crops: npt.NDArray[np.uint8]) -> None:
    """Copies the job's windows of ``image`` (H, W, 3) into their slots, zeros below and to the
    right."""
    crop_size = crops.shape[1]
    for (top, left, height, width), slot in zip(job.windows.tolist(), job.slots.tolist(), strict=True):
        crop = crops[slot]
        crop[:height, :width] = image[top : top + height, left : left + width]
        if height < crop_size:
            crop[height:] = 0
        if width < crop_size:
            crop[:height, width:] = 0


def blank(job: DecodeJob, crops: npt.NDArray[np.uint8]) -> None:
    """Zeros in the slots of a job that failed."""
    crops[job.slots] = 0


class ReferenceLeaf:
    """Pillow in the calling thread; slow and obvious."""

    splits_batches = True

    def decode(self, jobs: list[DecodeJob], crops: torch.Tensor) -> list[DecodeFailure]:
        """See :class:`loaders.decode.jobs.Leaf`; ``crops`` lies in host memory."""
        pixels = crops.numpy()
        failures = []
        for job in jobs:
            failure = self._decode(job, pixels)
            if failure is not None:
                failures.append(failure)
                blank(job, pixels)
        return failures

    def _decode(self, job: DecodeJob, pixels: npt.NDArray[np.uint8]) -> DecodeFailure | None:
        try:
            image = job.tiles or decode_rgb(job.data.tobytes())
            if image.shape[:2] != (job.height, job.width):
                detail = f"{image.shape[1]}x{image.shape[0]}, not {job.width}x{job.height}"
                return DecodeFailure(job.sample, "size differs from manifest", detail)
            if isinstance(image, TiledImage):
                blank(job, pixels)
                image.read(job.windows, [pixels[slot] for slot in job.slots.tolist()])
            else:
                place_windows(image, job, pixels)
        except (RejectedImage, BadTiles) as error:
            return DecodeFailure(job.sample, "undecodable", str(error))
        return None

    def close(self) -> None:
        """Nothing is held."""
