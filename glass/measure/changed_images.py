"""Decodes a split's images and applies one perturbation to them, in small batches. While the consumer processes one
batch, the next one is prepared."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from glass.measure.perturbations import Perturbation
from loaders.decode.encoded_image import decode_file
from loaders.reading.checksums import BadChecksum, Checksums
from loaders.reading.mapped_shards import MappedShards, UnreadableMember
from loaders.reading.sample_table import SampleTable
from loaders.windows.detail import Detail, detail_of_file
from shards.errors import require_sound_machine
from shards.images.pixels import RejectedImage, decode_rgb
from shards.manifest.dataset import ShardDataset

__all__ = ["ChangedImage", "SplitImages", "changed_batches"]

IMAGES_AT_A_TIME = 8
"""Number of changed images in a batch."""


@dataclass(frozen=True)
class ChangedImage:
    """An image after a perturbation."""

    pixels: npt.NDArray[np.uint8]
    """(H, W, 3) uint8."""
    detail: Detail | None
    """Number of bits that the file spends on each grid cell, for sampling rules that need it; None if unknown or not
    needed."""


class SplitImages:
    """Gives access to a split's images, in the same order as an unshuffled loader."""

    def __init__(self, dataset: ShardDataset, split: str, *, with_detail: bool) -> None:
        """``with_detail`` says whether a sampling rule needs each file's coded bits per grid cell (see
        ``loaders.windows.detail``), which take time to compute."""
        self._with_detail = with_detail
        self.rows = dataset.split_rows(split)
        self.samples = SampleTable(dataset)
        self._shards = MappedShards([dataset.shard_path(name) for name in self.samples.shards])
        self._checksums = Checksums(len(dataset))

    def changed(self, row: int, perturbation: Perturbation) -> ChangedImage | None:
        """Decodes the image in manifest row ``row`` and applies ``perturbation`` to it.

        Returns None if the image cannot be read, decoded or re-encoded, or if its bytes do not match their checksum.
        """
        samples = self.samples
        where = int(samples.image.offset[row]), int(samples.image.length[row])
        try:
            member = self._shards.member(int(samples.shard[row]), *where)
            if not self._checksums.is_sound(row):
                self._checksums.check(row, {"image": (member, int(samples.crc32["image"][row]))})
            data = member.tobytes()
            pixels = decode_file(data)
            change = perturbation.change((pixels.shape[0], pixels.shape[1]), int(samples.content_id[row]))
            jpeg = change.as_jpeg(pixels)
            if jpeg is not None:
                return ChangedImage(decode_rgb(jpeg), self._detail(jpeg))
            # As in the loader, a file converted for the shard has no detail: its bits are not those of the original.
            converted = samples.forms[samples.stored_as[row]] == "baseline"
            detail = None if converted else self._detail(data)
            return ChangedImage(change.on_image(pixels), detail)
        except (UnreadableMember, BadChecksum, RejectedImage, ValueError, OSError) as error:
            require_sound_machine(error)
            # ValueError and OSError, because a WebP has at most 16,383 pixels per side, a JPEG 65,500.
            return None

    def _detail(self, data: bytes) -> Detail | None:
        return detail_of_file(data) if self._with_detail else None

    def close(self) -> None:
        """Closes the shards."""
        self._shards.close()


def changed_batches(
    images: SplitImages, row: Perturbation, threads: int
) -> Iterator[tuple[npt.NDArray[np.int64], list[ChangedImage]]]:
    """Applies the perturbation ``row`` to the images of a split and yields them in batches of up to 8.

    Each batch is (manifest row indices (n,), list of the n changed images). Images that could not be read or changed
    are left out. ``threads`` threads prepare one batch ahead of the consumer.
    """
    pending: list[tuple[npt.NDArray[np.int64], list[Future[ChangedImage | None]]]] = []
    with ThreadPoolExecutor(threads, thread_name_prefix="changing") as pool:
        for start in range(0, len(images.rows) + IMAGES_AT_A_TIME, IMAGES_AT_A_TIME):
            numbers = images.rows[start : start + IMAGES_AT_A_TIME]
            pending.append((numbers, [pool.submit(images.changed, number, row) for number in numbers.tolist()]))
            if len(pending) > 1:
                before, futures = pending.pop(0)
                done = [future.result() for future in futures]
                readable = np.array([image is not None for image in done])
                if readable.any():
                    yield before[readable], [image for image in done if image is not None]
