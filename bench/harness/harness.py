"""Measures methods in alternating rounds. Each method has its own process, and the processes take turns: A B C A B C …

A machine's load and clock frequency drift by 10–15 % within minutes. This would distort a comparison of methods that
are measured one after another. If methods alternate, their turns in a round are only seconds apart, and :func:`ratio`
divides the results round by round.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from bench.harness.pinning import thread_environment
from bench.harness.task import Task

__all__ = ["Measurement", "Outcome", "Ratio", "alternate", "ratio"]


@dataclass
class Measurement:
    """The results of one task over all rounds."""

    task: Task
    images_per_s: list[float] = field(default_factory=list)
    """One value per round."""
    images: int = 0
    """Total number of images delivered in all rounds."""
    cpu_s: float = 0.0
    peak_rss_mib: float = 0.0
    report: dict[str, float] = field(default_factory=dict)

    def add(self, turn: dict[str, Any]) -> None:
        """Adds the result of one round. An empty result, which means that the process died, is ignored."""
        if turn:
            self.images_per_s.append(turn["images"] / turn["seconds"])
            self.images += turn["images"]
            self.cpu_s += turn["cpu_s"]
            self.peak_rss_mib = turn["peak_rss_mib"]

    @property
    def median(self) -> float:
        """Median images per second over the rounds."""
        return statistics.median(self.images_per_s)


@dataclass
class Outcome:
    """The results of tasks that were measured in alternating rounds."""

    measurements: list[Measurement]
    skipped: dict[str, str]
    """Maps each method that cannot run here to the reason."""
    failed: dict[str, str]
    """Maps each method that crashed to its process's exit code and last line of standard error."""


@dataclass(frozen=True)
class Ratio:
    """The median, smallest and largest ratio over the rounds."""

    median: float
    low: float
    high: float


def ratio(above: Measurement, below: Measurement) -> Ratio:
    """Returns the ratio of images per second, ``above`` ÷ ``below``: its median, minimum and maximum over the rounds.
    Results of the same round are divided, because they were measured within seconds of each other."""
    quotients = [a / b for a, b in zip(above.images_per_s, below.images_per_s, strict=True)]
    return Ratio(statistics.median(quotients), min(quotients), max(quotients))


def alternate(tasks: Sequence[Task], rounds: int, progress: Callable[[str], None] = lambda _: None) -> Outcome:
    """Starts one process per task, warms them up one by one, and then runs ``rounds`` rounds in which each process
    takes one turn.

    A method that cannot run here is listed in ``skipped``, and one that crashes in ``failed``. The other methods
    continue.
    """
    outcome = Outcome([], {}, {})
    workers: list[_Worker] = []
    try:
        for task in tasks:
            workers.append(_Worker(task))  # all import at the same time
        alive = [worker for worker in workers if _is_built(worker, outcome)]
        for worker in alive:
            progress(f"warming up {worker.task.label}")
            _ask(worker, "warm", outcome)
        for number in range(rounds):
            alive = [worker for worker in alive if worker.task.method not in outcome.failed]
            progress(f"round {number + 1} of {rounds}, {len(alive)} processes in turn")
            for worker in alive:
                worker.measurement.add(_ask(worker, "run", outcome))
        for worker in alive:
            answer = _ask(worker, "quit", outcome)
            if worker.task.method not in outcome.failed:
                worker.measurement.report = answer["report"]
                outcome.measurements.append(worker.measurement)
    finally:
        for worker in workers:
            worker.end()
    return outcome


def _is_built(worker: "_Worker", outcome: Outcome) -> bool:
    answer = _ask(worker, "", outcome)
    if "unavailable" in answer:
        outcome.skipped[worker.task.method] = answer["unavailable"]
    return "built" in answer


def _ask(worker: "_Worker", request: str, outcome: Outcome) -> dict[str, Any]:
    """Sends a request and returns the worker's response. If the process has died, returns an empty response and records
    the error in ``outcome.failed``."""
    try:
        return worker.ask(request)
    except WorkerDied as error:
        outcome.failed.setdefault(worker.task.method, str(error))
        return {}


class WorkerDied(Exception):
    """A measured process exited prematurely. The message gives its exit code and the last line of its standard
    error."""


class _Worker:
    """The parent's side of a ``bench.harness.worker`` process."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.measurement = Measurement(task)
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.harness.worker"],
            text=True,
            stderr=self._errors,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **thread_environment(task.threads)},
        )
        self._send(task.to_json())

    def ask(self, request: str) -> dict[str, Any]:
        """Sends ``request`` as a line, unless it is empty, and reads the next response."""
        if request:
            self._send(request)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._errors.seek(0)
            words = self._errors.read().strip().splitlines() or ["no message"]
            raise WorkerDied(f"exit code {self._process.returncode}: {words[-1]}")
        return json.loads(line)

    def end(self) -> None:
        """Kills the process, even if it is still working."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None:
                with suppress(BrokenPipeError):  # if it died before it read a request
                    stream.close()

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # `ask` reports why the process died
