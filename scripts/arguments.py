"""Numbers on command lines, for ``type=``: what is none of that kind is told in one sentence."""

import argparse

from shards.files.limits import MOST_THREADS

__all__ = ["at_least_one", "thread_count"]


def at_least_one(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def thread_count(text: str) -> int:
    """A number of threads that a process can have."""
    number = at_least_one(text)
    if number > MOST_THREADS:
        raise argparse.ArgumentTypeError(f"{text} threads are too many: {MOST_THREADS:,} at most")
    return number
