"""A build's source files: those below a local folder, or below a URL in a store.

The same names yield the same bytes from disk and from a store, so shards do not depend on where the images are kept.
Failures are handled differently, however. A file that cannot be read from disk is one bad image. A store that does not
respond says nothing about the image, so it stops the build.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Protocol, Self

from shards.errors import is_passing, require_sound_machine
from shards.files.folder_walk import walk_folder
from shards.files.limits import limit
from shards.files.patience import patiently
from shards.files.regular_file import open_regular
from shards.images.rejection import RejectedImage
from shards.store.folder import RemoteFolder, RemoteUnavailable
from shards.store.fsspec_store import StoredFile, TooLong
from shards.store.settings import RemoteSettings

__all__ = [
    "SCRATCH_NAME",
    "LocalFiles",
    "SourceFiles",
    "Stamp",
    "StoredFiles",
    "evenly",
    "read_image_file",
    "require_size",
    "unread",
]

Stamp = tuple[int, int]
"""(length in bytes, a number that changes when the file is rewritten). Used to detect that a file has changed."""

_AHEAD = 4
"""Number of files that a worker prefetches while it processes one. Kept low, because each file occupies memory."""

_ASKED = 100
"""Approximate number of a list's files to look up in a store. If none of them exists, all are considered missing."""

SCRATCH_NAME = ".build_sources"
"""Folder in a build's output for files unpacked from containers. It is deleted when the build is finished."""


class SourceFiles(Protocol):
    """A source's files. Picklable and thread-safe.

    A file's name is its path within the source, with ``/`` as separator.
    """

    @property
    def at_once(self) -> int:
        """Number of files to read concurrently; 0 means as many as there are processors."""

    def where(self, name: str) -> str:
        """The path or address of a file, for messages."""

    def folders(self, folder: str = "") -> list[str]:
        """Names of the folders directly in ``folder``, sorted. Raises ``OSError`` if it cannot be read."""

    def walk(self, folder: str) -> Iterator[tuple[str, Stamp | None]]:
        """Yields ``(name, stamp)`` for each file below ``folder`` that is not hidden.

        The stamp is ``None`` if finding it would take another request. Raises ``OSError`` if a folder cannot be read.
        """

    def read(self, name: str) -> bytes:
        """Returns the bytes of an image file.

        Raises ``RejectedImage`` if the file is at fault, and ``InputError`` if a store does not respond.
        """

    def read_all(self, names: Sequence[str]) -> Iterator[bytes]:
        """Yields the result of :meth:`read` for each of ``names``, in order. The first error may end the iteration."""

    def stamp(self, name: str) -> Stamp | None:
        """The stamp of a file; ``None`` if it cannot be determined."""

    def stamps(self, names: Sequence[str]) -> Iterable[Stamp | None]:
        """The result of :meth:`stamp` for each of ``names``. Requests to a store are made in parallel."""

    def has_any(self, names: Sequence[str]) -> bool:
        """Whether any of the files ``names`` exists. In a store, only a sample of them may be looked up."""

    def samples(self, names: Sequence[str], most: int) -> list[str]:
        """Returns up to ``most`` of ``names``, evenly spaced, whose files can be read cheaply even before
        :meth:`prepared`."""

    def containers(self) -> dict[str, Stamp]:
        """Maps the name of each file that can hold several images to its stamp.

        The name of an image in a container begins with the container's name and a slash. A container called ``""``
        contains all images of the source.
        """

    def only(self, names: Sequence[str]) -> "SourceFiles":
        """Returns a copy for a worker that reads only ``names``. The copy holds no data about the other files, of which
        there may be millions."""

    def prepared(self, out: Path, advance: Callable[[int], object]) -> "SourceFiles":
        """Returns a copy from which :meth:`read` can read the files in any order.

        If necessary, unpacks containers into the folder ``SCRATCH_NAME`` in ``out``, where later calls reuse the
        result. ``advance(n)`` is called after every ``n`` images. Raises ``InputError`` if a container cannot be
        unpacked, and ``OSError`` if ``out`` cannot be written.
        """


class _OneImageEach:
    """Methods for sources in which each file holds one image."""

    __slots__ = ()

    def samples(self, names: Sequence[str], most: int) -> list[str]:
        return evenly(names, most)

    def containers(self) -> dict[str, Stamp]:
        return {}

    def only(self, names: Sequence[str]) -> Self:
        return self

    def prepared(self, out: Path, advance: Callable[[int], object]) -> Self:
        return self


@dataclass(frozen=True, slots=True)
class LocalFiles(_OneImageEach):
    """Files below a local folder."""

    root: Path

    @property
    def at_once(self) -> int:
        return 0

    def where(self, name: str) -> str:
        return str(self.root / name)

    def folders(self, folder: str = "") -> list[str]:
        return sorted(entry.name for entry in (self.root / folder).iterdir() if entry.is_dir())

    def walk(
        self, folder: str, on_again: Callable[[str, str], None] = lambda link, folder: None
    ) -> Iterator[tuple[str, Stamp | None]]:
        """See :meth:`SourceFiles.walk`. If several links lead to one folder, follows only one of them.

        ``on_again`` is passed to ``walk_folder``.
        """
        for here, files in walk_folder(self.root / folder, on_again=on_again):
            below = Path(here).relative_to(self.root)
            yield from ((str(below / name), None) for name in files)

    def read(self, name: str) -> bytes:
        return read_image_file(self.root / name)

    def read_all(self, names: Sequence[str]) -> Iterator[bytes]:
        return map(self.read, names)  # continues after an error, unlike a generator

    def stamp(self, name: str) -> Stamp | None:
        try:
            status = os.stat(self.root / name)
        except OSError:
            return None
        return status.st_size, status.st_mtime_ns

    def stamps(self, names: Sequence[str]) -> Iterable[Stamp | None]:
        return map(self.stamp, names)

    def has_any(self, names: Sequence[str]) -> bool:
        return any(os.path.exists(self.root / name) for name in names)


