"""Only the bytes that a batch needs, out of shards in a store: two round trips for a whole batch.

When a batch is planned its samples begin to be fetched, many at once. Of a sample whose windows
will be spliced, global view and entry points come first, with one request, for they lie side by
side; they say which ranges of the JPEG the windows need, which come next, those that are near
each other with one request. They are put where they belong into a buffer as long as the JPEG whose
other pages stay untouched. Of tiled images come directory and tiles touched, others come whole.
"""

import mmap
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from isal import isal_zlib

from loaders.reading.cached_shards import RemoteTar
from loaders.reading.checksums import BadChecksum
from loaders.reading.closing import result_of, submitted
from loaders.reading.link import Link, measure_link
from loaders.reading.mapped_shards import UnreadableMember
from loaders.reading.sample_table import Member, SampleTable
from shards.files.limits import limit
from shards.images.tiled_tiff import BadTiles, TiledImage, head_bytes
from shards.jpeg.ranges import (
    GEOMETRY,
    Geometry,
    IndexHead,
    coalesced,
    frame_geometry,
    header_ranges,
    read_head,
    window_ranges,
)
from shards.manifest.info import INFO_NAME
from shards.store.folder import RemoteFolder

__all__ = ["FetchedBatch", "FetchedSample", "RangeReader"]

_MOST_BESIDE = 1 << 14
"""Bytes of a stored global view besides its pixels, and of entry points besides what grows with the
image, at most."""

Bytes = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.int64]
Way = Callable[[int, npt.NDArray[np.int32]], "FetchedSample"]


@dataclass
class FetchedSample:
    """What is there of one sample."""

    global_view: Bytes
    entry_points: Bytes
    image: Bytes
    """As long as the stored image; zero outside ``there`` where ``whole`` is False."""
    whole: bool
    damaged: str = ""
    """Name of a member whose bytes are not those that were written."""


@dataclass(frozen=True)
class FetchedBatch:
    """A batch under way: by place, the sample that will be there."""

    reader: "RangeReader"
    rows: Rows
    samples: "list[Future[FetchedSample]]" = field(repr=False)

    def sample(self, place: int) -> FetchedSample:
        """Waits for a sample. Raises ``BadChecksum``, ``UnreadableMember`` and ``InputError``."""
        sample = result_of(self.samples[place])
        if sample.damaged:
            raise BadChecksum(f"the bytes of {sample.damaged} are not those that were written")
        return sample

    def whole_image(self, place: int) -> Bytes:
        """The whole image of a sample, fetched where only the ranges of its windows are there.
        Raises as ``sample`` does."""
        sample = self.sample(place)
        return sample.image if sample.whole else self.reader.image(int(self.rows[place]))


