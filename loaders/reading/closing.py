"""Shards of a store that are closed while threads still read them.

An error in the loop over a loader ends the loop, and the shards may be closed before the threads of
the loader know. Their work is wanted no more: no sample is to blame for that, and it is not worth a
line in the log.
"""

from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["ShardsClosed", "result_of", "submitted"]

T = TypeVar("T")


class ShardsClosed(RuntimeError):
    """The shards were closed while somebody read from them."""

    def __init__(self) -> None:
        super().__init__("the shards were closed while they were read: open them anew")


def submitted(pool: ThreadPoolExecutor, work: Callable[..., T], *arguments: object) -> "Future[T]":
    """``pool.submit``. Raises ``ShardsClosed`` where the pool, or the interpreter, has ended."""
    try:
        return pool.submit(work, *arguments)
    except RuntimeError as error:
        raise ShardsClosed from error


def result_of(future: "Future[T]") -> T:
    """The result of ``future``. Raises ``ShardsClosed`` where closing has given it up."""
    try:
        return future.result()
    except CancelledError as error:
        raise ShardsClosed from error
