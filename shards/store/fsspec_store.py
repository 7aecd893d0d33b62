"""Sends requests to a store through fsspec, one request per call where the protocol allows it.

:class:`shards.store.folder.RemoteFolder` adds retries and counts. A *path* has the form that fsspec uses: it begins
with the bucket or the host.
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
"""A function that is called with the number of bytes to which a file on the local disk is about to grow."""

PIECE_BYTES = 8 << 20
"""Number of bytes per download request; they must arrive within the time limit. The number is large enough to make the
latency negligible, and small enough that repeating a request costs little."""

_USUAL_BYTES = 64 << 20
"""Length in bytes that is assumed for a file of unknown length when setting the time limit for reading all of it."""

_LISTING_S = 3600.0
"""Time limit for a listing, in seconds. Listing a folder of ten million files takes half of this time."""

_TOKENS = ("ETag", "etag", "md5Hash", "blob_id", "LastModified", "mtime", "created")


class ShortAnswer(OSError):
    """A response that does not have the requested length."""


class TooLong(Exception):
    """A file or a response is longer than allowed. Another attempt does not help."""

    def __init__(self, text: str, num_bytes: int | None = None) -> None:
        """``num_bytes`` is the length of the file or response, if known."""
        super().__init__(text)
        self.num_bytes = num_bytes


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A store's description of a file."""

    size: int | None
    """Length in bytes; ``None`` if the store does not give it."""
    token: str
    """Text, such as an ETag, that changes when the file is written again; empty if the store gives none."""


def require_length(num_bytes: int | None, most: int) -> None:
    """Raises ``TooLong`` if a file is known to have more than ``most`` bytes."""
    if num_bytes is not None and num_bytes > most:
        raise TooLong(f"{num_bytes:,} bytes, more than {most:,}", num_bytes)


