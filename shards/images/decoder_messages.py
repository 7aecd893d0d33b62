"""Suppresses the lines that image libraries print on stderr, which name no file.

Faults of a file also raise exceptions, which are reported with the file's name, and a set of images may have thousands
of harmless oddities ("extraneous bytes"). libtiff has a switch for its messages. libjpeg and libpng have none within
reach, so stderr is captured during a call, their lines are dropped, and all other lines are printed afterwards.
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
    """State of the capture, one for the process, as there is one stderr."""

    depth = 0
    stderr = -1
    memory = -1


@contextmanager
def messages_held_back() -> Iterator[None]:
    """Context manager for calls of libjpeg or libpng: drops the lines that they print on stderr.

    Other output on stderr appears at the end. Takes about 20 µs. Thread-safe: stderr of all threads is captured while
    one of them is inside. If a library ends the process meanwhile, its last lines are lost.
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
        # Without it, writes of two threads at once land on one place of such a file: Linux locks the positions of
        # files on disks alone, and lines were lost.
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
    """Switches off the messages of libtiff in the library that Pillow loaded. Returns whether the library was found.

    Pillow leaves libtiff's own handlers in place, and raises the errors as well.
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

    One thread at a time enters it, because the filters of warnings belong to the process.
    """
    with _warnings_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
