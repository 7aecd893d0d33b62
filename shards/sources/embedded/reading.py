"""Attributes errors raised while reading a table to the table itself, or to the disk or machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import pyarrow as pa

from shards.errors import InputError, disk_failed, is_passing, require_sound_machine

__all__ = ["each", "reading"]

T = TypeVar("T")


@contextmanager
def reading(shown: str) -> Iterator[None]:
    """Context manager for reading a table: converts errors caused by its contents to ``InputError``.

    Raises ``MachineTrouble`` if the disk or the machine is at fault.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(f"{shown} does not exist") from error
    except (OSError, pa.ArrowException, ArithmeticError, ValueError, TypeError, KeyError) as error:
        if is_passing(error):
            raise disk_failed(shown, str(error)) from error
        require_sound_machine(error, shown)
        kind = "a Parquet file" if shown.lower().endswith(".parquet") else "an Arrow file of datasets"
        raise InputError(
            f"{shown} is not {kind} that can be read, and may be cut off ({error}): download or write it again"
        ) from error


def each(read: Iterator[T], shown: str) -> Iterator[T]:
    """Yields the items of ``read``, an iterator over a table. Converts errors as :func:`reading` does."""
    while True:
        with reading(shown):
            found = next(read, None)
        if found is None:
            return
        yield found
