"""The two kinds of errors that end a command with one sentence: a person's mistake, and the machine's fault.

An image, a tar or a list is blamed only for what lies in it. Where the machine has no memory, no
descriptors or no room left, the same file may be sound, so the run ends with a sentence that names
the cause, nothing is recorded against the file, and the same command reads it again. A disk or a
network file system that answers with an error is asked again first (:mod:`shards.files.patience`).
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = [
    "NO_MEMORY",
    "InputError",
    "MachineTrouble",
    "disk_failed",
    "is_passing",
    "machine_spared",
    "require_openable",
    "require_sound_machine",
    "trouble_of",
]


class InputError(Exception):
    """A person's mistake. The message is one sentence that names the thing and what to do."""


NO_MEMORY = "there is not enough memory: close other programs, or use fewer workers or threads"

_CAUSES = {
    errno.ENOMEM: NO_MEMORY,
    errno.EMFILE: "this process may open no more files: raise the limit (ulimit -n), or use fewer workers or threads",
    errno.ENFILE: "the machine can open no more files: close other programs",
    errno.ENOSPC: "the disk is full: free some space",
    errno.EDQUOT: "the disk quota is used up: free some space",
    errno.EROFS: "the file system is read-only: make it writable",
}
"""Error number → the cause, and what to do."""

_PASSING = frozenset({errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN, errno.EREMOTEIO})
"""Errors of a disk or of a network file system, which may answer the next time."""


class MachineTrouble(Exception):
    """The machine's own trouble, in one sentence that says what to do.

    No ``OSError`` and no ``InputError``, so that no handler of bad files takes it for one.
    """


def is_passing(error: BaseException) -> bool:
    """Whether a disk or a network file system failed, which is worth another try."""
    return isinstance(error, OSError) and error.errno in _PASSING


def disk_failed(what: object, cause: str, advice: str = "") -> MachineTrouble:
    """The error for a file that a disk or a network file system failed to deliver: ``cause`` is the system's
    message, ``advice`` is appended to the remedy."""
    return MachineTrouble(
        f"{what} cannot be read ({cause}): look after the disk or the network file system and run"
        f" the same command again{advice}"
    )


def trouble_of(error: BaseException, what: object = "") -> MachineTrouble | None:
    """``error``, met in work on ``what``, as the machine's trouble; ``None`` where it is not."""
    if isinstance(error, MachineTrouble):
        return error
    cause = NO_MEMORY if isinstance(error, MemoryError) else ""
    if isinstance(error, OSError):
        cause = _CAUSES.get(error.errno or 0, "")
        what = what or _named_by(error)
    if not cause:
        return None
    where = f"{os.fspath(what) if isinstance(what, os.PathLike) else what}: " if what else ""
    return MachineTrouble(f"{where}{cause}, and run the same command again")


def _named_by(error: OSError) -> str:
    name = error.filename
    return os.fsdecode(name) if isinstance(name, str | bytes) else ""


def require_sound_machine(error: BaseException, what: object = "") -> None:
    """Raises ``MachineTrouble`` if ``error`` is the machine's: for handlers that would otherwise
    draw a conclusion about ``what``. ``MemoryError`` is raised as it is: it has handlers of its
    own."""
    if isinstance(error, MemoryError):
        raise error
    trouble = trouble_of(error, what)
    if trouble is not None:
        raise trouble from error


def require_openable(path: Path) -> None:
    """Raises ``MachineTrouble`` if the machine cannot open ``path`` now: for handlers of
    libraries that do not pass on the system's error. Other errors are ignored."""
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        require_sound_machine(error, path)


@contextmanager
def machine_spared(what: object = "", memory: bool = False) -> Iterator[None]:
    """Context manager for work on ``what``: raises ``MachineTrouble`` in place of an error that is the machine's
    fault, and leaves all other errors as they are. ``MemoryError`` counts as the machine's only with ``memory``, for
    work whose size is bounded whatever ``what`` claims to be: a damaged Parquet file may ask for any amount."""
    try:
        yield
    except (OSError, MemoryError) as error:
        if isinstance(error, MemoryError) and not memory:
            raise
        trouble = trouble_of(error, what)
        if trouble is None:
            raise
        raise trouble from error
