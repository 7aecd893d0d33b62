"""A part of ``glass bench gpu``, its cells, and the setting in which they are measured."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["Answer", "Cell", "CutOff", "Part", "Setting", "Skipped", "State", "done", "figure"]

State = Literal["done", "failed", "skipped", "cut off"]
Answer = tuple[dict[str, Any], str]
"""(figures, a sentence for people)."""


class Skipped(Exception):
    """A cell that cannot be measured here; the message says why."""


class CutOff(Exception):
    """The time of a cell ended while it was measured."""

    def __init__(self, figures: dict[str, Any], words: str) -> None:
        super().__init__(words)
        self.figures, self.words = figures, words


@dataclass(frozen=True)
class Setting:
    """The device, data and threads of a measurement."""

    device: Literal["cuda", "cpu"]
    data: str | None
    """Folder of shards."""
    scratch: str
    """A folder for temporary files."""
    threads: int
    """Cores of this process."""

    @property
    def on_gpu(self) -> bool:
        """Whether the figures are those of a GPU."""
        return self.device == "cuda"

    @property
    def presets(self) -> tuple[str, ...]:
        """The presets that are measured; on a CPU, a small preset in their place."""
        return ("glass_resnet50", "glass_vit_base") if self.on_gpu else ("glass_tiny",)


@dataclass(frozen=True)
class Cell:
    """One measurement."""

    name: str
    measure: Callable[[float], Answer]
    """Takes the seconds that are left, which are no strict limit. An exception that it raises is an answer, too."""


@dataclass(frozen=True)
class Part:
    """Cells that answer one question, and the share of the time that they may take."""

    name: str
    share: float
    cells: Callable[[Setting], Sequence[Cell]]
    verdict: Callable[[Sequence[Mapping[str, Any]]], str]
    """Sums up the part's rows in a sentence."""
    needs_data: bool = field(default=False)


def done(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows that were measured."""
    return [row for row in rows if row["state"] == "done"]


def figure(row: Mapping[str, Any], name: str) -> float:
    """A number of a row that was measured."""
    return float(row["figures"][name])
