"""A file in a store as a Python file object that can be read at any position. Each read is one request."""

import io
from typing import Any, Self

from shards.store.folder import RemoteFolder, RemoteUnavailable

__all__ = ["RangeFile"]


class RangeFile(io.RawIOBase):
    """A file below a :class:`RemoteFolder`, read by byte ranges.

    Nothing is cached, so wrap it in a buffer for small reads. Not thread-safe. Raises ``RemoteUnavailable`` if the
    store does not deliver.
    """

    def __init__(self, remote: RemoteFolder, name: str, num_bytes: int) -> None:
        """``name`` is relative to ``remote``; ``num_bytes`` is the length of the file."""
        self._remote, self._name, self._size, self._at = remote, name, num_bytes, 0

    @classmethod
    def open(cls, remote: RemoteFolder, name: str) -> Self:
        """Opens the file ``name`` and requests its length from the store.

        Raises ``RemoteUnavailable`` if the store fails, gives no length, or does not serve parts of files.
        """
        size = remote.size(name)
        if size is None or not remote.has_ranges(name):
            raise RemoteUnavailable(
                f"{remote}/{name} does not exist, or the server cannot send parts of it: download it, and give the file"
            )
        return cls(remote, name, size)

    def reopened(self) -> Self:
        """A new object for the same file, at its beginning. Closing either object does not close the other."""
        return type(self)(self._remote, self._name, self._size)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def size(self) -> int:
        """Length of the file in bytes."""
        return self._size

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(start + offset, 0)
        return self._at

    def read(self, size: int = -1, /) -> bytes:
        """Reads up to ``size`` bytes, or the rest of the file if ``size`` is negative.

        Allocates no more memory than the rest of the file needs, however large ``size`` is.
        """
        left = max(self._size - self._at, 0)
        return super().read(left if size < 0 else min(size, left)) or b""

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        length = max(min(len(view), self._size - self._at), 0)
        for start, stop in self._remote.parts(length):
            view[start:stop] = self._remote.read_range(self._name, self._at + start, self._at + stop)
        self._at += length
        return length
