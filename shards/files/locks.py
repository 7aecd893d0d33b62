"""Locks of files and folders among the processes of a machine. All end with the process.

A process that is stopped, and not ended, keeps its locks. So a process that has waited for some seconds
logs, once, the lock and its holder, and continues waiting.
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
"""Wait before the warning. Locks are held for moments, except while a shard is fetched."""

_MOST_COMMAND = 120


@contextmanager
def locked_file(path: Path, patience_s: float | None = None) -> Iterator[int]:
    """Context manager that holds an exclusive lock on a file, which it makes if missing, and waits for the lock if it
    has to; after ``patience_s`` seconds (None: ``WARN_AFTER_S``) it says for whom. Yields the file descriptor."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _wait_for(path, descriptor, fcntl.LOCK_EX, WARN_AFTER_S if patience_s is None else patience_s)
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def locked_or_waited(path: Path) -> Iterator[int | None]:
    """Context manager that holds an exclusive lock on a file, which it makes if missing, and yields the file
    descriptor. If another process has the lock, waits until that process releases it and yields ``None``.

    It waits by taking a shared lock, which it drops again when the block ends. Once the file is complete, the other
    process may keep a shared lock on it for as long as it runs, and waiting for an exclusive lock would take all
    that time.
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
    """The descriptor of a file, opened (made if missing) and locked exclusively; ``None`` where another process holds
    its lock. Closing the descriptor releases the lock."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    with _closed_on_error(descriptor):
        if _taken(descriptor, fcntl.LOCK_EX):
            return descriptor
    os.close(descriptor)
    return None


def new_locked_file(choose: Callable[[], Path]) -> tuple[Path, int]:
    """A new, empty file at a path that ``choose`` gives, and its descriptor, which holds its lock
    until it is closed. Where files cannot be locked it is not: then only its name shows whose it is.
    Raises ``OSError`` if it cannot be made."""
    while True:
        path = choose()
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            continue
        with _closed_on_error(descriptor), suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if names(path, descriptor):  # else it was cleared away between the two calls
            return path, descriptor
        os.close(descriptor)


def open_shared(path: Path) -> int | None:
    """The file or folder, opened for reading, so that :func:`lock_unused` refuses it until the
    descriptor and all that was made of it are closed. ``None`` where it was deleted meanwhile."""
    descriptor = os.open(path, os.O_RDONLY)
    with _closed_on_error(descriptor):
        _wait_for(path, descriptor, fcntl.LOCK_SH, WARN_AFTER_S)
        if names(path, descriptor):
            return descriptor
    os.close(descriptor)
    return None


@contextmanager
def lock_unused(path: Path, flags: int = os.O_RDONLY) -> Iterator[None]:
    """Context manager that opens a file or folder with ``flags`` and holds an exclusive lock on it. Raises
    ``BlockingIOError`` if another process uses it."""
    descriptor = os.open(path, flags)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def names(path: Path, descriptor: int) -> bool:
    """Whether ``path`` still is the open file: another process may have renamed or deleted it."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def holder(path: Path) -> str:
    """The holder of a file's lock, as far as the system knows: "process 17, which is stopped
    (python train.py)"."""
    found = None
    with suppress(OSError):
        found = _holding_process(os.stat(path))
    if found is None:
        return "another process, maybe in another container or on another machine"
    return _described_process(found)


def _taken(descriptor: int, kind: int) -> bool:
    """Tries to take the lock without waiting; returns whether it did."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wait_for(path: Path, descriptor: int, kind: int, patience_s: float) -> None:
    """Takes the lock, waiting if it has to; after ``patience_s`` seconds logs who holds it."""
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
    logger.warning("waiting for the lock of %s, which %s holds: let that go on, or end it", path, holder(path))


def _holding_process(status: os.stat_result) -> int | None:
    """The process that holds the lock of the file with this ``status``, from /proc/locks; its
    lines are "1: FLOCK ADVISORY WRITE 17 08:01:131090 0 EOF", and those of waiting processes begin with an
    arrow. Some file systems give another device there than ``stat`` does."""
    device = (os.major(status.st_dev), os.minor(status.st_dev))
    alike = []
    for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
        fields = line.split()
        if len(fields) < 6 or fields[1] != "FLOCK":
            continue
        with suppress(ValueError):
            process, (major, minor, inode) = int(fields[4]), fields[5].split(":")
            if int(inode) != status.st_ino or process <= 0:  # 0: of another container
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
