"""Counts the cores that this process may use."""

import os

from shards.errors import InputError

__all__ = ["usable_cores"]

_MOST = "LOKY_MAX_CPU_COUNT"


def usable_cores() -> int:
    """Number of cores that this process may use, at least 1.

    Less than the machine has if an affinity mask (``taskset``, cpusets of containers and batch systems), the processor
    quota of a container, or the environment variable ``LOKY_MAX_CPU_COUNT`` allows fewer. Raises ``InputError`` if the
    variable is not a number.
    """
    from loky import cpu_count  # takes a tenth of a second to import

    if not os.environ.get(_MOST, "1").lstrip("-").isdecimal():
        raise InputError(f"{_MOST}={os.environ[_MOST]!r} is not a number: unset it")
    return int(cpu_count())
