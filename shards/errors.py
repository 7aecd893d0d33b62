"""The two kinds of errors that end a command with one sentence: a user's mistake and a fault of the machine.

An image, a tar or a list is called bad only for its own contents. If the machine runs out of memory, file descriptors
or disk space, the same file may be sound: the run ends with a sentence that names the cause, nothing is recorded
against the file, and the same command reads it again. A read that fails because of a disk or a network file system is
retried first (:mod:`shards.files.patience`).
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
    """A user's mistake. The message is one sentence that names what is wrong and says what to do."""


NO_MEMORY = "there is not enough memory: close other programs, or use fewer workers or threads"

_CAUSES = {
    errno.ENOMEM: NO_MEMORY,
    errno.EMFILE: "this process cannot open more files: raise the limit (ulimit -n), or use fewer workers or threads",
    errno.ENFILE: "the machine cannot open more files: close other programs",
    errno.ENOSPC: "the disk is full: free some space",
    errno.EDQUOT: "the disk quota is used up: free some space",
    errno.EROFS: "the file system is read-only: make it writable",
}
"""Error number → text with the cause, and what to do."""

_PASSING = frozenset({errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN, errno.EREMOTEIO})
"""Error numbers of a failing disk or network file system. Another try may succeed."""


class MachineTrouble(Exception):
    """A fault of the machine, not of a file or the user. The message is one sentence that says what to do.

    Derived from neither ``OSError`` nor ``InputError``, so that handlers of bad files do not catch it.
    """


def is_passing(error: BaseException) -> bool:
    """Whether ``error`` is a failure of a disk or a network file system, so that another try may succeed."""
    return isinstance(error, OSError) and error.errno in _PASSING


def disk_failed(what: object, cause: str, advice: str = "") -> MachineTrouble:
    """The error for a file that a disk or a network file system failed to deliver.

    ``what`` names the file, ``cause`` is the system's message, and ``advice`` is appended to the remedy.
    """
    return MachineTrouble(
        f"{what} cannot be read ({cause}): check the disk or the network file system and run the same command "
        f"again{advice}"
    )


def trouble_of(error: BaseException, what: object = "") -> MachineTrouble | None:
    """``error`` converted to ``MachineTrouble`` if the machine is at fault, else ``None``.

    ``what`` names the file or thing that was worked on; without it, the message names the file in ``error``.
    """
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
    """Raises ``MachineTrouble`` if the machine, not ``what``, is at fault for ``error``.

    Handlers call it before they conclude that ``what`` is bad. A ``MemoryError`` is raised unchanged, since callers
    handle it separately.
    """
    if isinstance(error, MemoryError):
        raise error
    trouble = trouble_of(error, what)
    if trouble is not None:
        raise trouble from error


def require_openable(path: Path) -> None:
    """Raises ``MachineTrouble`` if the machine cannot open ``path`` now; other errors are ignored.

    Handlers call it for errors from libraries that hide the error of the operating system.
    """
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        require_sound_machine(error, path)


@contextmanager
def machine_spared(what: object = "", memory: bool = False) -> Iterator[None]:
    """Context manager for work on ``what``: raises ``MachineTrouble`` in place of an error that is the machine's fault.

    All other errors pass unchanged. ``MemoryError`` counts as the machine's fault only if ``memory`` is true. Set it
    only for work whose memory is limited whatever ``what`` contains. A damaged Parquet file, for example, may make its
    reader request any amount.
    """
    try:
        yield
    except (OSError, MemoryError) as error:
        if isinstance(error, MemoryError) and not memory:
            raise
        trouble = trouble_of(error, what)
        if trouble is None:
            raise
        raise trouble from error
