"""Suppresses the messages that image libraries print on stderr.

The messages are useless: they do not name the file, and many concern harmless defects ("extraneous bytes"), of which a
data set may have thousands. Real faults also raise exceptions, which are reported with the file name. libtiff has a
switch for its messages, but those of libjpeg and libpng cannot be switched off from Python. Therefore, stderr is
captured during calls to these two libraries; their lines are dropped, and all other lines are printed afterwards.
"""

import ctypes
import fcntl
import logging
import os
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

__all__ = ["libtiff_silenced", "messages_held_back", "quiet"]

_STDERR = 2
_OF_A_DECODER = re.compile(
    rb"Corrupt JPEG data: |Premature end of JPEG file|Unsupported marker type |Invalid SOS param"
    rb"|Inconsistent progression sequence|Unknown Adobe color transform|Warning: unknown JFIF"
    rb"|Application transferred too |libpng (?:warning|error): "
    rb"|[^\n]{0,20}\[(?:ERROR|WARNING)\][^\n]{0,20}\[\w*(?:decoder|parser)\w*\]"
)
"""Matches the beginning of a line that libjpeg, libpng or nvImageCodec prints."""

_lock = threading.Lock()


class _Holding:
    """State of the stderr capture. All threads share it, because a process has only one stderr."""

    depth = 0
    stderr = -1
    memory = -1


@contextmanager
def messages_held_back() -> Iterator[None]:
    """Context manager for calls to libjpeg or libpng: drops the lines that they print on stderr.

    All other output on stderr is delayed until the end of the block. Entering and leaving the block take about 20 µs in
    total. Thread-safe: stderr of all threads is captured while any thread is in such a block. If a library ends the
    process during the block, the lines captured so far are lost.
    """
    with _lock:
        if not _Holding.depth:
            _begin()
        _Holding.depth += 1
    try:
        yield
    finally:
        with _lock:
            _Holding.depth -= 1
            if not _Holding.depth:
                _end()


def _begin() -> None:
    try:
        _Holding.stderr = os.dup(_STDERR)
    except OSError:  # stderr is closed, or no descriptor is left: nothing is captured
        return
    try:
        _Holding.memory = os.memfd_create("stderr")
        # Without O_APPEND, threads that write at once overwrite each other's lines: Linux locks the positions of
        # files only on disks.
        fcntl.fcntl(_Holding.memory, fcntl.F_SETFL, os.O_APPEND)
    except OSError:
        os.close(_Holding.stderr)
        _Holding.stderr = -1
        return
    os.dup2(_Holding.memory, _STDERR)


def _end() -> None:
    if _Holding.stderr < 0:
        return
    os.dup2(_Holding.stderr, _STDERR)
    size = os.fstat(_Holding.memory).st_size
    printed = os.pread(_Holding.memory, size, 0) if size else b""
    os.close(_Holding.memory)
    os.close(_Holding.stderr)
    _Holding.stderr = _Holding.memory = -1
    rest = b"".join(line for line in printed.splitlines(True) if not _OF_A_DECODER.match(line))
    while rest:
        try:
            rest = rest[os.write(_STDERR, rest) :]
        except OSError:  # stderr has no reader
            return


@cache
def libtiff_silenced() -> bool:
    """Silences the libtiff that Pillow loaded. Returns whether that library was found.

    No errors are lost, because Pillow also raises an exception for every error. Pillow itself does not silence libtiff.
    """
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
            paths = {line.split(maxsplit=5)[-1].strip() for line in maps if "libtiff" in line}
    except OSError:
        return False
    found = False
    for path in sorted(paths):
        try:
            library = ctypes.CDLL(path)
            library.TIFFSetErrorHandler(None)
            library.TIFFSetWarningHandler(None)
        except (OSError, AttributeError):
            continue
        found = True
    return found


# Pillow logs decoding errors that it also raises.
logging.getLogger("PIL").setLevel(logging.CRITICAL)

_warnings_lock = threading.RLock()


@contextmanager
def quiet() -> Iterator[None]:
    """Context manager: suppresses Python's warnings, such as Pillow's about damaged metadata.

    Only one thread at a time can be in the block, because warning filters are global to the process.
    """
    with _warnings_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
