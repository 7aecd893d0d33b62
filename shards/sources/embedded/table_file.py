"""Tables with embedded images, read from front to back: Parquet files, and the ``datasets`` library's Arrow files."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from shards.errors import InputError
from shards.files.parquet_file import open_parquet
from shards.sources.embedded.arrow_table import MappedArrowTable, StoredArrowTable
from shards.sources.embedded.parquet_table import ParquetTable
from shards.sources.embedded.reading import reading
from shards.sources.files import LocalFiles, SourceFiles, StoredFiles
from shards.store.range_file import RangeFile

__all__ = ["LOOK_BYTES", "TABLE_SUFFIXES", "TableFile", "open_table"]

TABLE_SUFFIXES = (".parquet", ".arrow")
LOOK_BYTES = 1 << 20
"""Number of bytes read from a column at a time if the table is local or if only one image is needed."""


class TableFile(Protocol):
    """An open table. All methods that read raise ``InputError`` if the file cannot be read."""

    schema: pa.Schema

    def texts(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yields the rows of ``columns``, in batches."""

    def images(self, column: str) -> Iterator[pa.Array]:
        """Yields the bytes of the images in a column, a few at a time; null for rows without an image."""

    def num_bytes(self) -> int:
        """Total size of all columns in bytes, as declared in the file."""

    def starts(self) -> list[int]:
        """Returns the indices of the rows that :meth:`image_at` can read cheaply, in ascending order. The first is
        0."""

    def image_at(self, column: str, start: int) -> pa.Scalar:
        """Returns the bytes of the image in row ``start``, one of :meth:`starts`, or null if the row has no image."""


@contextmanager
def open_table(files: SourceFiles, name: str, piece_bytes: int = 0) -> Iterator[TableFile]:
    """Context manager: opens one of a source's tables.

    If ``piece_bytes`` is given, columns are read in pieces of that size, which are not kept in memory. This is meant
    for image columns. Raises ``InputError`` if the file is not a table.
    """
    shown, is_parquet = files.where(name), name.lower().endswith(".parquet")
    source: Path | RangeFile
    table: TableFile
    with ExitStack() as held:
        with reading(shown):
            if isinstance(files, LocalFiles):
                source = files.root / name
            elif isinstance(files, StoredFiles):
                source = RangeFile.open(files.remote, name)
            else:
                raise InputError(f"{shown} is in an archive: unpack it, and give the folder")
            if is_parquet:
                table = ParquetTable(held.enter_context(open_parquet(source, piece_bytes)), shown)
            elif isinstance(source, Path):
                table = MappedArrowTable(source, shown)
            else:
                table = StoredArrowTable(source, shown)
        yield table