class RangeReader:
    """Reads samples out of a store in ranges. Safe to use from several threads."""

    def __init__(
        self,
        remote: RemoteFolder,
        samples: SampleTable,
        images: list[RemoteTar],
        members: list[RemoteTar],
        global_size: int,
    ) -> None:
        """``images[k]`` is shard number k, ``members[k]`` the tar of its other members, and
        ``global_size`` the side of the stored global views."""
        self._most_view = 3 * global_size**2 + _MOST_BESIDE
        self._remote, self._samples = remote, samples
        self._images, self._members = images, members
        connections = remote.settings.connections
        self._room = threading.Semaphore(connections)
        self._requests = ThreadPoolExecutor(connections, thread_name_prefix="range-request")
        self._fetching = ThreadPoolExecutor(2 * connections, thread_name_prefix="range-sample")
        self._link: Link | None = None

    @property
    def link(self) -> Link:
        """The way to the store, measured when it is first asked for, unless it was set."""
        if self._link is None:
            largest = max(self._images, key=lambda tar: tar.num_bytes)
            self._link = measure_link(self._remote, largest.name, largest.num_bytes)
        return self._link

    @link.setter
    def link(self, link: Link) -> None:
        self._link = link

    @property
    def has_ranges(self) -> bool:
        """Whether the store answers with the parts of files that it is asked for."""
        return self._remote.has_ranges(INFO_NAME)

    def begin(
        self, rows: Rows, windows: npt.NDArray[np.int32], windowed: npt.NDArray[np.bool_], tiled: npt.NDArray[np.bool_]
    ) -> FetchedBatch:
        """Begins to fetch the samples of ``rows`` (B,): of those ``windowed`` (B,) and ``tiled``
        (B,) what ``windows`` (B, N, 4) need, the others whole."""
        _ = self.link  # before the requests of the batch compete with its measurement
        begun = [
            submitted(self._fetching, self._sample, row, windows[place], self._way(windowed[place], tiled[place]))
            for place, row in enumerate(rows.tolist())
        ]
        return FetchedBatch(self, rows, begun)

    def image(self, row: int) -> Bytes:
        """A whole image, compared with its checksum."""
        tar = self._images[self._samples.shard[row]]
        data = self._member(tar, self._samples.image, row)
        if self._is_damaged("image", row, data):
            raise BadChecksum("the bytes of image are not those that were written")
        return data

    def close(self) -> None:
        """Stops fetching."""
        self._fetching.shutdown(cancel_futures=True)
        self._requests.shutdown(cancel_futures=True)

    def _way(self, windowed: bool, tiled: bool) -> Way:
        """How a sample is fetched."""
        return self._windows if windowed else self._tiles if tiled else self._whole

    def _sample(self, row: int, windows: npt.NDArray[np.int32], way: Way) -> FetchedSample:
        """Fetches a sample; once more where bytes came out damaged, which a proxy may do."""
        self._require_plausible(row)
        sample = way(row, windows)
        if sample.damaged:
            sample = way(row, windows)
        if sample.damaged == "mcu":  # costs a full decode, which the splicer will ask for
            return replace(sample, image=self.image(row), whole=True, damaged="")
        return sample

    def _require_plausible(self, row: int) -> None:
        """Raises ``UnreadableMember`` where the manifest claims more bytes for a member than it can
        have, before any of them is asked for or given a place."""
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
                raise UnreadableMember(f"its {name} are said to have {length:,} bytes")

    def _windows(self, row: int, windows: npt.NDArray[np.int32]) -> FetchedSample:
        """What a splice of ``windows`` needs."""
        samples, tar = self._samples, self._members[self._samples.shard[row]]
        views, points = samples.global_view, samples.entry_points
        begin, end = int(views.offset[row]), int(points.offset[row] + points.length[row])
        between = int(points.offset[row] - views.offset[row] - views.length[row])
        if 0 <= between <= self.link.gap:
            both = self._range(tar, begin, end)
            view = both[: views.length[row]]
            mcu = both[both.size - int(points.length[row]) :]
        else:  # another order than ours, or far from each other
            view, mcu = self._member(tar, views, row), self._member(tar, points, row)
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
        if truth is None or not self._is_covered(mcu, head, truth, windows, here, length):
            return FetchedSample(view, mcu, self.image(row), True)
        return FetchedSample(view, mcu, image, False)

    def _tiles(self, row: int, windows: npt.NDArray[np.int32]) -> FetchedSample:
        """Directory and touched tiles of an image that is stored so."""
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
        """Image and global view: with one request where they lie in one tar, as the few facts
        between them are less than a request."""
        samples, shard = self._samples, int(self._samples.shard[row])
        views, images = samples.global_view, samples.image
        begin, end = int(images.offset[row]), int(views.offset[row] + views.length[row])
        between = int(views.offset[row] - images.offset[row] - images.length[row])
        if self._images[shard] == self._members[shard] and 0 <= between <= self.link.gap:
            both = self._range(self._images[shard], begin, end)
            image, view = both[: images.length[row]], both[both.size - int(views.length[row]) :]
        else:
            image = self._member(self._images[shard], images, row)
            view = self._member(self._members[shard], views, row)
        damaged = [n for n, d in (("image", image), ("global", view)) if self._is_damaged(n, row, d)]
        return FetchedSample(view, np.empty(0, np.uint8), image, True, "".join(damaged[:1]))

    def _guess(
        self, row: int, mcu: Bytes, head: IndexHead, windows: npt.NDArray[np.int32]
    ) -> npt.NDArray[np.int64] | None:
        """The ranges of the windows as far as manifest and entry points tell."""
        samples = self._samples
        sides = GEOMETRY.get(samples.subsamplings[samples.subsampling[row]])
        if sides is None:
            return None
        geometry = Geometry(int(samples.height[row]), int(samples.width[row]), *sides)
        return window_ranges(mcu, head, geometry, windows)

    def _is_covered(
        self,
        mcu: Bytes,
        head: IndexHead,
        truth: Geometry,
        windows: npt.NDArray[np.int32],
        here: npt.NDArray[np.int64],
        length: int,
    ) -> bool:
        """Whether the ranges that the frame header asks for are among those fetched."""
        needed = window_ranges(mcu, head, truth, windows)
        if needed is None:
            return False
        return np.array_equal(coalesced(np.concatenate([here, needed]), 0, length), here)

    def _fill(self, row: int, image: Bytes, ranges: npt.NDArray[np.int64]) -> None:
        tar = self._images[self._samples.shard[row]]
        offset = int(self._samples.image.offset[row])

        def fetch(bounds: Sequence[int]) -> None:
            start, stop = bounds
            image[start:stop] = self._range(tar, offset + start, offset + stop)

        first, *others = ranges.tolist()
        begun = [submitted(self._requests, fetch, bounds) for bounds in others]
        fetch(first)
        for future in begun:
            result_of(future)

    def _member(self, tar: RemoteTar, member: Member, row: int) -> Bytes:
        start = int(member.offset[row])
        return self._range(tar, start, start + int(member.length[row]))

    def _range(self, tar: RemoteTar, start: int, stop: int) -> Bytes:
        if not 0 <= start <= stop <= tar.num_bytes:
            raise UnreadableMember(f"{tar.name}: bytes {start}…{stop} lie outside its {tar.num_bytes}")
        with self._room:
            return np.frombuffer(self._remote.read_range(tar.name, start, stop), np.uint8)

    def _is_damaged(self, name: str, row: int, data: Bytes) -> bool:
        return bool(isal_zlib.crc32(data) != int(self._samples.crc32[name][row]))


def _nothing(length: int) -> Bytes:
    """``length`` zeros that take no memory until they are written."""
    if not length:
        return np.empty(0, np.uint8)
    return np.frombuffer(mmap.mmap(-1, length), np.uint8)
