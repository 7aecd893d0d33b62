"""Batches of images that are decoded already: the same batch that the loader makes of their files.

For predicting on single files and on changed images. Windows depend on the content id that the caller gives, not on
the pixels handed over.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from loaders.batch import Batch, make_batch
from loaders.config import LoaderConfig
from loaders.windows.sampling import Details, crop_windows, sampling_rule
from shards.images.pixels import global_view

__all__ = ["cut_windows", "pixel_batch"]


def pixel_batch(
    images: Sequence[npt.NDArray[np.uint8]],
    content_ids: Sequence[int] | npt.NDArray[np.int64],
    config: LoaderConfig,
    *,
    appearance: int = 0,
    labels: Sequence[int] | npt.NDArray[np.int64] | None = None,
    details: Details = None,
) -> Batch:
    """The batch of B ``images``, each (height, width, 3) uint8 of a size of its own, on
    ``config.device``.

    Windows are those of evaluation: (``config.seed``, epoch 0, content id); further draws of the
    same image have ``appearance`` 1, 2, …. ``sample_key`` counts the images from 0, ``label`` is 0
    where none are given, ``details`` are what the sampling rule read off their files,
    ``is_valid`` is True throughout. Of ``config`` only ``num_crops``,
    ``crop_size``, ``global_size``, ``sampling``, ``seed`` and ``device`` count. Raises
    ``ValueError`` for no image, for other shapes or types, and where lengths differ.
    """
    if not images:
        raise ValueError("no image")
    for image in images:
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f"an image of shape {image.shape}, {image.dtype}; not (H, W, 3) uint8")
    if len(content_ids) != len(images) or (labels is not None and len(labels) != len(images)):
        raise ValueError(f"{len(images)} images need as many content ids, and labels if any")
    identity = np.asarray(content_ids, np.int64)
    windows, mask = crop_windows(
        sampling_rule(config.sampling),
        np.array([image.shape[0] for image in images]),
        np.array([image.shape[1] for image in images]),
        identity,
        crop_size=config.crop_size,
        num_crops=config.num_crops,
        seed=config.seed,
        epoch=0,
        appearance=appearance,
        details=details,
    )
    windows[~mask] = 0
    views = np.stack([global_view(np.ascontiguousarray(i), config.global_size) for i in images])
    crops = np.stack([cut_windows(i, w, config.crop_size) for i, w in zip(images, windows, strict=True)])
    return make_batch(
        config.device,
        views=torch.from_numpy(views),
        crops=torch.from_numpy(crops),
        mask=mask,
        windows=windows,
        label=np.zeros(len(images), np.int64) if labels is None else np.asarray(labels, np.int64),
        content_id=identity,
        is_valid=np.ones(len(images), np.bool_),
        sample_key=[f"{number:06d}" for number in range(len(images))],
    )


def cut_windows(image: npt.NDArray[np.uint8], windows: npt.NDArray[np.int32], crop_size: int) -> npt.NDArray[np.uint8]:
    """(N, C, C, 3): the pixels of (N, 4) windows of an (H, W, 3) image, zeros below and to the
    right of small ones and in place of those of no area."""
    crops = np.zeros((len(windows), crop_size, crop_size, 3), np.uint8)
    for (top, left, height, width), crop in zip(windows.tolist(), crops, strict=True):
        crop[:height, :width] = image[top : top + height, left : left + width]
    return crops
