"""Changed samples of a batch: their windows decoded and changed, on the host.

Whatever the backend, this is Pillow's and libjpeg-turbo's work in the loader's threads: files are
re-saved by an encoder, and only one encoder gives the same pixels on every machine. Decoding stays
windowed where it was; each window is as large as what it depends on.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from loaders.augment.augment import ChangedSample
from loaders.augment.operations import CropWindow, Pixels
from loaders.decode.jobs import DecodeFailure, DecodeJob, Leaf

__all__ = ["Patch", "changed_windows", "paste"]

Patch = tuple[int, Pixels]
"""A slot of the batch and the crop that belongs there, at most C × C."""


def changed_windows(
    jobs: Iterable[DecodeJob], samples: Mapping[int, ChangedSample], leaf: Leaf, num_crops: int
) -> tuple[list[Patch], list[DecodeFailure]]:
    """The crops of ``jobs``, whose samples are all in ``samples`` (by place in the batch).

    ``leaf`` decodes into host memory.
    """
    patches: list[Patch] = []
    failures: list[DecodeFailure] = []
    for job in jobs:
        sample = samples[job.sample]
        for slot, pixels in _decoded(job, leaf, failures):
            place = slot % num_crops
            if sample.mask[place]:
                window = CropWindow(*sample.windows[place].tolist())
                patches.append((slot, sample.change.on_window(pixels, window)))
    return patches, failures


def _decoded(job: DecodeJob, leaf: Leaf, failures: list[DecodeFailure]) -> Iterator[tuple[int, Pixels]]:
    """(slot, pixels of its window) of a job; what fails goes to ``failures``."""
    windows, slots = job.windows, job.slots.tolist()
    if job.spliced or job.tiles is not None:
        for number, slot in enumerate(slots):
            pixels = _read(replace(job, windows=windows[number : number + 1]), leaf, failures)
            if pixels is None:
                return
            yield slot, pixels
        return
    whole = np.array([[0, 0, job.height, job.width]], np.int32)
    image = _read(replace(job, windows=whole), leaf, failures)
    if image is not None:
        for slot, (top, left, height, width) in zip(slots, windows.tolist(), strict=True):
            yield slot, image[top : top + height, left : left + width]


def _read(job: DecodeJob, leaf: Leaf, failures: list[DecodeFailure]) -> Pixels | None:
    """The one window of ``job``, decoded into memory of its own size."""
    height, width = job.windows[0, 2:].tolist()
    out = torch.empty((1, height, width, 3), dtype=torch.uint8)
    failed = leaf.decode([job.with_slots(np.zeros(1, np.int64))], out)
    failures += failed
    return None if failed else out[0].numpy()


def paste(patches: list[Patch], crops: torch.Tensor) -> None:
    """Writes ``patches`` into their slots of ``crops`` (B·N, C, C, 3), zeros below and to the
    right."""
    if not patches:
        return
    pixels: npt.NDArray[np.uint8] = np.zeros((len(patches), *crops.shape[1:]), np.uint8)
    for place, (_, patch) in zip(pixels, patches, strict=True):
        place[: patch.shape[0], : patch.shape[1]] = patch
    slots = torch.tensor([slot for slot, _ in patches], device=crops.device)
    crops.index_copy_(0, slots, torch.from_numpy(pixels).to(crops.device))
