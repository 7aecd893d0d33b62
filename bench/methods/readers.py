"""Methods based on Pillow, OpenCV and torchvision. Each decodes the whole file, makes a global view and cuts N crops,
all uint8.

The windows are those that the loader draws. A library that cannot read the format is left out.
"""

import importlib
from abc import abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from bench.corpora.corpus import CROP_SIZE, GLOBAL_SIZE
from bench.corpora.encoded import FORMATS, register_plugins
from bench.harness.task import NotAvailable, Task
from bench.methods.file_passes import FilePasses

__all__ = ["OpenCvViews", "PillowViews", "TorchvisionViews"]

Bytes = npt.NDArray[np.uint8]


class _WholeFiles(FilePasses):
    """Base class of the methods in this module. The constructor decodes the first file, and raises ``NotAvailable`` if
    the library cannot do so."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.set_up()
        try:
            self.one(0, 0, 0)
        except (OSError, RuntimeError, ValueError) as error:
            raise NotAvailable(f"does not read {FORMATS[task.options['format']].label}") from error

    @abstractmethod
    def set_up(self) -> None:
        """Imports the library and limits it to one thread per image."""

    def windows_of(self, copy: int, index: int) -> list[list[int]]:
        """The N windows of an image, each (top, left, height, width)."""
        return self._windows[copy, index].tolist()

    def encoded(self, index: int) -> bytes:
        """The bytes of image file ``index``."""
        return self._corpus.path(index).read_bytes()


class PillowViews(_WholeFiles):
    """Decodes with ``Image.open`` and the installed plugins."""

    def set_up(self) -> None:
        """See :class:`_WholeFiles`."""
        register_plugins()

    def one(self, copy: int, index: int, turn: int) -> tuple[Bytes, Bytes]:
        """See :class:`FilePasses`. Returns (S, S, 3) and (N, C, C, 3) uint8."""
        with Image.open(self._corpus.path(index)) as image:
            image.load()
            rgb = image if image.mode == "RGB" else image.convert("RGB")
        view = np.asarray(rgb.resize((GLOBAL_SIZE, GLOBAL_SIZE), Image.Resampling.BILINEAR))
        windows = self.windows_of(copy, index)
        crops = np.zeros((len(windows), CROP_SIZE, CROP_SIZE, 3), np.uint8)
        for crop, (top, left, height, width) in zip(crops, windows, strict=True):
            crop[:height, :width] = np.asarray(rgb.crop((left, top, left + width, top + height)))
        return view, crops


class OpenCvViews(_WholeFiles):
    """Decodes with ``cv2.imdecode``, which returns channels in BGR order. Only the view and the crops are converted to
    RGB, which is less work than converting the whole image."""

    def set_up(self) -> None:
        """See :class:`_WholeFiles`."""
        self._cv2: Any = importlib.import_module("cv2")
        self._cv2.setNumThreads(1)

    def one(self, copy: int, index: int, turn: int) -> tuple[Bytes, Bytes]:
        """See :class:`FilePasses`. Returns (S, S, 3) and (N, C, C, 3) uint8."""
        cv2 = self._cv2
        image = cv2.imdecode(np.frombuffer(self.encoded(index), np.uint8), cv2.IMREAD_COLOR)
        if image is None:
            raise ValueError("cv2.imdecode returned no image")
        view = cv2.resize(image, (GLOBAL_SIZE, GLOBAL_SIZE), interpolation=cv2.INTER_AREA)[..., ::-1]
        windows = self.windows_of(copy, index)
        crops = np.zeros((len(windows), CROP_SIZE, CROP_SIZE, 3), np.uint8)
        for crop, (top, left, height, width) in zip(crops, windows, strict=True):
            crop[:height, :width] = image[top : top + height, left : left + width, ::-1]
        return view, crops


class TorchvisionViews(_WholeFiles):
    """Decodes with ``torchvision.io``. Its separate functions for AVIF and HEIC need torchvision-extra-decoders."""

    def set_up(self) -> None:
        """See :class:`_WholeFiles`. torch is imported here and not at the top, since the other methods do not need
        it."""
        import torch
        from torchvision import io

        from bench.peers.peer_passes import views_of_tensor

        torch.set_num_threads(1)
        own = {"avif": io.decode_avif, "heic": io.decode_heic}
        self._decode: Any = own.get(self._task.options["format"], io.decode_image)
        self._torch: Any = torch
        self._views = views_of_tensor

    def one(self, copy: int, index: int, turn: int) -> Any:
        """See :class:`FilePasses`. Returns (3, S, S) and (N, 3, C, C) uint8 tensors."""
        data = self._torch.frombuffer(bytearray(self.encoded(index)), dtype=self._torch.uint8)
        return self._views(self._decode(data, "RGB"), self._windows[copy, index])
