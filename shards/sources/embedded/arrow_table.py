"""Images in an Arrow stream written by the ``datasets`` library.

Only one batch is in memory at a time; its size was chosen by the program that wrote the file. Local files are
memory-mapped.
"""

import io
import mmap
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path

import pyarrow as pa

from shards.errors import machine_spared
from shards.files.arrow_file import is_compressed
from shards.files.limits import limit
from shards.files.patience import read_or_end
from shards.files.regular_file import map_regular
from shards.sources.embedded.columns import bytes_of
from shards.sources.embedded.reading import each
from shards.store.fsspec_store import PIECE_BYTES
from shards.store.range_file import RangeFile

__all__ = ["MappedArrowTable", "StoredArrowTable"]

_BATCH_BYTES = 4 << 20
"""About this many bytes of images are yielded at a time."""
_FORGET_BYTES = 64 << 20
"""Number of bytes to read from a memory-mapped file before releasing their memory. Checked only after each batch."""
_END = b"\xff\xff\xff\xff\0\0\0\0"
"""The end mark: the last bytes of every complete Arrow stream."""


class _Arrow:
    """Methods shared by tables in Arrow streams."""

    schema: pa.Schema
    _shown: str

    def texts(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        for batch in self._batches(columns):
            yield batch.select(list(columns)) if columns else batch

    def images(self, column: str) -> Iterator[pa.Array]:
        for batch in self._batches([column]):
            images = bytes_of(batch.column(column))
            start = held = 0
            for row in range(len(images)):
                held += len(images[row].as_buffer()) if images[row].is_valid else 0
                if held > _BATCH_BYTES or row + 1 == len(images):
                    yield images.slice(start, row + 1 - start)
                    start, held = row + 1, 0

    def starts(self) -> list[int]:
        return [0]

    def image_at(self, column: str, start: int) -> pa.Scalar:
        at = 0
        for batch in self._batches([column]):
            if at == start:
                return bytes_of(batch.column(column))[0]
            at += batch.num_rows
        raise IndexError(start)

    def _batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        return each(self._read(columns), self._shown)

    def _read(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yields the batches. Validates the values of ``columns``, since Arrow's reader does not check offsets."""
        rows, most = 0, limit("MAX_LIST_ROWS")
        for message in pa.ipc.MessageReader.open_stream(self._source()):
            if message.type == "schema":
                continue
            if message.type != "record batch" or is_compressed(message.metadata):
                raise ValueError("it is not of a kind that the library datasets writes")
            batch = pa.ipc.read_record_batch(message, self.schema)
            for column in columns:
                batch.column(column).validate(full=True)
            if (rows := rows + batch.num_rows) > most:
                raise ValueError(f"more rows than GLASS_MAX_LIST_ROWS={most}")
            yield batch
            self._forget(message.body.size)

    def _source(self) -> pa.Buffer | pa.NativeFile:
        """The file's bytes from its beginning."""
        raise NotImplementedError

    def _forget(self, num_bytes: int) -> None:
        """Called after ``num_bytes`` more bytes have been processed, to let a subclass release their memory."""


class MappedArrowTable(_Arrow):
    """An Arrow stream in a local file."""

    def __init__(self, path: Path, shown: str) -> None:
        """Raises ``ValueError`` if the stream has no end mark.

        Raises ``OSError`` or Arrow's exceptions if it cannot be read.
        """
        self._shown, self._read_bytes = shown, 0
        with machine_spared(path):
            self._mapped = read_or_end(path, lambda: map_regular(path))
        _require_end(self._mapped[-len(_END) :])
        self.schema = pa.ipc.open_stream(self._source()).schema

    def num_bytes(self) -> int:
        return len(self._mapped)

    def starts(self) -> list[int]:
        sizes = [batch.num_rows for batch in self._batches([])]
        return list(accumulate(sizes[:-1], initial=0))

    def _source(self) -> pa.Buffer:
        return pa.py_buffer(self._mapped)

    def _forget(self, num_bytes: int) -> None:
        self._read_bytes += num_bytes
        if self._read_bytes > _FORGET_BYTES:
            self._mapped.madvise(mmap.MADV_DONTNEED)
            self._read_bytes = 0


class StoredArrowTable(_Arrow):
    """An Arrow stream in a store. The whole stream is read twice: once for the labels and once for the images."""

    def __init__(self, file: RangeFile, shown: str) -> None:
        """Raises ``ValueError`` if the stream has no end mark.

        Raises ``InputError``, ``OSError`` or Arrow's exceptions if it cannot be read.
        """
        self._shown, self._file = shown, file
        file.seek(max(file.size() - len(_END), 0))
        _require_end(file.read(len(_END)))
        self.schema = pa.ipc.open_stream(self._source()).schema

    def num_bytes(self) -> int:
        return self._file.size()

    def _source(self) -> pa.NativeFile:
        return pa.PythonFile(_Pieces(self._file.reopened()), "r")


class _Pieces(io.BufferedReader):
    """A file in a store that is fetched in pieces.

    Arrow allocates a buffer as large as the length that a message declares. This class limits each read to the rest of
    the file, so a falsely declared length cannot cause a huge allocation.
    """

    def __init__(self, file: RangeFile) -> None:
        super().__init__(file, PIECE_BYTES)
        self._size = file.size()

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(self._size - self.tell(), 0)
        return super().read(left if size is None or size < 0 else min(size, left))


def _require_end(data: bytes) -> None:
    """Raises ``ValueError`` if ``data`` is not the end mark. Without it, batches may be missing."""
    if data != _END:
        raise ValueError("it does not end with the end mark of a stream, so it may be cut off")
