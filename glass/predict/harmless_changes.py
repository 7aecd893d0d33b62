"""Changes to an image that should not change its verdict.

An image is large here if each pixel of its global view is an average of at least ``AVERAGING`` × ``AVERAGING`` pixels.
A large image is re-saved and resized only in the windows that the model sees; their pixels match the whole changed
image bit for bit. There are two exceptions: the whole image is saved if the sampling rule reads the JPEG, and resized
if Pillow's result cannot be reproduced for a part.

A changed copy of a large image keeps the original's global view, unless the whole image was saved. The error is small:
on 18 photographs of 5 megapixels, whose global views were eight times smaller, saving as JPEG changed the view by 0.02
grey levels on average and by at most 5; resizing changed it by 0.06 on average and by at most 1 (docs/LOG.md,
2026-11-29).
"""

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt
from PIL import Image

from loaders.decode.encoded_image import decode_file
from loaders.decode.pixel_batch import DecodedImage, SeenImage, cut_windows
from shards.images.resize import parts_are_cheap, resized, resized_part

__all__ = ["AVERAGING", "CHANGES", "ChangedImage", "harmless_changes"]

Pixels = npt.NDArray[np.uint8]

CHANGES = ("saved at JPEG 90", "resized to 0.9", "grid shifted")
"""Names of the changes that :func:`harmless_changes` makes."""

AVERAGING = 8

SHIFT = (5, 3)
"""How many rows ``grid shifted`` cuts off at the top, and how many columns at the left. Neither is a multiple of the
JPEG block size or of a usual stride, so the image moves relative to all blocks and grids."""

_SMALLEST_CHANGED_SIDE = 16

_LONGEST_JPEG_SIDE = 65_500
"""Longest side, in pixels, of a JPEG that libjpeg can write. PNG and TIFF images can be larger."""

_MCU = 16
"""Side, in pixels, of an MCU: the square that a JPEG with halved chroma codes as a unit."""

_CHROMA_REACH = 2
"""Maximum distance, in pixels, between a pixel and the chroma samples from which a decoder interpolates its chroma."""

_SHARPEST = 5
"""Minimum image width, in pixels, at which libjpeg interpolates halved chroma. In narrower images, it repeats the
samples."""


@dataclass(frozen=True)
class ChangedImage:
    """An image after a harmless change."""

    image: SeenImage
    encoded: bytes | None = None
    """The JPEG's bytes if the whole image was saved as a JPEG; else None."""


def harmless_changes(pixels: Pixels, view: Pixels, *, with_file: bool = False) -> dict[str, ChangedImage]:
    """Returns the changed copies of an image, keyed by their names in ``CHANGES`` and in that order.

    * The first is saved as a JPEG at quality 90. It is missing if the image is too large for a JPEG.
    * The second is resized to 0.9 times its width and height.
    * The third is shifted by cutting off rows at the top and columns at the left, unless the image is too small for
      that.

    ``pixels`` is (H, W, 3), and ``view`` is its global view (S, S, 3). If ``with_file`` is set, the first copy is saved
    whole instead of in windows, and includes the JPEG's bytes.
    """
    height, width = pixels.shape[:2]
    smaller = (max(round(0.9 * width), 1), max(round(0.9 * height), 1))
    down = SHIFT[0] if height >= _SMALLEST_CHANGED_SIDE else 0
    right = SHIFT[1] if width >= _SMALLEST_CHANGED_SIDE else 0
    by_windows = min(height, width) >= AVERAGING * len(view)
    saved, resize, shifted = CHANGES
    changed = {}
    if max(height, width) <= _LONGEST_JPEG_SIDE:
        if by_windows and not with_file:
            in_jpeg = partial(_part_of_jpeg, pixels)
            changed[saved] = ChangedImage(_ChangedWindows((height, width), view, in_jpeg))
        else:
            data = _jpeg(pixels)
            changed[saved] = ChangedImage(DecodedImage(decode_file(data)), data)
    if by_windows:
        in_smaller = partial(resized_part, pixels, *smaller, cubic=True)
        whole = None if parts_are_cheap(pixels, *smaller) else resized(pixels, *smaller, cubic=True)
        changed[resize] = ChangedImage(_ChangedWindows((smaller[1], smaller[0]), view, in_smaller, whole))
    else:
        changed[resize] = ChangedImage(DecodedImage(resized(pixels, *smaller, cubic=True)))
    changed[shifted] = ChangedImage(DecodedImage(pixels[down:, right:]))
    return changed


@dataclass
class _ChangedWindows:
    """A :class:`SeenImage` whose parts are computed when they are requested."""

    size: tuple[int, int]
    own_view: Pixels
    part: Callable[[int, int, int, int], Pixels]
    """Takes (top, left, height, width); returns the changed image's pixels in this window."""
    whole: Pixels | None = field(default=None, repr=False)
    """All pixels of the changed image, once they have been computed."""
    _pixels_cut: int = 0

    def view(self, size: int) -> Pixels:
        """See :class:`SeenImage`."""
        assert size == len(self.own_view)
        return self.own_view

    def crops(self, windows: npt.NDArray[np.int32], crop_size: int) -> Pixels:
        """See :class:`SeenImage`. If the requested windows have more pixels in total than the image, the whole image is
        computed once and kept.
        """
        height, width = self.size
        self._pixels_cut += int(np.prod(windows[:, 2:], axis=1).sum())
        if self.whole is None and self._pixels_cut > height * width:
            self.whole = self.part(0, 0, height, width)
        if self.whole is not None:
            return cut_windows(self.whole, windows, crop_size)
        crops = np.zeros((len(windows), crop_size, crop_size, 3), np.uint8)
        for (top, left, tall, wide), crop in zip(windows.tolist(), crops, strict=True):
            if tall and wide:
                crop[:tall, :wide] = self.part(top, left, tall, wide)
        return crops


def _jpeg(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _part_of_jpeg(pixels: Pixels, top: int, left: int, height: int, width: int) -> Pixels:
    """The pixels that this window of the image ``pixels`` would have if the whole image were saved as a JPEG and
    decoded.

    Blocks are coded independently, so only the blocks around the window are saved.
    """
    left_edge = min(left, pixels.shape[1] - _SHARPEST + _CHROMA_REACH)
    first_row, first_column = (max(edge - _CHROMA_REACH, 0) // _MCU * _MCU for edge in (top, left_edge))
    last_row, last_column = (
        -(-(edge + _CHROMA_REACH) // _MCU) * _MCU for edge in (top + height, left + width)
    )  # may exceed the image; slices then end at its edge
    part = decode_file(_jpeg(pixels[first_row:last_row, first_column:last_column]))
    return part[top - first_row :, left - first_column :][:height, :width]
