"""The calls that are made of a store, one request each where the protocol allows it.

Nothing is tried twice here and nothing is counted: that is :class:`shards.store.folder.RemoteFolder`'s.
A path is what fsspec calls one: with the bucket, or with the host.
"""

import posixpath
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from shards.errors import InputError
from shards.store.settings import RemoteSettings

__all__ = ["PIECE_BYTES", "FsspecStore", "Grow", "ShortAnswer", "StoredFile", "TooLong", "require_length"]

T = TypeVar("T")

Grow = Callable[[int], object]
"""Called before a file on the local disk is made as long as that, in bytes."""

PIECE_BYTES = 8 << 20
"""Bytes that one request of a download asks for, and that must come within the limit of time:
large enough that the latency does not count, and small enough that repeating one costs little."""

_USUAL_BYTES = 64 << 20
"""Assumed length of a file read whole, where it is unknown: longer ones must come faster."""

_LISTING_S = 3600.0
"""A folder of ten million files takes half of it."""

_TOKENS = ("ETag", "etag", "md5Hash", "blob_id", "LastModified", "mtime", "created")


class ShortAnswer(OSError):
    """An answer of another length than was asked for."""


class TooLong(Exception):
    """A file or an answer longer than it may be: asking again does not help."""

    def __init__(self, text: str, num_bytes: int | None = None) -> None:
        """``num_bytes`` is its length where that is known."""
        super().__init__(text)
        self.num_bytes = num_bytes


@dataclass(frozen=True, slots=True)
class StoredFile:
    """The description of a file by its store."""

    size: int | None
    """In bytes; ``None`` where the store does not report it."""
    token: str
    """Changes when the file is written again; empty if the store gives none."""


def require_length(num_bytes: int | None, most: int) -> None:
    """Raises ``TooLong`` where a file is known to have more than ``most`` bytes."""
    if num_bytes is not None and num_bytes > most:
        raise TooLong(f"{num_bytes:,} bytes, more than {most:,}", num_bytes)


