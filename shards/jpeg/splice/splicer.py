"""Makes small JPEGs from windows of JPEGs by copying bits, without decoding pixels. This is called *splicing*.

If the JPEG is the one that was indexed, the pixels of the crop inside a spliced JPEG equal those of a full decode by
the same decoder, bit for bit. An index that is incomplete, or belongs to another file or version, is refused before
use. Damage that occurs later within the scan is detected only by the shard's checksum. Splicing damaged bits is
memory-safe, but the pixels may be wrong.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shards.jpeg.huffman import LOOKUP_BITS
from shards.jpeg.numba_support import address_of
from shards.jpeg.splice.header import HEADER_BYTES, KEY_BYTES, MAX_TABLE_BYTES, SLOT_WORDS, SLOTS
from shards.jpeg.splice.index import INFO_SIZE
from shards.jpeg.splice.kernel import AREA_SIZE, OPENED_SIZE, TAIL_BYTES, Memory, splice_windows
from shards.jpeg.splice.row import BLOCKS_SIZE, STARTS_SIZE, STATE_SIZE

__all__ = ["STATUS_REASONS", "TAIL_BYTES", "Spliced", "Splicer"]

STATUS_REASONS = (
    "ok",
    "no entry points",
    "damaged entry points",  # cut off, a wrong checksum, or an unknown version
    "entry points of another file",
    "unusable header",
    "corrupt scan",  # or an index with wrong positions
    "window outside the image",
)
"""Meaning of each value of ``Spliced.status``. Unless it is "ok", the window has no JPEG, and the image must be decoded
whole."""


@dataclass(frozen=True, slots=True)
class Spliced:
    """The small JPEGs of a batch, one per window, joined in one buffer."""

    data: np.ndarray
    """uint8; ``data[offsets[i]:offsets[i + 1]]`` is the JPEG of window i, empty if its splice failed. At least
    ``TAIL_BYTES`` arbitrary bytes follow the last JPEG, because libjpeg-turbo is faster if the buffer reaches this far
    beyond the end of an image."""
    offsets: np.ndarray
    """(n + 1,) int64: offsets in ``data`` at which the JPEGs begin, and the end of the last one."""
    origin: np.ndarray
    """(n, 2) int32: row and column of the window's first pixel in the decoded small JPEG."""
    size: np.ndarray
    """(n, 2) int32: height and width of the decoded small JPEG."""
    status: np.ndarray
    """(n,) int32: index into ``STATUS_REASONS``; 0 if the splice succeeded."""

    def jpeg(self, window: int, slack: int = 0) -> memoryview:
        """Returns a window's JPEG, followed by the next ``slack`` bytes of the buffer (at most ``TAIL_BYTES``)."""
        start, stop = self.offsets[window], self.offsets[window + 1]
        return self.data[start : stop + slack].data


class _Workspace:
    """Lookup tables of recent files, and scratch arrays. Only one call at a time uses a workspace."""

    def __init__(self) -> None:
        # Names are those of Memory's fields.
        self.arrays: dict[str, np.ndarray] = {
            "words": np.zeros(SLOTS * SLOT_WORDS, np.uint32),
            "keys": np.zeros(SLOTS * KEY_BYTES, np.uint8),
            "key_sizes": np.zeros(SLOTS, np.int64),
            "key": np.zeros(KEY_BYTES, np.uint8),
            "head": np.zeros(HEADER_BYTES, np.uint8),
            "singles": np.zeros(1 << LOOKUP_BITS, np.uint32),
            "lengths": np.zeros(1 << LOOKUP_BITS, np.uint8),
            "completed": np.zeros(MAX_TABLE_BYTES, np.uint8),
            "info": np.zeros(INFO_SIZE, np.int64),
            "blocks": np.zeros(BLOCKS_SIZE, np.uint64),
            "starts": np.zeros(STARTS_SIZE, np.uint64),
            "state": np.zeros(STATE_SIZE, np.uint64),
            "dc": np.zeros(4, np.int64),
            "last": np.zeros(4, np.int64),
            "area": np.zeros(AREA_SIZE, np.int64),
            "opened": np.zeros(OPENED_SIZE, np.int64),
        }
        self.addresses = {name: np.uint64(address_of(a)) for name, a in self.arrays.items()}
        self.bits = np.empty(1 << 16, np.uint8)


