"""The folder that a build writes to, and what a person sees of the writing."""

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryFile

from tqdm import tqdm

from shards.errors import InputError
from shards.files.locks import holder, not_in_use
from shards.machine_trouble import trouble_of

__all__ = ["by_reason", "cannot_write", "full_disk_said", "locked", "make_folder", "progress_bar"]

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_OF_THE_FOLDER = (*_DISK_FULL, errno.EROFS)


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Keeps a second build out of the folder. Goes with the process, however that ends."""
    with ExitStack() as held:
        try:
            held.enter_context(not_in_use(out))
        except BlockingIOError:
            raise InputError(f"another build is writing to {out}, {holder(out)}: wait for it to end") from None
        yield


def make_folder(folder: Path, option: str = "--output") -> None:
    """Makes the folder that ``option`` names, before long work whose result it is to take.

    Raises ``InputError`` where that cannot be, or nothing can be written in it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder, prefix="."):  # only the attempt tells
            pass
    except OSError as error:
        raise InputError(
            f"the folder {folder} cannot be written to ({error.strerror or error}): give another {option}"
        ) from error


def cannot_write(out: Path, error: OSError) -> str:
    """The sentence for a person when work that writes to ``out`` failed: what the machine lacks, or
    else the file at fault."""
    named = error.filename if isinstance(error.filename, str | os.PathLike) else out
    elsewhere = not _on_one_line(Path(named).absolute(), out.absolute())
    if error.errno in _DISK_FULL:
        return (
            f"the disk is full at {named if elsewhere else out}: free some space and run the same "
            "command again, it continues where it stopped"
        )
    trouble = trouble_of(error)
    if trouble is not None and error.errno not in _OF_THE_FOLDER:
        return str(trouble)
    if elsewhere:
        return f"{os.fspath(named)} cannot be used: {error.strerror or error}"
    return f"cannot write to {out}: {error.strerror or error}"


def _on_one_line(path: Path, folder: Path) -> bool:
    """Whether ``path`` lies in the folder, or the folder in it."""
    return path.is_relative_to(folder) or folder.is_relative_to(path)


@contextmanager
def full_disk_said(out: Path) -> Iterator[None]:
    """Around work that also writes to ``out``: raises ``InputError`` where the disk is full, or
    became read-only; other mistakes of the system pass."""
    try:
        yield
    except OSError as error:
        if error.errno not in _OF_THE_FOLDER:
            raise
        raise InputError(cannot_write(out, error)) from error


def by_reason(rejected: Mapping[str, int]) -> str:
    """ "3 corrupt, 1 truncated"."""
    return ", ".join(f"{count:,} {reason}" for reason, count in rejected.items())


def progress_bar(total: int, what: str, progress: bool, initial: int = 0) -> "tqdm[None]":
    """A bar on stderr that counts images; shows nothing without ``progress``."""
    return tqdm(
        total=total,
        initial=initial,
        desc=what,
        unit=" images",
        disable=not progress,
        dynamic_ncols=True,
        smoothing=0.1,
        mininterval=0.5,
    )