class FsspecStore:
    """Files of any protocol that fsspec speaks."""

    def __init__(self, system: Any, root: str, url: str, settings: RemoteSettings) -> None:
        """``system`` is fsspec's, ``root`` the folder as it names it."""
        from fsspec.asyn import AsyncFileSystem

        self.system, self.root, self.settings = system, root, settings
        self._url = url
        self._is_async = isinstance(system, AsyncFileSystem) and system.async_impl
        # Others read a part from a file that they open, with 5 MiB more than was asked for.
        self._exactly: dict[str, Any] = {} if self._is_async else {"cache_type": "none"}
        if hasattr(system, "retries"):
            system.retries = 1  # tries and pauses are ours alone

    def path(self, name: str) -> str:
        """The path of a file. It may lie beside the folder, as tars do that were made elsewhere,
        but in the same bucket or on the same host. Raises ``InputError``."""
        fixed = _authority(self._url, self.root)
        below = self.root[len(fixed) :].strip("/")
        joined = posixpath.normpath(posixpath.join(below, name)) if name else below
        if name.startswith("/") or joined == ".." or joined.startswith("../") or "\0" in name:
            raise InputError(
                f"{name[:100]!r} is no name of a file in or beside {fixed}{below}: the list or "
                "data set that names it is damaged, or is not to be trusted"
            )
        return f"{fixed}{joined}" if joined not in ("", ".") else fixed.rstrip("/")

    def has_ranges(self, path: str) -> bool:
        """Whether a request for a part of a file is answered with that part."""
        return len(self._call("cat_file", path, start=0, end=1, **self._exactly)) == 1

    def read(self, path: str, most: int) -> bytes:
        """A whole file. Raises ``TooLong`` above ``most`` bytes, before any of them comes where the
        store says how many there are."""
        size = self.stat(path).size
        if size == 0:
            return b""  # a part of it, which is what is asked for below, cannot be obtained
        require_length(size, most)
        stop = most + 1 if size is None else size
        limit_s = self._limit_s(size or _USUAL_BYTES)
        data: bytes = self._call("cat_file", path, start=0, end=stop, limit_s=limit_s, **self._exactly)
        require_length(len(data), most)
        if size is not None and len(data) != size:
            raise ShortAnswer(f"{len(data):,} bytes instead of {size:,}")
        return data

    def read_range(self, path: str, start: int, stop: int) -> bytes:
        """Bytes ``start`` … ``stop - 1``."""
        data: bytes = self._call("cat_file", path, start=start, end=stop, **self._exactly)
        return data

    def save(self, path: str, to: Path, most: int, grow: Grow) -> None:
        """Writes a whole file to ``to`` with one request; ``grow(n)`` is called before the file has
        ``n`` bytes. Raises ``TooLong``."""
        size = self.stat(path).size
        require_length(size, most)
        grow(most if size is None else size)
        self._call("get_file", path, str(to), limit_s=self._limit_s(size or 0))

    def put(self, path: Path, to: str) -> None:
        """Uploads a file; the store shows it whole or not at all."""
        # The limits of botocore's sockets are not enough: one that was reset during an upload may
        # never answer again.
        self._call("put_file", str(path), to, limit_s=self._limit_s(path.stat().st_size))
        self.system.invalidate_cache()

    def stat(self, path: str) -> StoredFile:
        """Raises ``FileNotFoundError`` and ``IsADirectoryError``."""
        info = self._call("info", path)
        if info["type"] == "directory":
            raise IsADirectoryError(path)
        return _described(info)

    def children(self, path: str) -> list[tuple[str, bool]]:
        """(name, whether it is a folder) of all that lies right in the folder ``path``."""
        self.system.invalidate_cache()  # other processes write here too
        return self._listed(path)

    def tree(self, path: str) -> dict[str, StoredFile]:
        """All files below the folder ``path``, at any depth, by their names from there on."""
        self.system.invalidate_cache()
        start = len(path.rstrip("/")) + 1
        return {self._named(found[start:]): file for found, file in self._tree(path).items()}

    def _tree(self, path: str) -> dict[str, StoredFile]:
        found = self._call("find", path, detail=True, limit_s=_LISTING_S)
        return {name: _described(info) for name, info in found.items()}

    def _named(self, path: str) -> str:
        return path

    def _listed(self, path: str) -> list[tuple[str, bool]]:
        listed = self._call("ls", path, detail=True, limit_s=_LISTING_S)
        names = {
            (posixpath.basename(info["name"].rstrip("/")), info["type"] == "directory")
            for info in listed
            if info["name"].rstrip("/") != path.rstrip("/")  # the folder's own marker
        }
        return sorted(names)

    def _limit_s(self, num_bytes: int) -> float:
        """How long this many bytes may take: the limit of time for each piece."""
        return self.settings.timeout_s * (1 + num_bytes // PIECE_BYTES)

    def _call(self, method: str, *arguments: Any, limit_s: float = 0, **named: Any) -> Any:
        """One call of the file system, cut off after the limit where it can be."""
        if not self._is_async:
            return getattr(self.system, method)(*arguments, **named)
        limit = limit_s or self.settings.timeout_s
        call = getattr(self.system, f"_{method}")(*arguments, **named)
        return self._wait_for(call, limit)

    def _wait_for(self, call: Coroutine[Any, Any, T], limit_s: float | None = None) -> T:
        """The result of the coroutine, run on fsspec's loop."""
        from fsspec.asyn import sync

        async def run() -> T:
            return await call

        result: T = sync(self.system.loop, run, timeout=limit_s)
        return result


def _authority(url: str, root: str) -> str:
    """The part of ``root`` that no name changes: scheme and host, bucket, or repository."""
    scheme = urlsplit(url).scheme
    if scheme in ("http", "https"):
        start = root.index("://") + 3
        return root[:start] + root[start:].partition("/")[0] + "/"
    parts = root.split("/")
    fixed = 1
    if scheme == "hf":  # datasets/OWNER/NAME, or OWNER/NAME of a model
        fixed = 3 if parts[0] in ("datasets", "spaces") else 2
    elif root.startswith("/"):  # memory://
        return "/"
    return "/".join(parts[:fixed]) + "/"


def _described(info: dict[str, Any]) -> StoredFile:
    token = next((str(info[name]) for name in _TOKENS if info.get(name)), "")
    size = info.get("size")
    return StoredFile(size if isinstance(size, int) and 0 <= size < 1 << 63 else None, token)
