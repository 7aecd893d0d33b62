"""Defines a part of ``glass bench gpu``, its cells (single measurements), and the setting in which they are
measured."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["Answer", "Cell", "CutOff", "Part", "Setting", "Skipped", "State", "done", "figure"]

State = Literal["done", "failed", "skipped", "cut off"]
Answer = tuple[dict[str, Any], str]
"""(figures, a sentence that sums them up)."""


class Skipped(Exception):
    """Raised if a cell cannot be measured here; the message says why."""


class CutOff(Exception):
    """Raised if time ran out while a cell was being measured. ``figures`` and ``words`` hold its results so far."""

    def __init__(self, figures: dict[str, Any], words: str) -> None:
        super().__init__(words)
        self.figures, self.words = figures, words


@dataclass(frozen=True)
class Setting:
    """The device, data and threads for a measurement."""

    device: Literal["cuda", "cpu"]
    data: str | None
    """Folder of shards; None if the user gave none."""
    scratch: str
    """A folder for temporary files."""
    threads: int
    """Number of cores that this process may use."""

    @property
    def on_gpu(self) -> bool:
        """Whether the measurement runs on a GPU."""
        return self.device == "cuda"

    @property
    def presets(self) -> tuple[str, ...]:
        """The presets to measure; on a CPU, a single small one."""
        return ("glass_resnet50", "glass_vit_base") if self.on_gpu else ("glass_tiny",)


@dataclass(frozen=True)
class Cell:
    """One measurement of a part."""

    name: str
    measure: Callable[[float], Answer]
    """Takes the number of seconds left, which it may exceed slightly. Returns figures and a sentence that sums them up.
    If it raises an exception, the cell's row reports the exception."""


@dataclass(frozen=True)
class Part:
    """A group of cells that together answer one question, and the share of the total time that they may use."""

    name: str
    share: float
    cells: Callable[[Setting], Sequence[Cell]]
    verdict: Callable[[Sequence[Mapping[str, Any]]], str]
    """Takes the part's rows. Returns a sentence that sums them up."""
    needs_data: bool = field(default=False)


def done(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows whose state is ``done``."""
    return [row for row in rows if row["state"] == "done"]


def figure(row: Mapping[str, Any], name: str) -> float:
    """The value of the figure ``name`` in a measured row."""
    return float(row["figures"][name])
