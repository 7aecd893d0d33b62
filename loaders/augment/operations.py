"""The changes that images undergo on their way through the world, as operations on any part of an image.

Re-saving, resizing, blurring and noise; each knows which part of its input a part of its output
depends on, so that doing it to a crop's surroundings and doing it to the whole image and then
cropping give the same pixels:

==============  ===================================  ===============================================
operation       surroundings of a window             against the whole image
==============  ===================================  ===============================================
:class:`Jpeg`   2 pixels, out to the 16-pixel grid   equal to the bit
:class:`Blur`   what the filter sees                 equal to the bit
:class:`Noise`  none                                 equal to the bit
:class:`Resize` what the filter sees                 ±1: the last bits of positions are rounded
:class:`WebP`   32 pixels, out to the 16-pixel grid  alike, not equal: VP8 predicts along the image
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

__all__ = ["Blur", "Jpeg", "Noise", "Resize", "WebP"]

GRID = 16
"""JPEG with halved chroma and VP8 code squares of this side."""

VIEW_LIMIT = 3
"""Re-saving is done to the global view of an image up to this many times as large per side. What it
leaves in the views of larger ones, 1 to 2 grey levels of 255 in the mean, is left out."""


class _KeepsSize:
    def output_size(self, size: Size) -> Size:
        """As it was."""
        return size


def _encoded(pixels: Pixels, image_format: str, quality: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, image_format, quality=quality)
    return buffer.getvalue()


def _saved(pixels: Pixels, image_format: str, quality: int) -> Pixels:
    with Image.open(io.BytesIO(_encoded(pixels, image_format, quality))) as image:
        return np.asarray(image.convert("RGB"))


def _saved_view(view: Pixels, size: Size, image_format: str, quality: int) -> Pixels:
    """The view enlarged to the image's size, saved, and shrunk again; unchanged where that would
    show little."""
    side = len(view)
    if max(size) > VIEW_LIMIT * side:
        return view
    enlarged = Image.fromarray(view).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return global_view(_saved(np.asarray(enlarged), image_format, quality), side)


@dataclass(frozen=True)
class Jpeg(_KeepsSize):
    """Saved as a baseline JPEG with halved chroma, as Pillow does by default."""

    quality: int

    def file_of(self, pixels: Pixels) -> bytes:
        """The file that a whole image is saved as."""
        return _encoded(pixels, "JPEG", self.quality)

    def needs(self, window: CropWindow, size: Size) -> CropWindow:
        """Whole MCUs, and the neighbour that interpolating chroma looks at."""
        return window.grown(2, size, GRID)

    def apply(self, pixels: Pixels, read: CropWindow, window: CropWindow, size: Size) -> Pixels:
        """MCUs are coded each for itself, so the grid is all that has to agree."""
        return window.cut(_saved(pixels, "JPEG", self.quality), read)

    def on_view(self, view: Pixels, size: Size) -> Pixels:
        """See ``VIEW_LIMIT``."""
        return _saved_view(view, size, "JPEG", self.quality)


@dataclass(frozen=True)
class WebP(_KeepsSize):
    """Saved as a lossy WebP."""

    quality: int

    def needs(self, window: CropWindow, size: Size) -> CropWindow:
        """Two macroblocks around, so that predictions have something to start from."""
        return window.grown(2 * GRID, size, GRID)

    def apply(self, pixels: Pixels, read: CropWindow, window: CropWindow, size: Size) -> Pixels:
        """VP8 predicts each block from those above and to the left, so this is alike only."""
        return window.cut(_saved(pixels, "WEBP", self.quality), read)

    def on_view(self, view: Pixels, size: Size) -> Pixels:
        """See ``VIEW_LIMIT``."""
        return _saved_view(view, size, "WEBP", self.quality)


@dataclass(frozen=True)
class Blur(_KeepsSize):
    """A Gaussian, by Pillow: three box filters."""

    sigma: float
    """In pixels."""

    def needs(self, window: CropWindow, size: Size) -> CropWindow:
        """Three times the reach of a box."""
        radius = (math.sqrt(4 * self.sigma**2 + 1) - 1) / 2
        return window.grown(3 * (math.floor(radius) + 1), size)

    def apply(self, pixels: Pixels, read: CropWindow, window: CropWindow, size: Size) -> Pixels:
        """Pillow repeats the last pixel at an image's edge, where ``read`` ends too."""
        image = Image.fromarray(np.ascontiguousarray(pixels))
        return window.cut(np.asarray(image.filter(ImageFilter.GaussianBlur(self.sigma))), read)

    def on_view(self, view: Pixels, size: Size) -> Pixels:
        """A blur and a shrinking may change places; the deviation shrinks along, per direction."""
        sigma = (self.sigma * len(view) / size[1], self.sigma * len(view) / size[0])
        return np.asarray(Image.fromarray(view).filter(ImageFilter.GaussianBlur(sigma)))


