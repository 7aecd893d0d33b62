"""Where crops are taken: rules that map image sizes and random streams to windows.

A rule sees a whole batch at once. It returns ``crop_windows`` (B, N, 4) int32 rows of (top, left,
height, width) in source pixels, half-open and inside the image, and ``crop_mask`` (B, N) bool,
False where a rule has fewer than N windows to give.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from loaders.randomness import U64, bounded, draws, stream
from shards.command import InputError

__all__ = ["SAMPLING_RULES", "crop_windows", "sampling_rule"]

Sizes = npt.NDArray[np.int64]
Windows = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]
Rule = Callable[[Sizes, Sizes, int, int, U64], tuple[Windows, Mask]]

WINDOW_PURPOSE = 1 << 32
"""``purpose`` of window streams; appearance k of a sample in an epoch uses WINDOW_PURPOSE + k."""

MAX_GRID = 8
"""The grid has at most 8 × 8 cells (GLASS, arXiv 2601.00141)."""


def _uniform(
    height: Sizes, width: Sizes, crop_size: int, draw_top: U64, draw_left: U64
) -> tuple[Sizes, Sizes]:
    """Uniform positions over the image; 0 where it is smaller than the crop."""
    room_down = np.maximum(height - crop_size, 0)[:, None] + 1
    room_right = np.maximum(width - crop_size, 0)[:, None] + 1
    return bounded(draw_top, room_down), bounded(draw_left, room_right)


def _clipped(
    top: Sizes, left: Sizes, height: Sizes, width: Sizes, crop_size: int
) -> tuple[Windows, Mask]:
    windows = np.empty((*top.shape, 4), np.int32)
    windows[..., 0] = top
    windows[..., 1] = left
    windows[..., 2] = np.minimum(height, crop_size)[:, None]
    windows[..., 3] = np.minimum(width, crop_size)[:, None]
    return windows, np.ones(top.shape, np.bool_)


def uniform(
    height: Sizes, width: Sizes, crop_size: int, num_crops: int, streams: U64
) -> tuple[Windows, Mask]:
    """N independent uniform crops over the image."""
    random = draws(streams, 2 * num_crops)
    top, left = _uniform(height, width, crop_size, random[:, :num_crops], random[:, num_crops:])
    return _clipped(top, left, height, width, crop_size)


def stratified_grid(
    height: Sizes, width: Sizes, crop_size: int, num_crops: int, streams: U64
) -> tuple[Windows, Mask]:
    """Spatially stratified sampling, the paper's rule.

    g = min(min(h, w) // crop_size, 8). Where g·g ≥ N: N distinct cells of the g × g grid, whose
    cells measure h // g × w // g, and in each a uniform crop. Elsewhere: N uniform crops over the
    image.
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


SAMPLING_RULES: dict[str, Rule] = {"stratified_grid": stratified_grid, "uniform": uniform}


def sampling_rule(name: str) -> Rule:
    """The rule of that name; ``InputError`` lists those that exist."""
    if name not in SAMPLING_RULES:
        raise InputError(f"loader.sampling={name!r} is not one of {', '.join(SAMPLING_RULES)}")
    return SAMPLING_RULES[name]


def crop_windows(
    rule: Rule,
    height: npt.ArrayLike,
    width: npt.ArrayLike,
    content_id: npt.ArrayLike,
    *,
    crop_size: int,
    num_crops: int,
    seed: int,
    epoch: int,
    appearance: int = 0,
) -> tuple[Windows, Mask]:
    """Windows of a batch: a pure function of (seed, epoch, content_id) and the image's size.

    ``appearance`` counts from 0 how often the sample came before in this epoch (class-balanced
    sampling repeats samples, with other windows).
    """
    streams = stream(seed, epoch, content_id, WINDOW_PURPOSE + appearance)
    return rule(
        np.asarray(height, np.int64), np.asarray(width, np.int64), crop_size, num_crops, streams
    )
