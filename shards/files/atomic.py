"""Writes files atomically: under a temporary name, which is replaced by the final name when the file is complete.

A temporary name contains the host, the process id and a random number. The random number is needed because containers
that share a folder may have the same host name and process ids. The writer locks its file, so a temporary file without
a lock was left behind by a killed process.
"""

import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from shards.files.locks import lock_unused, new_locked_file

__all__ = ["atomic_path", "final_name", "remove_temporaries", "write_bytes_atomic", "write_text_atomic"]

_TEMPORARY = re.compile(r"\.(.+)\.(?:([\w-]+)-\d+-[0-9a-f]{8}|\d+)\.tmp")
"""Matches a temporary name. Its groups are the final name and the host. Older versions wrote names without the host."""

_LONGEST_HOST, _LONGEST_NAME = 40, 190
"""Maximum lengths in bytes of the host and the final name within a temporary name. With these limits, the temporary
name stays within the 255 bytes that file systems allow."""

_SETTLED_S = 3600.0
"""After this many seconds without a write, a temporary file from another host counts as abandoned. A free lock alone
does not prove that it is abandoned, because not all file systems share locks between hosts."""


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", os.uname().nodename)[:_LONGEST_HOST] or "_"


def _temporary_beside(path: Path) -> Path:
    name = os.fsdecode(os.fsencode(path.name)[:_LONGEST_NAME])
    return path.with_name(f".{name}.{_host()}-{os.getpid()}-{secrets.token_hex(4)}.tmp")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Context manager for writing ``path``: yields a temporary file, which is renamed to ``path`` at the end.

    The temporary file is in the same folder and empty at first. If the block raises an exception, the temporary file is
    deleted, and ``path`` is left unchanged.
    """
    temporary, held = new_locked_file(lambda: _temporary_beside(path))
    try:
        yield temporary
        descriptor = os.open(temporary, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            temporary.unlink()
        raise
    finally:
        os.close(held)


def write_bytes_atomic(path: Path, data: bytes) -> None:
    """Writes ``data`` to ``path`` so that readers see either the old file or the complete new one."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text_atomic(path: Path, text: str) -> None:
    """Like :func:`write_bytes_atomic`, for UTF-8 text."""
    write_bytes_atomic(path, text.encode("utf-8"))


def final_name(name: str) -> str | None:
    """The final name that belongs to the temporary name ``name``; ``None`` if ``name`` is not a temporary name."""
    found = _TEMPORARY.fullmatch(name)
    return found[1] if found else None


def remove_temporaries(folder: Path, is_ours: Callable[[str], bool]) -> None:
    """Deletes temporary files that killed processes left in ``folder``, if ``is_ours`` is true for their final names.

    Keeps the temporary files of running processes, on whatever host they run.
    """
    for name in os.listdir(folder):
        final = final_name(name)
        if final is not None and is_ours(final) and _is_settled(folder / name):
            # A network file system grants an exclusive lock only on a file that is open for writing.
            opened = lock_unused(folder / name, os.O_RDWR)
            with suppress(FileNotFoundError, BlockingIOError), opened:
                (folder / name).unlink()


def _is_settled(path: Path) -> bool:
    """Whether a temporary file was written by this host, or has not been modified for ``_SETTLED_S`` seconds."""
    found = _TEMPORARY.fullmatch(path.name)
    if found is None or found[2] in (None, _host()):
        return True
    with suppress(FileNotFoundError):
        return time.time() - path.stat().st_mtime > _SETTLED_S
    return False
