"""Counts the cores that this process may use."""

__all__ = ["usable_cores"]


def usable_cores() -> int:
    """Number of cores that this process may use, at least 1.

    Less than the machine has if an affinity mask (``taskset``, cpusets of containers and batch systems), the processor
    quota of a container, or the environment variable ``LOKY_MAX_CPU_COUNT`` allows fewer.
    """
    from joblib import cpu_count  # takes a third of a second to import

    return int(cpu_count())
