"""Opens, maps and hashes files of unknown origin, without blocking. Only regular files are accepted.

Opening a pipe blocks until another process writes to it, perhaps for ever, and opening a device may do anything. So the
file's type is checked before it is opened, and again afterwards, since the file may have been replaced in between. All
code that opens such files uses these functions.
"""

import errno
import hashlib
import io
import mmap
import os
import stat
from pathlib import Path

from shards.errors import machine_spared

__all__ = ["file_sha256", "map_regular", "open_regular", "require_regular"]


def open_regular(path: Path | str) -> io.BufferedReader:
    """Opens ``path`` for reading bytes. Never blocks.

    Raises ``OSError`` if it is missing, or is a folder, a pipe, a device or a socket. Raises ``MachineTrouble`` if the
    machine is at fault, for example if this process cannot open more files.
    """
    require_regular(path)
    with machine_spared(path):
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _require(os.fstat(descriptor), path)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def map_regular(path: Path | str) -> mmap.mmap:
    """Maps the file ``path`` into memory for reading.

    Raises the errors of :func:`open_regular`, and ``ValueError`` for an empty file, which cannot be mapped.
    """
    with open_regular(path) as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def file_sha256(path: Path | str) -> str:
    """SHA-256 of the whole file, 64 hexadecimal digits. Raises the errors of :func:`open_regular`."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_regular(path: Path | str) -> None:
    """Raises the errors of :func:`open_regular` without opening ``path``. For files that a library opens."""
    with machine_spared(path):
        status = os.stat(path)
    _require(status, path)


def _require(status: os.stat_result, path: Path | str) -> None:
    if stat.S_ISREG(status.st_mode):
        return
    is_folder, is_pipe = stat.S_ISDIR(status.st_mode), stat.S_ISFIFO(status.st_mode)
    kind = "a folder" if is_folder else "a pipe" if is_pipe else "a device or a socket"
    raise OSError(errno.EINVAL, f"not a regular file, but {kind}", str(path))
