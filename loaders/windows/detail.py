"""How much detail each part of a JPEG holds, read off the bits it takes. Nothing is decoded.

The entry points of the ``.mcu`` member give the bit at which every n-th MCU begins, so the bits of
a region are differences of those positions, evenly shared out between two of them. Where a file has
no entry points its detail is unknown.
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
    """Bits of an image's parts; equal entry points give equal numbers on every machine."""

    positions: npt.NDArray[np.int64]
    """(n + 1,) bit position of each entry, not falling, and of the scan's end."""
    mcus_per_entry: int
    mcus_per_row: int
    num_mcus: int

    def cell_bits(self, rows: int, columns: int) -> npt.NDArray[np.int64]:
        """(rows · columns,) bits of the cells of a grid over the image, row by row.

        A cell is rounded to whole MCUs, of which it takes at least one row and one column.
        """
        mcu_rows = self.num_mcus // self.mcus_per_row
        first_row, last_row = _edges(mcu_rows, rows)
        first_column, last_column = _edges(self.mcus_per_row, columns)
        starts = np.arange(mcu_rows)[:, None] * self.mcus_per_row
        bits = self._before(starts + last_column) - self._before(starts + first_column)
        above = np.concatenate([np.zeros((1, columns), np.int64), bits.cumsum(axis=0)])
        return (above[last_row] - above[first_row]).ravel()

    def _before(self, mcu: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Bit position of ``mcu``, between entries by even shares, rounded down."""
        entry = np.minimum(mcu // self.mcus_per_entry, len(self.positions) - 2)
        first = entry * self.mcus_per_entry
        length = np.minimum(self.mcus_per_entry, self.num_mcus - first)
        start, stop = self.positions[entry], self.positions[entry + 1]
        return start + (stop - start) * (mcu - first) // length


def _edges(length: int, count: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """First and one-past-last of ``count`` parts of ``length``; parts of few overlap."""
    number = np.arange(count)
    first = np.minimum(number * length // count, length - 1)
    return first, np.maximum((number + 1) * length // count, first + 1)


def read_detail(jpeg: Bytes, entry_points: Bytes) -> Detail | None:
    """The detail of ``jpeg`` by its ``.mcu`` member, None where that is empty, damaged or another
    file's. Of the JPEG its header is read, and the beginning of its scan."""
    if not entry_points.size:
        return None
    found = read_positions(jpeg, entry_points)
    return None if found is None else Detail(*found)


def detail_of_file(data: bytes) -> Detail | None:
    """The detail of an image file, equal to that of :func:`read_detail` once the file lies in a shard.

    Walks the scan of a JPEG, at about half the cost of decoding it. None for files without entry
    points: other formats, and progressive JPEGs. (Shards store those as baseline files, which have
    some; the loader leaves them unused, so that the file has the same windows as its shard.)
    """
    if not data.startswith(b"\xff\xd8"):
        return None
    try:
        entry_points = build_entry_points(data)
    except NotIndexable:
        return None
    return read_detail(np.frombuffer(data, np.uint8), np.frombuffer(entry_points, np.uint8))
