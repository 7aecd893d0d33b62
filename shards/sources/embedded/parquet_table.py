"""Images in a Parquet file.

One page of a column is in memory at a time, however long the file and its row groups are.
"""

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from shards.sources.embedded.columns import bytes_of
from shards.sources.embedded.reading import each

__all__ = ["ParquetTable"]

_BATCH_BYTES, _MOST_IN_BATCH = 4 << 20, 256
"""Limits on one batch read from a page: bytes (approximate) and number of images."""


class ParquetTable:
    """A Parquet file with embedded images."""

    def __init__(self, file: pq.ParquetFile, shown: str) -> None:
        self._file, self._shown = file, shown
        self.schema: pa.Schema = file.schema_arrow

    def texts(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        if columns:
            return each(self._file.iter_batches(columns=list(columns)), self._shown)
        rows = pa.array(range(self._file.metadata.num_rows))  # without columns, the rows must still be counted
        return iter([pa.record_batch([rows], ["\0row"])])

    def images(self, column: str) -> Iterator[pa.Array]:
        number = max(self._file.metadata.num_rows, 1)
        length = max(min(_BATCH_BYTES * number // max(self.num_bytes(), 1), _MOST_IN_BATCH), 1)
        read = self._file.iter_batches(batch_size=length, columns=[self._leaf(column)], use_threads=False)
        for batch in each(read, self._shown):
            yield bytes_of(batch.column(0))

    def num_bytes(self) -> int:
        # Sums row groups, not their columns: asking for a column aborts the process if a damaged footer gives it a type
        # that differs from the schema's, or statistics that do not fit (pyarrow 26).
        metadata = self._file.metadata
        return sum(max(metadata.row_group(number).total_byte_size, 0) for number in range(metadata.num_row_groups))

    def starts(self) -> list[int]:
        metadata, found, at = self._file.metadata, [], 0
        for number in range(metadata.num_row_groups):
            found.append(at)
            at += metadata.row_group(number).num_rows
        return found

    def image_at(self, column: str, start: int) -> pa.Scalar:
        group = self.starts().index(start)
        read = self._file.iter_batches(
            batch_size=1, row_groups=[group], columns=[self._leaf(column)], use_threads=False
        )
        return bytes_of(next(each(read, self._shown)).column(0))[0]

    def _leaf(self, column: str) -> str:
        """Returns the name of the leaf column with the image bytes. Reading only this column skips the images'
        paths."""
        return f"{column}.bytes" if pa.types.is_struct(self.schema.field(column).type) else column
