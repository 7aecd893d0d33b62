"""Reads the bit positions of a JPEG's entry points, which show how its bits are distributed over the image."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import int64, uint64

from shards.jpeg.kernel_cache import cached
from shards.jpeg.numba_support import Scalar, address_of, bytes_at, int64_at
from shards.jpeg.splice.index import (
    BAD_INDEX,
    ENTRIES,
    EVERY,
    INFO_SIZE,
    MCUS_PER_ROW,
    NUM_MCUS,
    OK,
    SCAN_END,
    entry_position,
    open_index,
)

__all__ = ["EntryPositions", "read_positions"]

Bytes = npt.NDArray[np.uint8]


class EntryPositions(NamedTuple):
    """Bit positions of all entry points in a JPEG."""

    positions: npt.NDArray[np.int64]
    """(n + 1,) bit positions in the file: of the n entry points, and of the end of the scan. They never decrease."""
    mcus_per_entry: int
    mcus_per_row: int
    num_mcus: int


def read_positions(jpeg: Bytes, mcu: Bytes) -> EntryPositions | None:
    """Reads the positions of the entry points in ``mcu``, the ``.mcu`` member of ``jpeg``. Both are 1-D arrays.

    Returns ``None`` if the member is empty, damaged or belongs to another file. Reads only the header of the JPEG and
    the beginning of its scan.
    """
    info = np.zeros(INFO_SIZE, np.int64)
    # An entry takes at least one bit of the member, so this is enough whatever the member claims.
    positions = np.empty(8 * mcu.size + 1, np.int64)
    status = _positions(
        np.uint64(address_of(jpeg)),
        np.uint64(jpeg.size),
        np.uint64(address_of(mcu)),
        np.uint64(mcu.size),
        np.uint64(address_of(info)),
        np.uint64(address_of(positions)),
        np.uint64(positions.size),
    )
    if status != OK:
        return None
    found = positions[: int(info[ENTRIES]) + 1].copy()
    return EntryPositions(found, int(info[EVERY]), int(info[MCUS_PER_ROW]), int(info[NUM_MCUS]))


@cached(_nrt=False)
def _positions(
    jpeg_at: Scalar,
    jpeg_size: Scalar,
    mcu_at: Scalar,
    mcu_size: Scalar,
    info_at: Scalar,
    out_at: Scalar,
    out_size: Scalar,
) -> Any:
    """Opens the index, and writes all positions to the array at address ``out_at``. Returns a status."""
    jpeg, mcu = bytes_at(jpeg_at, jpeg_size), bytes_at(mcu_at, mcu_size)
    info = int64_at(info_at, uint64(INFO_SIZE))
    status = open_index(jpeg, mcu, info)
    if status != OK:
        return status
    entries = info[ENTRIES]
    if entries + 1 > int64(out_size):
        return int64(BAD_INDEX)
    out = int64_at(out_at, out_size)
    highest = int64(0)
    for entry in range(entries):
        highest = max(highest, entry_position(mcu, info, entry))
        out[entry] = highest
    out[entries] = max(highest, info[SCAN_END] * 8)
    return int64(OK)
