"""Makes printing safe when stdout or stderr is closed, cannot be written to, or cannot encode some characters.

A failed print must neither stop a command half-way nor end it with a traceback. Text that cannot be written is dropped,
and ``Output`` records the loss. If any of the file descriptors 0 to 2 is closed, the null device is opened in its
place. Otherwise, the system could assign it to one of the user's files, which would then receive what a library prints.
"""

import codecs
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TextIO

__all__ = ["Output", "guarded_streams", "has_reader"]

_PLAIN = {
    "→": "->",
    "–": "-",
    "—": "-",
    "−": "-",
    "…": "...",
    "×": "x",
    "·": "*",
    "±": "+-",
    "≤": "<=",
    "≥": ">=",
    "≈": "~",
    "“": '"',
    "”": '"',
    "’": "'",
    "│": "|",
    "─": "-",
}
"""Replacements for characters that a terminal cannot show. Other such characters become backslash escapes."""

_ERRORS = "glass-plain"


def _plainly(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    part = error.object[error.start : error.end]
    plain = (_PLAIN.get(c) or c.encode("ascii", "backslashreplace").decode() for c in part)
    return "".join(plain), error.end


codecs.register_error(_ERRORS, _plainly)


@dataclass
class Output:
    """Outcome of writing to stdout: whether everything was written, output was lost, or the reader stopped reading."""

    lost: OSError | None = None
    """The first error that dropped output that somebody may need; ``None`` if there was none."""
    closed: bool = False
    """Whether stdout is a pipe that its reader closed before the end, as ``head`` does."""


def has_reader() -> bool:
    """Whether somebody may read what the command prints: false once the reader of stdout has closed the pipe."""
    return not (isinstance(sys.stdout, _Stream) and sys.stdout.output is not None and sys.stdout.output.closed)


class _Stream:
    """A text stream that survives write errors: after the first one, it discards further output and raises nothing.

    For stdout, the error is recorded in ``output``, which is ``None`` for stderr.
    """

    def __init__(self, stream: TextIO, output: Output | None) -> None:
        self._stream, self.output = stream, output

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            self._stream.write(text)
        except OSError as error:
            self._dropped(error)
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._dropped(error)

    def _dropped(self, error: OSError) -> None:
        _to_nowhere(self._stream.fileno())  # else Python writes the rest of the buffer again at exit
        if self.output is None:
            return
        if isinstance(error, BrokenPipeError):  # nobody needs the rest, but the command may have files to write
            self.output.closed = True
        else:
            self.output.lost = self.output.lost or error


def _to_nowhere(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _take_descriptors() -> None:
    """Opens the null device on whichever of the descriptors 0, 1 and 2 are closed."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # The system assigns the lowest free descriptor, which is this one.
            os.open(os.devnull, os.O_RDONLY if descriptor == 0 else os.O_WRONLY)
            os.set_inheritable(descriptor, True)


def _wrapped(stream: TextIO | None, output: Output | None) -> Any:
    if stream is None:  # closed when Python started: output has no reader
        return open(os.devnull, "w", encoding="utf-8")  # stays open to the end
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors=_ERRORS)
    return _Stream(stream, output)


@contextmanager
def guarded_streams() -> Iterator[Output]:
    """Context manager for a whole command: printing raises no errors.

    Yields the ``Output`` for stdout. Flushes stderr at the end.
    """
    _take_descriptors()
    before, output = (sys.stdout, sys.stderr), Output()
    sys.stdout, sys.stderr = _wrapped(sys.stdout, output), _wrapped(sys.stderr, None)
    try:
        yield output
    finally:
        wrapped = sys.stderr
        sys.stdout, sys.stderr = before
        wrapped.flush()
