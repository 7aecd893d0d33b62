"""Handles reads that are still running in threads when a store's shards are closed.

When an error ends the loop over a loader, the shards may be closed before the loader's threads notice. The results of
these threads are no longer needed, so their failed reads are neither blamed on samples nor logged.
"""

from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["ShardsClosed", "result_of", "submitted"]

T = TypeVar("T")


class ShardsClosed(RuntimeError):
    """The shards were closed while a thread was reading from them."""

    def __init__(self) -> None:
        super().__init__("the shards were closed while they were read: open them again")


def submitted(pool: ThreadPoolExecutor, work: Callable[..., T], *arguments: object) -> "Future[T]":
    """Submits ``work`` to ``pool``. Raises ``ShardsClosed`` if the pool, or the interpreter, has shut down."""
    try:
        return pool.submit(work, *arguments)
    except RuntimeError as error:
        raise ShardsClosed from error


def result_of(future: "Future[T]") -> T:
    """The result of ``future``. Raises ``ShardsClosed`` if closing the shards cancelled it."""
    try:
        return future.result()
    except CancelledError as error:
        raise ShardsClosed from error
