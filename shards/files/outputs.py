"""Checks, before a command starts its work, whether its output can be written and may replace an existing file.

Every command calls :func:`check_output` for each file that it will write, or :func:`make_folder` for its output folder.
An existing file is replaced only if its contents show that a command of this project wrote it. Any other file is left
unchanged.
"""

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryFile

from shards.cli.shown_url import as_url, shown_url
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
    "refuse_address",
    "report_full_disk",
    "require_different",
    "starts_with",
]

Ours = Callable[[Path], bool]
"""A function that returns whether the file at a path looks like one that the command wrote. May raise ``OSError``."""

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_OF_THE_FOLDER = (*_DISK_FULL, errno.EROFS)

HEAD_BYTES = 4096
"""Number of bytes at the beginning of a file that :func:`holds_mark` searches for a command's mark."""


def refuse_address(path: Path) -> None:
    """Raises ``InputError`` if a user gave the address of a store (``s3://…``) for an output.

    As a path, it would become a folder called ``s3:`` in the current folder.
    """
    if (url := as_url(path)) is not None:
        raise InputError(
            f"{shown_url(url)} is in a store, but this output is written to a local disk only: give a local path, and "
            "copy it to the store afterwards"
        )


def check_output(path: Path, ours: Ours, remedy: str = "give another name", *, folder_is_made: bool = False) -> bool:
    """Checks that ``path`` can be written. Returns whether it is an existing file of ours, which will be replaced.

    Raises ``InputError``, with a message that ends with ``remedy``, if ``path`` cannot be written or if ``ours``
    returns false for the existing file. If ``folder_is_made`` is set, the parent folder may be missing, since the
    command creates it later, but not if it is named like a file (``report.html``).
    """
    refuse_address(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder: give the name of a file, or move the folder away")
    if not path.parent.is_dir():
        if path.parent.exists():
            raise InputError(f"{path.parent} is a file: give a folder")
        if folder_is_made and path.suffix and path.parent.suffix.lower() == path.suffix:
            raise InputError(
                f"{path.name} is written into a folder, but {path.parent} is named like a file: give a name without "
                f"{path.suffix}"
            )
        if folder_is_made:
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
    """Raises ``InputError`` if two options name the same file.

    ``files`` maps options to paths. Different paths may lead to the same file.
    """
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
    """Raises ``InputError`` unless ``folder`` is missing or an empty folder. Does not create it."""
    refuse_address(folder)
    try:
        taken = folder.is_dir() and any(folder.iterdir())
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror or error}") from error
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: give {what}")
    if taken:
        raise InputError(f"{folder} holds files: give {what}")


def starts_with(start: str) -> Ours:
    """Returns the :data:`Ours` that accepts files whose first bytes are ``start`` in UTF-8."""

    def ours(path: Path) -> bool:
        return _head(path, len(start.encode())) == start.encode()

    return ours


def holds_mark(mark: str) -> Ours:
    """Returns the :data:`Ours` that accepts files with ``mark`` in their first ``HEAD_BYTES`` bytes."""
    return lambda path: mark.encode() in _head(path, HEAD_BYTES)


def is_json_with(*names: str, check: Callable[[object], object] | None = None) -> Ours:
    """Returns an :data:`Ours` that accepts files holding a JSON object with all fields in ``names``.

    If ``check`` is given, it is called with the object; if it raises ``ValueError``, ``KeyError`` or ``TypeError``, the
    file is not accepted.
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
    """Returns the :data:`Ours` that accepts Parquet files with all columns ``names``."""
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
def locked(out: Path, work: str = "build") -> Iterator[None]:
    """Context manager that locks the folder ``out``, so that no second command of the same kind writes to it.

    Raises ``InputError``, which calls the other command a ``work``, if it holds the lock.
    """
    with ExitStack() as held:
        try:
            held.enter_context(lock_unused(out))
        except BlockingIOError:
            raise InputError(f"another {work} is writing to {out}, {holder(out)}: wait for it to end") from None
        yield


def make_folder(folder: Path, option: str = "--output") -> None:
    """Creates a command's output folder before any lengthy work. ``option`` is the flag that names the folder.

    Raises ``InputError`` if the folder cannot be created or written to.
    """
    refuse_address(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(_not_writable(folder, error, f"give another {option}")) from error
    _require_writable(folder, f"give another {option}")


def cannot_write(out: Path, error: OSError) -> str:
    """The error message for a failed write to ``out``.

    It gives the cause, and also names the file at fault if that file is not in ``out``.
    """
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
    """Whether ``path`` equals ``folder``, is below it, or contains it."""
    return path.is_relative_to(folder) or folder.is_relative_to(path)


@contextmanager
def report_full_disk(out: Path) -> Iterator[None]:
    """Context manager for work that writes to ``out``: raises ``InputError`` if the disk is full or became read-only.

    Other errors propagate unchanged.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _OF_THE_FOLDER:
            raise
        raise InputError(cannot_write(out, error)) from error
