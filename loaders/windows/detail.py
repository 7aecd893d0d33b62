"""How much detail each part of a JPEG holds, read off the bits it takes. Nothing is decoded.

The entry points of the ``.mcu`` member say at which bit every so-manieth MCU begins, so the bits of
a region are differences of those positions, evenly shared out between two of them. Where a file has
no entry points its detail is unknown.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import int64, uint64

from shards.jpeg.entry_points import NotIndexable, build_entry_points
from shards.jpeg.kernel_cache import cached, source_digest
from shards.jpeg.numba_support import Scalar, address_of, bytes_at, int64_at
from shards.jpeg.splice import index as splice_index
from shards.jpeg.splice.index import ENTRIES, EVERY, INFO_SIZE, MCUS_PER_ROW, NUM_MCUS, OK, entry_position, open_index

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
    info = np.zeros(INFO_SIZE, np.int64)
    # An entry takes at least a bit of the member, so there is room whatever it claims.
    positions = np.empty(8 * entry_points.size + 1, np.int64)
    status = _positions(
        np.uint64(address_of(jpeg)),
        np.uint64(jpeg.size),
        np.uint64(address_of(entry_points)),
        np.uint64(entry_points.size),
        np.uint64(address_of(info)),
        np.uint64(address_of(positions)),
        np.uint64(positions.size),
    )
    if status != OK:
        return None
    count = int(info[ENTRIES])
    return Detail(positions[: count + 1].copy(), int(info[EVERY]), int(info[MCUS_PER_ROW]), int(info[NUM_MCUS]))


def detail_of_file(data: bytes) -> Detail | None:
    """The detail of an image file as :func:`read_detail` tells it once the file lies in a shard.

    Walks the scan of a JPEG, at about half the cost of decoding it. None for all that has no entry
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


def _compile(digest: str) -> Any:
    @cached(_nrt=False)
    def kernel(
        jpeg_at: Scalar,
        jpeg_size: Scalar,
        mcu_at: Scalar,
        mcu_size: Scalar,
        info_at: Scalar,
        out_at: Scalar,
        out_size: Scalar,
    ) -> Any:
        """Opens the index and writes all positions; returns a status of the splice's."""
        _ = digest
        jpeg, mcu = bytes_at(jpeg_at, jpeg_size), bytes_at(mcu_at, mcu_size)
        info = int64_at(info_at, uint64(INFO_SIZE))
        status = open_index(jpeg, mcu, info)
        if status != OK:
            return status
        entries = info[ENTRIES]
        if entries + 1 > int64(out_size):
            return int64(splice_index.BAD_INDEX)
        out = int64_at(out_at, out_size)
        highest = int64(0)
        for entry in range(entries):
            highest = max(highest, entry_position(mcu, info, entry))
            out[entry] = highest
        out[entries] = max(highest, info[splice_index.SCAN_END] * 8)
        return int64(OK)

    return kernel


_positions = _compile(source_digest(_compile))