@dataclass(frozen=True)
class Resize:
    """Resized by Pillow's bicubic filter, antialiased where it shrinks."""

    height: int
    width: int

    def output_size(self, size: Size) -> Size:
        """The size asked for."""
        return self.height, self.width

    def _box(self, window: CropWindow, size: Size) -> tuple[float, float, float, float]:
        """(left, top, right, bottom) of the window in the input."""
        down, right = size[0] / self.height, size[1] / self.width
        return window.left * right, window.top * down, window.right * right, window.bottom * down

    def needs(self, window: CropWindow, size: Size) -> CropWindow:
        """The bicubic filter reaches two pixels, of the output where it shrinks."""
        left, top, right, bottom = self._box(window, size)
        down = 2 * max(1.0, size[0] / self.height) + 1
        across = 2 * max(1.0, size[1] / self.width) + 1
        first_row, first_column = max(0, math.floor(top - down)), max(0, math.floor(left - across))
        last_row, last_column = math.ceil(bottom + down), math.ceil(right + across)
        return CropWindow(
            first_row, first_column, min(size[0], last_row) - first_row, min(size[1], last_column) - first_column
        )

    def apply(self, pixels: Pixels, read: CropWindow, window: CropWindow, size: Size) -> Pixels:
        """Pillow resizes a box of fractions of pixels, and looks beyond it."""
        left, top, right, bottom = self._box(window, size)
        box = (
            max(0.0, left - read.left),
            max(0.0, top - read.top),
            min(float(read.width), right - read.left),
            min(float(read.height), bottom - read.top),
        )
        image = Image.fromarray(np.ascontiguousarray(pixels))
        wanted = (window.width, window.height)
        return np.asarray(image.resize(wanted, Image.Resampling.BICUBIC, box=box))

    def on_view(self, view: Pixels, size: Size) -> Pixels:
        """Nothing as long as the view is the smaller one; else what the small image can hold."""
        side = len(view)
        small = (min(side, self.width), min(side, self.height))
        if small == (side, side):
            return view
        return global_view(np.asarray(Image.fromarray(view).resize(small, Image.Resampling.BICUBIC)), side)


@dataclass(frozen=True)
class Noise(_KeepsSize):
    """Independent noise, near Gaussian (the sum of eight random bytes), on every value."""

    deviation: float
    """Standard deviation of the noise, of values from 0 to 1."""
    stream: int
    """Random stream; value k of the image takes its draw k."""

    def needs(self, window: CropWindow, size: Size) -> CropWindow:
        """Nothing around."""
        return window

    def apply(self, pixels: Pixels, read: CropWindow, window: CropWindow, size: Size) -> Pixels:
        """The noise of a pixel depends on its place in the image."""
        return self._added(window.cut(pixels, read), window, size[1], self.deviation)

    def on_view(self, view: Pixels, size: Size) -> Pixels:
        """Adds noise to the global view, of the standard deviation that the image's noise would have there, but drawn
        separately.

        Shrinking averages: a triangle filter that reaches f pixels to each side leaves 2 / (3 f) of the variance.
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
"""Draws of noise held at a time: 4 MB, and as much again for each step of the arithmetic."""


def _byte_sums(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.float32]:
    """Sums of the eight bytes of each word, as float32 of mean 0 and deviation 1."""
    lanes = np.uint64(0x00FF00FF00FF00FF)
    pairs = (words & lanes) + ((words >> np.uint64(8)) & lanes)
    with np.errstate(over="ignore"):
        sums = (pairs * np.uint64(0x0001000100010001)) >> np.uint64(48)
    deviation = math.sqrt(8 * (256**2 - 1) / 12)
    return (sums.astype(np.float32) - np.float32(8 * 127.5)) * np.float32(1 / deviation)
