"""Checks before the work whether an output can be written, and whether an existing file may be replaced.

Every command calls :func:`check_output` for each file that it will write, or :func:`make_folder` for its folder. An
existing file is replaced only if its contents show that a command of this project wrote it; any other is left alone.
"""

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryFile

from shards.errors import InputError, trouble_of
from shards.files.json_file import read_json
from shards.files.locks import holder, lock_unused
from shards.files.regular_file import open_regular, require_regular

__all__ = [
    "Ours",
    "cannot_write",
    "check_new_folder",
    "check_output",
    "holds_mark",
    "is_json_with",
    "is_parquet_with",
    "locked",
    "make_folder",
    "report_full_disk",
    "require_different",
    "starts_with",
]

Ours = Callable[[Path], bool]
"""A function that returns whether an existing file is of the kind that a command writes. May raise ``OSError``."""

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_OF_THE_FOLDER = (*_DISK_FULL, errno.EROFS)

HEAD_BYTES = 4096
"""Number of bytes at the beginning of a file in which the mark of this project's commands is looked for."""


def check_output(path: Path, ours: Ours, remedy: str = "give another name", *, folder_is_made: bool = False) -> bool:
    """Checks that ``path`` can be written, and returns whether it holds a file of ours, which will be replaced.

    Raises ``InputError``, ending in ``remedy``, if ``path`` cannot be written, or holds a file that ``ours`` does not
    accept. With ``folder_is_made`` the folder of ``path`` may be missing, since the command makes it.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder: give the name of a file, or move the folder away")
    if not path.parent.is_dir():
        if folder_is_made and not path.parent.exists():
            return False
        raise InputError(f"the folder {path.parent} does not exist: create it first")
    exists = path.exists() or path.is_symlink()
    try:
        if exists:
            require_regular(path)  # reading a pipe would block; replacing a device would remove it
            if not ours(path):
                raise InputError(f"{path} was not written by this command: {remedy}")
        _require_writable(path.parent, remedy)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}: {remedy}") from error
    return exists


def require_different(files: Mapping[str, Path]) -> None:
    """Raises ``InputError`` if two options name the same file, by whatever path; ``files`` maps options to paths."""
    for (option, path), (other, same) in combinations(files.items(), 2):
        if os.path.realpath(path) == os.path.realpath(same):
            raise InputError(f"{option} and {other} both name {same}: give each its own file")


def _require_writable(folder: Path, remedy: str) -> None:
    try:
        with TemporaryFile(dir=folder, prefix="."):  # only an attempt shows whether it works
            pass
    except OSError as error:
        raise InputError(_not_writable(folder, error, remedy)) from error


def _not_writable(folder: Path, error: OSError, remedy: str) -> str:
    return f"the folder {folder} cannot be written to ({error.strerror or error}): {remedy}"


def check_new_folder(folder: Path, what: str = "a new folder") -> None:
    """Raises ``InputError`` if ``folder`` is a file or holds anything. Does not make it."""
    try:
        taken = folder.is_dir() and any(folder.iterdir())
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror or error}") from error
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: give {what}")
    if taken:
        raise InputError(f"{folder} holds files: give {what}")


def starts_with(start: str) -> Ours:
    """Returns the ``Ours`` that accepts files whose first bytes are ``start``."""

    def ours(path: Path) -> bool:
        return _head(path, len(start.encode())) == start.encode()

    return ours


def holds_mark(mark: str) -> Ours:
    """Returns the ``Ours`` that accepts files with ``mark``, such as the generator of a page, in their first 4 kB."""
    return lambda path: mark.encode() in _head(path, HEAD_BYTES)


def is_json_with(*names: str, check: Callable[[object], object] | None = None) -> Ours:
    """Returns the ``Ours`` that accepts JSON objects with all fields ``names``.

    If ``check`` is given, it must not raise ``ValueError``, ``KeyError`` or ``TypeError`` for the object.
    """

    def ours(path: Path) -> bool:
        try:
            document = read_json(path)
            if not isinstance(document, dict) or not set(names) <= set(document):
                return False
            if check is not None:
                check(document)
        except (ValueError, KeyError, TypeError):
            return False
        return True

    return ours


def is_parquet_with(names: Iterable[str]) -> Ours:
    """Returns the ``Ours`` that accepts Parquet files with all columns ``names``."""
    wanted = set(names)

    def ours(path: Path) -> bool:
        import pyarrow as pa

        from shards.files.parquet_file import open_parquet

        try:
            with open_parquet(path) as file:
                return wanted <= set(file.schema_arrow.names)
        except (pa.ArrowException, ValueError):
            return False

    return ours


def _head(path: Path, length: int) -> bytes:
    with open_regular(path) as file:
        return file.read(length)


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Context manager that locks the folder ``out`` against a second build, at most until the process ends.

    Raises ``InputError`` if another build holds the lock.
    """
    with ExitStack() as held:
        try:
            held.enter_context(lock_unused(out))
        except BlockingIOError:
            raise InputError(f"another build is writing to {out}, {holder(out)}: wait for it to end") from None
        yield


def make_folder(folder: Path, option: str = "--output") -> None:
    """Makes the folder for the result of long work, before the work; ``option`` is the flag that names it.

    Raises ``InputError`` if the folder cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(_not_writable(folder, error, f"give another {option}")) from error
    _require_writable(folder, f"give another {option}")


def cannot_write(out: Path, error: OSError) -> str:
    """The message for the user after work that writes to ``out`` failed: the machine's fault, or the file at fault."""
    named = error.filename if isinstance(error.filename, str | os.PathLike) else out
    elsewhere = not _on_one_line(Path(named).absolute(), out.absolute())
    if error.errno in _DISK_FULL:
        return (
            f"the disk is full at {named if elsewhere else out}: free some space and run the same command again, "
            "which continues where it stopped"
        )
    trouble = trouble_of(error)
    if trouble is not None and error.errno not in _OF_THE_FOLDER:
        return str(trouble)
    if elsewhere:
        return f"{os.fspath(named)} cannot be used: {error.strerror or error}"
    return f"cannot write to {out}: {error.strerror or error}"


def _on_one_line(path: Path, folder: Path) -> bool:
    """Whether ``path`` is in ``folder``, or ``folder`` in ``path``."""
    return path.is_relative_to(folder) or folder.is_relative_to(path)


@contextmanager
def report_full_disk(out: Path) -> Iterator[None]:
    """Context manager for work that writes to ``out``: raises ``InputError`` if the disk is full or became read-only.

    Other errors of the system pass unchanged.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _OF_THE_FOLDER:
            raise
        raise InputError(cannot_write(out, error)) from error
