"""Folders in object stores and on web servers: ``s3://``, ``gs://``, ``http(s)://``, ``hf://``.

All requests go through :class:`RemoteFolder`, and fsspec implements the protocols. This module adds what multi-day runs
need:

- a time limit for every request, and retries with increasing pauses;
- length checks for every response;
- counts of requests and bytes;
- a one-sentence error if the store does not respond.

Credentials are looked up where each store's own tools look for them.
"""

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from shards.cli.shown_url import safe_words, shown_url
from shards.cli.wording import counted
from shards.errors import InputError
from shards.files.patience import Clock
from shards.store.fsspec_store import PIECE_BYTES, FsspecStore, Grow, ShortAnswer, StoredFile, TooLong
from shards.store.http_store import HttpStore
from shards.store.retry import GaveUp, retry
from shards.store.settings import RemoteSettings

__all__ = ["RemoteFolder", "RemoteUnavailable"]

T = TypeVar("T")

_EXTRAS = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "hf": "huggingface_hub"}


class RemoteUnavailable(InputError):
    """The store did not deliver a file, and retries failed or cannot help. The message names the file and the cause."""


class RemoteFolder:
    """Files below a URL; file names are relative to it.

    Safe to use from several threads, but not in a process forked after it was made.

    Methods raise ``RemoteUnavailable`` if the store does not deliver, and ``InputError`` for a name that leads out of
    the bucket or host.
    """

    def __init__(self, url: str, settings: RemoteSettings | None = None, clock: Clock | None = None) -> None:
        """Prepares access to ``url``, but opens no connection yet.

        Raises ``InputError`` if the library for the protocol is missing or ``url`` is not valid.
        """
        self.settings = settings or RemoteSettings.from_environment()
        self.url = url
        self.counts: Counter[str] = Counter()
        """Counts of ``requests``, ``retries``, ``bytes_fetched`` and ``bytes_sent``."""
        self._clock = clock or Clock()
        self._lock = threading.Lock()
        scheme = urlsplit(url).scheme
        try:
            from fsspec.core import url_to_fs

            system, root = url_to_fs(url, **_options(scheme, self.settings))
        except ImportError as error:
            needed = _EXTRAS.get(scheme, "fsspec")
            raise InputError(
                f"{self} needs the package {needed} ({safe_words(error, url)}): pip install -e '.[remote]'"
            ) from error
        except ValueError as error:
            why = safe_words(error, url)
            raise InputError(f"{self} is not a URL that can be read: {why}") from error
        kind = HttpStore if scheme in ("http", "https") else FsspecStore
        self._store = kind(system, root, url, self.settings)

    def __str__(self) -> str:
        """The URL as shown in messages, without password and signature."""
        return shown_url(self.url)

    def read(self, name: str, most: int) -> bytes:
        """Reads a whole file of at most ``most`` bytes. A longer file is refused before all of it is in memory."""
        path = self._store.path(name)
        return self._fetched(self._retried(name, lambda: self._store.read(path, most)))

    def read_range(self, name: str, start: int, stop: int) -> bytes:
        """Reads the bytes ``start`` … ``stop - 1`` of a file."""
        path = self._store.path(name)

        def request() -> bytes:
            data = self._store.read_range(path, start, stop)
            if len(data) != stop - start:
                raise ShortAnswer(f"{len(data):,} bytes instead of {stop - start:,}")
            return data

        return self._fetched(self._retried(name, request)) if stop > start else b""

    def parts(self, num_bytes: int) -> list[tuple[int, int]]:
        """Splits the download of a ``num_bytes``-byte file into byte ranges. Returns (start, end) of each."""
        return [(s, min(s + PIECE_BYTES, num_bytes)) for s in range(0, num_bytes, PIECE_BYTES)]

    def has_ranges(self, name: str) -> bool:
        """Whether the store, when asked for part of a file, sends only that part.

        For a web server, only the response headers are read, so the server cannot turn this into a download of the
        whole file.
        """
        path = self._store.path(name)
        return self._retried(name, lambda: self._store.has_ranges(path))

    def stream(self, name: str, to: Path, num_bytes: int | None, most: int, grow: Grow = lambda _: None) -> None:
        """Downloads a whole file of at most ``most`` bytes to ``to`` with one request, for stores without ranges.

        ``num_bytes`` is the length of the file if known. ``grow(n)`` is called before the local file grows to ``n``
        bytes, and may make room on the disk.
        """
        path = self._store.path(name)
        limit = most if num_bytes is None else min(num_bytes, most)

        def request() -> None:
            self._store.save(path, to, limit, grow)
            found = to.stat().st_size
            if num_bytes is not None and found != num_bytes:
                raise ShortAnswer(f"{found:,} bytes instead of {num_bytes:,}")

        self._retried(name, request)
        self._count(bytes_fetched=to.stat().st_size)

    def write(self, path: Path, name: str) -> None:
        """Uploads the local file ``path`` as ``name``. Other clients see either the whole file in the store or none."""
        expected, to = path.stat().st_size, self._store.path(name)

        def request() -> None:
            self._store.put(path, to)
            if self._store.stat(to).size != expected:
                raise ShortAnswer(f"uploaded {expected:,} bytes, but the file in the store has another size")

        self._retried(name, request)
        self._count(bytes_sent=expected)

    def stat(self, name: str) -> StoredFile | None:
        """The store's description of a file; ``None`` if there is no such file."""
        path = self._store.path(name)
        try:
            return self._retried(name, lambda: self._store.stat(path))
        except RemoteUnavailable as error:
            if isinstance(error.__cause__, FileNotFoundError | IsADirectoryError):
                return None
            raise

    def size(self, name: str) -> int | None:
        """The length of a file in bytes; ``None`` if there is no such file or the store does not give the length."""
        found = self.stat(name)
        return None if found is None else found.size

    def children(self) -> list[tuple[str, bool]]:
        """Returns (name, whether it is a folder) for each entry of this folder, sorted; empty if the folder does not
        exist."""
        path = self._store.path("")
        try:
            return self._retried("", lambda: self._store.children(path))
        except RemoteUnavailable as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return []
            raise

    def tree(self, folder: str) -> dict[str, StoredFile]:
        """Returns all files below ``folder``, as a dict keyed by their names relative to it."""
        path = self._store.path(folder)
        return self._retried(folder, lambda: self._store.tree(path))

    def _retried(self, name: str, request: Callable[[], T]) -> T:
        """Retries ``request`` until it succeeds, and returns its result. ``name`` is the file that is requested.

        Gives up at once if another attempt cannot help.
        """

        def on_try(again: bool) -> None:
            self._count(requests=1, retries=int(again))

        try:
            return retry(request, self.settings, self._clock, on_try)
        except GaveUp as gave_up:
            raise self._unavailable(name, gave_up) from gave_up.cause

    def _unavailable(self, name: str, gave_up: GaveUp) -> RemoteUnavailable:
        where = f"{self}/{name}" if name else str(self)
        words = safe_words(gave_up.cause, self.url)
        if isinstance(gave_up.cause, FileNotFoundError):
            return RemoteUnavailable(f"{where} does not exist: check the address")
        if isinstance(gave_up.cause, TooLong):
            return RemoteUnavailable(f"{where} cannot be read ({gave_up}): check the address")
        if gave_up.is_final:
            return RemoteUnavailable(f"{where} was refused ({words}): check the address and the credentials")
        return RemoteUnavailable(
            f"{where} could not be reached in {counted(gave_up.tries, 'attempt')} and {gave_up.seconds:.0f} s "
            f"({words}): check the network, then run the same command again to continue"
        )

    def _fetched(self, data: bytes) -> bytes:
        self._count(bytes_fetched=len(data))
        return data

    def _count(self, **amounts: int) -> None:
        with self._lock:
            self.counts.update(amounts)


def _options(scheme: str, settings: RemoteSettings) -> dict[str, Any]:
    """Returns options for fsspec's file system for ``scheme``. They leave retries and time limits to this project."""
    if scheme in ("s3", "s3a"):
        # Enough connections for all requests at once. Listings must not be cached.
        seconds = settings.timeout_s
        config = {
            "max_pool_connections": 64,
            "connect_timeout": seconds,
            "read_timeout": seconds,
            "retries": {"total_max_attempts": 1},
        }
        return {"config_kwargs": config, "use_listings_cache": False}
    return {"use_listings_cache": False} if scheme in ("http", "https") else {}
