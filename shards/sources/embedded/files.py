"""Presents images embedded in tables as source files, named by table and row: ``train.parquet/000000123``.

A table can only be read from front to back, but a build reads images in random order. The images of each table are
therefore first copied to a separate file in the build's folder.
"""

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import pyarrow as pa

from shards.errors import InputError
from shards.files.patience import read_or_end
from shards.images.rejection import RejectedImage
from shards.sources.embedded.spool import read_spooled, write_spool
from shards.sources.embedded.table_file import LOOK_BYTES, open_table
from shards.sources.files import SourceFiles, Stamp, require_size
from shards.sources.scratch import open_scratch, require_room
from shards.store.fsspec_store import PIECE_BYTES

__all__ = ["EmbeddedFiles", "ImageTable", "row_name"]

_DIGITS = 9
_AT_ONCE, _STORED_AT_ONCE = 2, 4
"""Number of tables read concurrently, each with a few pieces in memory. On a disk, two: one is read while the other's
images are written. In a store, four, to hide its latency."""
_ADDRESSES = (b"http://", b"https://", b"s3://", b"gs://", b"hf://")
_MOST_SHOWN = 80


@dataclass(frozen=True, slots=True)
class ImageTable:
    """A table with embedded images."""

    name: str
    """The table file's path within the source."""
    column: str
    """Name of the image column."""
    num_rows: int
    num_bytes: int
    """Total size of all columns in bytes, as declared in the file."""
    stamp: Stamp

    @property
    def spool_name(self) -> str:
        """Name of the file to which the table's images are copied. It changes if the table's stamp changes."""
        key = f"{self.name}\0{self.column}\0{self.num_rows}\0{self.stamp}"
        return f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.arrow"


def row_name(table: str, row: int) -> str:
    """Returns the name of the image in row ``row`` of a table, counting from 0."""
    return f"{table}/{row:0{_DIGITS}d}"


@dataclass(frozen=True, slots=True)
class EmbeddedFiles:
    """Images embedded in tables, presented as source files."""

    files: SourceFiles
    """The files that contain the tables."""
    tables: Mapping[str, ImageTable]
    """Maps table names to tables."""
    spools: Path | None = None
    """Folder with the copied images; ``None`` before :meth:`prepared`."""

    @property
    def at_once(self) -> int:
        return 0

    def where(self, name: str) -> str:
        table, _, row = name.rpartition("/")
        return f"{self.files.where(table)}, row {int(row) + 1:,}" if table in self.tables else self.files.where(name)

    def folders(self, folder: str = "") -> list[str]:
        return self.files.folders(folder)

    def walk(self, folder: str) -> Iterator[tuple[str, Stamp | None]]:
        return self.files.walk(folder)

    def read(self, name: str) -> bytes:
        """See :meth:`SourceFiles.read`. Before :meth:`prepared`, only the images from :meth:`samples` can be read."""
        table, row = self.tables[name.rpartition("/")[0]], int(name.rpartition("/")[2])
        if self.spools is None:
            with open_table(self.files, table.name, LOOK_BYTES) as opened:
                image = opened.image_at(table.column, row)
        else:
            image = _spooled(self.spools / table.spool_name, row)
        if not image.is_valid:
            raise RejectedImage("unreadable", "the row holds no image")
        buffer = image.as_buffer()
        require_size(buffer.size)
        data: bytes = buffer.to_pybytes()
        if data.startswith(_ADDRESSES):
            shown = data[:_MOST_SHOWN].decode("utf-8", "backslashreplace")
            raise RejectedImage("not_an_image", f"the row holds an address instead of the image: {shown}")
        return data

    def read_all(self, names: Sequence[str]) -> Iterator[bytes]:
        return map(self.read, names)

    def stamp(self, name: str) -> Stamp | None:
        return None

    def stamps(self, names: Sequence[str]) -> Iterable[Stamp | None]:
        return map(self.stamp, names)

    def has_any(self, names: Sequence[str]) -> bool:
        return any(name.rpartition("/")[0] in self.tables for name in names)

    def samples(self, names: Sequence[str], most: int) -> list[str]:
        """See :meth:`SourceFiles.samples`. Only the first row of each row group or batch is cheap to read."""
        wanted, found = set(names), list[str]()
        for table in list(self.tables.values())[:: -(-len(self.tables) // most)]:
            with open_table(self.files, table.name) as opened:
                found += [name for row in opened.starts() if (name := row_name(table.name, row)) in wanted]
        return found[:: -(-len(found) // most) or 1]

    def containers(self) -> dict[str, Stamp]:
        return {table.name: table.stamp for table in self.tables.values()}

    def only(self, names: Sequence[str]) -> Self:
        used = {name.rpartition("/")[0] for name in names}
        return replace(self, tables={name: table for name, table in self.tables.items() if name in used})

    def prepared(self, out: Path, advance: Callable[[int], object]) -> Self:
        folder = open_scratch(out)
        missing = [table for table in self.tables.values() if not (folder / table.spool_name).exists()]
        require_room(folder, sum(table.num_bytes for table in missing), "the images")
        advance(sum(table.num_rows for table in self.tables.values()) - sum(table.num_rows for table in missing))
        stopped = threading.Event()

        def spool(table: ImageTable) -> None:
            _spool(self.files, table, folder, advance, stopped)

        with ThreadPoolExecutor(_STORED_AT_ONCE if self.files.at_once else _AT_ONCE) as pool:
            try:
                list(pool.map(spool, missing))
            except BaseException:  # the caller no longer wants the rest
                stopped.set()
                pool.shutdown(cancel_futures=True)
                raise
        return replace(self, spools=folder)


def _spool(
    files: SourceFiles, table: ImageTable, folder: Path, advance: Callable[[int], object], stopped: threading.Event
) -> None:
    """Copies a table's images to one file in ``folder``. Raises ``InputError`` if the table has changed."""
    found = 0

    def counted(batches: Iterable[pa.Array]) -> Iterator[pa.Array]:
        nonlocal found
        for batch in batches:
            if stopped.is_set():
                raise InputError("stopped")  # not shown: the error of another table is raised
            found += len(batch)
            if found > table.num_rows:
                break
            yield batch
        if found != table.num_rows or files.stamp(table.name) not in (None, table.stamp):
            raise InputError(
                f"{files.where(table.name)} changed while its images were read: run the same command again"
            )

    piece_bytes = PIECE_BYTES if files.at_once else LOOK_BYTES
    with open_table(files, table.name, piece_bytes) as opened:
        write_spool(folder / table.spool_name, counted(opened.images(table.column)), advance)
    pa.default_memory_pool().release_unused()  # pages of hundreds of megabytes if pyarrow wrote the table


def _spooled(path: Path, row: int) -> pa.Scalar:
    try:
        return read_or_end(path, lambda: read_spooled(path, row))
    except (OSError, pa.ArrowException) as error:
        raise InputError(
            f"{path} cannot be read ({error}): delete it, and run the same command again, which makes it again"
        ) from error
