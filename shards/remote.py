"""Folders in object stores and on web servers: ``s3://``, ``gs://``, ``http(s)://``, ``hf://``.

Everything that leaves the machine goes through :class:`RemoteFolder`: fsspec speaks the protocols,
and this module adds what a run of days needs: a limit of time on every request, retries with
growing pauses, the length of every answer checked, counts of all of it, and one sentence when the
store does not answer. Credentials come from where each store's own tools look for them.
"""

import posixpath
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from shards.command import InputError
from shards.remote_settings import RemoteSettings

__all__ = ["RemoteFolder", "RemoteUnavailable", "ShortAnswer", "as_url"]

T = TypeVar("T")

_URL = re.compile(r"^(s3|s3a|gs|gcs|http|https|hf|memory):/+(?=[^/])")
_EXTRAS = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "hf": "huggingface_hub"}
_FINAL = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)
_FINAL_STATUS = frozenset({400, 401, 403, 404, 405, 410, 416})

# A retry comes after 0.1, 0.2, 0.4 … seconds, and never later than this.
_LONGEST_PAUSE_S = 10.0
_FIRST_PAUSE_S = 0.1

_PART_BYTES = 8 << 20
"""Bytes that one request of a download asks for: large enough that its latency does not count, and
small enough that repeating a request that broke off costs little."""


class RemoteUnavailable(InputError):
    """The store did not give a file, for good; the message says which and what was tried."""


class ShortAnswer(OSError):
    """An answer of another length than was asked for."""


def as_url(location: str | Path) -> str | None:
    """``location`` as a URL of a protocol that we read, ``None`` where it is a path.

    A ``Path`` that was made of a URL, as command lines do, has lost one of its two slashes.
    """
    text = str(location)
    found = _URL.match(text)
    return f"{found[1]}://{text[found.end() :].rstrip('/')}" if found else None


