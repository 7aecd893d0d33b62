"""Enlarges real images with common filters rather than a network.

These images keep a detector from treating every enlarged image as a network's work. Each filter comes from one of three
families:

- Pillow filters: box, bilinear, Hamming and bicubic
- cubic filters with two parameters, B and C (Mitchell and Netravali 1988), including those in common use:
  B-spline (1, 0), Mitchell (⅓, ⅓), Catmull-Rom (0, ½), and the filter of OpenCV and torch (0, ¾)
- interpolating splines, in which a value depends on more than four pixels of a line
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

__all__ = ["BROAD", "SHARP", "Mix", "draw_factor", "enlarge_plainly"]

FACTORS = (1.2, 4.0)
WHOLE_FACTORS = (2, 3, 4)
PILLOW = (Image.Resampling.BOX, Image.Resampling.BILINEAR, Image.Resampling.HAMMING, Image.Resampling.BICUBIC)
SPLINE_ORDERS = (2, 3, 4, 5)
SHARPENED_SHARE = 1 / 3


@dataclass(frozen=True, slots=True)
class Mix:
    """Probabilities of enlargement factors and filter families."""

    whole_share: float
    """Share of enlargements by an integer factor. Like networks, they leave a repeating pattern."""
    whole_shares: tuple[float, float, float]
    """Shares of the factors 2, 3 and 4 among the integer factors."""
    families: tuple[str, ...]
    """The filter families. A family listed k times is k times as likely."""
    most_b: float
    """Largest value of the cubic filters' parameter B. A smaller B gives sharper images."""


BROAD = Mix(0.5, (0.6, 0.2, 0.2), ("pillow", "cubic", "spline"), 1.0)
SHARP = Mix(0.7, (0.86, 0.07, 0.07), ("pillow", *["cubic"] * 3, *["spline"] * 3), 0.5)
"""A mix in which most filters are sharp and most factors are 2. Such enlargements come closest to a network's
output."""


def draw_factor(rng: np.random.Generator, mix: Mix) -> float:
    """Returns a random factor by which to shrink an image and enlarge it again."""
    if rng.random() < mix.whole_share:
        return float(rng.choice(WHOLE_FACTORS, p=mix.whole_shares))
    return float(np.exp(rng.uniform(*np.log(FACTORS))))


def enlarge_plainly(small: Image.Image, size: tuple[int, int], rng: np.random.Generator, mix: Mix) -> Image.Image:
    """Enlarges ``small`` (RGB) to ``size`` (width, height) with a random filter; sharpens the result with probability
    1/3.
    """
    family = mix.families[rng.integers(len(mix.families))]
    if family == "pillow":
        large = small.resize(size, PILLOW[rng.integers(len(PILLOW))])
    elif family == "cubic":
        b, c = rng.uniform(0, 1, 2)
        large = _by_cubic(small, size, b * mix.most_b, c)
    else:
        large = _by_spline(small, size, int(rng.choice(SPLINE_ORDERS)))
    if rng.random() < SHARPENED_SHARE:
        large = large.filter(ImageFilter.UnsharpMask(rng.uniform(0.5, 2), int(rng.integers(30, 151)), threshold=0))
    return large


def _by_cubic(small: Image.Image, size: tuple[int, int], b: float, c: float) -> Image.Image:
    columns, rows = (_cubic_weights(new, old, b, c) for new, old in zip(size, small.size, strict=True))
    planes = [rows @ np.asarray(plane, np.float32) @ columns.T for plane in small.split()]
    return _from_planes(planes)


def _cubic_weights(new: int, old: int, b: float, c: float) -> np.ndarray:
    """Returns the (new, old) float32 matrix that enlarges a line of pixels. Row i contains the weights of the original
    pixels in pixel i of the enlarged line.
    """
    centres = (np.arange(new) + 0.5) * old / new - 0.5
    x = np.abs(centres[:, None] - np.arange(old))
    near = (12 - 9 * b - 6 * c) * x**3 + (-18 + 12 * b + 6 * c) * x**2 + 6 - 2 * b
    far = (-b - 6 * c) * x**3 + (6 * b + 30 * c) * x**2 + (-12 * b - 48 * c) * x + 8 * b + 24 * c
    weights = np.where(x < 1, near, np.where(x < 2, far, 0))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def _by_spline(small: Image.Image, size: tuple[int, int], order: int) -> Image.Image:
    from scipy.ndimage import zoom  # slow to import, and not needed for drawn scenes

    factors = (size[1] / small.height, size[0] / small.width)
    planes = [
        zoom(np.asarray(plane, np.float32), factors, order=order, mode="reflect", grid_mode=True)
        for plane in small.split()
    ]
    return _from_planes(planes)


def _from_planes(planes: list[np.ndarray]) -> Image.Image:
    """An RGB image made from three planes of values, rounded and clipped."""
    return Image.fromarray(np.clip(np.stack(planes, axis=-1) + 0.5, 0, 255).astype(np.uint8))
