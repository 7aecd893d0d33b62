"""Augmentation: training images are re-saved, resized, blurred or made noisy, as happens to images on the web.

Which samples are changed, and how, is a pure function of (seed, epoch, content id). Crop windows are sampled from the
changed image. A window's pixels are computed from only the part of the source image that they depend on, so
augmentation does not require full decodes. The kinds of change are those that ``glass robustness`` tests, and their
strengths are sampled from the ranges tested there.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from loaders.augment.operation import CropWindow, Operation, Pixels, Size
from loaders.augment.operations import Blur, Jpeg, Noise, Resize, WebP
from loaders.order.randomness import U64, bounded, draws, stream

__all__ = ["FAMILY", "Change", "ChangedSample", "draw_changes", "fit_within", "scaled"]

AUGMENT_PURPOSE = 4 << 32
"""``purpose`` (see :func:`loaders.order.randomness.stream`) of the random streams from which changes are drawn. If a
sample has already occurred k times in the epoch, AUGMENT_PURPOSE + k is used, so that each occurrence is changed
differently."""

SHARE_STEPS = 1 << 24


@dataclass(frozen=True)
class Change:
    """A sequence of operations on an image of a given size."""

    operations: tuple[Operation, ...]
    sizes: tuple[Size, ...]
    """(height, width) before each operation, and after the last one."""

    @classmethod
    def of(cls, operations: tuple[Operation, ...], size: Size) -> "Change":
        """Creates the change that applies ``operations`` in order to an image of ``size`` (height, width)."""
        sizes = [size]
        for operation in operations:
            sizes.append(operation.output_size(sizes[-1]))
        return cls(operations, tuple(sizes))

    @property
    def size(self) -> Size:
        """(height, width) of the changed image."""
        return self.sizes[-1]

    def source_window(self, window: CropWindow) -> CropWindow:
        """Returns the part of the source image on which ``window``, a window in the changed image, depends."""
        return self._path(window)[0]

    def shown(self, window: CropWindow) -> CropWindow:
        """Returns the part of the source image that is visible in ``window``, a window in the changed image, rounded
        outwards to whole pixels. In contrast to :meth:`source_window`, this excludes the margin that filters read."""
        (height, width), (new_height, new_width) = self.sizes[0], self.size
        top, left = window.top * height // new_height, window.left * width // new_width
        bottom = -(-window.bottom * height // new_height)
        right = -(-window.right * width // new_width)
        return CropWindow(top, left, bottom - top, right - left)

    def on_window(self, pixels: Pixels, window: CropWindow) -> Pixels:
        """Applies the change to part of an image: returns the changed image's pixels inside ``window``. ``pixels`` are
        the source pixels inside ``source_window(window)``."""
        path = self._path(window)
        for number, operation in enumerate(self.operations):
            pixels = operation.apply(pixels, path[number], path[number + 1], self.sizes[number])
        return pixels

    def on_image(self, pixels: Pixels) -> Pixels:
        """Returns the whole changed image. ``pixels`` is the whole source image."""
        return self.on_window(pixels, CropWindow(0, 0, *self.size))

    def as_jpeg(self, pixels: Pixels) -> bytes | None:
        """Returns the changed image as a JPEG file if the last operation is a JPEG re-save, otherwise None. The file
        decodes to the pixels that :meth:`on_image` returns."""
        if not self.operations or not isinstance(self.operations[-1], Jpeg):
            return None
        before = Change(self.operations[:-1], self.sizes[:-1])
        return self.operations[-1].file_of(before.on_image(pixels))

    def on_view(self, view: Pixels) -> Pixels:
        """Returns the changed image's global view, (S, S, 3) uint8, approximated from ``view``, the source image's."""
        for operation, size in zip(self.operations, self.sizes, strict=False):
            view = operation.on_view(view, size)
        return view

    def _path(self, window: CropWindow) -> list[CropWindow]:
        """Traces ``window`` back through the operations. Returns one window per operation, in that operation's input,
        followed by ``window`` itself."""
        path = [window]
        for operation, size in zip(reversed(self.operations), reversed(self.sizes[:-1]), strict=True):
            path.insert(0, operation.needs(path[0], size))
        return path


@dataclass(frozen=True)
class ChangedSample:
    """The change that augmentation makes to a sample in a batch, and the sample's windows."""

    change: Change
    windows: npt.NDArray[np.int32]
    """(N, 4) windows in the changed image, each (top, left, height, width); a row of zeros where there is no crop."""


