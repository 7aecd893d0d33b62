"""Re-saving, resizing, blurring and noise, as operations on any part of an image.

Each operation knows which part of its input a given part of its output depends on, so it can be applied to a crop plus
enough of its surroundings. The result equals a crop from the whole processed image, apart from the differences listed
here:

==============  ===================================  ===============================================
operation       surroundings of a window             compared with the whole image
==============  ===================================  ===============================================
:class:`Jpeg`   2 pixels, then whole 16×16 blocks    identical
:class:`Blur`   the radius of the filter             identical
:class:`Noise`  none                                 identical
:class:`Resize` the radius of the filter             at most ±1: filter positions are rounded
:class:`WebP`   32 pixels, then whole 16×16 blocks   similar: VP8 predicts blocks from earlier ones
==============  ===================================  ===============================================
"""

import io
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from loaders.augment.operation import CropWindow, Pixels, Size
from loaders.order.randomness import GAMMA, draws
from shards.images.pixels import global_view
from shards.images.resize import resized_image

__all__ = ["Blur", "Jpeg", "Noise", "Resize", "WebP"]

GRID = 16
"""Side, in pixels, of an MCU in a JPEG with 4:2:0 chroma subsampling, and of a macroblock in VP8, the codec of WebP."""

VIEW_LIMIT = 3
"""Re-saving changes the global view only if the image's longer side is at most this many times the view's side. A
larger image's view would change by only 1 to 2 grey levels (of 255) on average, so it is left unchanged."""


class _KeepsSize:
    def output_size(self, size: Size) -> Size:
        """Returns the input size unchanged."""
        return size


def _encoded(pixels: Pixels, image_format: str, quality: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, image_format, quality=quality)
    return buffer.getvalue()


def _saved(pixels: Pixels, image_format: str, quality: int) -> Pixels:
    with Image.open(io.BytesIO(_encoded(pixels, image_format, quality))) as image:
        return np.asarray(image.convert("RGB"))


def _saved_view(view: Pixels, size: Size, image_format: str, quality: int) -> Pixels:
    """Simulates re-saving the image: enlarges the view to the image's size, saves it, and shrinks it again. If
    ``VIEW_LIMIT`` is exceeded, returns the view unchanged."""
    side = len(view)
    if max(size) > VIEW_LIMIT * side:
        return view
    enlarged = resized_image(Image.fromarray(view), (size[1], size[0]), Image.Resampling.BILINEAR)
    return global_view(_saved(np.asarray(enlarged), image_format, quality), side)


@dataclass(frozen=True)
class Jpeg(_KeepsSize):
    """Re-saving as a baseline JPEG with Pillow's default chroma subsampling, 4:2:0."""

    quality: int

    def file_of(self, pixels: Pixels) -> bytes:
        """Encodes a whole image as a JPEG file."""
        return _encoded(pixels, "JPEG", self.quality)

    def needs(self, window: CropWindow, size: Size) -> CropWindow:
        """Returns the area of the MCUs that overlap ``window`` or the 2 pixels around it, which chroma interpolation
        needs."""
        return window.grown(2, size, GRID)

    def apply(self, pixels: Pixels, read: CropWindow, window: CropWindow, size: Size) -> Pixels:
        """See :class:`Operation`. MCUs are coded independently of each other, so ``read`` need only begin and end on
        the MCU grid or at the image's edge."""
        return window.cut(_saved(pixels, "JPEG", self.quality), read)

    def on_view(self, view: Pixels, size: Size) -> Pixels:
        """See :class:`Operation` and ``VIEW_LIMIT``."""
        return _saved_view(view, size, "JPEG", self.quality)


