"""Compares samples with their checksums, once per process, when they are first read.

A loader reads a few per cent of an image's bytes, and a flipped bit in them can give wrong pixels without any error. So
the first time that a sample is read, its whole stored image and global view are compared with the CRC-32 in the
manifest; its entry points are compared when they are first used. A sample whose image or global view differs is masked.
A sample whose entry points differ is kept, and its image decoded whole. docs/LOG.md says what the checks cost.
"""

import numpy as np
import numpy.typing as npt

from shards.files.crc32 import crc32

__all__ = ["BadChecksum", "Checksums"]

Bytes = npt.NDArray[np.uint8]

_UNSEEN, _SOUND, _DAMAGED = 0, 1, 2


class BadChecksum(Exception):
    """The bytes of a member do not match their checksum in the manifest."""


class Checksums:
    """Remembers which of ``num_samples`` manifest rows were found intact. Safe to use from several threads: if two
    threads read a row at the same time, both check it."""

    def __init__(self, num_samples: int) -> None:
        # One byte each; the system gives pages only for rows that are touched.
        self._state = np.zeros(num_samples, np.uint8)

    def is_sound(self, row: int) -> bool:
        """Whether ``row`` was already checked and found intact. Raises ``BadChecksum`` if it was found damaged."""
        state = self._state[row]
        if state == _DAMAGED:
            raise BadChecksum("damaged when it was first read")
        return bool(state == _SOUND)

    def check(self, row: int, members: dict[str, tuple[Bytes, int]]) -> int:
        """Compares the members of ``row`` with their checksums and remembers the result. ``members`` maps names to
        (bytes, CRC-32). Returns the number of bytes compared. Raises ``BadChecksum`` naming the first member that
        differs."""
        for name, (data, expected) in members.items():
            if crc32(data) != expected:
                self._state[row] = _DAMAGED
                raise BadChecksum(f"the bytes of {name} do not match their checksum")
        self._state[row] = _SOUND
        return sum(data.size for data, _ in members.values())
