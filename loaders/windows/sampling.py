"""Where crops are taken: rules that map image sizes and random streams to windows.

A rule processes a whole batch. Its inputs are heights, widths, the crop size, N, and a random stream per sample. It
returns windows and a mask. The windows, (B, N, 4) int32, are (top, left, height, width) in source pixels, inside the
image. The mask, (B, N) bool, is False where a rule gives fewer than N windows.

===================  =============================================================================
``stratified_grid``  the paper's rule: distinct cells of a grid with as many rows as columns; uniform
                     crops where an image is too small for N cells
``uniform``          crops anywhere in the image, independent of each other
``aspect``           distinct cells of a grid of nearly square cells that tile the image; where there
                     are fewer than N cells, all occur equally often, give or take one
``all``              every cell of the ``aspect`` grid once, with unused crops masked; if the grid has
                     more than N cells, N of them spread evenly over the image
``texture``          cells of the ``aspect`` grid spread over the image, weighted by the bits that the
                     JPEG spends on each cell; equal weights if the file is not a JPEG. The only rule
                     that depends on the file: an image saved both as a JPEG and as a PNG gets
                     different windows
===================  =============================================================================
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from loaders.order.randomness import U64, bounded, draws, stream
from loaders.windows.grid import MAX_CELLS, MAX_GRID, cell_windows, draw_cells, grid_shape
from shards.errors import InputError

if TYPE_CHECKING:
    from loaders.windows.detail import Detail

__all__ = ["SAMPLING_RULES", "Details", "SamplingRule", "crop_windows", "sampling_rule"]

Sizes = npt.NDArray[np.int64]
Windows = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]
Details = Sequence["Detail | None"] | None
"""The :class:`Detail` of each sample, with None where it is unknown; or None if it is unknown for all samples."""
Placing = Callable[..., tuple[Windows, Mask]]
"""Maps (heights (B,), widths (B,), crop size, N, streams (B,)) to (windows, mask). Rules that read files also take
``Details``."""

WINDOW_PURPOSE = 1 << 32
"""``purpose`` of window streams. If a sample has already occurred k times in the epoch, WINDOW_PURPOSE + k is used."""

DETAIL_STEPS = 1 << 20
"""Total weight that ``texture`` distributes over the cells of an image in proportion to their bits. As much again is
distributed equally, so that even the cell with the fewest bits can be drawn."""


def _uniform(height: Sizes, width: Sizes, crop_size: int, draw_top: U64, draw_left: U64) -> tuple[Sizes, Sizes]:
    """Returns uniformly random positions (top, left) of crops in the image. Along a side that is shorter than the crop,
    the position is 0."""
    room_down = np.maximum(height - crop_size, 0)[:, None] + 1
    room_right = np.maximum(width - crop_size, 0)[:, None] + 1
    return bounded(draw_top, room_down), bounded(draw_left, room_right)


def _clipped(top: Sizes, left: Sizes, height: Sizes, width: Sizes, crop_size: int) -> tuple[Windows, Mask]:
    windows = np.empty((*top.shape, 4), np.int32)
    windows[..., 0] = top
    windows[..., 1] = left
    windows[..., 2] = np.minimum(height, crop_size)[:, None]
    windows[..., 3] = np.minimum(width, crop_size)[:, None]
    return windows, np.ones(top.shape, np.bool_)


def uniform(height: Sizes, width: Sizes, crop_size: int, num_crops: int, streams: U64) -> tuple[Windows, Mask]:
    """Places N crops in the image, independently and uniformly at random."""
    random = draws(streams, 2 * num_crops)
    top, left = _uniform(height, width, crop_size, random[:, :num_crops], random[:, num_crops:])
    return _clipped(top, left, height, width, crop_size)


def stratified_grid(height: Sizes, width: Sizes, crop_size: int, num_crops: int, streams: U64) -> tuple[Windows, Mask]:
    """Spatially stratified sampling, the paper's rule.

    As in GLASS (arXiv 2601.00141), g = min(min(h, w) // crop_size, 8). If g·g ≥ N, one uniform crop is placed in each
    of N distinct cells of the g × g grid. A cell measures h // g × w // g. Otherwise N uniform crops are placed
    anywhere in the image.
    """
    random = draws(streams, MAX_GRID * MAX_GRID + 2 * num_crops)
    cell_keys = random[:, : MAX_GRID * MAX_GRID]
    draw_top = random[:, MAX_GRID * MAX_GRID :][:, :num_crops]
    draw_left = random[:, MAX_GRID * MAX_GRID + num_crops :]
    top, left = _uniform(height, width, crop_size, draw_top, draw_left)

    grid = np.minimum(np.minimum(height, width) // crop_size, MAX_GRID)
    gridded = grid * grid >= num_crops
    if gridded.any():
        # N smallest keys among the g·g cells that exist = N distinct cells, each set equally
        # likely.
        outside = np.arange(MAX_GRID * MAX_GRID)[None, :] >= (grid * grid)[:, None]
        keys = np.where(outside, np.uint64(2**64 - 1), cell_keys)
        cells = np.argsort(keys, axis=1, kind="stable")[:, :num_crops]
        side = np.maximum(grid, 1)[:, None]
        cell_height, cell_width = height[:, None] // side, width[:, None] // side
        cell_top = cells // side * cell_height
        cell_left = cells % side * cell_width
        in_cell_top = cell_top + bounded(draw_top, np.maximum(cell_height - crop_size, 0) + 1)
        in_cell_left = cell_left + bounded(draw_left, np.maximum(cell_width - crop_size, 0) + 1)
        top = np.where(gridded[:, None], in_cell_top, top)
        left = np.where(gridded[:, None], in_cell_left, left)
    return _clipped(top, left, height, width, crop_size)


def aspect(height: Sizes, width: Sizes, crop_size: int, num_crops: int, streams: U64) -> tuple[Windows, Mask]:
    """Places one uniformly random crop in each of N distinct cells of a grid that follows the image's shape; every set
    of N cells is equally likely. If there are fewer than N cells, they are reused in the same order."""
    rows, columns = grid_shape(height, width, crop_size)
    random = draws(streams, MAX_CELLS + 2 * num_crops)
    outside = np.arange(MAX_CELLS)[None, :] >= (rows * columns)[:, None]
    keys = np.where(outside, np.uint64(2**64 - 1), random[:, :MAX_CELLS])
    order = np.argsort(keys, axis=1, kind="stable")
    turn = np.arange(num_crops)[None, :] % (rows * columns)[:, None]
    cells = np.take_along_axis(order, turn, axis=1)
    return _in_cells(cells, height, width, crop_size, random[:, MAX_CELLS:], None)


def every_cell(height: Sizes, width: Sizes, crop_size: int, num_crops: int, streams: U64) -> tuple[Windows, Mask]:
    """Places a uniform crop in every cell of the ``aspect`` grid, row by row; crops beyond the last cell are masked.

    If there are more than N cells, N of them are drawn at equal distances along a curve through the image, starting at
    a random offset.
    """
    rows, columns = grid_shape(height, width, crop_size)
    count = np.minimum(rows * columns, num_crops)
    random = draws(streams, 2 + 2 * num_crops)
    drawn = draw_cells(rows, columns, None, count, random[:, :2])
    cells = _padded(np.argsort(~drawn, axis=1, kind="stable"), num_crops)
    mask = np.arange(num_crops)[None, :] < count[:, None]
    return _in_cells(cells, height, width, crop_size, random[:, 2:], mask)


def texture(
    height: Sizes, width: Sizes, crop_size: int, num_crops: int, streams: U64, details: Details
) -> tuple[Windows, Mask]:
    """Places one uniformly random crop in each of N cells of the ``aspect`` grid. The cells are spread over the image;
    the more bits the JPEG spends on a cell, the more likely it is to be drawn (see ``DETAIL_STEPS``). If the grid has
    only n < N cells, each is used N // n times, and another N mod n cells are drawn."""
    rows, columns = grid_shape(height, width, crop_size)
    num_cells = rows * columns
    random = draws(streams, 2 + 2 * num_crops)
    weights = _detail_weights(rows, columns, details)
    drawn = draw_cells(rows, columns, weights, num_crops % num_cells, random[:, :2])
    # Those drawn first, then whole rounds of all cells.
    first = _padded(np.argsort(~drawn, axis=1, kind="stable"), num_crops)
    place = np.arange(num_crops)[None, :] - (num_crops % num_cells)[:, None]
    cells = np.where(place < 0, first, place % num_cells[:, None])
    return _in_cells(cells, height, width, crop_size, random[:, 2:], None)


def _in_cells(
    cells: Sizes, height: Sizes, width: Sizes, crop_size: int, random: U64, mask: Mask | None
) -> tuple[Windows, Mask]:
    """Places one uniformly random crop in each of ``cells`` (B, N) of the grid, using the random numbers ``random``,
    (B, 2 · N)."""
    num_crops = cells.shape[1]
    rows, columns = grid_shape(height, width, crop_size)
    top, left = cell_windows(
        cells, height, width, rows, columns, crop_size, random[:, :num_crops], random[:, num_crops:]
    )
    windows, every = _clipped(top, left, height, width, crop_size)
    if mask is None:
        return windows, every
    windows[~mask] = 0
    return windows, mask


def _padded(cells: Sizes, num_crops: int) -> Sizes:
    """The first N columns of ``cells``, padded with zeros if N exceeds the 64 cells of a grid."""
    missing = max(0, num_crops - cells.shape[1])
    return np.pad(cells, ((0, 0), (0, missing)))[:, :num_crops]


def _detail_weights(rows: Sizes, columns: Sizes, details: Details) -> Sizes | None:
    """Returns (B, 64) cell weights for ``draw_cells``, or None (equal weights) if ``details`` is None."""
    if details is None:
        return None
    weights = np.full((len(rows), MAX_CELLS), DETAIL_STEPS, np.int64)
    for place, detail in enumerate(details):
        if detail is not None:
            bits = detail.cell_bits(int(rows[place]), int(columns[place]))
            share = bits * DETAIL_STEPS // max(int(bits.sum()), 1)
            weights[place, : len(bits)] = share + DETAIL_STEPS // len(bits)
    return weights


@dataclass(frozen=True)
class SamplingRule:
    """A rule that places crops. The placement may depend on the image's JPEG data."""

    place: Placing
    reads_files: bool = False
    """Whether the windows also depend on the bits of a JPEG."""

    def detail_of_sample(self, jpeg: Bytes, entry_points: Bytes) -> "Detail | None":
        """Computes the :class:`Detail` of a stored JPEG from its bytes and its ``.mcu`` member, both 1-D uint8. Returns
        None if the rule reads no files or the member yields no detail."""
        if not self.reads_files:
            return None
        from loaders.windows.detail import read_detail  # Numba takes a second to import

        return read_detail(jpeg, entry_points)

    def detail_of_file(self, data: bytes | None) -> "Detail | None":
        """Computes the :class:`Detail` of an image file, equal to that of the same file in a shard. Returns None if the
        rule reads no files, or if ``data`` is None or yields no detail."""
        if not self.reads_files or data is None:
            return None
        from loaders.windows.detail import detail_of_file

        return detail_of_file(data)


SAMPLING_RULES = {
    "stratified_grid": SamplingRule(stratified_grid),
    "uniform": SamplingRule(uniform),
    "aspect": SamplingRule(aspect),
    "all": SamplingRule(every_cell),
    "texture": SamplingRule(texture, reads_files=True),
}


def sampling_rule(name: str) -> SamplingRule:
    """Returns the rule called ``name``. Raises ``InputError``, which lists all rules, if there is no such rule."""
    if name not in SAMPLING_RULES:
        raise InputError(f"loader.sampling={name!r} is not one of {', '.join(SAMPLING_RULES)}")
    return SAMPLING_RULES[name]


def crop_windows(
    rule: SamplingRule,
    height: npt.ArrayLike,
    width: npt.ArrayLike,
    content_id: npt.ArrayLike,
    *,
    crop_size: int,
    num_crops: int,
    seed: int,
    epoch: int,
    appearance: int = 0,
    details: Details = None,
) -> tuple[Windows, Mask]:
    """Returns the windows (B, N, 4) int32 and the mask (B, N) of a batch. They are a pure function of (seed, epoch,
    content_id), the image's size and, for rules that read files, ``details`` (one entry per sample).

    ``appearance`` is the number of times that the samples have already occurred in this epoch: class-balanced sampling
    repeats samples, each time with different windows.
    """
    streams = stream(seed, epoch, content_id, WINDOW_PURPOSE + appearance)
    sizes = np.asarray(height, np.int64), np.asarray(width, np.int64)
    return rule.place(*sizes, crop_size, num_crops, streams, *([details] if rule.reads_files else []))
