"""Simulated nvJPEG and DALI GPU pipelines on a :class:`tests.machine.fake_gpu.FakeGpu`.

They return Pillow's pixels, and have their own streams and buffers as the real ones do.
"""

import io
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from shards.images.pixels import RejectedImage, decode_rgb
from tests.machine.fake_gpu import FakeGpu, FakeStream, Memory

__all__ = ["FakeNvjpeg", "FakePipelines"]


def _pixels(encoded: np.ndarray) -> np.ndarray:
    """Decodes a file to pixels (H, W, 3). Raises ``RuntimeError`` for a damaged one, as both libraries do."""
    try:
        return decode_rgb(encoded.tobytes())
    except RejectedImage as error:
        raise RuntimeError(f"undecodable: {error}") from error


class FakeNvjpeg:
    """Replaces ``torchvision.io.decode_jpeg``. Like the original, it allocates memory on the caller's stream, and
    writes to it on its own stream without waiting for the caller's. The caller's stream then waits for this one."""

    def __init__(self, gpu: FakeGpu) -> None:
        self.gpu, self.stream = gpu, FakeStream(gpu, "nvJPEG's stream")
        self.calls: list[int] = []

    def __call__(self, encoded: list[torch.Tensor], mode: Any, device: str) -> list[torch.Tensor]:
        assert device == "cuda"
        self.calls.append(len(encoded))
        planes = [np.ascontiguousarray(_pixels(one.numpy()).transpose(2, 0, 1)) for one in encoded]
        with torch._C.DisableTorchFunction():
            host = [torch.from_numpy(one) for one in planes]
        images = [self.gpu.upload(one, self.stream) for one in host]
        self.gpu.current().wait_stream(self.stream)
        return images


class FakePipelines:
    """Replaces ``define_whole_pipeline`` and ``define_spliced_pipeline``, and records the runs of the pipelines."""

    def __init__(self, gpu: FakeGpu) -> None:
        self.gpu = gpu
        self.runs: list[tuple[str, int]] = []

    def whole(self, device: str, *, num_crops: int, crop_size: int, **_: Any) -> "_Pipeline":
        return _Pipeline(self, "whole", crop_size)

    def spliced(self, device: str, *, crop_size: int, **_: Any) -> "_Pipeline":
        return _Pipeline(self, "spliced", crop_size)


class _Pipeline:
    def __init__(self, pipelines: FakePipelines, kind: str, crop_size: int) -> None:
        self.pipelines, self.gpu, self.kind, self.crop_size = pipelines, pipelines.gpu, kind, crop_size
        self.stream = FakeStream(self.gpu, "DALI's stream")
        self.inputs: dict[str, Sequence[np.ndarray]] = {}

    def build(self) -> None:
        """Does nothing."""

    def feed_input(self, name: str, values: Sequence[np.ndarray]) -> None:
        self.inputs[name] = values

    def run(self, cuda_stream: FakeStream | None = None) -> tuple[Any, ...]:
        """Returns results in DALI's own buffers. Later work of ``cuda_stream`` may read them."""
        encoded, starts = self.inputs["encoded"], self.inputs["start"]
        images = [_pixels(data) for data in encoded]
        self.pipelines.runs.append((self.kind, len(images)))
        crops = np.stack([self._cut(image, start) for image, start in zip(images, starts, strict=True)])
        output = _TensorList(self.gpu, crops, self.stream)
        if cuda_stream is not None:
            cuda_stream.wait_stream(self.stream)
        shapes = np.array([image.shape for image in images], np.int32)
        return (output, _HostList(shapes)) if self.kind == "whole" else (output,)

    def _cut(self, image: np.ndarray, start: np.ndarray) -> np.ndarray:
        size = self.crop_size
        starts = start.reshape(-1, 2)
        crops = np.zeros((len(starts), size, size, 3), np.uint8)
        for crop, (top, left) in zip(crops, starts.tolist(), strict=True):
            part = image[top : top + size, left : left + size]
            crop[: part.shape[0], : part.shape[1]] = part
        return crops if self.kind == "whole" else crops[0]


class _HostList:
    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def as_array(self) -> np.ndarray:
        return self.values


class _TensorList:
    """One of DALI's results. Its buffer is reclaimed when the last reference to the list is dropped, even if it is
    still being read."""

    def __init__(self, gpu: FakeGpu, values: np.ndarray, stream: FakeStream) -> None:
        self.values = values
        self.memory = Memory(values.reshape(-1), stream)
        gpu.adopt(self.memory)
        gpu.write(self.memory, stream)
        weakref.finalize(self, gpu.take_back, self.memory, "a buffer that DALI took back").atexit = False

    def as_tensor(self) -> "_TensorList":
        return self


def jpeg(pixels: np.ndarray, **options: Any) -> np.ndarray:
    """Returns the bytes of a JPEG as an array."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", **options)
    return np.frombuffer(buffer.getvalue(), np.uint8)
