"""A task for a measured process: a method on a corpus with a number of crops and threads."""

import json
import time
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["Method", "MethodInfo", "NotAvailable", "Task"]


class NotAvailable(Exception):
    """A method cannot run here (a library is missing, …). The message gives the reason."""


@dataclass(frozen=True)
class MethodInfo:
    """A method's entry in a registry."""

    about: str
    """What the method does, and which work of other methods it leaves out; printed below the table."""
    where: str
    """``module:Class``; the class takes a :class:`Task`. Only the measured process imports it."""
    options: dict[str, str] = field(default_factory=dict)
    """Passed to the method in the task's ``options``."""


@dataclass(frozen=True)
class Task:
    """The instructions for a measured process, in plain values, so that they can be sent as JSON."""

    method: str
    """The method's name in messages and rows."""
    where: str
    """``module:Class`` of the method."""
    data: str
    """Folder of a :class:`bench.corpora.corpus.Corpus`, or of shards for the bench ``loader``."""
    num_crops: int
    threads: int
    cores: list[int]
    seconds_per_round: float
    """A round consists of whole passes over the files: the fewest that take at least about this long."""
    options: dict[str, str] = field(default_factory=dict)
    """Options of this method alone."""

    @property
    def label(self) -> str:
        """A description of the task for messages."""
        crops = "1 crop" if self.num_crops == 1 else f"{self.num_crops} crops"
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return f"{self.method} ({crops}, {threads})"

    def to_json(self) -> str:
        """The task as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> "Task":
        """The inverse of :meth:`to_json`."""
        return cls(**json.loads(line))


class Method(ABC):
    """A way to turn encoded images into a global view and crops, or other work that is measured.

    A pass takes every file of the corpus once. Each turn of ``run`` starts with empty queues and returns when the last
    result is in memory, so that all work is timed.
    """

    passes = 1
    """Number of passes of a turn."""

    def warm_up(self) -> float:
        """Builds and compiles everything, touches every file; returns seconds per pass.

        By default, two turns of one pass are run, and the second is timed.
        """
        self.run()
        start = time.perf_counter()
        self.run()
        return time.perf_counter() - start

    def prepare(self, passes: int) -> None:
        """Prepares turns of ``passes`` passes each; not timed."""
        self.passes = passes

    @abstractmethod
    def run(self) -> int:
        """Runs one turn, which the caller times. Returns the number of images that it delivered."""

    @abstractmethod
    def report(self) -> dict[str, Any]:
        """``bytes_read_per_image`` and further fields of the row, after all turns."""

    def close(self) -> None:  # noqa: B027
        """Frees threads and files; most methods have none."""
