"""MosaicML Streaming, set up as in its quick start: MDS shards, read by its dataset in torch's ``DataLoader``."""

import importlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch.utils.data import DataLoader

from bench.peers.peer_passes import PeerPasses, Views, views_of_jpeg

__all__ = ["MosaicShards"]

streaming: Any = importlib.import_module("streaming")


class _Dataset(streaming.StreamingDataset):
    """Decodes the stored JPEGs and cuts views out of them."""

    def __init__(self, folder: str, batch_size: int, windows: npt.NDArray[np.int32]) -> None:
        super().__init__(local=folder, batch_size=batch_size, shuffle=False)
        self._windows = windows

    def __getitem__(self, index: Any) -> Views:
        item = super().__getitem__(index)
        return views_of_jpeg(item["image"], self._windows[item["index"]])


class MosaicShards(PeerPasses):
    """Stores JPEGs as bytes. The library's own ``jpeg`` column would decode them to Pillow images, which takes
    longer."""

    def write(self, folder: Path) -> None:
        """See :class:`PeerPasses`."""
        columns = {"image": "bytes", "index": "int"}
        with streaming.MDSWriter(out=str(folder), columns=columns) as writer:
            for index in range(len(self.corpus)):
                writer.write({"image": self.corpus.path(index).read_bytes(), "index": index})

    def open(self, folder: Path) -> Iterable[Any]:
        """See :class:`PeerPasses`."""
        dataset = _Dataset(str(folder), self.batch_size, self.windows)
        return DataLoader(
            dataset, batch_size=self.batch_size, num_workers=self.num_workers, persistent_workers=self.num_workers > 0
        )
