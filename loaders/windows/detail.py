"""Measures how much detail each part of a JPEG has, as the number of coded bits it occupies. Nothing is decoded.

The entry points in the ``.mcu`` member give the bit position at which every n-th MCU begins. The number of bits in a
region is computed from differences between these positions; positions of the MCUs in between are interpolated linearly.
Without entry points, the detail of a file is unknown.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shards.jpeg.entry_points import NotIndexable, build_entry_points
from shards.jpeg.splice.positions import read_positions

__all__ = ["Detail", "detail_of_file", "read_detail"]

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Detail:
    """The number of bits that each part of an image occupies in its JPEG's scan. Equal entry points give equal results
    on every machine."""

    positions: npt.NDArray[np.int64]
    """(n + 1,) bit positions of the n entries and of the end of the scan, in non-decreasing order."""
    mcus_per_entry: int
    mcus_per_row: int
    num_mcus: int

    def cell_bits(self, rows: int, columns: int) -> npt.NDArray[np.int64]:
        """Returns the number of bits in each cell of a grid over the image, row by row: an int64 array of rows ·
        columns elements.

        A cell is rounded to whole MCUs; it has at least one row and one column of them.
        """
        mcu_rows = self.num_mcus // self.mcus_per_row
        first_row, last_row = _edges(mcu_rows, rows)
        first_column, last_column = _edges(self.mcus_per_row, columns)
        starts = np.arange(mcu_rows)[:, None] * self.mcus_per_row
        bits = self._before(starts + last_column) - self._before(starts + first_column)
        above = np.concatenate([np.zeros((1, columns), np.int64), bits.cumsum(axis=0)])
        return (above[last_row] - above[first_row]).ravel()

    def _before(self, mcu: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Returns the bit position at which each MCU in ``mcu`` begins, interpolated linearly between entries and
        rounded down."""
        entry = np.minimum(mcu // self.mcus_per_entry, len(self.positions) - 2)
        first = entry * self.mcus_per_entry
        length = np.minimum(self.mcus_per_entry, self.num_mcus - first)
        start, stop = self.positions[entry], self.positions[entry + 1]
        return start + (stop - start) * (mcu - first) // length


def _edges(length: int, count: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Divides ``length`` items into ``count`` parts. Returns the first index and the one-past-last index of each part.
    Every part has at least one item; if there are more parts than items, parts overlap."""
    number = np.arange(count)
    first = np.minimum(number * length // count, length - 1)
    return first, np.maximum((number + 1) * length // count, first + 1)


def read_detail(jpeg: Bytes, entry_points: Bytes) -> Detail | None:
    """Computes the :class:`Detail` of ``jpeg`` from ``entry_points``, the contents of its ``.mcu`` member. Returns None
    if that member is empty, damaged or belongs to another file. Both arguments are 1-D uint8. Only the header of the
    JPEG and the start of its scan are read."""
    if not entry_points.size:
        return None
    found = read_positions(jpeg, entry_points)
    return None if found is None else Detail(*found)


def detail_of_file(data: bytes) -> Detail | None:
    """Computes the :class:`Detail` of an image file from its full contents. The result equals that of
    :func:`read_detail` for the same file in a shard.

    Walks the scan of a JPEG, at about half the cost of decoding it. Returns None for files without entry points: other
    formats, and JPEGs that cannot be indexed, such as progressive JPEGs. (A shard holds a progressive JPEG as a
    baseline file with entry points. The loader ignores the detail of such baseline files, so that an image has the same
    windows inside and outside a shard.)
    """
    if not data.startswith(b"\xff\xd8"):
        return None
    try:
        entry_points = build_entry_points(data)
    except NotIndexable:
        return None
    return read_detail(np.frombuffer(data, np.uint8), np.frombuffer(entry_points, np.uint8))
