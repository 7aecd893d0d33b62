"""Reads a data set's stored global views. A view is selected by its manifest row."""

import io
import mmap
import threading
from types import TracebackType

import numpy as np

from shards.errors import InputError, require_sound_machine
from shards.files.patience import read_or_end
from shards.files.regular_file import map_regular
from shards.manifest.dataset import ShardDataset

__all__ = ["StoredViews", "global_view_header"]


def global_view_header(global_size: int) -> bytes:
    """Returns the bytes that every ``KEY.global.npy`` of this size begins with.

    The header of a stored view is compared with these bytes and never parsed. ``np.load`` is avoided: it would run a
    tokenizer over the header of an untrusted file, and would open a file that starts like a zip as an archive.
    """
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((global_size, global_size, 3), np.uint8))
    return buffer.getvalue()[: -(global_size**2) * 3]


class StoredViews:
    """The stored global views of a data set, by row. Thread-safe.

    A shard is mapped when one of its views is first read.

    >>> with StoredViews(dataset) as views:
    ...     views[17]  # (S, S, 3) uint8
    """

    def __init__(self, dataset: ShardDataset) -> None:
        self._dataset = dataset
        self._shard, self._names = dataset.codes("shard")
        self._offset = dataset.column("global_offset")
        self._length = dataset.column("global_length")
        self._header = global_view_header(dataset.info.global_size)
        self._maps: dict[int, mmap.mmap] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._offset)

    def __getitem__(self, row: int) -> np.ndarray:
        """Returns the global view of a row: (S, S, 3) uint8, read-only.

        Raises ``InputError`` if the shard is missing, or if the bytes at the view's offset are not a view.
        """
        name = self._names[self._shard[row]]
        start, size = int(self._offset[row]), self._dataset.info.global_size
        try:
            data = self._map(int(self._shard[row]))[start : start + int(self._length[row])]
            header = self._header
            if len(data) != len(header) + size * size * 3 or not data.startswith(header):
                raise ValueError("it is not an array of the size in the manifest")
        except (OSError, ValueError) as error:
            require_sound_machine(error, self._dataset.members_path(name))
            raise InputError(
                f"the global view of row {row} in {self._dataset.members_path(name)} cannot be "
                f"read ({error}): run glass verify {self._dataset.root}"
            ) from error
        return np.frombuffer(data, np.uint8, offset=len(header)).reshape(size, size, 3)

    def __enter__(self) -> "StoredViews":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for data in self._maps.values():
            data.close()
        self._maps.clear()

    def _map(self, shard: int) -> mmap.mmap:
        with self._lock:
            if shard not in self._maps:
                path = self._dataset.members_path(self._names[shard])
                self._maps[shard] = read_or_end(path, lambda: map_regular(path))
            return self._maps[shard]
