"""File and folder locks between the processes on a machine. A process that ends loses all its locks.

A process that is suspended keeps its locks. So a process that has waited some seconds for a lock logs the lock and its
holder once, and keeps waiting.
"""

import fcntl
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from shards.cli.shown_url import without_secrets

__all__ = [
    "holder",
    "lock_unused",
    "locked_file",
    "locked_or_waited",
    "names",
    "new_locked_file",
    "open_shared",
    "try_lock",
]

logger = logging.getLogger(__name__)

WARN_AFTER_S, WARN_AFTER_DOWNLOAD_S = 5.0, 60.0
"""Seconds to wait for a lock before a warning is logged. The first is for locks that are held only briefly. The second
is for a download's lock, which is held until the download ends."""

_MOST_COMMAND = 120


@contextmanager
def locked_file(path: Path, patience_s: float | None = None) -> Iterator[int]:
    """Context manager that creates a file if it is missing, locks it exclusively, and yields its descriptor.

    If another process holds the lock, waits for it. After ``patience_s`` seconds (``WARN_AFTER_S`` by default), logs
    which process holds it, and keeps waiting.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _wait_for(path, descriptor, fcntl.LOCK_EX, WARN_AFTER_S if patience_s is None else patience_s)
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def locked_or_waited(path: Path) -> Iterator[int | None]:
    """Context manager that locks a file exclusively or, if another process has locked it, waits for that process.

    Creates the file if it is missing. Yields its descriptor if it could be locked at once. If another process holds the
    lock, waits for a shared lock instead, yields ``None``, and holds the shared lock until the block ends. Waiting for
    an exclusive lock could take too long: the other process may keep a shared lock on the finished file for as long as
    it runs.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if _taken(descriptor, fcntl.LOCK_EX):
            yield descriptor
        else:
            _wait_for(path, descriptor, fcntl.LOCK_SH, WARN_AFTER_DOWNLOAD_S)
            yield None
    finally:
        os.close(descriptor)


def try_lock(path: Path) -> int | None:
    """Creates a file if it is missing, and locks it exclusively without waiting.

    Returns its descriptor, or ``None`` if another process holds the lock. Closing the descriptor releases the lock.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    with _closed_on_error(descriptor):
        if _taken(descriptor, fcntl.LOCK_EX):
            return descriptor
    os.close(descriptor)
    return None


def new_locked_file(choose: Callable[[], Path]) -> tuple[Path, int]:
    """Creates an empty file at a path that ``choose`` returns, and locks it. Returns the path and the descriptor.

    Calls ``choose`` again if the path already exists. Closing the descriptor releases the lock. On a file system
    without locks the file stays unlocked; only its name shows which process owns it. Raises ``OSError`` if the file
    cannot be created.
    """
    while True:
        path = choose()
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            continue
        with _closed_on_error(descriptor), suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if names(path, descriptor):  # else another process deleted it between the two calls
            return path, descriptor
        os.close(descriptor)


def open_shared(path: Path) -> int | None:
    """Opens a file or folder with a shared lock, so that :func:`lock_unused` fails for it.

    Returns its descriptor, or ``None`` if the file was deleted or replaced while this process waited for the lock. The
    lock lasts until the descriptor and all its duplicates are closed.
    """
    descriptor = os.open(path, os.O_RDONLY)
    with _closed_on_error(descriptor):
        _wait_for(path, descriptor, fcntl.LOCK_SH, WARN_AFTER_S)
        if names(path, descriptor):
            return descriptor
    os.close(descriptor)
    return None


@contextmanager
def lock_unused(path: Path, flags: int = os.O_RDONLY) -> Iterator[None]:
    """Context manager that opens a file or folder with ``flags`` and holds an exclusive lock on it.

    Raises ``BlockingIOError`` if another process has locked it.
    """
    descriptor = os.open(path, flags)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def names(path: Path, descriptor: int) -> bool:
    """Whether ``path`` still names the file open as ``descriptor``. Another process may have renamed or deleted it."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def holder(path: Path) -> str:
    """Describes the process that holds a file's lock, for example "process 17, which is stopped (python train.py)".

    If the process cannot be determined, the description says only that it is another process.
    """
    found = None
    with suppress(OSError):
        found = _holding_process(os.stat(path))
    if found is None:
        return "another process, maybe in another container or on another machine"
    return _described_process(found)


def _taken(descriptor: int, kind: int) -> bool:
    """Tries to lock the open file without waiting. Returns whether it succeeded.

    ``kind`` is ``LOCK_SH`` or ``LOCK_EX``.
    """
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wait_for(path: Path, descriptor: int, kind: int, patience_s: float) -> None:
    """Locks the open file, waiting as long as necessary. Logs the lock's holder after ``patience_s`` seconds."""
    if _taken(descriptor, kind):
        return
    warning = threading.Timer(patience_s, _warn, (path,))
    warning.daemon = True
    warning.start()
    try:
        fcntl.flock(descriptor, kind)
    finally:
        warning.cancel()


def _warn(path: Path) -> None:
    logger.warning("waiting for the lock on %s, held by %s: let that process continue, or end it", path, holder(path))


def _holding_process(status: os.stat_result) -> int | None:
    """Returns the id of the process that holds the lock on the file with this ``status``, or ``None`` if that is
    unclear.

    Reads /proc/locks, in which a line looks like "1: FLOCK ADVISORY WRITE 17 08:01:131090 0 EOF". Lines for waiting
    processes have an arrow after the first number and are ignored. On some file systems, the device in /proc/locks
    differs from the one that ``stat`` returns. So if no line matches both device and inode, a line that matches only
    the inode is accepted, provided that it is the only such line.
    """
    device = (os.major(status.st_dev), os.minor(status.st_dev))
    alike = []
    for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
        fields = line.split()
        if len(fields) < 6 or fields[1] != "FLOCK":
            continue
        with suppress(ValueError):
            process, (major, minor, inode) = int(fields[4]), fields[5].split(":")
            if int(inode) != status.st_ino or process <= 0:  # 0: a process in another container
                continue
            if (int(major, 16), int(minor, 16)) == device:
                return process
            alike.append(process)
    return alike[0] if len(alike) == 1 else None


def _described_process(process: int) -> str:
    folder, command, stopped = Path("/proc") / str(process), "", False
    with suppress(OSError):
        words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        command = without_secrets(words.strip())[:_MOST_COMMAND]
        state = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[0]
        stopped = state in ("T", "t")
    which = f"process {process}{', which is stopped' if stopped else ''}"
    return f"{which} ({command})" if command else which


@contextmanager
def _closed_on_error(descriptor: int) -> Iterator[None]:
    try:
        yield
    except BaseException:
        os.close(descriptor)
        raise
