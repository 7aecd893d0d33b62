"""Builds batches from decoded images, identical to those that the loader builds from the same images in a data set.

They are used for predictions on single files and on altered images. The windows depend on the content id that the
caller passes, not on the pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt
import torch

from loaders.batch import Batch, make_batch
from loaders.config import LoaderConfig
from loaders.windows.sampling import Details, crop_windows, sampling_rule
from shards.images.pixels import global_view

if TYPE_CHECKING:  # Numba takes a second to import
    from loaders.windows.detail import Detail

__all__ = ["DecodedImage", "ImageViews", "SeenImage", "cut_windows", "image_views", "pixel_batch", "stack_views"]

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class ImageViews:
    """The model's inputs for one image and one draw of windows: one row of a batch."""

    global_view: Pixels
    """(S, S, 3) uint8."""
    crops: Pixels
    """(N, C, C, 3) uint8; zeros outside the image and where there is no crop."""
    windows: npt.NDArray[np.int32]
    """(N, 4) windows in source pixels, each (top, left, height, width); zeros where there is no crop."""
    mask: npt.NDArray[np.bool_]
    """(N,): True where there is a crop."""
    content_id: int


class SeenImage(Protocol):
    """An image from which a global view and crops can be taken, whether or not it is fully decoded."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        ...

    def view(self, size: int) -> Pixels:
        """The global view, (``size``, ``size``, 3)."""
        ...

    def crops(self, windows: npt.NDArray[np.int32], crop_size: int) -> Pixels:
        """See :func:`cut_windows`."""
        ...


@dataclass(frozen=True)
class DecodedImage:
    """A :class:`SeenImage` whose pixels are all in memory."""

    pixels: Pixels
    """(H, W, 3) uint8."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = self.pixels.shape[:2]
        return height, width

    def view(self, size: int) -> Pixels:
        """See :class:`SeenImage`."""
        return global_view(self.pixels, size)

    def crops(self, windows: npt.NDArray[np.int32], crop_size: int) -> Pixels:
        """See :class:`SeenImage`."""
        return cut_windows(self.pixels, windows, crop_size)


def image_views(
    image: SeenImage,
    content_id: int,
    config: LoaderConfig,
    appearances: Sequence[int] = (0,),
    detail: "Detail | None" = None,
) -> list[ImageViews]:
    """Prepares the model's evaluation inputs from ``image``. Returns one :class:`ImageViews` for each of
    ``appearances``.

    The windows are determined by ``config.seed``, epoch 0, ``content_id`` and the appearance. Appearance 0 selects the
    windows used in evaluation; 1, 2, … select different ones. ``detail``, the :class:`loaders.windows.detail.Detail` of
    the image's file, matters only if the sampling rule depends on it. Uses only ``num_crops``, ``crop_size``,
    ``global_size``, ``sampling`` and ``seed`` from ``config``.
    """
    small = image.view(config.global_size)
    return [_one_draw(image, small, content_id, config, number, detail) for number in appearances]


def _one_draw(
    image: SeenImage, small: Pixels, content_id: int, config: LoaderConfig, appearance: int, detail: "Detail | None"
) -> ImageViews:
    height, width = image.size
    windows, mask = crop_windows(
        sampling_rule(config.sampling),
        np.array([height]),
        np.array([width]),
        np.array([content_id], np.int64),
        crop_size=config.crop_size,
        num_crops=config.num_crops,
        seed=config.seed,
        epoch=0,
        appearance=appearance,
        details=[detail],
    )
    windows[~mask] = 0
    return ImageViews(small, image.crops(windows[0], config.crop_size), windows[0], mask[0], content_id)


def cut_windows(image: Pixels, windows: npt.NDArray[np.int32], crop_size: int) -> Pixels:
    """Returns the pixels (N, C, C, 3) of ``windows`` (N, 4) in ``image`` (H, W, 3). A window smaller than C × C is
    padded with zeros below and to the right; for an empty window, all pixels are zero."""
    crops = np.zeros((len(windows), crop_size, crop_size, 3), np.uint8)
    for (top, left, height, width), crop in zip(windows.tolist(), crops, strict=True):
        crop[:height, :width] = image[top : top + height, left : left + width]
    return crops


def stack_views(
    rows: Sequence[ImageViews],
    device: str,
    *,
    labels: Sequence[int] | npt.NDArray[np.int64] | None = None,
    batch_size: int | None = None,
    num_crops: int | None = None,
) -> Batch:
    """Stacks ``rows`` into a batch on ``device``. There must be at least one row, and all rows must have the same view
    size and crop size.

    Each ``sample_key`` is the row's index; ``label`` is 0 if ``labels`` is None. ``batch_size`` and ``num_crops`` fix
    the batch's shapes, which are otherwise determined by ``rows``; missing rows and crops are filled with zeros and
    masked. Fixed shapes matter because matrix products of different shapes round differently, and a score must not
    depend on how many images are scored together.
    """
    count, most = batch_size or len(rows), num_crops or max(len(row.crops) for row in rows)
    size, crop_size = rows[0].global_view.shape[0], rows[0].crops.shape[1]
    views = np.zeros((count, size, size, 3), np.uint8)
    crops = np.zeros((count, most, crop_size, crop_size, 3), np.uint8)
    windows, mask = np.zeros((count, most, 4), np.int32), np.zeros((count, most), np.bool_)
    label, identity = np.zeros((2, count), np.int64)
    for place, row in enumerate(rows):
        views[place], identity[place] = row.global_view, row.content_id
        crops[place, : len(row.crops)] = row.crops
        windows[place, : len(row.windows)] = row.windows
        mask[place, : len(row.mask)] = row.mask
    if labels is not None:
        label[: len(rows)] = labels
    return make_batch(
        device,
        views=torch.from_numpy(views),
        crops=torch.from_numpy(crops),
        mask=mask,
        windows=windows,
        label=label,
        content_id=identity,
        is_valid=np.arange(count) < len(rows),
        sample_key=[f"{number:06d}" for number in range(count)],
    )


def pixel_batch(
    images: Sequence[Pixels],
    content_ids: Sequence[int] | npt.NDArray[np.int64],
    config: LoaderConfig,
    *,
    appearance: int = 0,
    labels: Sequence[int] | npt.NDArray[np.int64] | None = None,
    details: Details = None,
) -> Batch:
    """Builds a batch on ``config.device`` by stacking the :func:`image_views` of B ``images``, each (height, width, 3)
    uint8 of any size.

    ``details`` has one entry per image. Raises ``ValueError`` if there are no images, if an image has another shape or
    dtype, or if the arguments differ in length.
    """
    if not images:
        raise ValueError("no image")
    for image in images:
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f"an image of shape {image.shape}, {image.dtype}; not (H, W, 3) uint8")
    if len(content_ids) != len(images) or (labels is not None and len(labels) != len(images)):
        raise ValueError(f"{len(images)} images need one content id each, and one label each if labels are given")
    known = [None] * len(images) if details is None else details
    rows = [
        row
        for image, identity, detail in zip(images, content_ids, known, strict=True)
        for row in image_views(DecodedImage(image), int(identity), config, (appearance,), detail)
    ]
    return stack_views(rows, config.device, labels=labels)
