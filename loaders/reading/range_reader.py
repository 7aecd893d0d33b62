"""Reads only the bytes that a batch needs from shards in a store, in two round trips per batch.

As soon as a batch is planned, its samples are fetched, many in parallel. What is fetched depends on the sample:

- If its windows will be spliced, the first request fetches the global view and the entry points, which are stored side
  by side. The entry points determine which byte ranges of the JPEG the windows need. These ranges are fetched next;
  ranges that are close together share a request.
- If its image is tiled, the image's directory and the tiles that the windows touch are fetched.
- Any other image is fetched whole.

The ranges of a JPEG are stored at their offsets in a buffer as long as the JPEG. The buffer's other pages are never
touched, so they take no memory.
"""

import mmap
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from loaders.reading.batch_plan import Reads
from loaders.reading.cached_shards import CachedShards, RemoteTar, remote_tars
from loaders.reading.checksums import BadChecksum
from loaders.reading.closing import result_of, submitted
from loaders.reading.fetched_batch import FetchedBatch, FetchedSample
from loaders.reading.link import Link, measure_link
from loaders.reading.mapped_shards import UnreadableMember
from loaders.reading.sample_table import Member, SampleTable
from shards.files.crc32 import crc32
from shards.files.limits import limit
from shards.images.tiled_tiff import BadTiles, TiledImage, head_bytes
from shards.jpeg.ranges import (
    GEOMETRY,
    Geometry,
    IndexHead,
    coalesced,
    covers,
    frame_geometry,
    header_ranges,
    read_head,
    window_ranges,
)
from shards.manifest.dataset import ShardDataset
from shards.manifest.info import INFO_NAME
from shards.store.folder import RemoteFolder

__all__ = ["RangeReader"]

_MOST_BESIDE = 1 << 14
"""Maximum number of bytes by which a member may exceed its expected size. A global view is expected to be as large as
its pixels, and entry points no larger than the image."""

Bytes = npt.NDArray[np.uint8]
Way = Callable[[int, npt.NDArray[np.int32]], FetchedSample]


