"""Files appear whole or not at all: written under a temporary name, then renamed."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = [
    "atomic_path",
    "final_name",
    "remove_temporaries",
    "write_bytes_atomic",
    "write_text_atomic",
]

_TEMPORARY = re.compile(r"\.(.+)\.\d+\.tmp")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside ``path`` and renames it to ``path`` when the block
    succeeds."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
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


def write_bytes_atomic(path: Path, data: bytes) -> None:
    """Writes ``data`` to ``path`` so that a reader sees the old file or the new one, never a
    part."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text_atomic(path: Path, text: str) -> None:
    """Like :func:`write_bytes_atomic`, for UTF-8 text."""
    write_bytes_atomic(path, text.encode("utf-8"))


def final_name(name: str) -> str | None:
    """What a file of this temporary name was to be called; ``None`` for other names."""
    found = _TEMPORARY.fullmatch(name)
    return found[1] if found else None


def remove_temporaries(folder: Path, is_ours: Callable[[str], bool]) -> None:
    """Deletes what killed processes left in ``folder``: temporary files of which ``is_ours`` says
    yes to the final name.

    For whoever holds the lock under which such files are written: those of a process that lives
    would go too.
    """
    for name in os.listdir(folder):
        final = final_name(name)
        if final is not None and is_ours(final):
            (folder / name).unlink()