class RemoteFolder:
    """Files under a URL. Safe to use from several threads; not across a fork."""

    def __init__(self, url: str, settings: RemoteSettings | None = None) -> None:
        """Opens nothing yet. Raises ``InputError`` where the protocol's library is missing."""
        self.settings = settings or RemoteSettings.from_environment()
        self.url = url
        self.counts: Counter[str] = Counter()
        """``requests``, ``retries``, ``bytes_fetched``, ``bytes_sent``."""
        self._lock = threading.Lock()
        scheme = urlsplit(url).scheme
        try:
            from fsspec.asyn import AsyncFileSystem
            from fsspec.core import url_to_fs

            self._system, self._root = url_to_fs(url, **_options(scheme))
        except ImportError as error:
            needed = _EXTRAS.get(scheme, "fsspec")
            raise InputError(
                f"{self} needs the package {needed} ({error}): pip install 'glass-hires[remote]'"
            ) from error
        except ValueError as error:
            raise InputError(f"{self} is no URL that can be read: {error}") from error
        self._is_async = isinstance(self._system, AsyncFileSystem) and self._system.async_impl

    def __str__(self) -> str:
        """The URL for people: without a password or a signature in it."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    def read(self, name: str, expected: int | None = None) -> bytes:
        """A whole file. Raises ``RemoteUnavailable``."""

        def request() -> bytes:
            data = self._call("cat_file", self._path(name))
            if expected is not None and len(data) != expected:
                raise ShortAnswer(f"{len(data):,} bytes instead of {expected:,}")
            return data

        return self._fetched(self._persist(name, request))

    def read_range(self, name: str, start: int, stop: int) -> bytes:
        """Bytes ``start`` … ``stop - 1`` of a file. Raises ``RemoteUnavailable``."""
        if stop <= start:
            return b""

        def request() -> bytes:
            data = self._call("cat_file", self._path(name), start=start, end=stop)
            if len(data) != stop - start:
                raise ShortAnswer(f"{len(data):,} bytes instead of {stop - start:,}")
            return data

        return self._fetched(self._persist(name, request))

    def parts(self, num_bytes: int) -> list[tuple[int, int]]:
        """The ranges in which a file of that size is downloaded."""
        return [(s, min(s + _PART_BYTES, num_bytes)) for s in range(0, num_bytes, _PART_BYTES)]

    def has_ranges(self, name: str) -> bool:
        """Whether the store answers requests for a part of a file with that part."""

        def request() -> bytes:
            return self._call("cat_file", self._path(name), start=0, end=1)

        return len(self._fetched(self._persist(name, request))) == 1

    def stream(self, name: str, path: Path, num_bytes: int) -> None:
        """Writes a whole file to ``path`` with one request: for stores without ranges."""

        def request() -> None:
            self._call("get_file", self._path(name), str(path), limit_s=None)
            found = path.stat().st_size
            if found != num_bytes:
                raise ShortAnswer(f"{found:,} bytes instead of {num_bytes:,}")

        self._persist(name, request)
        self._count(bytes_fetched=num_bytes)

    def write(self, path: Path, name: str) -> None:
        """Uploads a file; the store shows it whole or not at all. Raises ``RemoteUnavailable``."""
        expected = path.stat().st_size

        def request() -> None:
            self._call("put_file", str(path), self._path(name), limit_s=None)
            self._forget()
            if self.size(name) != expected:
                raise ShortAnswer(f"uploaded {expected:,} bytes, but the store has another number")

        self._persist(name, request)
        self._count(bytes_sent=expected)

    def size(self, name: str) -> int | None:
        """The length of a file in bytes, ``None`` where there is none."""
        try:
            info = self._persist(name, lambda: self._call("info", self._path(name)))
        except RemoteUnavailable as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return None
            raise
        return None if info["type"] == "directory" else info["size"]

    def names(self) -> list[str]:
        """The files right in the folder, sorted; an empty list where there is no such folder."""
        self._forget()
        try:
            listed = self._persist("", lambda: self._call("ls", self._root, detail=False))
        except RemoteUnavailable as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return []
            raise
        return sorted(posixpath.basename(name.rstrip("/")) for name in listed)

    def _path(self, name: str) -> str:
        if self._root.startswith(("http://", "https://")):
            scheme, _, rest = self._root.partition("://")
            return f"{scheme}://{posixpath.normpath(posixpath.join(rest, name))}"
        return posixpath.normpath(posixpath.join(self._root, name))

    def _call(self, method: str, *arguments: Any, limit_s: float | None = -1, **named: Any) -> Any:
        """One call of the file system, cut off after the limit where it can be."""
        if not self._is_async:
            return getattr(self._system, method)(*arguments, **named)
        from fsspec.asyn import sync

        limit = self.settings.timeout_s if limit_s == -1 else limit_s
        call = getattr(self._system, f"_{method}")
        return sync(self._system.loop, call, *arguments, timeout=limit, **named)

    def _forget(self) -> None:
        """Drops listings that fsspec keeps: other processes write here too."""
        self._system.invalidate_cache()

    def _persist(self, name: str, request: Callable[[], T]) -> T:
        """Calls until it succeeds; gives up at once where trying again cannot help."""
        started = time.monotonic()
        for attempt in range(1, self.settings.attempts + 1):
            self._count(requests=1)
            try:
                return request()
            except Exception as error:  # every library has exceptions of its own
                if not _may_pass(error) or attempt == self.settings.attempts:
                    raise self._unavailable(name, error, attempt, started) from error
                self._count(retries=1)
            time.sleep(min(_FIRST_PAUSE_S * 2 ** (attempt - 1), _LONGEST_PAUSE_S))
        raise AssertionError("attempts is at least 1")

    def _unavailable(
        self, name: str, error: Exception, attempts: int, started: float
    ) -> RemoteUnavailable:
        where = f"{self}/{name}" if name else str(self)
        if isinstance(error, FileNotFoundError):
            return RemoteUnavailable(f"{where} does not exist: check the address")
        if not _may_pass(error):
            return RemoteUnavailable(
                f"{where} was refused ({_words(error)}): check the address and the credentials"
            )
        return RemoteUnavailable(
            f"{where} could not be reached, {attempts} attempts in "
            f"{time.monotonic() - started:.0f} s ({_words(error)}): check the network, then run "
            "the same command again to continue"
        )

    def _fetched(self, data: bytes) -> bytes:
        self._count(bytes_fetched=len(data))
        return data

    def _count(self, **amounts: int) -> None:
        with self._lock:
            self.counts.update(amounts)


def _options(scheme: str) -> dict[str, Any]:
    """What each file system is told, so that retries and limits of time are ours alone."""
    if scheme in ("s3", "s3a"):
        # Connections must suffice for all requests under way; listings must not be kept.
        return {"config_kwargs": {"max_pool_connections": 64}, "use_listings_cache": False}
    return {"use_listings_cache": False} if scheme in ("http", "https") else {}


def _may_pass(error: Exception) -> bool:
    """Whether the same request may succeed later."""
    status = getattr(error, "status", None)
    if isinstance(status, int) and status in _FINAL_STATUS:
        return False
    if type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError"):
        return False
    return not isinstance(error, (*_FINAL, NotImplementedError, TypeError, AttributeError))


def _words(error: Exception) -> str:
    text = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
