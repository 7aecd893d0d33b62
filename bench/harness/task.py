"""Defines the work of a measured process: a method, and a task that specifies the corpus, number of crops and
threads."""

import json
import time
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["Method", "MethodInfo", "NotAvailable", "Task"]


class NotAvailable(Exception):
    """Raised if a method cannot run here, for example because a library is missing. The message gives the reason."""


@dataclass(frozen=True)
class MethodInfo:
    """A method's entry in a registry."""

    about: str
    """A line printed below the table: what the method does, and which work it omits compared with other methods."""
    where: str
    """The method's class as ``module:Class``. It is called with a :class:`Task`. Only the measured process imports
    it."""
    options: dict[str, str] = field(default_factory=dict)
    """Method-specific options, which the method receives in the task's ``options``."""


@dataclass(frozen=True)
class Task:
    """The instructions for a measured process, as plain values so that they can be sent as JSON."""

    method: str
    """The method's name in messages and rows."""
    where: str
    """The method's class as ``module:Class``."""
    data: str
    """Folder of a :class:`bench.corpora.corpus.Corpus`, or of shards for the bench ``loader``."""
    num_crops: int
    threads: int
    cores: list[int]
    seconds_per_round: float
    """Target duration of a round in seconds. A round is the smallest number of whole passes over the files that is
    expected to take this long."""
    options: dict[str, str] = field(default_factory=dict)
    """Method-specific options."""

    @property
    def label(self) -> str:
        """A description of the task for progress messages."""
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
    """Base class for the work that is measured, for example a way to turn encoded images into global views and crops.

    A pass processes every file of the corpus once. Each call of ``run`` is one turn: it starts with empty queues and
    returns when the last result is in memory, so all work is timed.
    """

    passes = 1
    """Number of passes per turn."""

    def warm_up(self) -> float:
        """Builds and compiles everything, and reads files into the page cache. Returns the number of seconds per pass.

        By default, it runs two turns of one pass each and times the second.
        """
        self.run()
        start = time.perf_counter()
        self.run()
        return time.perf_counter() - start

    def prepare(self, passes: int) -> None:
        """Prepares for turns of ``passes`` passes each. Not timed."""
        self.passes = passes

    @abstractmethod
    def run(self) -> int:
        """Runs one turn, which the caller times. Returns the number of images delivered."""

    @abstractmethod
    def report(self) -> dict[str, Any]:
        """Returns ``bytes_read_per_image`` and further fields for the row. Called after all turns."""

    def close(self) -> None:  # noqa: B027
        """Releases threads and files. Most methods hold none."""
