"""Makes the allocator keep freed memory, because decoding the next image needs about as much again.

By default, glibc uses ``mmap`` for every block of several megabytes, such as a decoded image, and returns it to the
kernel as soon as it is freed. Thread heaps are trimmed as well. With one-megapixel images, this cost 4,800 page faults
per image and a third of the CPU time spent loading WebP and AVIF (docs/LOG.md, 2026-11-29). A thread's heap is limited
to 64 MB, too little for two eight-megapixel images, and is returned entirely once it is empty. Therefore, all threads
are made to share the process's main heap, which has no such limit.
"""

import ctypes
import os
from collections.abc import Mapping

__all__ = ["keep_freed_memory", "return_freed_memory"]

TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8  # malloc.h of glibc
KEPT_BYTES = 256 << 20
"""glibc keeps at most this many bytes of freed memory at the end of a heap, and returns the rest to the kernel."""
MMAP_BYTES = 32 << 20
"""glibc maps each block of at least this many bytes separately. It does not allow a higher threshold."""
_SMALL = 1 << 16
_OF_THE_USER = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_ARENA_MAX", "GLIBC_TUNABLES")


def keep_freed_memory() -> None:
    """Makes glibc keep freed memory, in this process and in threads that start later.

    Does nothing if the environment sets one of glibc's options for this, or if the C library is not glibc. Calling it
    again costs nothing.
    """
    if not any(os.environ.get(name) for name in _OF_THE_USER):
        _set({MMAP_THRESHOLD: MMAP_BYTES, TRIM_THRESHOLD: KEPT_BYTES, ARENA_MAX: 1})


def return_freed_memory() -> None:
    """Makes glibc return all free memory to the kernel now, and large blocks as soon as they are freed. For benchmarks.

    Large means 64 KiB or more.
    """
    _set({MMAP_THRESHOLD: _SMALL, TRIM_THRESHOLD: _SMALL})
    if (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)


def _set(values: Mapping[int, int]) -> None:
    if (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        for name, value in values.items():
            mallopt(name, value)
