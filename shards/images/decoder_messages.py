"""Keeps off stderr the lines that image libraries print there: they name no file and are of no use.

Faults of a file also raise exceptions, which become a reason with the file's name; a set of images
may hold thousands of harmless oddities ("extraneous bytes"). libtiff has a switch. libjpeg and libpng
have none that could be reached, so their lines are taken off stderr within a call; everything else
that came in between is passed on.
"""

import ctypes
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
"""The beginning of a line that libjpeg, libpng or nvImageCodec prints."""

_lock = threading.Lock()


class _Holding:
    """One for the process, as stderr is."""

    depth = 0
    stderr = -1
    memory = -1


@contextmanager
def messages_held_back() -> Iterator[None]:
    """Context manager for calls of libjpeg or libpng: drops the lines that they print on stderr; what others print
    there appears at the end.

    Takes about 20 µs. Safe in threads: while one is inside, stderr is held back for all. If a library ends the process
    meanwhile, its last words are lost.
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
    except OSError:  # closed, or no descriptor is left: then nothing is held back
        return
    try:
        _Holding.memory = os.memfd_create("stderr")
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
        except OSError:  # nobody reads it
            return


@cache
def libtiff_silenced() -> bool:
    """Switches off the messages of libtiff, in the library that Pillow loaded; whether it was found.

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


# Pillow logs what it cannot decode, and raises it as well.
logging.getLogger("PIL").setLevel(logging.CRITICAL)

_warnings_lock = threading.RLock()


@contextmanager
def quiet() -> Iterator[None]:
    """Context manager: silences Python's warnings, such as Pillow's about damaged metadata. For one thread at a
    time, because the filters belong to the process."""
    with _warnings_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
