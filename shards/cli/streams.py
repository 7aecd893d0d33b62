"""Printing that survives a closed, a full or a narrow stdout or stderr.

Printing must neither end a command half-way nor turn its work into a traceback. Text that cannot be
written is dropped, and whether requested output was lost is known at the end. Descriptors 0
to 2 are always taken, so that none of the user's files is opened as one of them and then holds
what some library prints.
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
"""Replacements of characters that the terminal lacks; others are shown by their number."""

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
    """The fate of stdout."""

    lost: OSError | None = None
    """The first error that dropped something, ``None`` where all was written."""
    closed: bool = False
    """Whether the reader of a pipe went away, as that of ``… | head``."""


class _Stream:
    """A text stream whose errors end no work: after the first, what is written goes nowhere.

    ``output`` notes it; without one nobody asked. A pipe that stdout's reader closed is an error as
    usual, for nobody wants the rest of the work.
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
        _to_nowhere(self._stream.fileno())  # else the rest of the buffer is tried again at the end
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
    """Opens what is closed of descriptors 0, 1 and 2, on nothing."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free descriptor is taken, which is this one.
            os.open(os.devnull, os.O_RDONLY if descriptor == 0 else os.O_WRONLY)
            os.set_inheritable(descriptor, True)


def _wrapped(stream: TextIO | None, output: Output | None) -> Any:
    if stream is None:  # it was closed when Python began: nobody listens
        return open(os.devnull, "w", encoding="utf-8")  # lives to the end
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors=_ERRORS)
    return _Stream(stream, output)


@contextmanager
def guarded_streams() -> Iterator[Output]:
    """Context manager for a whole command: printing to stdout or stderr raises nothing but the ``BrokenPipeError`` of
    stdout.

    What is left in the buffers is written at the end.
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
