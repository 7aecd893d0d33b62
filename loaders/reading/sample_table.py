"""The manifest columns that the loader needs, as memory-mapped arrays."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shards.errors import InputError
from shards.images.formats import MAX_PIXELS
from shards.images.stored_form import STORED_FORMATS
from shards.manifest.dataset import ShardDataset

__all__ = ["Member", "SampleTable"]

Int64 = npt.NDArray[np.int64]

_CHECKED_ROWS = 1_000_000
"""Maximum number of rows that ``SampleTable`` checks at a time, which limits the memory used by the check."""


@dataclass(frozen=True)
class Member:
    """Where one kind of member (such as the image) lies in the tars: byte offsets and lengths, each (n,), by manifest
    row."""

    offset: Int64
    length: Int64


class SampleTable:
    """Manifest columns of a data set, indexed by row."""

    def __init__(self, dataset: ShardDataset) -> None:
        self._keys = dataset.table.column("sample_key")
        self.content_id: Int64 = dataset.column("content_id")
        self.label = dataset.column("label")
        self.height = dataset.column("height")
        self.width = dataset.column("width")
        self.image = Member(dataset.column("image_offset"), dataset.column("image_length"))
        self.global_view = Member(dataset.column("global_offset"), dataset.column("global_length"))
        self.entry_points = Member(dataset.column("mcu_offset"), dataset.column("mcu_length"))
        self.crc32 = {name: dataset.column(f"{name}_crc32") for name in ("image", "global", "mcu")}
        self.shard, self.shards = dataset.codes("shard")
        self.format, self.formats = dataset.codes("format")
        self.stored_as, self.forms = dataset.codes("stored_as")
        self.mode, self.modes = dataset.codes("mode")
        self.subsampling, self.subsamplings = dataset.codes("subsampling")
        self.not_indexable, self.not_indexable_reasons = dataset.codes("not_indexable")
        self._check(dataset)

    def _check(self, dataset: ShardDataset) -> None:
        """Raises ``InputError``, naming the sample, if a sample has values that no build could have written. Reads
        every row once (64 bytes each). Whether a member lies inside its tar is checked only later, when the member is
        read."""
        for start in range(0, len(self), _CHECKED_ROWS):
            part = slice(start, start + _CHECKED_ROWS)
            for what, wrong in self._impossible(part):
                if wrong.any():
                    (key,) = self.keys(start + np.flatnonzero(wrong)[:1])
                    raise InputError(
                        f"the manifest in {dataset.where} is damaged: sample {key} has an impossible {what}; run "
                        "glass verify on the data set, and build the shards again"
                    )
            dataset.forget_pages()

    def _impossible(self, part: slice) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
        """Yields (name of the value checked, mask of the rows in ``part`` where the value is impossible)."""
        label, width, height = self.label[part], self.width[part], self.height[part]
        yield "label", (label < 0) | (label > 1)
        yield "size", (width < 1) | (height < 1) | (width.astype(np.int64) * height > MAX_PIXELS)
        yield "shard", self.shard[part] < 0
        for name in ("image", "global_view", "entry_points"):
            member: Member = getattr(self, name)
            places = member.offset[part] | member.length[part]
            yield f"offset or length of its {name.replace('_', ' ')}", places >> 60 != 0  # negative, or absurd

    def __len__(self) -> int:
        return len(self.content_id)

    def stored_format(self, row: int) -> str:
        """The format of the image in its shard, such as ``JPEG``; the manifest's ``format`` is that of the source
        file."""
        form = self.forms[self.stored_as[row]]
        return STORED_FORMATS.get(form, self.formats[self.format[row]])

    def tiled(self, rows: Int64) -> npt.NDArray[np.bool_]:
        """(len(rows),) bool: which of ``rows`` are stored as tiled TIFF."""
        code = self.forms.index("tiled") if "tiled" in self.forms else -1
        return self.stored_as[rows] == code

    def has_own_entry_points(self, row: int) -> bool:
        """Whether the sample in manifest row ``row`` has entry points that belong to its source file. If the source is
        a progressive JPEG, they belong instead to the baseline JPEG that the build made from it."""
        return bool(self.entry_points.length[row]) and self.forms[self.stored_as[row]] != "baseline"

    def keys(self, rows: Int64) -> list[str]:
        """The sample keys of ``rows``."""
        return self._keys.take(rows).to_pylist()
