"""Decides whether two pictures are the same except for a re-save, a resize or a crop.

All global views have the same size, whatever the size of the picture. The global view of a crop is therefore the
original's, stretched and shifted independently along each axis. Least squares (Gauss-Newton, from coarse to fine) finds
both stretches, both shifts, and the difference in brightness and contrast. Then the *fine detail* of the two pictures
is compared where they overlap. Different pictures with a similar composition agree in their coarse shapes, but only
renditions of the same picture agree in their detail.
"""

from typing import Any

import numpy as np
from PIL import Image

from shards.jpeg.kernel_cache import cached

__all__ = ["LEVELS", "grey_pyramid", "same_picture_scores"]

LEVELS = (16, 32, 64, 128)
"""Side lengths of the pictures in a grey pyramid, in pixels, from coarse to fine."""

_STEPS = 12  # maximum number of Gauss-Newton steps at each level; most pairs converge within five
_LEAST_DETAIL = 0.5  # standard deviation in grey levels; with less, a picture is flat except for noise
_EARLY_SIDE, _EARLY_LEAST = 32, 0.75  # most pairs of different pictures are dismissed at this level


def grey_pyramid(view: np.ndarray) -> list[np.ndarray]:
    """Returns the image pyramid of a global view (S, S, 3) uint8: grey pictures (side, side) float32, smallest first.

    There is one picture for each side length in ``LEVELS`` that does not exceed S.
    """
    grey = Image.fromarray(view).convert("L")
    sides = [side for side in LEVELS if side <= view.shape[0]]
    return [np.asarray(grey.resize((side, side), Image.Resampling.BOX), np.float32) for side in sides]


def same_picture_scores(first: list[np.ndarray], second: list[np.ndarray]) -> tuple[float, float]:
    """Aligns two grey pyramids and returns (detail, coarse), both correlations in [-1, 1].

    ``coarse`` is the correlation of the pictures at the finest level. ``detail`` is the correlation of what remains
    after subtracting a 5 × 5 blur from each. Both are 0 if no alignment is found, or if the pictures already differ too
    much at a coarser level. ``detail`` is 0 if only one picture has detail. If neither has detail, both are 1 if the
    grey values agree, else 0. The order of the arguments matters: a crop is recognised more reliably if it is passed as
    ``second``.
    """
    if max(first[-1].std(), second[-1].std()) < _LEAST_DETAIL:
        return _equality(first[-1], second[-1])
    parameters = np.array([1.0, 0.0, 1.0, 0.0])
    for a, b in zip(first, second, strict=True):
        if not _align(a, b, parameters, _STEPS):
            return 0.0, 0.0
        if a.shape[0] == _EARLY_SIDE and _compare(a, b, parameters)[1] < _EARLY_LEAST:
            return 0.0, 0.0
    detail, coarse, one, other = _compare(first[-1], second[-1], parameters)
    if max(one, other) < _LEAST_DETAIL:  # smooth, such as a gradient
        return _equality(first[-1], second[-1])
    return (detail, coarse) if 2 * min(one, other) >= _LEAST_DETAIL else (0.0, coarse)


