"""The processes of a build: what they import, and when Ctrl-C stops them."""

import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import shards.build.workers
from shards.build.workers import write_shards


@dataclass
class Imported:
    """A task that writes which packages its process has imported."""

    path: Path
    num_images: int = 1

    def write(self, advance: Callable[[], object]) -> None:
        self.path.write_text("\n".join(sys.modules))
        advance()


def test_workers_are_spared_torch(tmp_path: Path) -> None:
    """WebDataset would import it, but only for its readers."""
    tasks = [Imported(tmp_path / name) for name in "ab"]
    write_shards(tasks, 2, lambda done: None)
    for task in tasks:
        imported = task.path.read_text().split()
        assert "webdataset" in imported
        assert "torch" not in imported


def test_ctrl_c_does_not_interrupt_what_holds_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library locks one future after the other while it waits. If an exception left one locked, the end of the pool
    would wait for it forever."""
    waits, handler = shards.build.workers.wait, signal.getsignal(signal.SIGINT)
    whole = []

    def interrupted(*arguments: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        whole.append(True)
        return waits(*arguments)

    monkeypatch.setattr(shards.build.workers, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_shards([Imported(tmp_path / name) for name in "ab"], 2, lambda done: None)
    assert whole == [True]
    assert signal.getsignal(signal.SIGINT) is handler
