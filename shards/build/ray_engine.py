"""Builds shards on the machines of a Ray cluster. The bytes written do not depend on them.

A task is one shard. Ray starts the task of a worker or machine that was lost again, elsewhere; a
shard appears whole or not at all, and doing one twice gives the same bytes. Every machine needs
this project installed in the same versions, and sources and output at the same paths (a shared
file system), or in a store.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from shards.build.workers import Task
from shards.errors import InputError, MachineTrouble

__all__ = ["write_shards_on_ray"]

_RESTARTS = 5
"""Times that a task whose worker or machine was lost is started again."""

_AHEAD = 2
"""Tasks handed to Ray per processor: a hundred thousand at once would only fill its memory."""

_POLL_S = 0.5


def write_shards_on_ray(
    tasks: Sequence[Task], workers: int, advance: Callable[[int], object], versions: Mapping[str, str]
) -> None:
    """Writes all shards, the largest first; ``advance(n)`` is called with the images of each shard that is done.

    Joins the cluster at ``RAY_ADDRESS``, or starts one of ``workers`` processors on this machine.
    ``versions`` are those of the programs here; a machine with others is refused. The first error
    ends the build and is raised; shards finished by then stay.
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
    """The work of one task, in a process of the cluster."""
    from shards.build.plan import current_versions

    here = current_versions()
    other = [f"{name} {here.get(name)} instead of {v}" for name, v in versions.items() if here.get(name) != v]
    if other:
        raise InputError(
            f"{os.uname().nodename} has {', '.join(other)}: install the same versions on all "
            "machines, for they decide about bytes"
        )
    task.write(lambda: None)


def _some(tasks: Iterator[Task], count: int) -> Iterator[Task]:
    for _ in range(count):
        task = next(tasks, None)
        if task is None:
            return
        yield task


def _result(ray: Any, reference: Any) -> None:
    """Raises what the task raised, as itself."""
    try:
        ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, InputError | MachineTrouble | OSError):
            raise error.cause from error
        raise
    except ray.exceptions.RayError as error:
        raise InputError(
            f"a shard's worker was lost {_RESTARTS + 1} times ({type(error).__name__}; out of "
            "memory?): run the same command again to continue"
        ) from error


@contextmanager
def _cluster(workers: int) -> Iterator[Any]:
    """Context manager: joins a Ray cluster, or starts one on this machine, and yields Ray; leaves the cluster at the
    end, and stops one that it started."""
    try:
        import ray
    except ImportError as error:
        raise InputError(f"--engine ray needs the package ray ({error}): pip install -e '.[ray]'") from error
    if ray.is_initialized():  # the caller's own
        yield ray
        return
    quiet: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    try:
        if os.environ.get("RAY_ADDRESS"):
            ray.init(**quiet)
        else:
            ray.init(address="local", num_cpus=workers, include_dashboard=False, **quiet)
    except (ConnectionError, RuntimeError, OSError) as error:
        raise InputError(f"no Ray cluster to join or start: {error}") from error
    try:
        yield ray
    finally:
        ray.shutdown()
