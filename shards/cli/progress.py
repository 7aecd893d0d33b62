"""Keeps a busy command from looking stuck: shows a progress bar or, after a long silence, an explanation.

Loading PyTorch and compiling kernels take seconds, or half a minute on a new machine. Either may happen in code without
a progress bar. A thread therefore inspects the stacks of the other threads once a second to detect loading or
compiling.
"""

import os
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, TextIO, TypeVar

if TYPE_CHECKING:
    from tqdm import tqdm

__all__ = ["LOG_EVERY_S", "explain_silence", "progress_bar"]

T = TypeVar("T")

BAR_EVERY_S = 0.5
LOG_EVERY_S = 30.0
"""Seconds between progress lines in a log file. One line per bar update would fill the file."""

LOOKS_BEFORE_NOTICE = 3
"""Number of inspections, one per second, in which a key of ``SIGNS`` must be found before its line is printed."""
SIGNS = {
    "importlib": "loading libraries, including PyTorch …",
    "/numba/core/": "compiling kernels (once per machine) …",
}
"""Maps a fragment of a source path to the line to print if a thread's stack contains a file with such a path."""

_WHOLE_LINE = "\r\033[K"
"""Control sequence that erases the terminal line that shows the progress bar. A message is printed in its place, and
the bar is redrawn on the next line."""


@contextmanager
def explain_silence(every_s: float = 1.0) -> Iterator[None]:
    """Context manager: explains long silences to a user at a terminal. Prints each line of ``SIGNS`` at most once.

    In a training run with several processes, only the first process prints.
    """
    if sys.stderr is None or not sys.stderr.isatty() or os.environ.get("RANK", "0") != "0":
        yield
        return
    over = threading.Event()
    thread = threading.Thread(target=_watch, args=(over, every_s), name="silence", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()


def _watch(over: threading.Event, every_s: float) -> None:
    seen = dict.fromkeys(SIGNS, 0)
    while not over.wait(every_s) and any(looks < LOOKS_BEFORE_NOTICE for looks in seen.values()):
        for sign in _signs():
            seen[sign] += 1
            if seen[sign] == LOOKS_BEFORE_NOTICE:
                with suppress(OSError, ValueError, AttributeError):  # stderr has no reader
                    sys.stderr.write(f"{_WHOLE_LINE}{SIGNS[sign]}\n")
                    sys.stderr.flush()


def _signs() -> set[str]:
    """Returns the keys of ``SIGNS`` found on the stacks of the other threads."""
    own = threading.get_ident()
    return {
        sign
        for ident, frame in sys._current_frames().items()
        if ident != own
        for name in _files(frame)
        for sign in SIGNS
        if sign in name
    }


def _files(frame: FrameType | None) -> Iterator[str]:
    while frame is not None:
        yield frame.f_code.co_filename
        frame = frame.f_back


class _LogFile:
    """Writes each progress bar update on a separate line, for streams that are not terminals."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        if line := text.strip():
            self._stream.write(f"{line}\n")

    def flush(self) -> None:
        self._stream.flush()


def progress_bar(
    total: int | None,
    what: str,
    progress: bool = True,
    *,
    over: Iterable[T] | None = None,
    unit: str = " images",
    initial: int = 0,
    delay_s: float = 0.0,
) -> "tqdm[T]":
    """Returns a progress bar on stderr, titled ``what``, that counts images, or the items that ``unit`` names.

    Iterating over the bar yields the items of ``over`` and counts them. Nothing is shown if ``progress`` is false, or
    if the work finishes within ``delay_s`` seconds. If stderr is not a terminal, progress is written as one line every
    ``LOG_EVERY_S`` seconds.
    """
    from tqdm import tqdm  # importing it takes half the time of --help

    log = None if sys.stderr is None or sys.stderr.isatty() else _LogFile(sys.stderr)
    every_s = BAR_EVERY_S if log is None else LOG_EVERY_S
    return tqdm(
        over,
        file=log,
        total=total,
        initial=initial,
        desc=what,
        unit=unit,
        disable=not progress,
        dynamic_ncols=True,
        smoothing=0.1,
        mininterval=every_s,
        maxinterval=max(every_s, 10.0),
        delay=delay_s,
    )
