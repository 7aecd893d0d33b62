"""The manifest's columns that the loader needs, as arrays over all rows, mapped and not copied."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shards.dataset import ShardDataset

__all__ = ["Member", "SampleTable"]

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Member:
    """Where one member of every sample lies in its tar."""

    offset: Int64
    length: Int64


class SampleTable:
    """Columns of a data set, indexed by manifest row."""

    def __init__(self, dataset: ShardDataset) -> None:
        self._keys = dataset.table.column("sample_key")
        self.content_id: Int64 = dataset.column("content_id")
        self.label = dataset.column("label")
        self.height = dataset.column("height")
        self.width = dataset.column("width")
        self.image = Member(dataset.column("image_offset"), dataset.column("image_length"))
        self.global_view = Member(dataset.column("global_offset"), dataset.column("global_length"))
        self.entry_points = Member(dataset.column("mcu_offset"), dataset.column("mcu_length"))
        self.shard, self.shards = dataset.codes("shard")
        self.format, self.formats = dataset.codes("format")
        self.mode, self.modes = dataset.codes("mode")
        self.not_indexable, self.not_indexable_reasons = dataset.codes("not_indexable")

    def keys(self, rows: Int64) -> list[str]:
        """The sample keys of ``rows``."""
        return self._keys.take(rows).to_pylist()