def scaled(size: Size, percent: int) -> tuple[Operation, ...]:
    """Returns a one-element tuple: a resize that scales both sides to ``percent`` % of their length, rounded, but at
    least one pixel. If the size stays the same, returns an empty tuple."""
    height, width = (max(1, (side * percent + 50) // 100) for side in size)
    return () if (height, width) == size else (Resize(height, width),)


def fit_within(size: Size, longest: int) -> tuple[Operation, ...]:
    """Returns a one-element tuple: a resize that shrinks an image so that its longer side has ``longest`` pixels. If
    the image is already small enough, returns an empty tuple."""
    side = max(size)
    if side <= longest:
        return ()
    height, width = (max(1, (2 * s * longest + side) // (2 * side)) for s in size)
    return (Resize(height, width),)


def _between(draw: np.uint64, low: int, high: int) -> int:
    """Maps a random number to an integer from ``low`` to ``high``, inclusive."""
    return low + int(bounded(np.asarray([draw]), high - low + 1)[0])


def _resized(size: Size, random: U64) -> tuple[Operation, ...]:
    """Chooses a random resize. Both sides are scaled to 25 … 100 % with probability 2/3, and to 100 … 200 % otherwise,
    since images on the web are more often shrunk than enlarged."""
    grows = _between(random[0], 1, 3) == 3
    return scaled(size, _between(random[1], *((100, 200) if grows else (25, 100))))


FAMILY: dict[str, Callable[[Size, U64], tuple[Operation, ...]]] = {
    "jpeg": lambda size, random: (Jpeg(_between(random[0], 50, 95)),),
    "webp": lambda size, random: (WebP(_between(random[0], 50, 90)),),
    "blur": lambda size, random: (Blur(_between(random[0], 50, 400) / 100),),
    "resize": _resized,
    "noise": lambda size, random: (Noise(_between(random[0], 15, 75) / 1000, int(random[1])),),
    "double_jpeg": lambda size, random: tuple(Jpeg(_between(r, 50, 95)) for r in random[:2]),
    "web": lambda size, random: (*fit_within(size, 768), Jpeg(60)),
    "hard": lambda size, random: (*fit_within(size, 512), Jpeg(40)),
}
"""Maps the name of each kind of change to a function that takes the image size and two random numbers, and returns the
operations that make up the change. All kinds are equally likely."""


def draw_changes(
    height: npt.NDArray[np.int64],
    width: npt.NDArray[np.int64],
    content_id: npt.NDArray[np.int64],
    *,
    share: float,
    seed: int,
    epoch: int,
    appearance: int,
) -> list[Change | None]:
    """Returns a random change for each of B samples, or None for a sample that stays unchanged.

    On average, ``share`` (0 … 1) of the samples are changed. ``height`` and ``width`` (pixels) and ``content_id`` are
    (B,). ``appearance`` is the number of times that these samples have already occurred in this epoch.
    """
    random = draws(stream(seed, epoch, content_id, AUGMENT_PURPOSE + appearance), 4)
    chosen = bounded(random[:, 0], SHARE_STEPS) < round(share * SHARE_STEPS)
    kinds = bounded(random[:, 1], len(FAMILY)).tolist()
    makers = list(FAMILY.values())
    changes: list[Change | None] = []
    for place, size in enumerate(zip(height.tolist(), width.tolist(), strict=True)):
        operations = makers[kinds[place]](size, random[place, 2:]) if chosen[place] else ()
        changes.append(Change.of(operations, size) if operations else None)
    return changes
