"""NVIDIA DALI as the decoder: its ``mixed`` operators on a GPU, its ``cpu`` operators on a CPU.

There are two pipelines. One decodes whole images and slices N windows out of each. The other decodes spliced JPEGs,
each of which contains one window. On a CPU, the second pipeline decodes only the window, with ``image_slice``. On a
GPU, decoding part of an image is reported to crash (nvImageCodec issue 55). So there, the pipeline decodes the whole
spliced JPEG and then slices it. A file is given to DALI only if DALI is certain to decode it to the same image as the
reference decoder (``loaders.decode.dali_files``). All other files are decoded on the host by the reference decoder, and
counted by reason.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from nvidia.dali import fn, pipeline_def, types

from loaders.decode.dali_files import not_for_dali
from loaders.decode.jobs import DecodeFailure, Job, WholeJob, WindowJob
from loaders.decode.reference import ReferenceDecoder
from loaders.stats import LoaderStats
from shards.images.decoder_messages import messages_held_back

__all__ = ["DECODER", "EXACT", "DaliDecoder", "define_spliced_pipeline", "define_whole_pipeline"]

Device = Literal["cpu", "cuda"]
Slots = npt.NDArray[np.int64]
REFUSED = "refused by DALI"
DECODER = {"cpu": "cpu", "cuda": "mixed"}

# Gives the reference decoder's pixels: libjpeg-turbo's accurate transform and chroma upsampling, and the
# orientation as stored.
EXACT = {"output_type": types.RGB, "jpeg_fancy_upsampling": True, "use_fast_idct": False, "adjust_orientation": False}


def _source(name: str, dtype: Any, ndim: int) -> Any:
    return fn.external_source(name=name, dtype=dtype, ndim=ndim)


def _slice(images: Any, start: Any, crop_size: int) -> Any:
    """Slices a crop out of each image. ``start`` stays on the CPU, since positions on the GPU would force a
    synchronisation."""
    return fn.slice(
        images, start=start, shape=[crop_size, crop_size], axes=(0, 1), out_of_bounds_policy="pad", fill_values=0
    )


def define_whole_pipeline(device: Device, *, num_crops: int, crop_size: int, batch_size: int, num_threads: int) -> Any:
    """Defines, but does not build, the pipeline for whole images. Inputs: the encoded images (1-D uint8) and ``start``
    (N, 2), the (top, left) of each crop. Outputs: crops (N, C, C, 3) and image shapes (3,)."""

    @pipeline_def(
        batch_size=batch_size,
        num_threads=num_threads,
        device_id=_device_id(device),
        prefetch_queue_depth=1,
        exec_dynamic=True,
    )
    def whole() -> Any:
        encoded = _source("encoded", types.UINT8, 1)
        start = _source("start", types.INT32, 2)
        images = fn.decoders.image(encoded, device=DECODER[device], **EXACT)
        crops = fn.stack(*(_slice(images, start[k], crop_size) for k in range(num_crops)))
        return crops, images.shape(dtype=types.INT32)

    return whole()


def define_spliced_pipeline(device: Device, *, crop_size: int, batch_size: int, num_threads: int) -> Any:
    """Defines, but does not build, the pipeline for spliced JPEGs. Inputs: the JPEGs (1-D uint8), ``start`` (2,), the
    crop's (top, left), and, on a CPU only, ``shape`` (2,). Output: one crop per JPEG.

    On a CPU, each crop has the height and width given by ``shape``. On a GPU, each is (C, C, 3), and pixels outside the
    image are zero.
    """

    @pipeline_def(
        batch_size=batch_size,
        num_threads=num_threads,
        device_id=_device_id(device),
        prefetch_queue_depth=1,
        exec_dynamic=True,
    )
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


class DaliDecoder:
    """Decodes with the two pipelines of this module. Each is built when it is first needed."""

    splits_batches = False  # a pipeline has threads of its own and takes one batch at a time

    def __init__(
        self,
        device: Device,
        *,
        num_crops: int,
        crop_size: int,
        batch_size: int,
        num_threads: int,
        stats: LoaderStats | None = None,
    ) -> None:
        """Images that are decoded on the host rather than by DALI are counted by reason, under ``on_host`` in
        ``stats``."""
        self._device: Device = device
        self._stats = stats or LoaderStats()
        self._num_crops, self._crop_size = num_crops, crop_size
        self._batch_size, self._num_threads = batch_size, num_threads
        self._reference = ReferenceDecoder()
        self._pipelines: dict[str, Any] = {}

    def decode(self, jobs: Sequence[Job], crops: torch.Tensor) -> list[DecodeFailure]:
        """See :class:`loaders.decode.jobs.Decoder`."""
        on_host: list[Job] = []
        whole: list[WholeJob] = []
        spliced: list[WindowJob] = []
        for job in jobs:
            if reason := not_for_dali(job, on_gpu=self._device == "cuda"):
                self._stats.reason("on_host", reason)
                on_host.append(job)
            elif isinstance(job, WindowJob):
                spliced.append(job)
            elif isinstance(job, WholeJob):
                whole.append(job)
        failures = self._run("whole", whole, crops) + self._run("spliced", spliced, crops)
        return failures + self._reference.decode(on_host, crops)

    def close(self) -> None:
        """Drops the pipelines and, with them, their threads and buffers."""
        self._pipelines.clear()

    def _pipeline(self, kind: str) -> Any:
        if kind not in self._pipelines:
            if kind == "whole":
                pipeline = define_whole_pipeline(
                    self._device,
                    num_crops=self._num_crops,
                    crop_size=self._crop_size,
                    batch_size=self._batch_size,
                    num_threads=self._num_threads,
                )
            else:
                pipeline = define_spliced_pipeline(
                    self._device,
                    crop_size=self._crop_size,
                    batch_size=self._batch_size * self._num_crops,
                    num_threads=self._num_threads,
                )
            pipeline.build()
            self._pipelines[kind] = pipeline
        return self._pipelines[kind]

    def _run(self, kind: str, jobs: Sequence[WindowJob | WholeJob], crops: torch.Tensor) -> list[DecodeFailure]:
        """Decodes all jobs in one run; if that fails, decodes them one by one, so that a bad file does not make the
        others fail."""
        if not jobs:
            return []
        try:
            return self._run_at_once(kind, jobs, crops)
        except RuntimeError:
            if len(jobs) == 1:
                # The reference decoder decides: it names what is broken, or decodes what DALI refuses.
                self._stats.reason("on_host", REFUSED)
                return self._reference.decode(jobs, crops)
        return [failure for job in jobs for failure in self._run(kind, [job], crops)]

    def _run_at_once(self, kind: str, jobs: Sequence[WindowJob | WholeJob], crops: torch.Tensor) -> list[DecodeFailure]:
        pipeline = self._pipeline(kind)
        pipeline.feed_input("encoded", [job.data for job in jobs])
        pipeline.feed_input("start", [self._starts(job) for job in jobs])
        if kind == "spliced" and self._device == "cpu":
            pipeline.feed_input("shape", [np.array(w[2:], np.int32) for job in jobs for _, w in job.crops()])
        if self._device == "cuda":
            stream = torch.cuda.current_stream()
            with messages_held_back():
                decoded, *image_shapes = pipeline.run(cuda_stream=stream)
            slots, places = self._slots_and_places(kind, jobs)
            pixels = torch.from_dlpack(decoded.as_tensor()).reshape(-1, *crops.shape[1:])
            if len(places) < len(pixels):
                pixels = pixels[torch.from_numpy(places).to(crops.device)]
            crops.index_copy_(0, torch.from_numpy(slots).to(crops.device), pixels)
            stream.synchronize()  # the loader's own stream: DALI takes its buffers back after this
        else:
            with messages_held_back():
                decoded, *image_shapes = pipeline.run()
            _paste_all(decoded, jobs, crops.numpy())
        if not image_shapes:
            return []
        found = np.asarray(image_shapes[0].as_array())[:, :2].tolist()
        wrong = [j for j, shape in zip(jobs, found, strict=True) if shape != [j.height, j.width]]
        return self._reference.decode(wrong, crops)

    def _starts(self, job: WindowJob | WholeJob) -> npt.NDArray[np.int32]:
        """The ``start`` input of the job's pipeline: (2,) for a spliced JPEG; (N, 2) for a whole image, padded with
        zeros if it has fewer windows."""
        if isinstance(job, WindowJob):
            return np.array(job.window[:2], np.int32)
        starts = np.zeros((self._num_crops, 2), np.int32)
        starts[: len(job.windows)] = job.windows[:, :2]
        return starts

    def _slots_and_places(self, kind: str, jobs: Sequence[WindowJob | WholeJob]) -> tuple[Slots, Slots]:
        """Returns the slot of each crop in ``jobs``, and its index in the pipeline's output."""
        given = 1 if kind == "spliced" else self._num_crops
        slots = [np.asarray(job.slots, np.int64) for job in jobs]
        places = [number * given + np.arange(len(wanted)) for number, wanted in enumerate(slots)]
        return np.concatenate(slots), np.concatenate(places)


def _paste_all(decoded: Any, jobs: Sequence[WindowJob | WholeJob], pixels: npt.NDArray[np.uint8]) -> None:
    """Copies DALI's host output into its slots in ``pixels`` (B·N, C, C, 3), padding smaller crops with zeros."""
    for index, job in enumerate(jobs):
        crops = np.asarray(decoded[index])
        height, width = crops.shape[-3:-1]
        # A whole image has N crops; the crops of its windows come first.
        for slot, crop in zip(job.slots, crops.reshape(-1, height, width, 3), strict=False):
            pixels[slot, :height, :width] = crop
            pixels[slot, height:] = 0
            pixels[slot, :height, width:] = 0
