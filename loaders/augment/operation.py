"""The interface for image operations that can be applied to any part of an image.

Throughout, windows are (top, left, height, width), sizes are (height, width), and pixels are uint8 arrays of shape
(height, width, 3).
"""

from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["CropWindow", "Operation", "Pixels", "Size"]

Pixels = npt.NDArray[np.uint8]
Size = tuple[int, int]


class CropWindow(NamedTuple):
    """A rectangular part of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def bottom(self) -> int:
        """The first row below the window."""
        return self.top + self.height

    @property
    def right(self) -> int:
        """The first column to the right of the window."""
        return self.left + self.width

    def grown(self, margin: int, size: Size, grid: int = 1) -> "CropWindow":
        """Returns this window enlarged by ``margin`` on all sides, extended outwards to multiples of ``grid``, and
        clipped to an image of ``size``."""
        top = max(0, (self.top - margin) // grid * grid)
        left = max(0, (self.left - margin) // grid * grid)
        bottom = min(size[0], -(-(self.bottom + margin) // grid) * grid)
        right = min(size[1], -(-(self.right + margin) // grid) * grid)
        return CropWindow(top, left, bottom - top, right - left)

    def cut(self, pixels: Pixels, read: "CropWindow") -> Pixels:
        """Cuts this window out of ``pixels``, the image's pixels inside ``read``. ``read`` must contain this window."""
        top, left = self.top - read.top, self.left - read.left
        return pixels[top : top + self.height, left : left + self.width]


class Operation(Protocol):
    """An operation on an image, such as a blur or a re-save; immutable and pure. The argument ``size`` is always the
    size of the input."""

    def output_size(self, size: Size) -> Size:
        """The size of the output."""
        ...

    def needs(self, window: CropWindow, size: Size) -> CropWindow:
        """Returns the part of the input on which ``window``, a window in the output, depends."""
        ...

    def apply(self, pixels: Pixels, read: CropWindow, window: CropWindow, size: Size) -> Pixels:
        """Applies the operation to part of an image: returns the output pixels inside ``window``. ``pixels`` are the
        input pixels inside ``read``, the window that :meth:`needs` returned."""
        ...

    def on_view(self, view: Pixels, size: Size) -> Pixels:
        """Returns the output's global view, (S, S, 3), approximated from ``view``, the input's global view."""
        ...