@dataclass(frozen=True)
class WebP(_KeepsSize):
    """Re-saving as a lossy WebP."""

    quality: int

    def needs(self, window: CropWindow, size: Size) -> CropWindow:
        """Returns ``window`` with a margin of two macroblocks, since VP8 predicts each block from its neighbours."""
        return window.grown(2 * GRID, size, GRID)

    def apply(self, pixels: Pixels, read: CropWindow, window: CropWindow, size: Size) -> Pixels:
        """See :class:`Operation`. VP8 predicts each block from those above and to the left, so the result is only
        approximate."""
        return window.cut(_saved(pixels, "WEBP", self.quality), read)

    def on_view(self, view: Pixels, size: Size) -> Pixels:
        """See :class:`Operation` and ``VIEW_LIMIT``."""
        return _saved_view(view, size, "WEBP", self.quality)


@dataclass(frozen=True)
class Blur(_KeepsSize):
    """Pillow's Gaussian blur, which consists of three box filters."""

    sigma: float
    """Standard deviation in pixels."""

    def needs(self, window: CropWindow, size: Size) -> CropWindow:
        """Returns ``window`` with a margin of three times the radius of a box filter."""
        radius = (math.sqrt(4 * self.sigma**2 + 1) - 1) / 2
        return window.grown(3 * (math.floor(radius) + 1), size)

    def apply(self, pixels: Pixels, read: CropWindow, window: CropWindow, size: Size) -> Pixels:
        """See :class:`Operation`. Beyond the edges of ``pixels``, Pillow repeats the edge pixels. Where ``read`` ends
        inside the image, its margin around ``window`` is wide enough that the repeated pixels do not affect ``window``.
        Where ``read`` ends at the edge of the image, Pillow would repeat the same pixels when blurring the whole image.
        """
        image = Image.fromarray(np.ascontiguousarray(pixels))
        return window.cut(np.asarray(image.filter(ImageFilter.GaussianBlur(self.sigma))), read)

    def on_view(self, view: Pixels, size: Size) -> Pixels:
        """See :class:`Operation`. Blurring and shrinking commute, so the view itself is blurred. In each direction,
        ``sigma`` is scaled by the ratio of the view's side to the image's."""
        sigma = (self.sigma * len(view) / size[1], self.sigma * len(view) / size[0])
        return np.asarray(Image.fromarray(view).filter(ImageFilter.GaussianBlur(sigma)))


@dataclass(frozen=True)
class Resize:
    """Resizing with Pillow's bicubic filter, antialiased when shrinking."""

    height: int
    width: int

    def output_size(self, size: Size) -> Size:
        """Returns (``height``, ``width``), whatever the input size."""
        return self.height, self.width

    def _box(self, window: CropWindow, size: Size) -> tuple[float, float, float, float]:
        """Converts ``window``, a window in the output, to input coordinates: (left, top, right, bottom)."""
        down, right = size[0] / self.height, size[1] / self.width
        return window.left * right, window.top * down, window.right * right, window.bottom * down

    def needs(self, window: CropWindow, size: Size) -> CropWindow:
        """Returns the part of the input that the bicubic filter reads for ``window``: its area in the input, plus a
        margin. The margin is three input pixels when enlarging; when shrinking, the size of two output pixels plus one
        input pixel."""
        left, top, right, bottom = self._box(window, size)
        down = 2 * max(1.0, size[0] / self.height) + 1
        across = 2 * max(1.0, size[1] / self.width) + 1
        first_row, first_column = max(0, math.floor(top - down)), max(0, math.floor(left - across))
        last_row, last_column = math.ceil(bottom + down), math.ceil(right + across)
        return CropWindow(
            first_row, first_column, min(size[0], last_row) - first_row, min(size[1], last_column) - first_column
        )

    def apply(self, pixels: Pixels, read: CropWindow, window: CropWindow, size: Size) -> Pixels:
        """See :class:`Operation`. Only the window's box is resized: Pillow's ``resize`` accepts a source box with
        fractional coordinates, and its filter also reads the pixels around the box."""
        left, top, right, bottom = self._box(window, size)
        box = (
            max(0.0, left - read.left),
            max(0.0, top - read.top),
            min(float(read.width), right - read.left),
            min(float(read.height), bottom - read.top),
        )
        image = Image.fromarray(np.ascontiguousarray(pixels))
        wanted = (window.width, window.height)
        return np.asarray(resized_image(image, wanted, Image.Resampling.BICUBIC, box))

    def on_view(self, view: Pixels, size: Size) -> Pixels:
        """See :class:`Operation`. If a side of the output is shorter than the view's, the view is shrunk to that length
        and enlarged again, so that it holds no more detail than the output. Otherwise it is returned unchanged."""
        side = len(view)
        small = (min(side, self.width), min(side, self.height))
        if small == (side, side):
            return view
        return global_view(np.asarray(resized_image(Image.fromarray(view), small, Image.Resampling.BICUBIC)), side)


