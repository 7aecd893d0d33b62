"""The processes of a build: what they import."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

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
