"""Defines the exceptions that end a command with a one-sentence message, for user mistakes and machine faults.

An image, a tar or a list is reported as bad only if its own contents are at fault. If the machine runs out of memory,
file descriptors or disk space, the file being read may be perfectly sound. The command then ends with a message that
names the cause. It records nothing against the file, so the same command will read the file again. A read that fails
because of a disk or a network file system is retried first (:mod:`shards.files.patience`).
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
"""Maps each error number to text that names the cause and says what to do."""

_PASSING = frozenset({errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN, errno.EREMOTEIO})
"""Error numbers of a failing disk or network file system, after which a retry may succeed."""


class MachineTrouble(Exception):
    """A machine fault, as opposed to a bad file or a user's mistake. The message is one sentence that says what to do.

    Derives from neither ``OSError`` nor ``InputError``, so handlers for bad files do not catch it.
    """


def is_passing(error: BaseException) -> bool:
    """Whether ``error`` is a disk or network file system failure, after which a retry may succeed."""
    return isinstance(error, OSError) and error.errno in _PASSING


def disk_failed(what: object, cause: str, advice: str = "") -> MachineTrouble:
    """Returns the error to raise for a file that a disk or a network file system failed to read.

    ``what`` names the file, ``cause`` is the system's message, and ``advice`` is appended to the remedy.
    """
    return MachineTrouble(
        f"{what} cannot be read ({cause}): check the disk or the network file system and run the same command "
        f"again{advice}"
    )


def trouble_of(error: BaseException, what: object = "") -> MachineTrouble | None:
    """Converts ``error`` to ``MachineTrouble`` if the machine is at fault. Returns ``None`` for any other error.

    ``what`` names the item being processed. If it is empty, the message names the file given in ``error``, if any.
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
    """Raises ``MachineTrouble`` if ``error`` is the machine's fault rather than a fault in ``what``.

    Exception handlers call this before they report ``what`` as bad. A ``MemoryError`` is re-raised unchanged, because
    the callers handle it separately.
    """
    if isinstance(error, MemoryError):
        raise error
    trouble = trouble_of(error, what)
    if trouble is not None:
        raise trouble from error


def require_openable(path: Path) -> None:
    """Raises ``MachineTrouble`` if ``path`` cannot be opened because of a machine fault. Ignores other errors.

    Exception handlers call this when a library's exception hides the underlying ``OSError``.
    """
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        require_sound_machine(error, path)


@contextmanager
def machine_spared(what: object = "", memory: bool = False) -> Iterator[None]:
    """Context manager for work on ``what``: converts errors that are the machine's fault to ``MachineTrouble``.

    All other errors propagate unchanged, and so does ``MemoryError`` unless ``memory`` is true. Set ``memory`` only if
    the work needs a bounded amount of memory whatever ``what`` contains. Reading a Parquet file, for example, does not
    qualify, because a damaged file can make the reader request any amount.
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
