"""Reads a process's peak resident memory, as reported by the operating system."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from shards.allocation import keep_freed_memory, return_freed_memory

__all__ = ["ProcessPeak", "peak_rss_bytes", "reset_peak_rss"]


def peak_rss_bytes(pid: int | str = "self") -> int:
    """Returns a process's peak resident memory in bytes, since it started or since :func:`reset_peak_rss`.

    Returns 0 if the system does not report it.
    """
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def reset_peak_rss(pid: int | str = "self") -> None:
    """Resets the recorded peak to the current resident memory, so that earlier peaks are disregarded."""
    with suppress(OSError):  # not permitted in some containers: the peak then includes the preparation
        Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


class ProcessPeak:
    """Measures the peak growth of this process's resident memory within a context."""

    growth_bytes = 0.0

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Context manager: measures ``growth_bytes``, the peak within the context minus the memory at its start.

        Within the context, freed memory is returned to the operating system immediately, which slows the process down.
        """
        return_freed_memory()
        reset_peak_rss()
        before = psutil.Process().memory_info().rss
        try:
            yield
        finally:
            self.growth_bytes = float(peak_rss_bytes() - before)
            keep_freed_memory()
