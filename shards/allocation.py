"""The allocator keeps what decoders give back, as the next image needs the same again.

glibc takes each block of some megabytes from the kernel and returns it when it is freed, in threads also
what lies at the end of their heaps. A decoded image of one megapixel is such a block: 4,800 page faults an
image, a third of the processor time of WebP and AVIF through the loader (docs/LOG.md, 2026-11-29).
"""

import ctypes
import os

__all__ = ["keep_freed_memory", "return_freed_memory"]

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
KEPT_BYTES = 256 << 20
"""Freed memory at the end of a heap that is kept rather than returned."""
MMAP_BYTES = 32 << 20
"""Blocks from this size on come from the kernel, each by itself: the most that glibc allows."""
_SMALL = 1 << 16
_OF_THE_USER = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed_memory() -> None:
    """Sets both thresholds for this process; nothing where the environment sets one itself, or where the
    C library is another one. Costs nothing when it is called again."""
    if not any(os.environ.get(name) for name in _OF_THE_USER):
        _set_thresholds(MMAP_BYTES, KEPT_BYTES)


def return_freed_memory() -> None:
    """Returns all that is free, and from now on what is freed at once: memory is measured so."""
    _set_thresholds(_SMALL, _SMALL)
    if (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)


def _set_thresholds(mmap_bytes: int, kept_bytes: int) -> None:
    if (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        mallopt(MMAP_THRESHOLD, mmap_bytes)
        mallopt(TRIM_THRESHOLD, kept_bytes)
