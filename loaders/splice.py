"""Windows of JPEGs as small JPEGs of their own, made by copying bits: no pixel is decoded.

The pixels of the crop inside a spliced JPEG equal those of a full decode by the same decoder, bit
for bit, as long as the JPEG is the one that was indexed. An index of another file, of another
version or cut off is found out before use; bits that flipped later inside the scan are for the
shard's checksum to find, then only memory safety is promised.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from loaders.splice_header import KEY_BYTES, SLOT_WORDS, SLOTS
from loaders.splice_kernel import STARTS_SIZE, TAIL_BYTES, splice_windows
from shards.kernels import address_of

__all__ = ["STATUS_REASONS", "TAIL_BYTES", "Spliced", "Splicer"]

STATUS_REASONS = (
    "ok",
    "no entry points",
    "damaged entry points",  # cut off, a wrong checksum, or an unknown version
    "entry points of another file",
    "unusable header",
    "corrupt scan",  # or an index whose positions lead nowhere
    "window outside the image",
)
"""What ``Spliced.status`` means; everything but "ok" takes a full decode."""


@dataclass(frozen=True, slots=True)
class Spliced:
    """Small JPEGs of a batch, one per window, end to end."""

    data: np.ndarray
    """uint8; ``data[offsets[i]:offsets[i + 1]]`` is the JPEG of window i, empty where it failed.
    ``TAIL_BYTES`` or more follow the last one: libjpeg-turbo is faster when it is handed a buffer
    that reaches this far beyond the end of an image, and reads no meaning into it."""
    offsets: np.ndarray
    """(n + 1,) int64."""
    origin: np.ndarray
    """(n, 2) int32: row and column of the window's first pixel in the decoded small JPEG."""
    size: np.ndarray
    """(n, 2) int32: height and width of the decoded small JPEG."""
    status: np.ndarray
    """(n,) int32: 0, or the place in ``STATUS_REASONS`` of what failed."""

    def jpeg(self, window: int, slack: int = 0) -> memoryview:
        """The JPEG of a window, and ``slack`` (at most ``TAIL_BYTES``) bytes that follow it."""
        start, stop = self.offsets[window], self.offsets[window + 1]
        return memoryview(self.data[start : stop + slack])


class _Workspace:
    """Lookup tables of the files seen last, and scratch; belongs to one call at a time."""

    def __init__(self) -> None:
        self.words = np.zeros(SLOTS * SLOT_WORDS, np.uint32)
        self.keys = np.zeros((SLOTS, KEY_BYTES), np.uint8)
        self.key_sizes = np.zeros(SLOTS, np.int64)
        self.starts = np.zeros(STARTS_SIZE, np.uint64)


class Splicer:
    """Splices windows. Any number of threads may call one object at once; the GIL is released.

    ``restarts`` ends every MCU row of the output with a restart marker, so that a decoder may take
    rows apart; libjpeg-turbo decodes such files more slowly.
    """

    def __init__(self, restarts: bool = False) -> None:
        self._restarts = restarts
        # One per thread that is inside a call; popping and appending are atomic.
        self._idle: deque[_Workspace] = deque()

    def splice(self, jpeg: np.ndarray, mcu: np.ndarray, windows: np.ndarray) -> Spliced:
        """Splices the windows of one image; see :meth:`splice_batch`."""
        return self.splice_batch([jpeg], [mcu], windows, np.zeros(len(windows), np.int64))

    def splice_batch(
        self,
        jpegs: Sequence[np.ndarray],
        mcus: Sequence[np.ndarray],
        windows: np.ndarray,
        image_of: np.ndarray,
    ) -> Spliced:
        """Splices ``windows[i]`` = (top, left, height, width) out of ``jpegs[image_of[i]]``.

        ``jpegs`` and ``mcus`` are contiguous uint8 arrays, such as views into a memory map, of
        which only the bytes needed are read; windows of one image should follow one another. Bad
        input shows in ``Spliced.status``, per window.
        """
        windows = np.ascontiguousarray(windows, np.int32)
        image_of = np.ascontiguousarray(image_of, np.int64)
        if windows.shape != (len(image_of), 4):
            raise ValueError(f"windows of shape {windows.shape} for {len(image_of)} images")
        if len(image_of) and not 0 <= image_of.min() <= image_of.max() < len(jpegs):
            raise ValueError(f"image_of reaches beyond the {len(jpegs)} images")
        images = np.array(
            [
                (address_of(jpeg), jpeg.size, address_of(mcu), mcu.size)
                for jpeg, mcu in zip(jpegs, mcus, strict=True)
            ],
            np.uint64,
        ).reshape(-1, 4)
        capacity = np.uint64(20_000 * len(windows) + TAIL_BYTES)
        return Spliced(*self._run(images, windows, image_of, capacity))

    def _run(
        self, images: np.ndarray, windows: np.ndarray, image_of: np.ndarray, capacity: np.uint64
    ) -> tuple[np.ndarray, ...]:
        try:
            work = self._idle.pop()
        except IndexError:
            work = _Workspace()
        run = partial(splice_windows, images, windows, image_of, self._restarts)
        try:
            return run(work.words, work.keys, work.key_sizes, work.starts, capacity)
        finally:
            self._idle.append(work)
