"""Reads untrusted manifests. Rejects compressed ones, and checks every index and offset.

Arrow's readers trust the values in a file. They follow text-column offsets and dictionary codes unchecked, and unpack
compressed buffers to whatever size the file claims. Here offsets, codes and buffers are checked first. A damaged or
hostile ``samples.arrow`` then causes an error instead of a crash or exhausted memory.
"""

import mmap
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from shards.errors import machine_spared
from shards.files.patience import read_or_end
from shards.files.regular_file import map_regular

__all__ = ["is_compressed", "map_table"]

_MAGIC = b"ARROW1\0\0"
_HEADER_FIELD, _HEADER_TYPE_FIELD = 2, 1
_DICTIONARY, _RECORDS = 2, 3
_MAX_MESSAGES = 4096
"""Maximum number of IPC messages in a file. A manifest has one for its schema, one per dictionary column, and one for
all rows."""
_CHECKED_ROWS = 1_000_000
"""Number of text-column rows to check at a time. Limits how many pages of the file are in memory at once."""


def map_table(path: Path) -> tuple[pa.Table, mmap.mmap]:
    """Memory-maps an Arrow IPC file and checks all its values. Returns ``(table, memory map)``.

    Raises ``OSError`` if the file cannot be read, and an Arrow exception or ``ValueError`` if it is damaged or
    compressed. The pages of text and dictionary columns are read once for these checks and then released: at ten
    million rows, the text columns alone take 0.9 GB, and a training run never reads them (docs/LOG.md, ``bench
    scale``).
    """
    with machine_spared(path):
        mapped = read_or_end(path, lambda: map_regular(path))
    data = pa.py_buffer(mapped)
    _require_plain(data)
    table = pa.ipc.open_file(pa.BufferReader(data)).read_all()
    table.validate()
    for column in table.columns:
        for part in _parts(column):
            part.validate(full=True)
            mapped.madvise(mmap.MADV_DONTNEED)  # pages are mapped again on access
    return table, mapped


def _parts(column: pa.ChunkedArray) -> Iterator[pa.ChunkedArray]:
    """Yields the pieces of ``column`` to check one at a time: slices of a text column, or any other column as a whole.

    Dictionary columns are not sliced, because every slice carries the whole dictionary, which would be checked each
    time.
    """
    step = _CHECKED_ROWS if pa.types.is_string(column.type) else max(1, len(column))
    for start in range(0, max(1, len(column)), step):
        yield column.slice(start, step)


def _require_plain(data: pa.Buffer) -> None:
    """Raises ``ValueError`` if ``data`` is not an Arrow file or has compressed buffers, which could claim any size."""
    if len(data) < 16 or data.slice(0, 8) != pa.py_buffer(_MAGIC):
        raise ValueError("not an Arrow file")
    reader = pa.ipc.MessageReader.open_stream(data.slice(8))
    for _ in range(_MAX_MESSAGES):
        try:
            message = reader.read_next_message()
        except StopIteration:
            return
        if is_compressed(message.metadata):
            raise ValueError("its buffers are compressed")
    raise ValueError(f"more than {_MAX_MESSAGES} messages")


def is_compressed(metadata: pa.Buffer) -> bool:
    """Whether an IPC message's FlatBuffer describes compressed buffers or cannot be parsed."""
    data = memoryview(metadata)
    try:
        message = _u32(data, 0)
        kind_at, header_at = (_field(data, message, f) for f in (_HEADER_TYPE_FIELD, _HEADER_FIELD))
        if not kind_at or not header_at or data[kind_at] not in (_DICTIONARY, _RECORDS):
            return False
        batch = header_at + _u32(data, header_at)
        if data[kind_at] == _DICTIONARY:
            inner = _field(data, batch, 1)
            if not inner:
                return True
            batch = inner + _u32(data, inner)
        return _field(data, batch, 3) != 0
    except (IndexError, ValueError):
        return True


def _field(data: memoryview, table: int, number: int) -> int:
    """Returns the offset in ``data`` of a field of the FlatBuffer table at ``table``, or 0 if that field is absent.

    ``number`` is the field's index in the table, from 0.
    """
    vtable = table - int.from_bytes(_bytes(data, table, 4), "little", signed=True)
    place = 4 + 2 * number
    if place + 2 > int.from_bytes(_bytes(data, vtable, 2), "little"):
        return 0
    offset = int.from_bytes(_bytes(data, vtable + place, 2), "little")
    return table + offset if offset else 0


def _u32(data: memoryview, at: int) -> int:
    return int.from_bytes(_bytes(data, at, 4), "little")


def _bytes(data: memoryview, at: int, length: int) -> memoryview:
    if not 0 <= at <= at + length <= len(data):
        raise IndexError(at)
    return data[at : at + length]
