"""A grid of nearly square cells that tile the whole image, and random draws of its cells.

The paper's grid has as many rows as columns, so its cells have the aspect ratio of the image. If a side is not
divisible by the number of cells, the remaining pixels at the border are never part of a crop. Here the number of cells
along each side depends on the image's shape, and the cells cover every pixel.

Cells are drawn by weighted systematic sampling along a Hilbert curve. The cells are laid end to end along a line, each
as long as its weight. N points are marked on the line at equal distances, starting at a random offset, and the cells
that contain a point are drawn. So a cell's chance of being drawn is proportional to its weight. A cell longer than the
distance between points is set aside beforehand and drawn once, so no cell is drawn twice. Cells that are neighbours on
the curve, and so in the image, are seldom drawn together. All arithmetic uses integers, so every machine draws the same
cells.
"""

import numpy as np
import numpy.typing as npt

from loaders.order.randomness import U64, bounded

__all__ = ["MAX_CELLS", "MAX_GRID", "cell_windows", "draw_cells", "grid_shape"]

Int64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

MAX_GRID = 8
"""Maximum number of cells along a side."""

MAX_CELLS = MAX_GRID * MAX_GRID


def _hilbert_curve() -> Int64:
    """(8, 8): the position of each cell along a Hilbert curve through the grid."""
    distance = np.zeros((MAX_GRID, MAX_GRID), np.int64)
    for row in range(MAX_GRID):
        for column in range(MAX_GRID):
            x, y, side = column, row, MAX_GRID // 2
            while side:
                right, down = int(x & side > 0), int(y & side > 0)
                distance[row, column] += side * side * ((3 * right) ^ down)
                if not down:
                    if right:
                        x, y = MAX_GRID - 1 - x, MAX_GRID - 1 - y
                    x, y = y, x
                side //= 2
    return distance


CURVE = _hilbert_curve()


def grid_shape(height: Int64, width: Int64, crop_size: int) -> tuple[Int64, Int64]:
    """Returns the numbers of grid rows and grid columns, each (B,).

    Along the longer side, there are as many cells as crops fit side by side, up to 8. Along the shorter side, the
    number of cells is chosen to make the cells as nearly square as possible, while a crop still fits into each.
    """
    longer, shorter = np.maximum(height, width), np.minimum(height, width)
    along = np.clip(longer // crop_size, 1, MAX_GRID)
    across = (2 * shorter * along + longer) // (2 * longer)
    across = np.clip(across, 1, np.maximum(shorter // crop_size, 1))
    tall = height >= width
    return np.where(tall, along, across), np.where(tall, across, along)


def cell_windows(
    cells: Int64,
    height: Int64,
    width: Int64,
    rows: Int64,
    columns: Int64,
    crop_size: int,
    draw_top: U64,
    draw_left: U64,
) -> tuple[Int64, Int64]:
    """Places one crop uniformly at random in each of ``cells`` (B, N), which are numbered row by row. Returns the
    positions (top, left) of the crops, each (B, N).

    Cell i of n along a side of s pixels spans i · s // n … (i + 1) · s // n, so the cells tile the image. A cell is
    smaller than a crop only if the image is; then the crop begins at 0.
    """

    def place(number: Int64, count: Int64, side: Int64, draw: U64) -> Int64:
        start = number * side[:, None] // count[:, None]
        stop = (number + 1) * side[:, None] // count[:, None]
        return start + bounded(draw, np.maximum(stop - start - crop_size, 0) + 1)

    top = place(cells // columns[:, None], rows, height, draw_top)
    left = place(cells % columns[:, None], columns, width, draw_left)
    return top, left


def draw_cells(rows: Int64, columns: Int64, weights: Int64 | None, count: Int64, random: U64) -> Mask:
    """Draws ``count`` (B,) distinct cells of each grid at random, or all cells if the grid has no more than that.
    Returns a (B, 64) bool array that is True for the drawn cells.

    ``weights`` (B, 64) are integers from 1 to 2²⁵ for the cells that exist, numbered row by row; None means equal
    weights. ``random`` (B, 2) holds two random numbers: one for the starting offset, one for the orientation of the
    curve through the cells. A cell that has at least 1 / ``count`` of the total weight is always drawn, once, and the
    others share the remaining draws.
    """
    number = np.arange(MAX_CELLS)[None, :]
    exists = number < (rows * columns)[:, None]
    order = _curve_order(rows, columns, exists, random[:, 1])
    weight = np.where(exists, 1 if weights is None else weights, 0)
    weight = np.take_along_axis(weight, order, axis=1)
    certain, left, total = _certain(weight, count)
    ends = np.where(certain, 0, weight).cumsum(axis=1) * left[:, None]
    start = bounded(random[:, 0], np.maximum(total, 1))[:, None]
    # How many of the points start, start + total, … lie before each end.
    before = np.where(ends > start, -(-(ends - start) // np.maximum(total, 1)[:, None]), 0)
    taken = certain | (np.diff(before, axis=1, prepend=0) > 0)
    drawn = np.zeros(taken.shape, np.bool_)
    np.put_along_axis(drawn, order, taken, axis=1)
    return drawn


def _curve_order(rows: Int64, columns: Int64, exists: Mask, draw: U64) -> Int64:
    """Returns a (B, 64) array of cell indices in order along the curve. Indices of cells that the grid does not have
    are at the end. The curve is mirrored at random. Otherwise, certain pairs of neighbouring cells, far apart on the
    curve in every draw, would be drawn together more often than others."""
    number = np.arange(MAX_CELLS)[None, :]
    row, column = number // columns[:, None], number % columns[:, None]
    mirror = bounded(draw, 4)[:, None]
    row = np.where(mirror & 1 > 0, rows[:, None] - 1 - row, row)
    column = np.where(mirror & 2 > 0, columns[:, None] - 1 - column, column)
    place = CURVE[np.clip(row, 0, MAX_GRID - 1), np.clip(column, 0, MAX_GRID - 1)]
    return np.argsort(np.where(exists, place, MAX_CELLS), axis=1, kind="stable")


def _certain(weight: Int64, count: Int64) -> tuple[Mask, Int64, Int64]:
    """Returns (mask of the cells that are certain to be drawn, number of cells left to draw, total weight of the other
    cells)."""
    certain = np.zeros(weight.shape, np.bool_)
    while True:
        left = count - certain.sum(axis=1)
        rest = np.where(certain, 0, weight)
        total = rest.sum(axis=1)
        more = (rest > 0) & (rest * left[:, None] >= total[:, None])
        if not more.any():
            return certain, left, total
        certain |= more
