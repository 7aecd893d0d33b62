"""A camera model with a Bayer mosaic (one colour per pixel), sensor noise, demosaicing and sharpening.

Its images contain a real camera's traces at native resolution: noise whose strength depends on brightness, and
correlations between pixels that repeat with the mosaic's two-pixel period.
"""

from dataclasses import dataclass

import numpy as np

__all__ = ["Camera", "draw_camera", "photograph"]


@dataclass(frozen=True, slots=True)
class Camera:
    """The properties in which cameras and exposures differ."""

    red_row: int
    """0 or 1: the red pixel's row in the 2×2 mosaic; the blue pixel is diagonally opposite."""
    red_column: int
    """0 or 1: the red pixel's column."""
    shot_noise: float
    """Shot-noise variance per unit of linear light, which ranges from 0 to 1."""
    read_noise: float
    """Read-noise standard deviation, in units of linear light. It does not depend on brightness."""
    sharpening: float
    """Sharpening strength. This factor times the difference between the green plane and its 3×3 mean is added to every
    colour plane."""


def draw_camera(rng: np.random.Generator) -> Camera:
    """Returns a camera with random properties. Its shot noise is as strong as in night photographs: a standard
    deviation of 8 to 16 grey levels per mosaic pixel.
    """
    noise = np.exp(rng.uniform(np.log(8.0), np.log(16.0))) / 255
    return Camera(
        red_row=int(rng.integers(2)),
        red_column=int(rng.integers(2)),
        # In display values (square roots of linear light) shot noise is even: √variance / 2.
        shot_noise=float((2 * noise) ** 2),
        read_noise=float(0.1 * noise),
        sharpening=float(rng.uniform(0.0, 0.5)),
    )


def photograph(scene: np.ndarray, camera: Camera, rng: np.random.Generator) -> np.ndarray:
    """Photographs ``scene``, (3, H, W) float32 in 0…1 with even H and W; returns (3, H, W) uint8 with noise."""
    red_row, red_column = camera.red_row, camera.red_column
    raw = _mosaic(scene, red_row, red_column)
    raw *= raw  # to linear light: the curve of displays is nearly a square
    noise = np.sqrt(camera.shot_noise * raw + np.float32(camera.read_noise**2))
    noise *= rng.standard_normal(raw.shape, dtype=np.float32)
    raw += noise
    np.clip(raw, 0, 1, out=raw)
    display = _demosaic(np.sqrt(raw, out=raw), red_row, red_column)
    green = display[1]
    display += np.float32(camera.sharpening) * (green - _mean_3x3(green))
    display *= 255
    display += 0.5
    return np.clip(display, 0, 255, out=display).astype(np.uint8)


def _mosaic(scene: np.ndarray, red_row: int, red_column: int) -> np.ndarray:
    """Returns (H, W): each pixel's value in the one colour that its filter lets through."""
    raw = scene[1].copy()
    raw[red_row::2, red_column::2] = scene[0, red_row::2, red_column::2]
    blue_row, blue_column = 1 - red_row, 1 - red_column
    raw[blue_row::2, blue_column::2] = scene[2, blue_row::2, blue_column::2]
    return raw


def _demosaic(raw: np.ndarray, red_row: int, red_column: int) -> np.ndarray:
    """Interpolates each mosaic pixel's two missing colours. Returns (3, H, W). Missing green values are the mean of
    their four neighbours. For red and blue, the difference from green is interpolated.
    """
    green = _green(raw, red_row, red_column)
    difference = raw - green
    planes = np.empty((3, *raw.shape), dtype=np.float32)
    planes[1] = green
    for plane, row, column in ((0, red_row, red_column), (2, 1 - red_row, 1 - red_column)):
        np.add(green, _spread(difference, row, column), out=planes[plane])
    return planes


def _green(raw: np.ndarray, red_row: int, red_column: int) -> np.ndarray:
    padded = np.pad(raw, 1, mode="reflect")
    green = raw.copy()
    height, width = raw.shape
    for row, column in ((red_row, red_column), (1 - red_row, 1 - red_column)):
        up, down = slice(row, row + height - 1, 2), slice(row + 2, row + height + 1, 2)
        left, right = slice(column, column + width - 1, 2), slice(column + 2, column + width + 1, 2)
        here_row, here_column = (slice(row + 1, row + height, 2), slice(column + 1, column + width, 2))
        total = padded[up, here_column] + padded[down, here_column]
        total += padded[here_row, left] + padded[here_row, right]
        green[row::2, column::2] = total * np.float32(0.25)
    return green


def _spread(values: np.ndarray, row: int, column: int) -> np.ndarray:
    """Interpolates bilinearly between the known ``values``, at rows ``row::2`` and columns ``column::2``."""
    rows = _double_rows(values[row::2, column::2], row)
    return _double_rows(rows.T, column).T


def _double_rows(known: np.ndarray, first: int) -> np.ndarray:
    """Doubles the number of rows: ``known`` at rows ``first::2``, and the means of adjacent rows between them."""
    doubled = np.empty((known.shape[0] * 2, known.shape[1]), dtype=np.float32)
    doubled[first::2] = known
    neighbour = (known[1:], known[-1:]) if first == 0 else (known[:1], known[:-1])
    doubled[1 - first :: 2] = (known + np.concatenate(neighbour)) * np.float32(0.5)
    return doubled


def _mean_3x3(plane: np.ndarray) -> np.ndarray:
    """Mean over 3×3 pixels; pixels at the border are unchanged."""
    mean = plane.copy()
    rows = plane[:-2] + plane[1:-1]
    rows += plane[2:]
    inner = rows[:, :-2] + rows[:, 1:-1]
    inner += rows[:, 2:]
    np.multiply(inner, np.float32(1 / 9), out=mean[1:-1, 1:-1])
    return mean
