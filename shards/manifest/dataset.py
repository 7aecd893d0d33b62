"""Opens a data set's description and memory-mapped manifest, in milliseconds."""

import mmap
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from shards.cli.shown_url import as_url
from shards.errors import InputError
from shards.files.arrow_file import map_table
from shards.files.file_names import is_file_name
from shards.manifest.fetch import fetch_description
from shards.manifest.info import INFO_NAME, DatasetInfo, ShardInfo, SplitCounts, read_info
from shards.manifest.schema import BUILD_ID, SAMPLE_SCHEMA, SPLITS, require_manifest_format
from shards.store.folder import RemoteFolder

__all__ = ["MANIFEST_NAME", "DatasetInfo", "ShardDataset", "ShardInfo", "SplitCounts"]

MANIFEST_NAME = "samples.arrow"


class ShardDataset:
    """A data set opened for reading. Rows are indexed from 0, as in ``samples.arrow``, where they are grouped by split.

    Safe to share between threads. Does not open the tars; the loaders do that.
    """

    def __init__(
        self,
        root: Path,
        info: DatasetInfo,
        table: pa.Table,
        own_splits: Mapping[str, np.ndarray] | None = None,
        remote: RemoteFolder | None = None,
        mapped: mmap.mmap | None = None,
    ) -> None:
        self.root = root
        """The data set's folder. For a data set in a store, a local folder with its description and manifest."""
        self.remote = remote
        """The store that holds the shards; ``None`` if they are in ``root``."""
        self.info = info
        self._own_splits = dict(own_splits or {})
        self._sidecars = {shard.name: shard.sidecar for shard in info.shards}
        self.table = table
        """The manifest, with schema ``SAMPLE_SCHEMA``, mapped from the file and not copied."""
        self._mapped = mapped

    @classmethod
    def open(cls, path: str | Path) -> "ShardDataset":
        """Opens the data set in the folder ``path``, or in a store: ``s3://…``, ``gs://…``, ``http(s)://…``, ``hf://…``

        Raises ``InputError`` if a part of it is missing or damaged, or has a different format version.
        """
        url = as_url(path)
        remote = None if url is None else RemoteFolder(url)
        root = Path(path) if remote is None else fetch_description(remote, MANIFEST_NAME)
        where = str(root if remote is None else remote)
        info = read_info(root, f"{where}/{INFO_NAME}")
        shown = f"{where}/{MANIFEST_NAME}"
        table, mapped = _map_manifest(root / MANIFEST_NAME, shown)
        _require_known_shards(table, info, shown, remote is not None)
        build = (table.schema.metadata or {}).get(BUILD_ID)
        if build is not None and build != info.build_id.encode():
            raise InputError(
                f"{shown} is from another build than {where}/{INFO_NAME}: copy both from one build, or build the data "
                "set again"
            )
        if table.num_rows != info.num_samples:
            raise InputError(
                f"{shown} has {table.num_rows} rows, but dataset.json says {info.num_samples}: copy both from one "
                "build, or build the data set again"
            )
        return cls(root, info, table, remote=remote, mapped=mapped)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def with_splits(self, splits: Mapping[str, np.ndarray]) -> "ShardDataset":
        """Returns the same data set with additional splits.

        ``splits`` maps the name of each split to its row indices, int64, in the order in which to read them.
        """
        own_splits = {**self._own_splits, **splits}
        return ShardDataset(self.root, self.info, self.table, own_splits, self.remote, self._mapped)

    def forget_pages(self) -> None:
        """Releases the memory occupied by manifest pages. They are read from the file again when next accessed.

        Meant for code that reads every row only once.
        """
        if self._mapped is not None:
            self._mapped.madvise(mmap.MADV_DONTNEED)

    def codes(self, name: str) -> tuple[np.ndarray, list[str]]:
        """Returns the column ``name`` as (codes (rows,) int32, names): row i has the value ``names[codes[i]]``.

        A code of -1 means null. Raises ``InputError`` if the column is not dictionary-encoded, and so does not hold
        names.
        """
        column = self._array(name)
        if not pa.types.is_dictionary(column.type):
            raise InputError(f"column {name!r} of the manifest is not a column of names")
        codes = column.indices.fill_null(-1) if column.null_count else column.indices
        return codes.to_numpy(zero_copy_only=not column.null_count), column.dictionary.to_pylist()

    def column(self, name: str) -> np.ndarray:
        """Returns the column ``name`` as an array with one value per row.

        Numbers are views of the mapped file; hashes are (rows, 32) uint8; names and texts are object arrays. Null
        becomes ``None`` in names and -1 in numbers.
        """
        column = self._array(name)
        if pa.types.is_dictionary(column.type):
            codes, names = self.codes(name)
            return np.array([*names, None], dtype=object)[codes]
        if pa.types.is_fixed_size_binary(column.type):
            width = column.type.byte_width
            values = np.frombuffer(column.buffers()[1], np.uint8)
            return values.reshape(-1, width)[column.offset : column.offset + len(column)]
        if pa.types.is_integer(column.type):
            column = column.fill_null(-1) if column.null_count else column
            return column.to_numpy(zero_copy_only=True)
        return column.to_numpy(zero_copy_only=False)

    def split_rows(self, split: str) -> np.ndarray:
        """Returns the row indices of a split, (n,) int64, ascending. ``"train+valid"`` selects several splits.

        Splits added by :meth:`with_splits` keep the row order that they were given. Raises ``InputError`` for an
        unknown split; the message lists the splits.
        """
        if split in self._own_splits:
            return self._own_splits[split]
        names = split.split("+")
        for name in names:
            if name not in self.info.counts:
                known = ", ".join(s for s in SPLITS if s in self.info.counts)
                raise InputError(f"{self.where} has no split {name!r}: give one of {known}")
        codes, known_names = self.codes("split")
        # A damaged manifest may lack a name that dataset.json has. The split is empty then.
        wanted = [known_names.index(name) for name in set(names) if name in known_names]
        return np.flatnonzero(np.isin(codes, wanted)).astype(np.int64)

    def shard_path(self, name: str) -> Path:
        """Returns the path of the tar ``name``. Raises ``InputError`` if the shards are in a store."""
        return self._local(name)

    @property
    def has_sidecars(self) -> bool:
        """Whether any shard is a tar made elsewhere, with a sidecar."""
        return any(self._sidecars.values())

    def members_path(self, name: str) -> Path:
        """Returns the path of the tar with all members of shard ``name`` except the images.

        It is the shard itself or, for a tar made elsewhere, its sidecar.
        """
        return self._local(self._sidecars.get(name) or name)

    @property
    def generators(self) -> list[str]:
        """The names of the generators in all splits, sorted."""
        return sorted({name for counts in self.info.counts.values() for name in counts.generators})

    @property
    def where(self) -> str:
        """How messages refer to the data set: its folder, or its address in a store.

        For a data set in a store, ``root`` is a folder in the cache, which would mean nothing to the user.
        """
        return str(self.root if self.remote is None else self.remote)

    def require_local(self) -> None:
        """Raises ``InputError`` if the shards are in a store.

        Code that reads shards without a loader cannot read from stores. It calls this method first, before any output.
        """
        if self.remote is not None:
            raise InputError(
                f"{self.remote} is in a store, but this command reads shards on a local disk only: copy the folder "
                "and give the copy"
            )

    def _local(self, name: str) -> Path:
        self.require_local()
        return self.root / name

    def _array(self, name: str) -> pa.Array:
        if name not in self.table.column_names:
            raise InputError(f"the manifest has no column {name!r}")
        column = self.table.column(name)
        return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _require_known_shards(table: pa.Table, info: DatasetInfo, shown: str, in_store: bool) -> None:
    """Raises ``InputError`` if the manifest ``table`` names a shard that may lie outside the data set.

    The names in ``dataset.json`` have already been checked. A local manifest may also name another file in the data
    set's folder, but not a path that leads out of it. In a store, only the shards that ``dataset.json`` names are
    allowed. The message calls the manifest ``shown``.
    """
    known = {shard.name for shard in info.shards}
    for chunk in table.column("shard").chunks:
        for name in chunk.dictionary.to_pylist():
            if name not in known and (in_store or not is_file_name(str(name))):
                raise InputError(
                    f"{shown} names a shard {str(name)[:100]!r}, which dataset.json does not: copy both from one "
                    "build, or build the data set again"
                )


def _map_manifest(path: Path, shown: str) -> tuple[pa.Table, mmap.mmap]:
    try:
        table, mapped = map_table(path)
    except FileNotFoundError:
        raise InputError(f"{shown} is missing: run glass build again to write it") from None
    except (OSError, pa.ArrowException, ValueError, TypeError) as error:
        raise InputError(f"{shown} is not a manifest ({error}): build the data set again") from error
    require_manifest_format(table.schema, shown)
    if not table.schema.equals(SAMPLE_SCHEMA):
        raise InputError(f"{shown} has other columns than in this version: build the shards again")
    return table, mapped
