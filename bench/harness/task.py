"""One thing to measure: a method on a corpus with so many crops and threads."""

import json
from dataclasses import asdict, dataclass, field
from typing import Protocol

__all__ = ["Method", "MethodInfo", "NotAvailable", "Task"]


class NotAvailable(Exception):
    """A method cannot run here (a library is missing, …). The message says why."""


@dataclass(frozen=True)
class MethodInfo:
    """A method in a registry."""

    about: str
    """What it does, and what it leaves out that others do; printed below the table."""
    where: str
    """``module:Class``; the class takes a :class:`Task`. Imported only in the measured process."""
    options: dict[str, str] = field(default_factory=dict)
    """Goes into the task's ``options``."""


@dataclass(frozen=True)
class Task:
    """What a measured process is told; plain values, so that it can travel as JSON."""

    method: str
    """For people and rows."""
    where: str
    """``module:Class`` of the method."""
    data: str
    """Folder of a :class:`bench.corpora.corpus.Corpus`, or of shards for the bench ``loader``."""
    num_crops: int
    threads: int
    cores: list[int]
    seconds_per_round: float
    """A round repeats whole passes over the files until it is at least about this long."""
    options: dict[str, str] = field(default_factory=dict)
    """What only this method understands."""

    @property
    def label(self) -> str:
        """For messages."""
        crops = "1 crop" if self.num_crops == 1 else f"{self.num_crops} crops"
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return f"{self.method} ({crops}, {threads})"

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> "Task":
        """The inverse of :meth:`to_json`."""
        return cls(**json.loads(line))


class Method(Protocol):
    """A way from encoded images to a global view and crops.

    A pass takes every file of the corpus once. Each turn of ``run`` starts with empty queues and
    returns when the last result lies in memory, so that no work is done outside the clock.
    """

    def warm_up(self) -> float:
        """Builds and compiles everything, touches every file; returns seconds per pass."""
        ...

    def prepare(self, passes: int) -> None:
        """Readies turns of ``passes`` passes each; not timed."""
        ...

    def run(self) -> int:
        """One turn, timed from outside. Returns the number of images that it delivered."""
        ...

    def report(self) -> dict[str, float]:
        """``bytes_read_per_image`` and whatever else the row should hold, after all turns."""
        ...

    def close(self) -> None:
        """Frees threads and files."""
        ...
