"""A cache of whole shards on the local disk, limited in size and shared by all processes on a machine.

A shard's file is named by its SHA-256, so nothing in the cache is ever outdated. While a process fetches a shard, it
writes to ``NAME.part`` and holds a lock on that file. Other processes wait for the lock and then find the shard. A
``.part`` file without a lock is left over from a crash. To make room, the files that were opened longest ago are
deleted. A file that a process has mapped is never deleted: its space would not be freed, but would no longer be
counted.

A file gets its final name only after its SHA-256 has been compared with the expected one and its bytes have been synced
to the disk. If the file is damaged on the disk later, the checksums of its samples no longer match;
:meth:`ShardCache.drop_damaged` then checks the whole file.
"""

import mmap
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shards.errors import InputError, require_sound_machine
from shards.files.file_names import is_digest
from shards.files.locks import lock_unused, locked_file, locked_or_waited, names, open_shared
from shards.files.outputs import cannot_write
from shards.files.regular_file import file_sha256
from shards.store.fsspec_store import PIECE_BYTES

__all__ = ["ShardCache"]

Bytes = npt.NDArray[np.uint8]

_ATTEMPTS = 3
"""Number of times a shard is downloaded before a wrong checksum is reported as an error."""


class ShardCache:
    """A cache, in ``folder``, of files whose SHA-256 is known. Together with ``others``, it takes up at most
    ``max_bytes``.

    ``others`` are further folders that count towards this limit; each of their subfolders is kept or deleted as a
    whole. Safe to use from several threads and processes on one machine. ``folder`` must not be on a network file
    system, where locks are unreliable.
    """

    def __init__(self, folder: Path, max_bytes: int, others: Sequence[Path] = ()) -> None:
        self._folder, self._max_bytes, self._others = folder, max_bytes, others

    @property
    def max_bytes(self) -> int:
        """Maximum total size of all files, in bytes."""
        return self._max_bytes

    def mapped(self, sha256: str, num_bytes: int, fetch: Callable[[Path], None], name: str) -> tuple[Bytes, bool]:
        """Returns the bytes of a file as a read-only memory map, and whether the file had to be fetched.

        To fetch it, ``fetch(path)`` is called. It must write to the existing file ``path``, and call :meth:`grow`
        before it writes beyond the first ``PIECE_BYTES``. Messages refer to the file as ``name``. Raises ``InputError``
        if the disk is full, if the file is larger than the cache or has a wrong checksum, or if ``sha256`` is not a
        hexadecimal SHA-256.
        """
        path = self._path(sha256)
        self.require_fits(num_bytes, name, "or read ranges (loader.remote_reads=range)")
        fetched = False
        try:
            while True:
                found = _map(path, num_bytes)
                if found is not None:
                    return found, fetched
                fetched = self._fetch(path, num_bytes, fetch, name) or fetched
        except OSError as error:
            raise InputError(cannot_write(self._folder, error)) from error

    def require_fits(self, num_bytes: int, name: str, instead: str = "") -> None:
        """Raises ``InputError`` if a file is larger than the whole cache.

        Call this before deleting other files to make room for it. ``instead`` is added to the message and says what
        else the user can do.
        """
        if num_bytes > self._max_bytes:
            raise InputError(
                f"{name} has {num_bytes:,} bytes, but the cache in {self._folder} may hold only {self._max_bytes:,}: "
                f"raise GLASS_CACHE_GB{', ' + instead if instead else ''}"
            )

    def grow(self, path: Path, num_bytes: int) -> None:
        """Makes room for a file that is being fetched, and extends it to ``num_bytes`` if it is shorter.

        Other files are deleted only to make room for bytes that have actually arrived, never for the length that a
        store claims.
        """
        with path.open("r+b") as file:
            if os.fstat(file.fileno()).st_size >= num_bytes:
                return
            with self.room_for(num_bytes, path):
                if os.fstat(file.fileno()).st_size < num_bytes:  # unless another thread has extended it further
                    file.truncate(num_bytes)  # other processes count it at this size

    def _path(self, sha256: str) -> Path:
        if not is_digest(sha256):
            raise InputError(
                f"{sha256[:100]!r} is not a SHA-256, but files in the cache are named by theirs: the dataset.json "
                "that gives it is damaged or not to be trusted"
            )
        return self._folder / f"{sha256}.tar"

    def holds(self, sha256: str) -> bool:
        """Whether the file with this SHA-256 is in the cache now."""
        return self._path(sha256).exists()

    def drop_damaged(self, sha256: str) -> bool:
        """Deletes the file named ``sha256`` if its bytes have another SHA-256 or cannot be read.

        Returns whether it was deleted.
        """
        path = self._path(sha256)
        try:
            if file_sha256(path) == sha256:
                return False
            path.unlink()
        except FileNotFoundError:  # another process was faster
            return False
        except OSError as error:  # the disk fails to deliver it
            require_sound_machine(error, path)
            with suppress(OSError):
                path.unlink()
        return True

    def _fetch(self, path: Path, num_bytes: int, fetch: Callable[[Path], None], name: str) -> bool:
        """Fetches a file, or waits for another process to fetch it. Returns whether this process fetched it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        with locked_or_waited(part) as descriptor:
            if descriptor is None or not names(part, descriptor):
                return False  # another process has fetched it, or given up
            if path.exists():
                part.unlink()  # locking made the part anew, after the other process was done
                return False
            try:
                self.grow(part, min(num_bytes, PIECE_BYTES))
                for attempt in range(1, _ATTEMPTS + 1):
                    fetch(part)
                    if file_sha256(part) == path.stem:
                        break
                    if attempt == _ATTEMPTS:
                        raise InputError(
                            f"{name} has another checksum than in dataset.json, {_ATTEMPTS} times in a row: it was "
                            "changed or damaged in the store; upload it again or build it again"
                        )
                os.fsync(descriptor)  # else a power cut may keep the name but lose the bytes
                with locked_file(self._folder / ".lock"):  # so that a process that makes room counts it once
                    os.replace(part, path)
            except BaseException:
                with suppress(FileNotFoundError):
                    part.unlink()
                raise
        return True

    @contextmanager
    def room_for(self, wanted: int, own: Path | None = None) -> Iterator[None]:
        """Context manager: deletes unused files until a file of ``wanted`` bytes fits into the cache.

        The cache is locked while the block creates or extends that file. If the file already exists, pass its path as
        ``own``, so that its bytes are not counted twice. Raises ``InputError``, before deleting anything, if ``wanted``
        exceeds the cache's size limit.
        """
        self.require_fits(wanted, "the file to fetch")
        self._folder.mkdir(parents=True, exist_ok=True)
        with locked_file(self._folder / ".lock"):
            self._make_room(wanted, own)
            yield

    def _make_room(self, wanted: int, own: Path | None) -> None:
        """Deletes all abandoned ``.part`` files, then the least recently used files until ``wanted`` more bytes fit."""
        kept: list[tuple[int, int, Path]] = []
        total = 0
        for path in self._folder.iterdir():
            with suppress(FileNotFoundError):
                if path == own:
                    continue
                if path.suffix == ".part" and not _delete(path):
                    total += path.stat().st_size
                elif path.suffix == ".tar":
                    kept.append((path.stat().st_mtime_ns, path.stat().st_size, path))
        for folder in self._others:
            for path in folder.iterdir() if folder.exists() else ():
                with suppress(OSError):
                    size = sum(entry.stat().st_size for entry in os.scandir(path))
                    kept.append((path.stat().st_mtime_ns, size, path))
        total += sum(size for _, size, _ in kept)
        for _, size, path in sorted(kept):
            if total + wanted <= self._max_bytes:
                break
            if _delete(path):
                total -= size


def _map(path: Path, num_bytes: int) -> Bytes | None:
    """Maps a file read-only and marks it as recently used. Returns ``None`` if it is missing or was truncated.

    A truncated file is deleted. Raises ``InputError`` if the file has the right SHA-256, but not ``num_bytes`` bytes.
    """
    try:
        descriptor = open_shared(path)
        if descriptor is None:
            return None
        with os.fdopen(descriptor, "rb"):
            found = os.fstat(descriptor).st_size
            if found != num_bytes:
                if file_sha256(path) == path.stem:  # intact, perhaps of another data set
                    raise InputError(
                        f"the file with SHA-256 {path.stem} has {found:,} bytes, but dataset.json says {num_bytes:,}: "
                        "dataset.json is damaged or not to be trusted"
                    )
                path.unlink()  # truncated by something else
                return None
            os.utime(descriptor)
            if not num_bytes:  # an empty file cannot be mapped
                return np.zeros(0, np.uint8)
            # The map keeps its own descriptor, so the file is in use until the last view is dropped.
            return np.frombuffer(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ), np.uint8)
    except FileNotFoundError:
        return None


def _delete(path: Path) -> bool:
    """Deletes a file or folder unless a process is using it. Returns whether it is gone."""
    try:
        with lock_unused(path):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()
    except BlockingIOError:
        return False
    except FileNotFoundError:
        return True
    return not path.exists()
