"""Writes samples to a tar with WebDataset's ``TarWriter``, so that equal samples always give equal bytes."""

import hashlib
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from shards.optional import required

__all__ = ["Member", "ShardTar", "dali_index"]

Member = tuple[str, int, int, str]
"""Location of a member: (extension, content offset in the tar, content length, file name)."""

_BLOCK = 512
_MTIME = 315_532_800  # 1 January 1980: GNU tar warns that 1970 is implausibly old
_BUFFER_BYTES = 1 << 20


class _HashedFile:
    """A file that hashes everything written to it.

    After a failed write, further writes do nothing. The tar is lost anyway, but tarfile still writes its closing
    blocks, and their errors would hide the first one.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=_BUFFER_BYTES)
        self._failed = False
        self.sha256 = hashlib.sha256()
        self.num_bytes = 0

    def write(self, data: bytes) -> int:
        if self._failed:
            return len(data)
        try:
            self._file.write(data)
        except OSError:
            self._failed = True
            raise
        self.sha256.update(data)
        self.num_bytes += len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()

    def abandon(self) -> None:
        """Closes the file, ignoring errors, because another error is already being raised."""
        self._failed = True
        with suppress(OSError):
            self._file.close()


class ShardTar:
    """Writes samples to a tar, one after the other. Use it as a context manager.

    Member times, owners and modes are fixed, so equal samples give equal bytes. ``sha256`` and ``num_bytes`` are final
    after closing.
    """

    def __init__(self, path: Path) -> None:
        # WebDataset imports torch, which takes seconds, so it is imported only to write.
        writer = required("webdataset", "writing shards")
        self._file = _HashedFile(path)
        self._writer: Any = writer.TarWriter(
            self._file, user="", group="", mode=0o644, mtime=_MTIME, compress=False, encoder=False
        )
        self._position = 0

    def write(self, key: str, members: tuple[tuple[str, bytes], ...]) -> list[Member]:
        """Appends the members (extension, content) of a sample in the given order. Returns their locations."""
        placed = []
        for extension, content in members:
            # One call per member: within a call TarWriter sorts the names.
            self._writer.write({"__key__": key, extension: content})
            start = self._position + _BLOCK
            placed.append((extension, start, len(content), f"{key}.{extension}"))
            self._position = start + -(-len(content) // _BLOCK) * _BLOCK
        return placed

    @property
    def sha256(self) -> str:
        return self._file.sha256.hexdigest()

    @property
    def num_bytes(self) -> int:
        return self._file.num_bytes

    def __enter__(self) -> "ShardTar":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._writer.close()
                self._file.close()
        finally:
            self._file.abandon()
            self._writer.close()


def dali_index(samples: list[list[Member]]) -> str:
    """Returns the text of the ``.idx`` file for DALI's WebDataset reader (format version 1.2)."""
    lines = [f"v1.2 {len(samples)}"]
    for members in samples:
        lines.append(" ".join(f"{ext} {start} {size} {name}" for ext, start, size, name in members))
    return "\n".join(lines) + "\n"