class Splicer:
    """Splices windows. Releases the GIL, and any number of threads may use the same object at once.

    If ``restarts`` is set, every MCU row of the output except the last ends with a restart marker, so that a decoder
    can find the rows without decoding them. libjpeg-turbo decodes such files more slowly.
    """

    def __init__(self, restarts: bool = False) -> None:
        self._restarts = restarts
        # One workspace per concurrent call; popping and appending are atomic.
        self._idle: deque[_Workspace] = deque()
        self._bytes_per_window = 16_384  # estimated from the previous call

    def splice(self, jpeg: np.ndarray, mcu: np.ndarray, windows: np.ndarray) -> Spliced:
        """Splices the windows of one image; see :meth:`splice_batch`."""
        return self.splice_batch([jpeg], [mcu], windows, np.zeros(len(windows), np.int64))

    def splice_batch(
        self, jpegs: Sequence[np.ndarray], mcus: Sequence[np.ndarray], windows: np.ndarray, image_of: np.ndarray
    ) -> Spliced:
        """Splices ``windows[i]``, (top, left, height, width), from the image ``jpegs[image_of[i]]``, for all i.

        ``mcus`` are the ``.mcu`` members of ``jpegs``. Both consist of contiguous uint8 arrays, such as views of a
        memory map; only the bytes needed are read. Splicing is fastest if windows of the same image are consecutive. If
        a window cannot be spliced, its ``Spliced.status`` says why.
        """
        windows = np.ascontiguousarray(windows, np.int32)
        image_of = np.ascontiguousarray(image_of, np.int64)
        if windows.shape != (len(image_of), 4):
            raise ValueError(f"windows of shape {windows.shape} for {len(image_of)} images")
        if len(image_of) and not 0 <= image_of.min() <= image_of.max() < len(jpegs):
            raise ValueError(f"image_of reaches beyond the {len(jpegs)} images")
        images = np.array(
            [
                (address_of(jpeg), jpeg.nbytes, address_of(mcu), mcu.nbytes)
                for jpeg, mcu in zip(jpegs, mcus, strict=True)
            ],
            np.uint64,
        )
        try:
            work = self._idle.pop()
        except IndexError:
            work = _Workspace()
        try:
            return self._run(work, images, windows, image_of)
        finally:
            self._idle.append(work)

    def _run(self, work: _Workspace, images: np.ndarray, windows: np.ndarray, image_of: np.ndarray) -> Spliced:
        count = len(windows)
        out = np.empty(count * self._bytes_per_window + 4 * TAIL_BYTES, np.uint8)
        offsets = np.zeros(count + 1, np.int64)
        origin, size = np.zeros((2, count, 2), np.int32)
        status = np.zeros(count, np.int32)
        inputs: dict[str, np.ndarray] = {"images": images, "windows": windows, "image_of": image_of}
        results: dict[str, np.ndarray] = {"offsets": offsets, "origin": origin, "size": size, "status": status}
        fixed = work.addresses | {name: np.uint64(address_of(array)) for name, array in (inputs | results).items()}
        window = 0
        while True:
            memory = Memory(
                **fixed,
                num_windows=np.uint64(count),
                out=np.uint64(address_of(out)),
                out_size=np.uint64(out.size),
                bits=np.uint64(address_of(work.bits)),
                bits_size=np.uint64(work.bits.size),
            )
            window, scratch, room = splice_windows(memory, window, self._restarts)
            if scratch > work.bits.size:
                work.bits = np.empty(scratch + scratch // 2, np.uint8)
            if room > out.size:
                larger = np.empty(room + room // 2, np.uint8)
                larger[: offsets[window]] = out[: offsets[window]]
                out = larger
            if window == count:
                self._bytes_per_window = int(offsets[count] * 1.2) // max(count, 1) + 1024
                return Spliced(out, offsets, origin, size, status)