class RangeReader:
    """Reads samples from a store as byte ranges. Safe to use from several threads."""

    def __init__(self, dataset: ShardDataset, remote: RemoteFolder, samples: SampleTable) -> None:
        """``remote`` is the store that holds ``dataset``; ``samples`` holds the columns of the data set's manifest."""
        self.caches: tuple[CachedShards, ...] = ()
        """Empty, since no shard is announced or fetched before a batch needs it."""
        self._most_view = 3 * dataset.info.global_size**2 + _MOST_BESIDE
        self._remote, self._samples = remote, samples
        self._images = remote_tars(dataset, samples.shards, sidecars=False)
        self._members = remote_tars(dataset, samples.shards, sidecars=True)
        connections = remote.settings.connections
        self._room = threading.Semaphore(connections)
        self._requests = ThreadPoolExecutor(connections, thread_name_prefix="range-request")
        self._fetching = ThreadPoolExecutor(2 * connections, thread_name_prefix="range-sample")
        self._link: Link | None = None

    @property
    def link(self) -> Link:
        """The connection to the store. It is measured on first use unless the caller has set it."""
        if self._link is None:
            largest = max(self._images, key=lambda tar: tar.num_bytes)
            self._link = measure_link(self._remote, largest.name, largest.num_bytes)
        return self._link

    @link.setter
    def link(self, link: Link) -> None:
        self._link = link

    @property
    def has_ranges(self) -> bool:
        """Whether the store can send parts of files."""
        return self._remote.has_ranges(INFO_NAME)

    def begin(self, reads: Reads) -> FetchedBatch:
        """Starts fetching the samples of a batch. If a sample is spliced or read by tiles, only the ranges that its
        windows need are fetched. Any other sample is fetched whole."""
        _ = self.link  # before the requests of the batch compete with its measurement
        wanted: dict[int, list[int]] = {}
        for place, row in enumerate(reads.rows.tolist()):  # a row may repeat, each time with other windows
            wanted.setdefault(row, []).append(place)
        begun = {
            row: submitted(
                self._fetching,
                self._sample,
                row,
                np.concatenate([reads.windows[reads.part(place)] for place in places]),
                self._way(bool(reads.windowed[places].any()), bool(reads.tiled[places].any())),
            )
            for row, places in wanted.items()
        }
        return FetchedBatch(begun, self.image)

    def image(self, row: int) -> Bytes:
        """Fetches a whole image and compares it with its checksum."""
        tar = self._images[self._samples.shard[row]]
        data = self._member(tar, self._samples.image, row)
        if self._is_damaged("image", row, data):
            raise BadChecksum("the bytes of image do not match their checksum")
        return data

    def close(self) -> None:
        """Stops fetching."""
        self._fetching.shutdown(cancel_futures=True)
        self._requests.shutdown(cancel_futures=True)

    def _way(self, windowed: bool, tiled: bool) -> Way:
        """Returns the method that fetches a sample: ``_windows``, ``_tiles`` or ``_whole``."""
        return self._windows if windowed else self._tiles if tiled else self._whole

    def _sample(self, row: int, windows: npt.NDArray[np.int32], way: Way) -> FetchedSample:
        """Fetches a sample. If its bytes arrive damaged, for example through a faulty proxy, fetches it once more."""
        self._require_plausible(row)
        sample = way(row, windows)
        if sample.damaged:
            sample = way(row, windows)
        if sample.damaged == "mcu":  # costs a full decode, which the splicer will ask for
            return replace(sample, image=self.image(row), whole=True, damaged="")
        return sample

    def _require_plausible(self, row: int) -> None:
        """Raises ``UnreadableMember`` if the manifest claims an implausible number of bytes for a member. Called before
        bytes are requested or memory is allocated."""
        samples, most = self._samples, limit("MAX_IMAGE_BYTES")
        image = int(samples.image.length[row])
        if image > most:
            raise UnreadableMember(f"its image has {image:,} bytes, more than GLASS_MAX_IMAGE_BYTES={most}")
        others = {
            "global view": (samples.global_view, self._most_view),
            "entry points": (samples.entry_points, image + _MOST_BESIDE),
        }
        for name, (member, most) in others.items():
            if (length := int(member.length[row])) > most:
                raise UnreadableMember(f"the manifest gives its {name} {length:,} bytes, more than is possible")

    def _windows(self, row: int, windows: npt.NDArray[np.int32]) -> FetchedSample:
        """Fetches the parts of a sample needed to splice ``windows``."""
        samples, tar = self._samples, self._members[self._samples.shard[row]]
        view, mcu = self._both(row, (tar, samples.global_view), (tar, samples.entry_points))
        for name, data in (("global", view), ("mcu", mcu)):
            if self._is_damaged(name, row, data):
                return FetchedSample(view, np.zeros(1, np.uint8), _nothing(0), False, name)
        length = int(samples.image.length[row])
        head = read_head(mcu, length)
        wanted = None if head is None else self._guess(row, mcu, head, windows)
        if head is None or wanted is None:
            return FetchedSample(view, mcu, self.image(row), True)
        image = _nothing(length)
        here = coalesced(np.concatenate([header_ranges(head), wanted]), self.link.gap, length)
        self._fill(row, image, here)
        truth = frame_geometry(image, head)
        needed = None if truth is None else window_ranges(mcu, head, truth, windows)
        if needed is None or not covers(here, needed, length):
            return FetchedSample(view, mcu, self.image(row), True)
        return FetchedSample(view, mcu, image, False)

    def _tiles(self, row: int, windows: npt.NDArray[np.int32]) -> FetchedSample:
        """Fetches the directory of a tiled image, and the tiles that ``windows`` touch."""
        samples, shard = self._samples, int(self._samples.shard[row])
        view = self._member(self._members[shard], samples.global_view, row)
        damaged = "global" if self._is_damaged("global", row, view) else ""
        nothing, length = np.empty(0, np.uint8), int(samples.image.length[row])
        head = min(head_bytes(int(samples.height[row]), int(samples.width[row])), length)
        image = _nothing(length)
        self._fill(row, image, np.array([[0, head]]))
        try:
            opened = TiledImage(image)
            wanted = opened.byte_ranges(windows)
        except BadTiles:
            wanted = None
        if wanted is None or not 0 < opened.first_tile <= head:  # another layout than ours
            return FetchedSample(view, nothing, self.image(row), True, damaged)
        self._fill(row, image, coalesced(wanted, self.link.gap, length))
        return FetchedSample(view, nothing, image, False, damaged)

    def _whole(self, row: int, windows: npt.NDArray[np.int32]) -> FetchedSample:
        """Fetches the image and the global view. One request usually suffices, since only the sample's JSON is between
        them."""
        samples, shard = self._samples, int(self._samples.shard[row])
        image, view = self._both(row, (self._images[shard], samples.image), (self._members[shard], samples.global_view))
        damaged = [n for n, d in (("image", image), ("global", view)) if self._is_damaged(n, row, d)]
        return FetchedSample(view, np.empty(0, np.uint8), image, True, "".join(damaged[:1]))

    def _guess(
        self, row: int, mcu: Bytes, head: IndexHead, windows: npt.NDArray[np.int32]
    ) -> npt.NDArray[np.int64] | None:
        """Derives the byte ranges that ``windows`` need from the manifest and the entry points alone. Returns None if
        the chroma subsampling is unusual."""
        samples = self._samples
        sides = GEOMETRY.get(samples.subsamplings[samples.subsampling[row]])
        if sides is None:
            return None
        geometry = Geometry(int(samples.height[row]), int(samples.width[row]), *sides)
        return window_ranges(mcu, head, geometry, windows)

    def _fill(self, row: int, image: Bytes, ranges: npt.NDArray[np.int64]) -> None:
        tar = self._images[self._samples.shard[row]]
        offset = int(self._samples.image.offset[row])

        def fetch(bounds: Sequence[int]) -> None:
            start, stop = bounds
            image[start:stop] = self._range(tar, offset + start, offset + stop)

        bounds = ranges.tolist()  # empty if a tiled image's directory says that the tiles have no bytes
        begun = [submitted(self._requests, fetch, further) for further in bounds[1:]]
        for first in bounds[:1]:
            fetch(first)
        for future in begun:
            result_of(future)

    def _both(self, row: int, first: tuple[RemoteTar, Member], second: tuple[RemoteTar, Member]) -> tuple[Bytes, Bytes]:
        """Fetches two members, with a single request if the second closely follows the first in the same tar."""
        (tar, one), (other_tar, other) = first, second
        between = int(other.offset[row] - one.offset[row] - one.length[row])
        if tar != other_tar or not 0 <= between <= self.link.gap:
            return self._member(tar, one, row), self._member(other_tar, other, row)
        both = self._range(tar, int(one.offset[row]), int(other.offset[row] + other.length[row]))
        return both[: one.length[row]], both[both.size - int(other.length[row]) :]

    def _member(self, tar: RemoteTar, member: Member, row: int) -> Bytes:
        start = int(member.offset[row])
        return self._range(tar, start, start + int(member.length[row]))

    def _range(self, tar: RemoteTar, start: int, stop: int) -> Bytes:
        if not 0 <= start <= stop <= tar.num_bytes:
            raise UnreadableMember(
                f"{tar.name}: bytes {start:,}…{stop:,} are outside the file of {tar.num_bytes:,} bytes"
            )
        with self._room:
            return np.frombuffer(self._remote.read_range(tar.name, start, stop), np.uint8)

    def _is_damaged(self, name: str, row: int, data: Bytes) -> bool:
        return bool(crc32(data) != int(self._samples.crc32[name][row]))


def _nothing(length: int) -> Bytes:
    """Returns ``length`` zero bytes, which take no memory until they are written to."""
    if not length:
        return np.empty(0, np.uint8)
    return np.frombuffer(mmap.mmap(-1, length), np.uint8)