@dataclass(frozen=True, slots=True)
class StoredFiles(_OneImageEach):
    """Files below a URL in a store."""

    url: str
    settings: RemoteSettings = field(default_factory=RemoteSettings.from_environment)

    @property
    def remote(self) -> RemoteFolder:
        """The folder in the store. One object is shared by the whole process."""
        return _opened(self.url, self.settings)

    @property
    def at_once(self) -> int:
        return self.settings.connections

    def where(self, name: str) -> str:
        return f"{self.remote}/{name}"

    def folders(self, folder: str = "") -> list[str]:
        remote = _opened(f"{self.url.rstrip('/')}/{folder}", self.settings) if folder else self.remote
        return [name for name, is_folder in remote.children() if is_folder]

    def walk(self, folder: str) -> Iterator[tuple[str, Stamp | None]]:
        for name, found in sorted(self.remote.tree(folder).items(), key=lambda file: os.path.split(file[0])):
            if not any(part.startswith(".") for part in name.split("/")):
                yield f"{folder}/{name}" if folder else name, _stamp(found)

    def read(self, name: str) -> bytes:
        """See :meth:`SourceFiles.read`. A file that is missing or too large is rejected, as it would be on a disk."""
        most = limit("MAX_IMAGE_BYTES")
        try:
            return self.remote.read(name, most)
        except RemoteUnavailable as error:
            cause = error.__cause__
            if isinstance(cause, FileNotFoundError):
                raise RejectedImage("unreadable", os.strerror(2)) from error
            if isinstance(cause, IsADirectoryError):
                raise RejectedImage("unreadable", "not a regular file") from error
            if isinstance(cause, TooLong):
                require_size(cause.num_bytes or 0)  # its message has the length, if that is known
                detail = f"more than GLASS_MAX_IMAGE_BYTES={most}"
                raise RejectedImage("too_large", detail) from error
            raise

    def read_all(self, names: Sequence[str]) -> Iterator[bytes]:
        """See :meth:`SourceFiles.read_all`. Prefetches some files while the caller works on one."""
        left, coming = iter(names), deque[Future[bytes]]()
        with ThreadPoolExecutor(_AHEAD) as pool:
            try:
                for name in left:
                    coming.append(pool.submit(self.read, name))
                    if len(coming) > _AHEAD:
                        yield coming.popleft().result()
                while coming:
                    yield coming.popleft().result()
            finally:
                for future in coming:
                    future.cancel()

    def stamp(self, name: str) -> Stamp | None:
        return _stamp(self.remote.stat(name))

    def stamps(self, names: Sequence[str]) -> Iterable[Stamp | None]:
        with ThreadPoolExecutor(self.at_once) as pool:
            yield from pool.map(self.stamp, names)

    def has_any(self, names: Sequence[str]) -> bool:
        """Looks up an evenly spaced sample of the names, since looking up all of them may take hours."""
        some = names[:: max(len(names) // _ASKED, 1)]
        return any(self.remote.stat(name) is not None for name in some)


def evenly(names: Sequence[str], most: int) -> list[str]:
    """Up to ``most`` of the names, evenly spaced."""
    step = max(len(names) / most, 1)
    return [names[int(place * step)] for place in range(min(most, len(names)))]


@cache
def _opened(url: str, settings: RemoteSettings) -> RemoteFolder:
    return RemoteFolder(url, settings)


def read_image_file(path: Path) -> bytes:
    """Reads a file, with retries if the disk fails. Never blocks on a pipe or a device.

    Raises ``RejectedImage`` if it cannot be read or is too large, and ``MachineTrouble`` if the machine is at fault.
    """
    try:
        return patiently(lambda: _read_whole(path))
    except OSError as error:
        raise unread(error, path) from error
    except ValueError as error:  # a name with a null byte
        raise RejectedImage("unreadable", str(error)) from error


def _read_whole(path: Path) -> bytes:
    with open_regular(path) as file:
        require_size(os.fstat(file.fileno()).st_size)
        return file.read()


def unread(error: OSError, path: Path) -> RejectedImage:
    """Returns the rejection for the image at ``path`` after reading it raised ``error``.

    The reason is ``io`` if the disk failed, and ``unreadable`` otherwise. Raises ``MachineTrouble`` if the machine, not
    the file, is at fault.
    """
    require_sound_machine(error, path)
    reason = "io" if is_passing(error) else "unreadable"
    return RejectedImage(reason, error.strerror or str(error))


def require_size(num_bytes: int) -> None:
    """Raises ``RejectedImage`` for a file larger than ``GLASS_MAX_IMAGE_BYTES`` bytes."""
    if num_bytes > (most := limit("MAX_IMAGE_BYTES")):
        detail = f"{num_bytes:,} bytes, more than GLASS_MAX_IMAGE_BYTES={most}"
        raise RejectedImage("too_large", detail)


def _stamp(found: StoredFile | None) -> Stamp | None:
    """Returns the stamp of a file in a store, or ``None`` if the store reports nothing that changes with the file."""
    if found is None or found.size is None or not found.token:
        return None
    return found.size, int.from_bytes(sha256(found.token.encode()).digest()[:7], "big")
