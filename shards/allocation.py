"""The allocator keeps what decoders give back, as the next image needs the same again.

glibc takes each block of some megabytes from the kernel and returns it when it is freed, in threads also
what lies at the end of their heaps. A decoded image of one megapixel is such a block: 4,800 page faults an
image, a third of the processor time of WebP and AVIF through the loader (docs/LOG.md, 2026-11-29). Heaps of
threads end at 64 MB and go back whole when they are empty, so that two images of eight megapixels are too
much for one; the first heap of a process has no end, and all threads use that.
"""

import ctypes
import os
from collections.abc import Mapping

__all__ = ["keep_freed_memory", "return_freed_memory"]

TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8  # malloc.h of glibc
KEPT_BYTES = 256 << 20
"""Freed memory at the end of a heap that is kept rather than returned."""
MMAP_BYTES = 32 << 20
"""Blocks from this size on come from the kernel, each by itself: the most that glibc allows."""
_SMALL = 1 << 16
_OF_THE_USER = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_ARENA_MAX", "GLIBC_TUNABLES")


def keep_freed_memory() -> None:
    """Makes glibc keep freed memory, for this process and for threads that start later. Does nothing if the
    environment sets one of the options itself, or with another C library. Costs nothing when it is called again."""
    if not any(os.environ.get(name) for name in _OF_THE_USER):
        _set({MMAP_THRESHOLD: MMAP_BYTES, TRIM_THRESHOLD: KEPT_BYTES, ARENA_MAX: 1})


def return_freed_memory() -> None:
    """Returns all that is free, and from now on what is freed at once: memory is measured so."""
    _set({MMAP_THRESHOLD: _SMALL, TRIM_THRESHOLD: _SMALL})
    if (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)


def _set(values: Mapping[int, int]) -> None:
    if (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        for name, value in values.items():
            mallopt(name, value)
