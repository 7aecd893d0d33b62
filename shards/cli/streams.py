"""Printing that survives a stdout or stderr that is closed, full, or lacks characters.

Printing must neither end a command half-way nor turn its work into a traceback. Text that cannot be written is dropped,
and ``Output`` records the loss. Closed descriptors 0 to 2 are opened, so that no file of the user gets one of these
numbers and then receives the output of some library.
"""

import codecs
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TextIO

__all__ = ["Output", "guarded_streams"]

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
"""Replacements of characters that a terminal lacks. Other such characters are shown by their numbers."""

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
    """What became of the output on stdout."""

    lost: OSError | None = None
    """The first error that dropped output; ``None`` if everything was written."""
    closed: bool = False
    """Whether stdout was a pipe whose reader closed it, as ``head`` in ``… | head`` does."""


class _Stream:
    """A text stream whose errors do not end the work: after the first error, output is dropped.

    Errors are recorded in ``output`` if it is given. If the reader of stdout closed its pipe, the error is raised as
    usual, because nobody needs the rest of the work.
    """

    def __init__(self, stream: TextIO, output: Output | None) -> None:
        self._stream, self._output = stream, output

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
        if self._output is None:
            return
        if isinstance(error, BrokenPipeError):
            self._output.closed = True
            raise error
        self._output.lost = self._output.lost or error


def _to_nowhere(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _take_descriptors() -> None:
    """Opens those of the descriptors 0, 1 and 2 that are closed, on the null device."""
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
    """Context manager for a whole command: makes printing raise no error except the ``BrokenPipeError`` of stdout.

    Writes the rest of the buffers at the end. Yields what became of stdout.
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
