"""Whole shards on the local disk, up to a limit; shared by all processes of a machine.

A shard is a file named by its SHA-256, so nothing in the cache can be out of date. While it is
fetched it is ``NAME.part``, locked by the process that fetches it: others wait for that lock and
find the shard done, and a part that nobody holds is left over from a crash. Room is made by
deleting what was opened longest ago and nobody has mapped: deleting that would free nothing, and
hide from all what it takes.

A file is on the disk before it has its name, and its checksum was compared. What a disk does to it
later shows in the samples' own checksums; :meth:`ShardCache.drop_damaged` then looks at all of it.
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
"""Attempts to download a shard whose checksum is wrong."""


class ShardCache:
    """Files of known SHA-256 in ``folder``, of ``max_bytes`` together with ``others``: folders
    whose subfolders are used and deleted as a whole.

    Safe to use from several threads and processes of one machine; the folder must not lie on a
    network file system, whose locks are not to be trusted.
    """

    def __init__(self, folder: Path, max_bytes: int, others: Sequence[Path] = ()) -> None:
        self._folder, self._max_bytes, self._others = folder, max_bytes, others

    @property
    def max_bytes(self) -> int:
        """Bytes that the files may take together."""
        return self._max_bytes

    def mapped(self, sha256: str, num_bytes: int, fetch: Callable[[Path], None], name: str) -> tuple[Bytes, bool]:
        """(the file's bytes as a read-only map, whether it had to be fetched).

        ``fetch(path)`` writes into the file at ``path``, and calls :meth:`grow` before it writes beyond the first
        ``PIECE_BYTES``. ``name`` is the file in messages. Raises ``InputError`` if the disk is full, if the file is
        larger than the cache, if its bytes have another checksum, and if ``sha256`` is not a SHA-256 in hexadecimal.
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
        """Raises ``InputError`` if a file is larger than the whole cache, before anything is
        deleted for it; ``instead`` says what else can be done."""
        if num_bytes > self._max_bytes:
            raise InputError(
                f"{name} has {num_bytes:,} bytes and the cache in {self._folder} may hold "
                f"{self._max_bytes:,}: raise GLASS_CACHE_GB{', ' + instead if instead else ''}"
            )

    def grow(self, path: Path, num_bytes: int) -> None:
        """Makes room for a file that is being fetched and extends it to ``num_bytes``, unless it is that long already.
        Other files are evicted for bytes that have arrived, never for the length that a store claims."""
        with path.open("r+b") as file:
            if os.fstat(file.fileno()).st_size >= num_bytes:
                return
            with self.room_for(num_bytes, path):
                if os.fstat(file.fileno()).st_size < num_bytes:  # another thread's part lies behind
                    file.truncate(num_bytes)  # others count it from here on

    def _path(self, sha256: str) -> Path:
        if not is_digest(sha256):
            raise InputError(
                f"{sha256[:100]!r} is no SHA-256, by which files of the cache are named: the "
                "dataset.json that gives it is damaged, or is not to be trusted"
            )
        return self._folder / f"{sha256}.tar"

    def holds(self, sha256: str) -> bool:
        """Whether the file is there now."""
        return self._path(sha256).exists()

    def drop_damaged(self, sha256: str) -> bool:
        """Deletes the file where its SHA-256 is not the one in its name, or the disk fails; returns whether it did."""
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
        """Fetches a file, or waits for another process to do so; returns whether this process did."""
        self._folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        with locked_or_waited(part) as descriptor:
            if descriptor is None or not names(part, descriptor):
                return False  # another process was at it: done by it, or given up
            if path.exists():
                part.unlink()  # made just now, by this process, after the other was done
                return False
            try:
                self.grow(part, min(num_bytes, PIECE_BYTES))
                for attempt in range(1, _ATTEMPTS + 1):
                    fetch(part)
                    if file_sha256(part) == path.stem:
                        break
                    if attempt == _ATTEMPTS:
                        raise InputError(
                            f"{name} has another checksum than dataset.json says, {_ATTEMPTS} "
                            "times in a row: it was changed or damaged in the store; upload it "
                            "again or build it anew"
                        )
                os.fsync(descriptor)  # else a power cut may leave the name and not the bytes
                with locked_file(self._folder / ".lock"):  # who makes room sees it once
                    os.replace(part, path)
            except BaseException:
                with suppress(FileNotFoundError):
                    part.unlink()
                raise
        return True

    @contextmanager
    def room_for(self, wanted: int, own: Path | None = None) -> Iterator[None]:
        """Context manager: evicts unused files until ``wanted`` bytes fit, and keeps the cache locked while its block
        makes a file of that length. ``own`` is that file if it exists already; its bytes are not counted twice.

        Raises ``InputError``, before it deletes anything, if ``wanted`` exceeds the limit of the cache.
        """
        self.require_fits(wanted, "what is to be fetched")
        self._folder.mkdir(parents=True, exist_ok=True)
        with locked_file(self._folder / ".lock"):
            self._make_room(wanted, own)
            yield

    def _make_room(self, wanted: int, own: Path | None) -> None:
        """Deletes what nobody uses, that used longest ago first, until ``wanted`` bytes fit; and
        parts that nobody writes."""
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
    """The file as a read-only map, its time of use set to now; ``None`` where it is missing or was cut off."""
    try:
        descriptor = open_shared(path)
        if descriptor is None:
            return None
        with os.fdopen(descriptor, "rb"):
            found = os.fstat(descriptor).st_size
            if found != num_bytes:
                if file_sha256(path) == path.stem:  # sound, and maybe another data set's
                    raise InputError(
                        f"the file of SHA-256 {path.stem} has {found:,} bytes, and dataset.json "
                        f"says {num_bytes:,}: it is damaged, or is not to be trusted"
                    )
                path.unlink()  # cut off by something other than us
                return None
            os.utime(descriptor)
            if not num_bytes:  # nothing can be mapped of it
                return np.zeros(0, np.uint8)
            # The map has the file open for itself, so it is in use until the last view is dropped.
            return np.frombuffer(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ), np.uint8)
    except FileNotFoundError:
        return None


def _delete(path: Path) -> bool:
    """Deletes a file or folder that no process uses; returns whether it is gone."""
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
