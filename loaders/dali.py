"""NVIDIA DALI as the decoder: ``mixed`` on a GPU, and the same definition on a CPU.

One pipeline decodes whole images and slices their N windows; one decodes spliced JPEGs, each for
its one window. On a CPU the second uses the fused ``image_slice``; on a GPU ROI decoding is
reported to crash (nvImageCodec issue 55), so there it decodes and then slices. What DALI does not
decode exactly as the oracle does (CMYK, 16 bits, animations, formats but JPEG and PNG) is decoded
by the oracle on the host.
"""

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from nvidia.dali import fn, pipeline_def, types

from loaders.jobs import DecodeFailure, DecodeJob
from loaders.reference import ReferenceLeaf

__all__ = ["DaliLeaf", "define_spliced_pipeline", "define_whole_pipeline"]

Device = Literal["cpu", "cuda"]
DECODER = {"cpu": "cpu", "cuda": "mixed"}

# The oracle's pixels: libjpeg-turbo's accurate transform and chroma upsampling, orientation as
# stored.
EXACT = {
    "output_type": types.RGB,
    "jpeg_fancy_upsampling": True,
    "use_fast_idct": False,
    "adjust_orientation": False,
}


def _source(name: str, dtype: Any, ndim: int) -> Any:
    return fn.external_source(name=name, dtype=dtype, ndim=ndim)


def _slice(images: Any, start: Any, crop_size: int) -> Any:
    """Start positions stay on the CPU: positions on the GPU would force a synchronisation."""
    return fn.slice(
        images, start=start, shape=[crop_size, crop_size], axes=(0, 1),
        out_of_bounds_policy="pad", fill_values=0,
    )  # fmt: skip


def define_whole_pipeline(
    device: Device, *, num_crops: int, crop_size: int, batch_size: int, num_threads: int
) -> Any:
    """The pipeline (not built) from whole images (1-D uint8) and ``start`` (N, 2) to (N, C, C, 3)
    crops."""

    @pipeline_def(
        batch_size=batch_size, num_threads=num_threads,
        device_id=_device_id(device), prefetch_queue_depth=1, exec_dynamic=True,
    )  # fmt: skip
    def whole() -> Any:
        encoded = _source("encoded", types.UINT8, 1)
        start = _source("start", types.INT32, 2)
        images = fn.decoders.image(encoded, device=DECODER[device], **EXACT)
        return fn.stack(*(_slice(images, start[k], crop_size) for k in range(num_crops)))

    return whole()


def define_spliced_pipeline(
    device: Device, *, crop_size: int, batch_size: int, num_threads: int
) -> Any:
    """The pipeline (not built) from spliced JPEGs, ``start`` (2,) and ``shape`` (2,) to one crop
    each.

    On a CPU the crops have ``shape``, on a GPU (C, C, 3) with zeros where the image ends.
    """

    @pipeline_def(
        batch_size=batch_size, num_threads=num_threads,
        device_id=_device_id(device), prefetch_queue_depth=1, exec_dynamic=True,
    )  # fmt: skip
    def spliced() -> Any:
        encoded = _source("encoded", types.UINT8, 1)
        start = _source("start", types.INT32, 1)
        if device == "cuda":
            images = fn.decoders.image(encoded, device="mixed", **EXACT)
            return _slice(images, start, crop_size)
        shape = _source("shape", types.INT32, 1)
        return fn.decoders.image_slice(encoded, start, shape, axes=(0, 1), device="cpu", **EXACT)

    return spliced()


def _device_id(device: Device) -> int | None:
    if device == "cpu":
        return None
    return torch.cuda.current_device() if torch.cuda.is_available() else 0


def _dali_decodes(job: DecodeJob) -> bool:
    return job.turbo_decodes or (job.image_format == "PNG" and job.mode in ("RGB", "L"))


