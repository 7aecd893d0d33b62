"""Reads untrusted Parquet files, checking their declared sizes before unpacking anything."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import SEEK_END, RawIOBase
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from shards.cli.wording import counted
from shards.errors import machine_spared
from shards.files.limits import limit
from shards.files.patience import read_or_end
from shards.files.regular_file import require_regular

__all__ = ["open_parquet", "read_parquet"]

_ROWS_FREELY = 1_000_000
"""Number of rows that a file of any size may declare."""
_MOST_ROWS_IN_A_BYTE = 8
"""Maximum number of rows per byte of file size, for files that declare more than ``_ROWS_FREELY`` rows. A real row
holds a digest, a path or an image, which takes several bytes even when compressed well. Empty rows may take no space in
the file, but take 100 bytes of memory each."""
_ROWS_OF_A_THREAD = 1000
"""Files with at most this many rows are read by one thread. Distributing such a file's columns over several threads
takes longer than reading them."""


@contextmanager
def open_parquet(path: Path | RawIOBase, buffer_bytes: int = 0) -> Iterator[pq.ParquetFile]:
    """Context manager that opens a Parquet file and reads its footer. ``path`` may also be an open remote file.

    If ``buffer_bytes`` is given, columns are read in pieces of that size, which are discarded after use. Otherwise,
    pyarrow keeps the whole file in memory even when it is read in batches.

    Raises ``OSError`` or an Arrow exception if it is not a Parquet file. Raises ``ValueError`` if it declares more rows
    or bytes than ``shards.files.limits`` allow. Files written by this project contain checksums; if their bytes have
    changed, reading them raises ``OSError``.
    """
    if isinstance(path, Path):
        require_regular(path)
    with ExitStack() as held:
        with machine_spared(path):
            file = held.enter_context(read_or_end(path, lambda: _opened(path, buffer_bytes)))
        metadata, num_bytes = file.metadata, _size_of(path)
        if metadata.num_rows > max(_ROWS_FREELY, _MOST_ROWS_IN_A_BYTE * num_bytes):
            raise ValueError(f"it claims {counted(metadata.num_rows, 'row')} in {counted(num_bytes, 'byte')}")
        if metadata.num_rows > (most := limit("MAX_LIST_ROWS")):
            raise ValueError(f"{counted(metadata.num_rows, 'row')}, more than GLASS_MAX_LIST_ROWS={most}")
        claimed = 0
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            if group.num_rows > most:
                raise ValueError(
                    f"a row group of {counted(group.num_rows, 'row')}, more than GLASS_MAX_LIST_ROWS={most}"
                )
            claimed += max(group.total_byte_size, 0)
        if claimed > (most := limit("MAX_PARQUET_BYTES")):
            raise ValueError(f"{claimed:,} bytes unpacked, above GLASS_MAX_PARQUET_BYTES={most}")
        yield file


def _size_of(path: Path | RawIOBase) -> int:
    return path.stat().st_size if isinstance(path, Path) else path.seek(0, SEEK_END)


def _opened(path: Path | RawIOBase, buffer_bytes: int) -> pq.ParquetFile:
    return pq.ParquetFile(path, page_checksum_verification=True, buffer_size=buffer_bytes, pre_buffer=not buffer_bytes)


def read_parquet(path: Path, columns: list[str] | None = None) -> pa.Table:
    """Reads a Parquet file, or only its ``columns``, and checks all values. Raises the errors of ``open_parquet``."""
    with open_parquet(path) as file:
        table = file.read(columns, use_threads=file.metadata.num_rows > _ROWS_OF_A_THREAD)
    table.validate(full=True)
    return table