def _equality(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Scores two pictures without detail: both scores are 1 if no grey value differs by more than ``_LEAST_DETAIL``,
    else 0."""
    equal = float(np.abs(first - second).max() <= _LEAST_DETAIL)
    return equal, equal


@cached
def _sample(image: Any, v: float, u: float) -> tuple[float, float, float]:
    """Interpolates ``image`` bilinearly at row v and column u.

    Returns (value, derivative with respect to v, derivative with respect to u). The position must lie inside the image.
    """
    top, left = min(int(v), image.shape[0] - 2), min(int(u), image.shape[1] - 2)
    y, x = v - top, u - left
    a, b = image[top, left], image[top, left + 1]
    c, d = image[top + 1, left], image[top + 1, left + 1]
    upper, lower = a + x * (b - a), c + x * (d - c)
    return upper + y * (lower - upper), lower - upper, (1 - y) * (b - a) + y * (d - c)


@cached
def _align(image: Any, target: Any, parameters: Any, steps: int) -> bool:
    """Refines the alignment of two pictures by least squares. Returns False if no plausible alignment is found.

    ``parameters`` is (column scale, column shift, row scale, row shift) and is updated in place. The point (x, y) in
    ``target`` corresponds to (column scale · x + column shift, row scale · y + row shift) in ``image``, where
    coordinates are fractions of the side length. Brightness and contrast are fitted, too.
    """
    side = image.shape[0]
    rows = np.empty(6)
    for _ in range(steps):
        normal, right = np.zeros((6, 6)), np.zeros(6)
        count = 0
        for i in range(side):
            y = (i + 0.5) / side
            v = (parameters[2] * y + parameters[3]) * side - 0.5
            if v < 0 or v > side - 1:
                continue
            for j in range(side):
                x = (j + 0.5) / side
                u = (parameters[0] * x + parameters[1]) * side - 0.5
                if u < 0 or u > side - 1:
                    continue
                value, dv, du = _sample(image, v, u)
                rows[0], rows[1] = du * side * x, du * side
                rows[2], rows[3] = dv * side * y, dv * side
                rows[4], rows[5] = value, 1.0
                count += 1
                for p in range(6):
                    right[p] += rows[p] * target[i, j]
                    for q in range(p, 6):
                        normal[p, q] += rows[p] * rows[q]
        if count < side * side // 4:
            return False
        for p in range(6):
            for q in range(p):
                normal[p, q] = normal[q, p]
            normal[p, p] = normal[p, p] * (1 + 1e-5) + 1e-6
        # With gain g and offset o: g·I(W + dW) + o = T, linear in (g·dW, g, o).
        found = np.linalg.solve(normal, right)
        gain = found[4]
        if not gain > 0.2 or gain > 5:
            return False
        moved = 0.0
        for p in range(4):
            step = min(max(found[p] / gain, -0.1), 0.1)
            parameters[p] += step
            moved = max(moved, abs(step))
        for axis in range(2):
            if not 0.5 < parameters[2 * axis] < 2 or abs(parameters[2 * axis + 1]) > 0.6:
                return False  # no plausible crop is stretched or shifted this far
        if moved * side < 0.02:
            break
    return True


@cached
def _blurred(image: Any, present: Any) -> Any:
    """Blurs ``image``: each pixel becomes the mean of those pixels in the 5 × 5 square around it that are marked in
    ``present``."""
    side = image.shape[0]
    out = np.zeros((side, side))
    for i in range(side):
        for j in range(side):
            total, count = 0.0, 0
            for k in range(max(0, i - 2), min(side, i + 3)):
                for m in range(max(0, j - 2), min(side, j + 3)):
                    if present[k, m]:
                        total += image[k, m]
                        count += 1
            out[i, j] = total / max(count, 1)
    return out


@cached
def _correlation(a: Any, b: Any, present: Any) -> tuple[float, float, float]:
    """Returns (correlation of ``a`` and ``b``, standard deviation of ``a``, standard deviation of ``b``).

    Only pixels that are marked in ``present`` are included.
    """
    n, sa, sb, saa, sbb, sab = 0, 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(a.shape[0]):
        for j in range(a.shape[1]):
            if present[i, j]:
                x, y = a[i, j], b[i, j]
                n += 1
                sa += x
                sb += y
                saa += x * x
                sbb += y * y
                sab += x * y
    if n == 0:
        return 0.0, 0.0, 0.0
    va, vb = max(saa / n - (sa / n) ** 2, 0.0), max(sbb / n - (sb / n) ** 2, 0.0)
    covariance = sab / n - sa / n * sb / n
    return covariance / max(np.sqrt(va * vb), 1e-9), np.sqrt(va), np.sqrt(vb)


@cached
def _compare(image: Any, target: Any, parameters: Any) -> tuple[float, float, float, float]:
    """Aligns two pictures by ``parameters`` (see :func:`_align`) and compares them where they overlap.

    Returns (correlation of the details, correlation of the pictures, standard deviation of ``image``'s detail, standard
    deviation of ``target``'s detail). A picture's detail is the picture minus its 5 × 5 blur.
    """
    side = image.shape[0]
    moved, present = np.zeros((side, side)), np.zeros((side, side), np.bool_)
    for i in range(side):
        v = (parameters[2] * (i + 0.5) / side + parameters[3]) * side - 0.5
        for j in range(side):
            u = (parameters[0] * (j + 0.5) / side + parameters[1]) * side - 0.5
            if 0 <= v <= side - 1 and 0 <= u <= side - 1:
                present[i, j] = True
                moved[i, j] = _sample(image, v, u)[0]
    coarse = _correlation(moved, target, present)[0]
    first = moved - _blurred(moved, present)
    second = target - _blurred(target, present)
    detail, one, other = _correlation(first, second, present)
    return detail, coarse, one, other
