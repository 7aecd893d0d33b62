"""The pictures on a page: a thumbnail for every image; windows, crops and a heat map for some.

Images are kept only as encoded text with limited length, so their sizes do not affect the memory needed.
"""

import base64
import heapq
import io
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from PIL import Image

from glass.predict.heatmaps import DenseMap, dense_overlay
from glass.predict.image_sources import ImageSource, LoadedImage
from glass.predict.verdicts import ImageVerdict
from glass.report.embed import encoder, shrink
from glass.report.windows import Window, drawn_windows
from glass.verdict_page.upright import orientation_in, turned, turned_windows

__all__ = ["Details", "Picture", "WatchedSource", "picture_of"]

Pixels = npt.NDArray[np.uint8]

THUMBNAIL_SIDE, THUMBNAIL_BYTES = 88, 3_000

MOST_DETAILED = 60
"""Maximum number of images per page that are shown with windows and crops."""
DETAIL_BYTES = 5_000_000
"""Maximum total size, in bytes, of a page's pictures, not counting thumbnails. Base64 adds a third."""
MOST_PER_IMAGE = 3_000_000
LONGEST_SIDE = 1200
"""Longest side, in pixels, of the picture with the windows, if the page is for a single image."""
LEAST_SIDE = 560
MOST_CROPS = 16
OVERLAY_SIDE = 240


@dataclass
class WatchedSource:
    """A source that keeps a thumbnail of its image, as a data URI, whenever the image is loaded."""

    source: ImageSource
    thumbnail: str = ""

    @property
    def name(self) -> str:
        """See :class:`ImageSource`."""
        return self.source.name

    def load(self) -> LoadedImage:
        """See :class:`ImageSource`."""
        loaded = self.source.load()
        small = turned(shrink(loaded.pixels, THUMBNAIL_SIDE), orientation_in(loaded.encoded))
        as_uri, _ = encoder([small], THUMBNAIL_BYTES, lossless=False)
        self.thumbnail = Markup(as_uri(small))
        return loaded


@dataclass(frozen=True)
class Picture:
    """An image with its windows, as shown on a page. All lengths are in pixels of the original image."""

    width: int
    height: int
    is_turned: bool
    """Whether the file asks viewers to rotate or flip the image. If so, ``image`` and ``windows`` were turned
    accordingly."""
    image: str
    """The image, scaled down for display, as a data URI."""
    windows: list[Window]
    """The windows, by decreasing attention. Pixels are kept only for the first ``MOST_CROPS``."""
    crop_format: str
    """The format in which crops are stored, such as "PNG" or "JPEG 88"."""
    overlay: str | None
    """Data URI of the dense attention map, transparent where there is no attention; None if not requested."""

    @property
    def num_bytes(self) -> int:
        """Total length of all data URIs."""
        return len(self.image) + sum(len(window.crop) for window in self.windows) + len(self.overlay or "")


def picture_of(loaded: LoadedImage, verdict: ImageVerdict, dense: DenseMap | None, num_images: int) -> Picture:
    """Returns the picture to show for an image, turned upright as image viewers would display it.

    The more images the page has (``num_images``), the lower the size limit for each picture.
    """
    orientation = orientation_in(loaded.encoded)
    pixels = turned(loaded.pixels, orientation)
    budget = min(MOST_PER_IMAGE, DETAIL_BYTES // min(num_images, MOST_DETAILED))
    small = turned(shrink(loaded.pixels, LONGEST_SIDE if budget >= MOST_PER_IMAGE else LEAST_SIDE), orientation)
    as_image, _ = encoder([small], budget // 2, lossless=False)
    stored = loaded.pixels.shape
    places = list(enumerate(turned_windows(verdict.windows, stored[:2], orientation).tolist(), start=1))
    weights = None if verdict.attention is None else verdict.attention.tolist()
    crops = {place: _cut(pixels, places[place][1]) for place in _most_attended(weights, len(places))}
    as_crop, crop_format = encoder(list(crops.values()), budget // 2, lossless=True)
    uris = [Markup(as_crop(crops[place])) if place in crops else "" for place in range(len(places))]
    height, width = pixels.shape[:2]
    return Picture(
        width=width,
        height=height,
        is_turned=orientation != 1,
        image=Markup(as_image(small)),
        windows=drawn_windows(places, weights, uris),
        crop_format=crop_format,
        overlay=None if dense is None else _overlay(dense, stored[:2], orientation),
    )


def _cut(pixels: Pixels, window: list[int]) -> Pixels:
    top, left, height, width = window
    return pixels[top : top + height, left : left + width]


def _most_attended(weights: list[float] | None, count: int) -> list[int]:
    if weights is None:
        return list(range(count))[:MOST_CROPS]
    return sorted(range(count), key=lambda place: -weights[place])[:MOST_CROPS]


def _overlay(dense: DenseMap, shape: tuple[int, int], orientation: int) -> str:
    height, width = shape
    scale = min(1.0, OVERLAY_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    overlay = turned(np.asarray(dense_overlay(*dense, shape, size)), orientation)
    buffer = io.BytesIO()
    Image.fromarray(overlay).save(buffer, "PNG")
    return Markup(f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}")


@dataclass
class Details:
    """The pictures of the highest-scoring images, up to a page's limits."""

    _kept: list[tuple[float, int, Picture]] = field(default_factory=list)
    """A heap of (margin, -image index, picture). At its top is the picture to drop next: the one with the lowest margin
    or, among equal margins, the last image's."""
    _num_bytes: int = 0
    _dropped: float = -np.inf
    """The highest margin among images whose pictures were dropped."""

    def wants(self, margin: float) -> bool:
        """Whether a picture would be kept if its image had this margin."""
        if margin <= self._dropped:
            return False
        return len(self._kept) < MOST_DETAILED or margin > self._kept[0][0]

    def add(self, margin: float, number: int, picture: Picture) -> None:
        """Adds a ``picture`` for the image with index ``number``. If a limit is exceeded, drops the pictures with the
        lowest margins.
        """
        heapq.heappush(self._kept, (margin, -number, picture))
        self._num_bytes += picture.num_bytes
        while len(self._kept) > MOST_DETAILED or (self._num_bytes > DETAIL_BYTES * 4 / 3 and len(self._kept) > 1):
            dropped, _, gone = heapq.heappop(self._kept)
            self._num_bytes -= gone.num_bytes
            self._dropped = max(self._dropped, dropped)

    @property
    def pictures(self) -> dict[int, Picture]:
        """Maps image indices, in ascending order, to pictures."""
        return {-number: picture for _, number, picture in sorted(self._kept, key=lambda kept: -kept[1])}
