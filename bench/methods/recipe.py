"""The paper's data path, run in threads: Pillow → float tensor of the whole image → resize → crops."""

import torch
from PIL import Image
from torchvision.transforms import functional

from bench.corpora.corpus import CROP_SIZE, GLOBAL_SIZE
from bench.harness.task import Task
from bench.methods.file_passes import FilePasses

__all__ = ["Recipe"]

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


class Recipe(FilePasses):
    """The paper's data path on one image at a time.

    Windows are drawn in advance and results are not collated into batches; both favour this method a little. The paper
    uses the worker processes of a ``DataLoader``. This method uses threads, which need no pickling between processes
    and hold the GIL only for microseconds between the steps.
    """

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        Image.MAX_IMAGE_PIXELS = None  # 200 megapixels are allowed here
        torch.set_num_threads(1)

    def one(self, copy: int, index: int, turn: int) -> tuple[torch.Tensor, torch.Tensor]:
        """See :class:`FilePasses`. Returns (3, S, S) and (N, 3, C, C) float32, normalised."""
        with Image.open(self._corpus.path(index)) as opened:
            image = functional.to_tensor(opened.convert("RGB"))
        view = functional.resize(image, [GLOBAL_SIZE, GLOBAL_SIZE], antialias=True)
        crops = torch.zeros((len(self._windows[copy, index]), 3, CROP_SIZE, CROP_SIZE))
        windows = self._windows[copy, index].tolist()
        for crop, (top, left, height, width) in zip(crops, windows, strict=True):
            crop[:, :height, :width] = image[:, top : top + height, left : left + width]
        return functional.normalize(view, MEAN, STD), functional.normalize(crops, MEAN, STD)
