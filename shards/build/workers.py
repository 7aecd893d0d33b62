"""Builds shards in several processes. The shards' bytes do not depend on the number of processes."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import wait as wait_for_handles
from multiprocessing.sharedctypes import Synchronized
from types import FrameType
from typing import Any, Protocol

from shards.allocation import keep_freed_memory
from shards.cli.progress import explain_silence
from shards.errors import MachineTrouble

__all__ = ["Task", "obey_parent", "write_shards"]

_POLL_S = 0.2


class _Stopped(Exception):
    """Raised in a worker after the main process asked it to stop."""


class _Channel:
    """State of a worker process, set when it starts. The worker shares ``done`` and ``stop`` with the main process."""

    done: "Synchronized[int]"
    stop: "Synchronized[int]"
    silent: ExitStack
    """Context manager that informs the user if nothing happens for a long time. Only the worker that starts first
    enters it, and exits it after its first image."""


class Task(Protocol):
    """The work to be done for one shard. Can be pickled."""

    @property
    def num_images(self) -> int: ...

    def write(self, advance: Callable[[], object]) -> None:
        """Writes the shard. Calls ``advance()`` after every image; if that raises an exception, the work stops."""


def write_shards(tasks: Sequence[Task], workers: int, advance: Callable[[int], object]) -> None:
    """Writes all shards, the largest first. ``advance(n)`` is called whenever ``n`` more images are done.

    The first error stops all workers after their current image, and is raised. Shards that are already complete are
    kept.
    """
    ordered = sorted(tasks, key=lambda task: -task.num_images)
    if min(workers, len(ordered)) <= 1:
        for task in ordered:
            task.write(lambda: advance(1))
        return
    # The fork server imports once for all workers, and, unlike plain fork, does not inherit this process's threads.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["shards.build.preloaded"])
    with _explained():
        done, stop, started = (context.Value(kind, 0) for kind in "qbq")
        pool = ProcessPoolExecutor(min(workers, len(ordered)), context, _start_worker, (done, stop, started))
    with _HeldInterrupt() as interrupt:
        try:
            with _explained():  # the first call starts the processes
                futures = [pool.submit(_work, task) for task in ordered]
            _collect(futures, done, advance, interrupt)
        except BrokenProcessPool as error:
            raise MachineTrouble(
                "a worker process died (out of memory, or a failing disk?): run the same command again to continue, "
                "with fewer --workers"
            ) from error
        finally:
            stop.value = 1
            pool.shutdown(wait=True, cancel_futures=True)


class _HeldInterrupt:
    """Context manager that holds back the first Ctrl-C until :meth:`raise_heard` is called, or until the end.

    A ``KeyboardInterrupt`` inside ``concurrent.futures`` may leave the lock of a future acquired, for which the pool's
    shutdown would wait forever.
    """

    def __init__(self) -> None:
        self._heard = self._passed_on = False
        self._handler = signal.getsignal(signal.SIGINT)

    def __enter__(self) -> "_HeldInterrupt":
        if callable(self._handler) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._hear)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if signal.getsignal(signal.SIGINT) == self._hear:
            signal.signal(signal.SIGINT, self._handler)
        if kind is None:
            self.raise_heard()

    def raise_heard(self) -> None:
        """Passes a signal that was held back to the earlier handler, which usually raises ``KeyboardInterrupt``."""
        if self._heard and not self._passed_on and callable(self._handler):
            self._passed_on = True
            self._handler(signal.SIGINT, None)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self._passed_on and callable(self._handler):  # the user insists
            self._handler(number, frame)
        self._heard = True


@contextmanager
def _explained() -> Iterator[None]:
    """Context manager for starting processes: raises ``MachineTrouble`` with an explanation if that fails."""
    try:
        yield
    except OSError as error:
        raise MachineTrouble(
            f"worker processes cannot be started ({error.strerror or error}): they need /dev/shm (in a container: "
            "--shm-size), a temporary folder and open files; provide these, or run the same command with --workers 1"
        ) from error


def _collect(
    futures: list[Future[None]], done: "Synchronized[int]", advance: Callable[[int], object], interrupt: _HeldInterrupt
) -> None:
    pending, counted = set(futures), 0
    while pending:
        finished, pending = wait(pending, _POLL_S, FIRST_COMPLETED)
        interrupt.raise_heard()
        now = done.value
        advance(now - counted)
        counted = now
        for future in finished:
            future.result()


def _start_worker(done: Any, stop: Any, started: Any) -> None:
    keep_freed_memory()
    _Channel.done, _Channel.stop, _Channel.silent = done, stop, ExitStack()
    with started.get_lock():
        started.value += 1
        first = started.value == 1
    if first:  # the main process cannot see what its workers do
        _Channel.silent.enter_context(explain_silence())
    obey_parent()


def obey_parent() -> None:
    """Makes this worker exit when the main process ends for whatever reason, and makes it ignore Ctrl-C.

    Called when the worker starts.
    """
    # Ctrl-C reaches all of the terminal's processes. The main process stops the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    """Waits until the main process ends, then ends this worker, so that it does not write during a later build."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for_handles([parent.sentinel])
        os._exit(1)


def _work(task: Task) -> None:
    task.write(_advance)


def _advance() -> None:
    _Channel.silent.close()
    with _Channel.done.get_lock():
        _Channel.done.value += 1
    if _Channel.stop.value:
        raise _Stopped
