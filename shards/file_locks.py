"""Locks of files and folders among the processes of a machine. All go with the process."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["locked_file", "locked_or_waited", "names", "not_in_use", "put_to_use"]


@contextmanager
def locked_file(path: Path) -> Iterator[int]:
    """Holds the lock of a file, which is made where it is missing; waits for it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def locked_or_waited(path: Path) -> Iterator[int | None]:
    """Holds the lock of a file, which is made where it is missing. Where another process holds it,
    waits for that to end and holds nothing: ``None``.

    Waiting is for a shared lock. The other may put the file to use as soon as it is complete, for
    as long as it runs, and whoever wanted the lock for himself would wait all that time.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            yield None
        else:
            yield descriptor
    finally:
        os.close(descriptor)


def put_to_use(path: Path) -> int | None:
    """The file or folder, opened for reading, so that :func:`not_in_use` refuses it until the
    descriptor and all that was made of it are closed. ``None`` where it was deleted meanwhile."""
    descriptor = os.open(path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    if names(path, descriptor):
        return descriptor
    os.close(descriptor)
    return None


@contextmanager
def not_in_use(path: Path) -> Iterator[None]:
    """Holds a file or folder that no process uses. Raises ``BlockingIOError`` where one does."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def names(path: Path, descriptor: int) -> bool:
    """Whether ``path`` still is the open file: another process may have renamed or deleted it."""
    try:
        return os.fstat(descriptor).st_ino == path.stat().st_ino
    except FileNotFoundError:
        return False
