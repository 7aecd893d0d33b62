"""What a change of an image is: an operation that can be done to any part of the image.

Windows are (top, left, height, width), sizes (height, width), pixels (height, width, 3) uint8.
"""

from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["CropWindow", "Operation", "Pixels", "Size"]

Pixels = npt.NDArray[np.uint8]
Size = tuple[int, int]


class CropWindow(NamedTuple):
    """A part of an image."""

    top: int
    left: int
    height: int
    width: int

    @property
    def bottom(self) -> int:
        """First row beneath."""
        return self.top + self.height

    @property
    def right(self) -> int:
        """First column to the right."""
        return self.left + self.width

    def grown(self, margin: int, size: Size, grid: int = 1) -> "CropWindow":
        """Wider by ``margin`` on all sides, then out to multiples of ``grid``, inside ``size``."""
        top = max(0, (self.top - margin) // grid * grid)
        left = max(0, (self.left - margin) // grid * grid)
        bottom = min(size[0], -(-(self.bottom + margin) // grid) * grid)
        right = min(size[1], -(-(self.right + margin) // grid) * grid)
        return CropWindow(top, left, bottom - top, right - left)

    def cut(self, pixels: Pixels, read: "CropWindow") -> Pixels:
        """This window out of ``pixels``, which show the window ``read``."""
        top, left = self.top - read.top, self.left - read.left
        return pixels[top : top + self.height, left : left + self.width]


class Operation(Protocol):
    """Something done to an image of ``size``; frozen and pure."""

    def output_size(self, size: Size) -> Size:
        """Size of the image after it."""
        ...

    def needs(self, window: CropWindow, size: Size) -> CropWindow:
        """The part of the input that ``window`` of the output depends on."""
        ...

    def apply(self, pixels: Pixels, read: CropWindow, window: CropWindow, size: Size) -> Pixels:
        """``window`` of the output, from ``pixels``, which show the part ``read`` of the input."""
        ...

    def on_view(self, view: Pixels, size: Size) -> Pixels:
        """Its effect on the global view, from ``view`` (S, S, 3) of the input alone."""
        ...
