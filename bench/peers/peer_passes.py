"""Base class of all peers (other loading libraries): runs epochs over the converted corpus and cuts views out of
decoded images.

Views are cut out of uint8 tensors, because torchvision is fastest with those.
"""

from abc import abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms.v2 import functional

from bench.corpora.corpus import CROP_SIZE, GLOBAL_SIZE, Corpus
from bench.harness.task import Method, Task

__all__ = ["PeerPasses", "Views", "views_of_jpeg", "views_of_tensor"]

LARGEST_BATCH = 8

Views = tuple[torch.Tensor, torch.Tensor]
"""(global view (3, S, S), crops (N, 3, C, C)), both uint8."""


class PeerPasses(Method):
    """Base class of the peers. A turn consists of one or more epochs, each of which ends when its last batch is in
    memory.

    Since there are few images, batches are small. Their size is chosen to make the number of batches a multiple of the
    number of threads, if possible. No worker then has to wait for another at the end of an epoch.
    """

    def __init__(self, task: Task) -> None:
        torch.set_num_threads(1)  # an image is one thread's work
        self.corpus = Corpus.open(task.data)
        self.windows = self.corpus.windows(task.num_crops)[0]
        self.threads = task.threads
        self.num_workers = task.threads if task.threads > 1 else 0
        batches = task.threads * -(-len(self.corpus) // (LARGEST_BATCH * task.threads))
        self.batch_size = -(-len(self.corpus) // batches)
        folder = Path(task.data) / f"{task.method}-{task.num_crops}-{task.threads}"
        self.write(folder)
        self._batches = self.open(folder)

    @abstractmethod
    def write(self, folder: Path) -> None:
        """Converts the corpus to the library's format, in the new ``folder``."""

    @abstractmethod
    def open(self, folder: Path) -> Iterable[Any]:
        """Returns the library's loader. Iterating over it yields the batches of one epoch: (global views, crops), of
        shapes (B, 3, S, S) and (B, N, 3, C, C)."""

    def run(self) -> int:
        """See :class:`bench.harness.task.Method`. Raises ``RuntimeError`` if the loader does not deliver every
        image."""
        images = sum(len(views) for _ in range(self.passes) for views, _ in self._batches)
        if images != self.passes * len(self.corpus):
            raise RuntimeError(f"{images} images in {self.passes} × {len(self.corpus)}")
        return images

    def report(self) -> dict[str, float]:
        """See :class:`bench.harness.task.Method`."""
        return {"bytes_read_per_image": float(np.mean([i.num_bytes for i in self.corpus.images]))}

    def close(self) -> None:
        """See :class:`bench.harness.task.Method`. Worker processes end when this process ends."""
        del self._batches


def views_of_jpeg(data: bytes, windows: npt.NDArray[np.int32]) -> Views:
    """Decodes a JPEG with torchvision's libjpeg-turbo, and returns its global view and crops."""
    encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    return views_of_tensor(decode_jpeg(encoded, ImageReadMode.RGB), windows)


def views_of_tensor(image: torch.Tensor, windows: npt.NDArray[np.int32]) -> Views:
    """Cuts the global view and the crops out of a decoded image (3, H, W) uint8. ``windows`` is (N, 4)."""
    view = functional.resize(image, [GLOBAL_SIZE, GLOBAL_SIZE], antialias=True)
    crops = torch.zeros((len(windows), 3, CROP_SIZE, CROP_SIZE), dtype=torch.uint8)
    for crop, (top, left, height, width) in zip(crops, windows.tolist(), strict=True):
        crop[:, :height, :width] = image[:, top : top + height, left : left + width]
    return view, crops
