"""Files appear whole or not at all: written under a temporary name, then renamed.

A temporary name holds the host, the process and a chance number, for containers on one folder may
agree in the first two. Its writer holds its lock; a file whose lock is free was left by a killed process.
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
"""The name that the file is to have, and the host; older versions wrote the process alone."""

_LONGEST_HOST, _LONGEST_NAME = 40, 190
"""Bytes of them in a temporary name, so that it is one that a file system takes."""

_SETTLED_S = 3600.0
"""A file of another host that was not written to for so long belongs to no living process. Its lock
shows that at once where the file system shares locks between hosts; not all do."""


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", os.uname().nodename)[:_LONGEST_HOST] or "_"


def _temporary_beside(path: Path) -> Path:
    name = os.fsdecode(os.fsencode(path.name)[:_LONGEST_NAME])
    return path.with_name(f".{name}.{_host()}-{os.getpid()}-{secrets.token_hex(4)}.tmp")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Context manager: yields the path of a new, empty temporary file beside ``path`` and renames it to ``path`` when
    the block succeeds, or deletes it when the block fails."""
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
    """Writes ``data`` to ``path`` so that a reader sees the old file or the new one, never a
    part."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text_atomic(path: Path, text: str) -> None:
    """Like :func:`write_bytes_atomic`, for UTF-8 text."""
    write_bytes_atomic(path, text.encode("utf-8"))


def final_name(name: str) -> str | None:
    """The final name of a file with the temporary ``name``; ``None`` where ``name`` is not a temporary one."""
    found = _TEMPORARY.fullmatch(name)
    return found[1] if found else None


def remove_temporaries(folder: Path, is_ours: Callable[[str], bool]) -> None:
    """Deletes the temporary files that killed processes left in ``folder`` whose final name ``is_ours`` accepts.

    Temporary files of running processes stay, whatever host those run on.
    """
    for name in os.listdir(folder):
        final = final_name(name)
        if final is not None and is_ours(final) and _is_settled(folder / name):
            # Opened for writing, without which a network file system locks for reading only.
            opened = lock_unused(folder / name, os.O_RDWR)
            with suppress(FileNotFoundError, BlockingIOError), opened:
                (folder / name).unlink()


def _is_settled(path: Path) -> bool:
    """Whether a temporary file is of this host, or was left alone for long."""
    found = _TEMPORARY.fullmatch(path.name)
    if found is None or found[2] in (None, _host()):
        return True
    with suppress(FileNotFoundError):
        return time.time() - path.stat().st_mtime > _SETTLED_S
    return False
