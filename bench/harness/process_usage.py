"""Measures the CPU time and peak memory of a process and its children."""

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from glass.memory import process_peak

__all__ = ["Usage", "reset_peak_rss", "usage_now", "wait_until_idle"]

MIB = 1 << 20


@dataclass(frozen=True)
class Usage:
    """CPU time since the process began, and peak memory since the last reset."""

    cpu_s: float
    """User and system time in seconds of all threads and child processes, including the worker processes of other
    loading libraries."""
    peak_rss_mib: float
    """Peak resident memory in MiB, including libraries and mapped pages of shards. The peaks of child processes are
    added, so a page that several processes share is included once for each of them."""


def usage_now() -> Usage:
    """CPU time and peak memory up to now."""
    family = _family()
    cpu_s = 0.0
    for process in family:
        times = process.cpu_times()
        cpu_s += times.user + times.system
    # cpu_times() counts in ticks of 10 ms; the process's own clock is exact.
    own = family[0].cpu_times()
    cpu_s += time.process_time() - own.user - own.system
    ended = os.times()
    cpu_s += ended.children_user + ended.children_system
    return Usage(cpu_s, sum(process_peak.peak_rss_bytes(process.pid) for process in family) / MIB)


def reset_peak_rss() -> None:
    """Resets the peaks to the currently resident memory, so that later peaks exclude the preparation."""
    for process in _family():
        process_peak.reset_peak_rss(process.pid)


def wait_until_idle(timeout_s: float = 5.0) -> None:
    """Returns once this process and its children have stopped computing, or after ``timeout_s`` seconds.

    Without this wait, prefetching that continues after a turn would disturb the method that is timed next.
    """
    deadline = time.monotonic() + timeout_s
    before = _cpu_s(_family())
    while time.monotonic() < deadline:
        time.sleep(0.03)
        family = _family()
        now = _cpu_s(family)
        if now - before < 0.003 and not _wants_to_run(family):
            return
        before = now


def _cpu_s(family: list[psutil.Process]) -> float:
    """Returns the CPU time of all child processes, and of this process's threads except the calling one. On a machine
    with hundreds of processes, calling :func:`_family` costs several milliseconds, which must not count as
    computing."""
    total = time.process_time() - time.thread_time()
    for child in family[1:]:
        times = child.cpu_times()
        total += times.user + times.system
    return total


def _wants_to_run(family: list[psutil.Process]) -> bool:
    """Whether any other thread of this process or its children is running, or waiting for a core or disk. The CPU time
    does not show waiting threads: on a busy machine, a thread may wait from one check to the next."""
    own = str(threading.get_native_id())
    return any(thread != own and state in "RD" for process in family for thread, state in _thread_states(process.pid))


def _thread_states(pid: int) -> Iterator[tuple[str, str]]:
    """Yields the id and state of each thread in a process. Threads that end in the meantime are left out."""
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):
                stat = Path(f"/proc/{pid}/task/{thread}/stat").read_bytes()
                yield thread, stat.rpartition(b")")[2].split()[0].decode("ascii")


def _family() -> list[psutil.Process]:
    me = psutil.Process()
    return [me, *me.children(recursive=True)]
