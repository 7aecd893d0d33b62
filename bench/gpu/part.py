"""A part of ``bench gpu``, its cells, and what they are measured on."""

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
    """What is measured, and on what."""

    device: Literal["cuda", "cpu"]
    data: str | None
    """Folder of shards."""
    scratch: str
    """A folder for files that nobody keeps."""
    threads: int
    """Cores of this process."""

    @property
    def on_gpu(self) -> bool:
        """Whether the figures are those of a GPU."""
        return self.device == "cuda"

    @property
    def presets(self) -> tuple[str, ...]:
        """The models; on a CPU a small one stands in."""
        return ("glass_resnet50", "glass_vit_base") if self.on_gpu else ("glass_tiny",)


@dataclass(frozen=True)
class Cell:
    """One measurement."""

    name: str
    measure: Callable[[float], Answer]
    """Is given the seconds that are left, and need not keep within them. An exception is an answer too."""


@dataclass(frozen=True)
class Part:
    """A question, and the share of the time that it may take."""

    name: str
    share: float
    cells: Callable[[Setting], Sequence[Cell]]
    verdict: Callable[[Sequence[Mapping[str, Any]]], str]
    """From its rows to a sentence."""
    needs_data: bool = field(default=False)


def done(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those that were measured."""
    return [row for row in rows if row["state"] == "done"]


def figure(row: Mapping[str, Any], name: str) -> float:
    """A number of a row that was measured."""
    return float(row["figures"][name])