@dataclass(frozen=True)
class Noise(_KeepsSize):
    """Independent, nearly Gaussian noise (a sum of eight random bytes) added to every pixel value."""

    deviation: float
    """Standard deviation of the noise, on a scale where pixel values run from 0 to 1."""
    stream: int
    """State of a random stream. The image's values are numbered by row, then column, then colour channel; the noise
    added to value k comes from draw k of the stream."""

    def needs(self, window: CropWindow, size: Size) -> CropWindow:
        """Returns ``window`` itself, because the noise depends on no other pixels."""
        return window

    def apply(self, pixels: Pixels, read: CropWindow, window: CropWindow, size: Size) -> Pixels:
        """See :class:`Operation`. A pixel's noise depends on its position in the image, so it is the same in every
        window."""
        return self._added(window.cut(pixels, read), window, size[1], self.deviation)

    def on_view(self, view: Pixels, size: Size) -> Pixels:
        """Adds noise to the view, with the standard deviation that the image's noise would have after shrinking. This
        noise is independent of the image's.

        Shrinking averages the noise: along each direction, a triangle filter that extends f pixels to each side reduces
        the variance to 2 / (3 f) of its original value.
        """
        side = len(view)
        kept = 1.0
        for length in size:
            kept *= min(1.0, 2 * side / (3 * length))
        whole = CropWindow(0, 0, side, side)
        return self._added(view, whole, side, self.deviation * math.sqrt(kept))

    def _added(self, pixels: Pixels, window: CropWindow, width: int, deviation: float) -> Pixels:
        rows = np.arange(window.top, window.bottom, dtype=np.uint64)
        starts = (rows * np.uint64(width) + np.uint64(window.left)) * np.uint64(3)
        changed = np.empty(pixels.shape, np.uint8)
        step = max(1, MAX_DRAWS // (3 * window.width))
        for first in range(0, window.height, step):
            part = slice(first, min(window.height, first + step))
            with np.errstate(over="ignore"):
                streams = np.uint64(self.stream) + starts[part] * GAMMA
            normal = _byte_sums(draws(streams, 3 * window.width)).reshape(pixels[part].shape)
            values = pixels[part] + np.float32(255 * deviation) * normal + np.float32(0.5)
            changed[part] = np.clip(values, 0, 255).astype(np.uint8)
        return changed


MAX_DRAWS = 1 << 19
"""Maximum number of random numbers held in memory at a time. They occupy 4 MB, and each intermediate array of the
computation occupies up to 4 MB more."""


def _byte_sums(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.float32]:
    """Returns the sum of each word's eight bytes as float32, shifted and scaled so that uniformly random words give
    mean 0 and standard deviation 1."""
    lanes = np.uint64(0x00FF00FF00FF00FF)
    pairs = (words & lanes) + ((words >> np.uint64(8)) & lanes)
    with np.errstate(over="ignore"):
        sums = (pairs * np.uint64(0x0001000100010001)) >> np.uint64(48)
    deviation = math.sqrt(8 * (256**2 - 1) / 12)
    return (sums.astype(np.float32) - np.float32(8 * 127.5)) * np.float32(1 / deviation)