class DaliLeaf:
    """Runs the two pipelines; each is built when first needed."""

    splits_batches = False  # a pipeline has threads of its own and takes one batch at a time

    def __init__(
        self, device: Device, *, num_crops: int, crop_size: int, batch_size: int, num_threads: int
    ) -> None:
        self._device: Device = device
        self._num_crops, self._crop_size = num_crops, crop_size
        self._batch_size, self._num_threads = batch_size, num_threads
        self._reference = ReferenceLeaf()
        self._pipelines: dict[str, Any] = {}

    def decode(self, jobs: list[DecodeJob], crops: torch.Tensor) -> list[DecodeFailure]:
        """See :class:`loaders.jobs.Leaf`."""
        on_host = [job for job in jobs if not _dali_decodes(job)]
        exact = [job for job in jobs if _dali_decodes(job)]
        whole = [job for job in exact if not job.spliced]
        spliced = [job for job in exact if job.spliced]
        failures = self._run("whole", whole, crops) + self._run("spliced", spliced, crops)
        return failures + self._decode_on_host(on_host, crops)

    def close(self) -> None:
        """Drops the pipelines and, with them, their threads and buffers."""
        self._pipelines.clear()

    def _pipeline(self, kind: str) -> Any:
        if kind not in self._pipelines:
            if kind == "whole":
                pipeline = define_whole_pipeline(
                    self._device, num_crops=self._num_crops, crop_size=self._crop_size,
                    batch_size=self._batch_size, num_threads=self._num_threads,
                )  # fmt: skip
            else:
                pipeline = define_spliced_pipeline(
                    self._device, crop_size=self._crop_size,
                    batch_size=self._batch_size * self._num_crops, num_threads=self._num_threads,
                )  # fmt: skip
            pipeline.build()
            self._pipelines[kind] = pipeline
        return self._pipelines[kind]

    def _run(self, kind: str, jobs: list[DecodeJob], crops: torch.Tensor) -> list[DecodeFailure]:
        """Decodes all jobs in one run; where that fails, one by one, so that one file costs no
        other."""
        if not jobs:
            return []
        try:
            self._feed_and_copy(kind, jobs, crops)
            return []
        except RuntimeError:
            if len(jobs) == 1:
                # The last word is the oracle's: it names what is broken, or decodes what DALI
                # refuses.
                return self._decode_on_host(jobs, crops)
        return [failure for job in jobs for failure in self._run(kind, [job], crops)]

    def _feed_and_copy(self, kind: str, jobs: list[DecodeJob], crops: torch.Tensor) -> None:
        pipeline = self._pipeline(kind)
        pipeline.feed_input("encoded", [job.data for job in jobs])
        if kind == "whole":
            pipeline.feed_input("start", [np.ascontiguousarray(j.windows[:, :2]) for j in jobs])
        else:
            pipeline.feed_input("start", [np.ascontiguousarray(j.windows[0, :2]) for j in jobs])
            if self._device == "cpu":
                pipeline.feed_input("shape", [np.ascontiguousarray(j.windows[0, 2:]) for j in jobs])
        if self._device == "cuda":
            self._copy_on_device(pipeline, jobs, crops)
        else:
            self._copy_on_host(pipeline, jobs, crops)

    def _copy_on_device(self, pipeline: Any, jobs: list[DecodeJob], crops: torch.Tensor) -> None:
        stream = torch.cuda.current_stream()
        (output,) = pipeline.run(cuda_stream=stream)
        decoded = torch.from_dlpack(output.as_tensor()).reshape(-1, *crops.shape[1:])
        slots = torch.from_numpy(np.concatenate([job.slots for job in jobs]))
        crops.index_copy_(0, slots.to(crops.device, non_blocking=True), decoded)
        stream.synchronize()  # of the loader's own stream: DALI takes its buffers back after this

    def _copy_on_host(self, pipeline: Any, jobs: list[DecodeJob], crops: torch.Tensor) -> None:
        (output,) = pipeline.run()
        pixels = crops.numpy()
        for index, job in enumerate(jobs):
            decoded = np.asarray(output[index])
            for slot, crop in zip(job.slots, decoded.reshape(-1, *decoded.shape[-3:]), strict=True):
                _paste(pixels[slot], crop)

    def _decode_on_host(self, jobs: list[DecodeJob], crops: torch.Tensor) -> list[DecodeFailure]:
        if self._device == "cpu":
            return self._reference.decode(jobs, crops)
        failures = []
        for job in jobs:
            host = torch.empty((len(job.slots), *crops.shape[1:]), dtype=torch.uint8)
            local = job.with_slots(np.arange(len(job.slots)))
            failures += self._reference.decode([local], host)
            crops[torch.from_numpy(job.slots).to(crops.device)] = host.to(crops.device)
        return failures


def _paste(target: npt.NDArray[np.uint8], crop: npt.NDArray[np.uint8]) -> None:
    """``crop`` into the upper left of ``target`` (C, C, 3), zeros elsewhere."""
    height, width = crop.shape[:2]
    target[:height, :width] = crop
    target[height:] = 0
    target[:height, width:] = 0
