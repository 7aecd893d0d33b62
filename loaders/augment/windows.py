"""Decodes the crops of augmented samples and applies the changes to them, on the host.

Pillow and libjpeg-turbo do this in the loader's threads, whatever the backend. Augmentation re-encodes images, and its
result must not depend on the machine, so the encoder must be the same everywhere. Like any other sample, an augmented
one is spliced, read by tiles or decoded whole, but each of its windows is first enlarged to the part of the image that
the crop depends on.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from loaders.augment.augment import ChangedSample
from loaders.augment.operation import CropWindow, Pixels
from loaders.decode.jobs import DecodeFailure, Decoder, Job, TiledJob, WholeJob, WindowJob

__all__ = ["Patch", "changed_windows", "paste"]

Patch = tuple[int, Pixels]
"""(slot, pixels): a crop's index among the batch's B·N crops, and its pixels, at most C × C."""


def changed_windows(
    jobs: Iterable[Job], samples: Mapping[int, ChangedSample], decoder: Decoder, num_crops: int
) -> tuple[list[Patch], list[DecodeFailure]]:
    """Decodes the crops of ``jobs`` and applies the samples' changes to them. Returns (changed crops, failures).

    ``samples`` maps batch indices to samples; it must contain every job's sample. ``decoder`` decodes into host memory.
    """
    patches: list[Patch] = []
    failures: list[DecodeFailure] = []
    for job in jobs:
        sample = samples[job.sample]
        for slot, pixels in _decoded(job, decoder, failures):
            window = CropWindow(*sample.windows[slot % num_crops].tolist())
            patches.append((slot, sample.change.on_window(pixels, window)))
    return patches, failures


def _decoded(job: Job, decoder: Decoder, failures: list[DecodeFailure]) -> Iterator[tuple[int, Pixels]]:
    """Yields (slot, window pixels) for each crop of a job; appends failures to ``failures``."""
    if isinstance(job, WholeJob):
        frame = replace(job, windows=np.array([[0, 0, job.height, job.width]], np.int32), slots=np.zeros(1, np.int64))
        image = _read(frame, decoder, failures)
        if image is not None:
            for slot, (top, left, height, width) in job.crops():
                yield slot, image[top : top + height, left : left + width]
        return
    for slot, part in _parts(job):
        pixels = _read(part, decoder, failures)
        if pixels is None:
            return
        yield slot, pixels


def _parts(job: WindowJob | TiledJob) -> Iterator[tuple[int, Job]]:
    """Yields (slot, job for that crop alone) for each crop of a job."""
    if isinstance(job, WindowJob):
        yield job.slot, job
        return
    for number, slot in enumerate(job.slots.tolist()):
        one = slice(number, number + 1)
        yield slot, replace(job, windows=job.windows[one], slots=job.slots[one])


def _read(job: Job, decoder: Decoder, failures: list[DecodeFailure]) -> Pixels | None:
    """Decodes a job that has only one crop. Returns the pixels of the crop's window, without padding. If decoding
    fails, returns None and appends to ``failures``."""
    ((_, (_, _, height, width)),) = job.crops()
    out = torch.empty((1, height, width, 3), dtype=torch.uint8)
    failed = decoder.decode([job.into_first_slots()], out)
    failures += failed
    return None if failed else out[0].numpy()


def paste(patches: list[Patch], crops: torch.Tensor) -> None:
    """Writes ``patches`` into their slots in ``crops`` (B·N, C, C, 3), padded with zeros below and to the right."""
    if not patches:
        return
    pixels: npt.NDArray[np.uint8] = np.zeros((len(patches), *crops.shape[1:]), np.uint8)
    for place, (_, patch) in zip(pixels, patches, strict=True):
        place[: patch.shape[0], : patch.shape[1]] = patch
    slots = torch.tensor([slot for slot, _ in patches], device=crops.device)
    crops.index_copy_(0, slots, torch.from_numpy(pixels).to(crops.device))
