"""Writes one shard: the tar, the DALI index and, last, the manifest, which marks the shard as complete."""

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Struct

from shards.build.first_pass import image_not_given
from shards.build.make_sample import build_sample
from shards.build.packing import PackedSource, ShardPlan, sample_key
from shards.build.tar import Member, ShardTar, dali_index
from shards.errors import InputError, machine_spared
from shards.files.atomic import atomic_path, write_bytes_atomic, write_text_atomic
from shards.files.documents import typed_document
from shards.files.json_file import parse_json
from shards.files.parquet_file import read_parquet
from shards.files.patience import read_or_end
from shards.files.regular_file import require_regular
from shards.images.rejection import RejectedImage
from shards.manifest.info import ShardInfo
from shards.manifest.schema import MEMBERS, SAMPLE_SCHEMA, require_manifest_format
from shards.sources.files import SourceFiles

__all__ = ["Rejection", "ShardRecord", "ShardTask", "read_record", "write_shard", "write_shard_manifest"]

_RECORD = b"shard"


class Rejection(Struct, frozen=True, forbid_unknown_fields=True):
    """A row of ``rejected.parquet``: an image that was not included in the data set."""

    source_path: str
    label: int | None
    """The image's label; ``None`` if unknown."""
    generator: str | None
    reason: str
    detail: str

    @classmethod
    def of(cls, source: PackedSource, reason: str, detail: str) -> "Rejection":
        """Creates the rejection record for the image ``source``."""
        return cls(source.path, source.label, source.generator, reason, detail)


class ShardRecord(Struct, frozen=True):
    """The description of a whole shard, stored in the metadata of its Parquet file."""

    info: ShardInfo
    """Description of the tar. If all images were rejected, its ``samples`` is 0 and there is no tar."""
    rejected: tuple[Rejection, ...]


@dataclass(frozen=True, slots=True)
class ShardTask:
    """The task of writing one shard. Can be pickled. Running it twice gives the same files."""

    plan: ShardPlan
    files: SourceFiles
    """The reader for the source files."""
    out: Path
    global_size: int
    keep_progressive: bool = False
    reject_unreadable: bool = False
    """Whether to reject an image that the disk fails to deliver, instead of ending the build."""

    @property
    def manifest(self) -> Path:
        return self.out / f"{self.plan.stem}.parquet"

    @property
    def num_images(self) -> int:
        return len(self.plan.sources)

    def write(self, advance: Callable[[], object]) -> None:
        """Writes the shard as :func:`write_shard` does."""
        write_shard(self, advance)


class _NoSamples(Exception):
    """Raised if every image in a shard was rejected."""


def write_shard(task: ShardTask, advance: Callable[[], object]) -> None:
    """Builds the shard for ``task``. ``advance()`` is called after every image; if it raises, the work stops.

    Raises ``OSError`` if the files cannot be written, and ``InputError`` if a source has changed since the first pass.
    Raises ``MachineTrouble`` if the machine is at fault. Files appear whole or not at all.
    """
    plan = task.plan
    rows: list[dict[str, Any]] = []
    members: list[list[Member]] = []
    rejected: list[Rejection] = []
    num_bytes, sha256 = 0, ""
    with suppress(_NoSamples), atomic_path(task.out / plan.name) as temporary:
        with ShardTar(temporary) as tar:
            contents = task.files.read_all([source.path for source in plan.sources])
            for source in plan.sources:
                data = _read_again(task, source, contents, rejected)
                if data is not None:
                    _add(task, source, data, tar, rows, members, rejected)
                advance()
        if not rows:
            raise _NoSamples
        num_bytes, sha256 = tar.num_bytes, tar.sha256
    if rows:
        write_text_atomic(task.out / f"{plan.stem}.idx", dali_index(members))
    info = ShardInfo(plan.name, plan.split, plan.format, len(rows), num_bytes, sha256)
    write_shard_manifest(task.manifest, rows, ShardRecord(info, tuple(rejected)))


def _add(
    task: ShardTask,
    source: PackedSource,
    data: bytes,
    tar: ShardTar,
    rows: list[dict[str, Any]],
    members: list[list[Member]],
    rejected: list[Rejection],
) -> None:
    key = sample_key(task.plan.number, len(rows))
    try:
        with machine_spared(task.files.where(source.path), memory=True):
            sample = build_sample(data, source, key, task.plan.name, task.global_size, task.keep_progressive)
    except RejectedImage as error:
        rejected.append(Rejection.of(source, error.reason, error.detail))
        return
    placed = tar.write(key, sample.members)
    members.append(placed)
    row = dict(sample.row)
    for member, (_, start, size, _) in zip(MEMBERS, placed, strict=True):
        row[f"{member}_offset"], row[f"{member}_length"] = start, size
    rows.append(row)


def _read_again(
    task: ShardTask, source: PackedSource, contents: Iterator[bytes], rejected: list[Rejection]
) -> bytes | None:
    """Returns the bytes of ``source``, the next item in ``contents``, after checking them against the first pass.

    If the disk failed to deliver them and ``task.reject_unreadable`` is set, appends to ``rejected`` and returns
    ``None``. If it is not set, raises ``MachineTrouble``. Raises ``InputError`` if the source can no longer be read for
    another reason, or has changed.
    """
    path = task.files.where(source.path)
    try:
        data = next(contents)
    except RejectedImage as error:
        if error.reason != "io":
            raise InputError(
                f"{path} could be read at first but not any more ({error.detail}): bring it back and run the same "
                "command again to continue"
            ) from None
        if not task.reject_unreadable:
            raise image_not_given(path, error.detail) from error
        rejected.append(Rejection.of(source, error.reason, error.detail))
        return None
    if hashlib.sha256(data).digest() != source.sha256:
        raise InputError(f"{path} changed while the shards were built: build into another folder")
    return data


def write_shard_manifest(path: Path, rows: Iterable[dict[str, Any]], record: ShardRecord) -> None:
    """Writes a shard's manifest ``rows`` and ``record`` to its Parquet file, which marks the shard as complete."""
    text = json.dumps(msgspec.to_builtins(record), ensure_ascii=False)
    metadata = {**(SAMPLE_SCHEMA.metadata or {}), _RECORD: text.encode()}
    table = pa.Table.from_pylist(list(rows), schema=SAMPLE_SCHEMA.with_metadata(metadata))
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
    write_bytes_atomic(path, buffer.getvalue())


def read_shard_manifest(manifest: Path) -> pa.Table:
    """Reads a shard's Parquet file, with schema ``SAMPLE_SCHEMA``. Raises ``InputError`` if the file is damaged."""
    try:
        table = read_parquet(manifest)
        require_manifest_format(table.schema, manifest)
        if not table.schema.equals(SAMPLE_SCHEMA):
            raise ValueError("it has other columns")
    except (OSError, pa.ArrowException, ValueError) as error:
        raise InputError(f"{manifest} is damaged ({error}): delete it and run the same command again") from error
    return table.replace_schema_metadata(None)


def read_record(manifest: Path) -> ShardRecord:
    """Reads the record in the metadata of a shard's Parquet file. Raises ``InputError`` if the file is damaged."""
    try:
        require_regular(manifest)
        with machine_spared(manifest):
            metadata = read_or_end(manifest, lambda: pq.read_schema(manifest)).metadata
        return typed_document(parse_json(metadata[_RECORD]), ShardRecord, "shard")
    except (OSError, pa.ArrowException, KeyError, ValueError, TypeError) as error:  # TypeError: no metadata
        raise InputError(f"{manifest} is damaged ({error}): delete it and run glass build again") from error