class FsspecStore:
    """Files accessed through any protocol that fsspec supports."""

    def __init__(self, system: Any, root: str, url: str, settings: RemoteSettings) -> None:
        """``system`` is fsspec's file system, ``root`` the path of the folder, and ``url`` its URL."""
        from fsspec.asyn import AsyncFileSystem

        self.system, self.root, self.settings = system, root, settings
        self._url = url
        self._is_async = isinstance(system, AsyncFileSystem) and system.async_impl
        # Synchronous file systems read a part through an opened file, which caches 5 MiB more by default.
        self._exactly: dict[str, Any] = {} if self._is_async else {"cache_type": "none"}
        if hasattr(system, "retries"):
            system.retries = 1  # retries are added by RemoteFolder

    def path(self, name: str) -> str:
        """Returns the path of the file ``name``, which is relative to the folder.

        The name may lead out of the folder, since the tars of an indexed data set may be beside it. Raises
        ``InputError`` if the name leads out of the bucket or host.
        """
        fixed = _authority(self._url, self.root)
        below = self.root[len(fixed) :].strip("/")
        joined = posixpath.normpath(posixpath.join(below, name)) if name else below
        if name.startswith("/") or joined == ".." or joined.startswith("../") or "\0" in name:
            raise InputError(
                f"{name[:100]!r} is not the name of a file in or beside {fixed}{below}: the list or data set that "
                "names it is damaged or not to be trusted"
            )
        return f"{fixed}{joined}" if joined not in ("", ".") else fixed.rstrip("/")

    def has_ranges(self, path: str) -> bool:
        """Whether the store, when asked for part of a file, sends only that part."""
        return len(self._call("cat_file", path, start=0, end=1, **self._exactly)) == 1

    def read(self, path: str, most: int) -> bytes:
        """Reads a whole file. Raises ``TooLong`` if it has more than ``most`` bytes.

        If the store states the length, the error is raised before any data is transferred.
        """
        size = self.stat(path).size
        if size == 0:
            return b""  # the range request below would fail on an empty file
        require_length(size, most)
        stop = most + 1 if size is None else size
        limit_s = self._limit_s(size or _USUAL_BYTES)
        data: bytes = self._call("cat_file", path, start=0, end=stop, limit_s=limit_s, **self._exactly)
        require_length(len(data), most)
        if size is not None and len(data) != size:
            raise ShortAnswer(f"{len(data):,} bytes instead of {size:,}")
        return data

    def read_range(self, path: str, start: int, stop: int) -> bytes:
        """Reads the bytes ``start`` … ``stop - 1`` of a file."""
        data: bytes = self._call("cat_file", path, start=start, end=stop, **self._exactly)
        return data

    def save(self, path: str, to: Path, most: int, grow: Grow) -> None:
        """Downloads a whole file to ``to`` with one request.

        ``grow(n)`` is called before the file grows to ``n`` bytes. Raises ``TooLong`` if the file has more than
        ``most`` bytes.
        """
        size = self.stat(path).size
        require_length(size, most)
        grow(most if size is None else size)
        self._call("get_file", path, str(to), limit_s=self._limit_s(size or 0))

    def put(self, path: Path, to: str) -> None:
        """Uploads the local file ``path`` to ``to``. Other clients see either the whole file or no file at all."""
        # A limit of our own is needed besides botocore's for sockets: a socket that was reset during an
        # upload may block for ever.
        self._call("put_file", str(path), to, limit_s=self._limit_s(path.stat().st_size))
        self.system.invalidate_cache()

    def stat(self, path: str) -> StoredFile:
        """The store's description of a file.

        Raises ``FileNotFoundError`` if there is no file at ``path``, and ``IsADirectoryError`` for a folder.
        """
        info = self._call("info", path)
        if info["type"] == "directory":
            raise IsADirectoryError(path)
        return _described(info)

    def children(self, path: str) -> list[tuple[str, bool]]:
        """Returns (name, whether it is a folder) for each entry directly in the folder ``path``."""
        self.system.invalidate_cache()  # other processes write here too
        return self._listed(path)

    def tree(self, path: str) -> dict[str, StoredFile]:
        """Returns all files below the folder ``path``, at any depth, as a dict keyed by their names relative to it."""
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
            if info["name"].rstrip("/") != path.rstrip("/")  # the marker object of the folder itself
        }
        return sorted(names)

    def _limit_s(self, num_bytes: int) -> float:
        """Time limit, in seconds, for transferring ``num_bytes`` bytes."""
        return self.settings.timeout_s * (1 + num_bytes // PIECE_BYTES)

    def _call(self, method: str, *arguments: Any, limit_s: float = 0, **named: Any) -> Any:
        """Calls a method of fsspec's file system, with a time limit if the file system is asynchronous."""
        if not self._is_async:
            return getattr(self.system, method)(*arguments, **named)
        limit = limit_s or self.settings.timeout_s
        call = getattr(self.system, f"_{method}")(*arguments, **named)
        return self._wait_for(call, limit)

    def _wait_for(self, call: Coroutine[Any, Any, T], limit_s: float | None = None) -> T:
        """Runs a coroutine on fsspec's loop and returns its result."""
        from fsspec.asyn import sync

        async def run() -> T:
            return await call

        result: T = sync(self.system.loop, run, timeout=limit_s)
        return result


def _authority(url: str, root: str) -> str:
    """Returns the prefix of ``root`` that no path may leave: scheme and host, bucket, or repository."""
    scheme = urlsplit(url).scheme
    if scheme in ("http", "https"):
        start = root.index("://") + 3
        return root[:start] + root[start:].partition("/")[0] + "/"
    parts = root.split("/")
    fixed = 1
    if scheme == "hf":  # datasets/OWNER/NAME, or OWNER/NAME for a model
        fixed = 3 if parts[0] in ("datasets", "spaces") else 2
    elif root.startswith("/"):  # memory://
        return "/"
    return "/".join(parts[:fixed]) + "/"


def _described(info: dict[str, Any]) -> StoredFile:
    token = next((str(info[name]) for name in _TOKENS if info.get(name)), "")
    size = info.get("size")
    return StoredFile(size if isinstance(size, int) and 0 <= size < 1 << 63 else None, token)
