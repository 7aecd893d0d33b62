"""Builds shards on a Ray cluster. The shards' bytes do not depend on the machines.

Each task writes one shard. If a worker or a machine is lost, Ray restarts its task elsewhere. Shards are written
atomically, and repeating a task gives the same bytes. Every machine needs the same version of this project and of the
libraries that determine the bytes. Sources and output must be in a store, or at the same paths on all machines (on a
shared file system).
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from shards.build.workers import Task
from shards.errors import InputError, MachineTrouble

__all__ = ["write_shards_on_ray"]

_RESTARTS = 5
"""Maximum number of times that a task is restarted because its worker or machine was lost."""

_AHEAD = 2
"""Maximum number of pending Ray tasks per CPU. Submitting a hundred thousand tasks at once would exhaust Ray's
memory."""

_POLL_S = 0.5


def write_shards_on_ray(
    tasks: Sequence[Task], workers: int, advance: Callable[[int], object], versions: Mapping[str, str]
) -> None:
    """Writes all shards, the largest first. ``advance(n)`` is called with the number of images in each finished shard.

    Joins the cluster at ``RAY_ADDRESS``. If that variable is not set, starts a cluster on this machine with ``workers``
    CPUs. ``versions`` maps each program or library that the bytes depend on to its version on this machine; a machine
    with different versions stops the build with an error. The first error stops the build and is raised. Shards that
    are already finished are kept.
    """
    ordered = iter(sorted(tasks, key=lambda task: -task.num_images))
    with _cluster(workers) as ray:
        write = ray.remote(num_cpus=1, max_retries=_RESTARTS, retry_exceptions=False)(write_shard)
        room = _AHEAD * max(int(ray.cluster_resources().get("CPU", 1)), 1)
        pending: dict[Any, Task] = {}
        try:
            while True:
                for task in _some(ordered, room - len(pending)):
                    pending[write.remote(task, dict(versions))] = task
                if not pending:
                    return
                done, _ = ray.wait(list(pending), num_returns=1, timeout=_POLL_S)
                for reference in done:
                    task = pending.pop(reference)
                    _result(ray, reference)
                    advance(task.num_images)
        finally:
            for reference in pending:
                ray.cancel(reference, force=True)


def write_shard(task: Task, versions: Mapping[str, str]) -> None:
    """Runs one task in a process on the cluster. Raises ``InputError`` if the machine has different versions.

    ``versions`` maps each program or library that the bytes depend on to the required version.
    """
    from shards.build.plan import current_versions

    here = current_versions()
    other = [f"{name} {here.get(name)} instead of {v}" for name, v in versions.items() if here.get(name) != v]
    if other:
        raise InputError(
            f"{os.uname().nodename} has {', '.join(other)}: install the same versions on all machines, since they "
            "determine the bytes of the shards"
        )
    task.write(lambda: None)


def _some(tasks: Iterator[Task], count: int) -> Iterator[Task]:
    for _ in range(count):
        task = next(tasks, None)
        if task is None:
            return
        yield task


def _result(ray: Any, reference: Any) -> None:
    """Raises a task's original error if the task failed. ``reference`` is Ray's reference to the task."""
    try:
        ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, InputError | MachineTrouble | OSError):
            raise error.cause from error
        raise
    except ray.exceptions.RayError as error:
        raise InputError(
            f"the worker of a shard was lost {_RESTARTS + 1} times ({type(error).__name__}; out of memory?): run the "
            "same command again to continue"
        ) from error


@contextmanager
def _cluster(workers: int) -> Iterator[Any]:
    """Context manager that joins a Ray cluster, or starts one on this machine, and yields the ``ray`` module.

    On exit, it disconnects from a cluster that it joined, and stops one that it started. If this process is already
    connected to a cluster, that connection is used and kept open.
    """
    try:
        import ray
    except ImportError as error:
        raise InputError(f"--engine ray needs the package ray ({error}): pip install -e '.[ray]'") from error
    if ray.is_initialized():  # by the caller
        yield ray
        return
    quiet: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    try:
        if os.environ.get("RAY_ADDRESS"):
            ray.init(**quiet)
        else:
            ray.init(address="local", num_cpus=workers, include_dashboard=False, **quiet)
    except (ConnectionError, RuntimeError, OSError) as error:
        raise InputError(f"no Ray cluster can be joined or started ({error}): check RAY_ADDRESS") from error
    try:
        yield ray
    finally:
        ray.shutdown()
