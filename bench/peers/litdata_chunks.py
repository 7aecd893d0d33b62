"""LitData, set up as in its README: ``optimize`` writes chunks of JPEGs, which are then streamed."""

import importlib
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.peers.peer_passes import PeerPasses, Views, views_of_tensor

__all__ = ["LitDataChunks"]

litdata: Any = importlib.import_module("litdata")


def _item(files: list[str], index: int) -> dict[str, Any]:
    """Returns an item for LitData to store. The item contains a Pillow image that was opened from a file, so LitData
    stores that file's bytes unchanged."""
    from PIL import Image

    return {"image": Image.open(files[index]), "index": index}


class _Dataset(litdata.StreamingDataset):
    """Cuts the views out of the images, which LitData decodes with torchvision."""

    def __init__(self, folder: str, windows: npt.NDArray[np.int32]) -> None:
        super().__init__(folder, shuffle=False)
        self._windows = windows

    def __getitem__(self, index: Any) -> Views:
        item = super().__getitem__(index)
        image = item["image"]
        image = image.expand(3, -1, -1) if len(image) == 1 else image  # grey
        return views_of_tensor(image, self._windows[int(item["index"])])


class LitDataChunks(PeerPasses):
    """Streams LitData's chunks from the local disk."""

    def write(self, folder: Path) -> None:
        """See :class:`PeerPasses`."""
        files = [str(self.corpus.path(index)) for index in range(len(self.corpus))]
        litdata.optimize(
            fn=partial(_item, files),
            inputs=list(range(len(files))),
            output_dir=str(folder),
            num_workers=1,
            chunk_bytes="64MB",
            verbose=False,
        )

    def open(self, folder: Path) -> Iterable[Any]:
        """See :class:`PeerPasses`."""
        return litdata.StreamingDataLoader(
            _Dataset(str(folder), self.windows),
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
        )
