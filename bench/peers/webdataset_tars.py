"""WebDataset with torchvision, set up as in "Getting started" and the FAQ of its documentation.

Shards are distributed over the workers, which also assemble the batches, so ``WebLoader`` itself does no batching.
"""

import importlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.peers.peer_passes import PeerPasses, Views, views_of_jpeg

__all__ = ["WebDatasetTars"]

wds: Any = importlib.import_module("webdataset")


class _ToViews:
    """Turns a sample into its views. It is a class because, unlike a nested function, it can be pickled for worker
    processes."""

    def __init__(self, windows: npt.NDArray[np.int32]) -> None:
        self._windows = windows

    def __call__(self, sample: dict[str, bytes]) -> Views:
        return views_of_jpeg(sample["jpg"], self._windows[int(sample["cls"])])


class WebDatasetTars(PeerPasses):
    """Writes one tar per worker and reads them. With fewer tars, some workers would be idle."""

    def write(self, folder: Path) -> None:
        """See :class:`PeerPasses`."""
        folder.mkdir()
        for shard in range(self.threads):
            with wds.TarWriter(str(folder / f"{shard:06d}.tar")) as writer:
                for index in range(shard, len(self.corpus), self.threads):
                    data = self.corpus.path(index).read_bytes()
                    writer.write({"__key__": f"{index:06d}", "jpg": data, "cls": index})

    def open(self, folder: Path) -> Iterable[Any]:
        """See :class:`PeerPasses`."""
        dataset = (
            wds.WebDataset(sorted(map(str, folder.glob("*.tar"))), shardshuffle=False)
            .map(_ToViews(self.windows))
            .batched(self.batch_size)
        )
        return wds.WebLoader(
            dataset, batch_size=None, num_workers=self.num_workers, persistent_workers=self.num_workers > 0
        )
