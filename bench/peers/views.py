"""A global view and crops out of one decoded image, as torchvision does it best: on uint8."""

import numpy as np
import numpy.typing as npt
import torch
from torchvision.io import ImageReadMode, decode_jpeg  # type: ignore[import-untyped]
from torchvision.transforms.v2 import functional  # type: ignore[import-untyped]

from bench.corpora.corpus import CROP_SIZE, GLOBAL_SIZE

__all__ = ["Views", "views_of_jpeg", "views_of_tensor"]

Views = tuple[torch.Tensor, torch.Tensor]
"""(3, S, S) and (N, 3, C, C), uint8."""


def views_of_jpeg(data: bytes, windows: npt.NDArray[np.int32]) -> Views:
    """Decodes with torchvision's libjpeg-turbo."""
    encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    return views_of_tensor(decode_jpeg(encoded, ImageReadMode.RGB), windows)


def views_of_tensor(image: torch.Tensor, windows: npt.NDArray[np.int32]) -> Views:
    """From a decoded image (3, H, W) uint8 and its (N, 4) windows."""
    view = functional.resize(image, [GLOBAL_SIZE, GLOBAL_SIZE], antialias=True)
    crops = torch.zeros((len(windows), 3, CROP_SIZE, CROP_SIZE), dtype=torch.uint8)
    for crop, (top, left, height, width) in zip(crops, windows.tolist(), strict=True):
        crop[:, :height, :width] = image[:, top : top + height, left : left + width]
    return view, crops
