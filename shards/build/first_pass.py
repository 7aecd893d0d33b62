"""The first pass over the images: reads every file once, to find its hash and format.

The split depends on the contents of all files, so it is made after this pass.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

import pyarrow as pa

from shards.errors import MachineTrouble, disk_failed
from shards.files.patience import TRIES
from shards.images.formats import known_format
from shards.images.rejection import RejectedImage
from shards.images.tiling import Tiling
from shards.manifest.schema import SPLITS
from shards.sources.files import SourceFiles, Stamp, require_size
from shards.sources.source_list import SOURCE_SCHEMA, SourceList

__all__ = ["SCAN_SCHEMA", "FileState", "examine", "image_not_given", "map_in_threads", "scan"]

SCAN_SCHEMA = pa.schema(
    [
        *SOURCE_SCHEMA,
        ("num_bytes", pa.int64()),
        ("mtime_ns", pa.int64()),  # for a file in a store, a number that changes with the file
        ("sha256", pa.binary()),  # empty if the file could not be read
        ("format", pa.string()),  # "" if rejected
        ("tiled", pa.bool_()),  # to be stored as tiles, see shards.images.tiling
        ("reason", pa.string()),  # key of REASONS, "" if taken
        ("detail", pa.string()),
    ]
)

T = TypeVar("T")

_ALL_KEPT = Tiling(lossless=False)
_SLICE = 4096  # most rows in flight: a list of millions must not become millions of futures


@dataclass(frozen=True, slots=True)
class FileState:
    """The result of the first pass for one file."""

    num_bytes: int = 0
    mtime_ns: int = 0
    sha256: bytes = b""
    format: str = ""
    tiled: bool = False
    reason: str = ""
    detail: str = ""


def examine(files: SourceFiles, name: str, known: Stamp | None = None, tiling: Tiling = _ALL_KEPT) -> FileState:
    """Reads one file and recognises its format. If the file is not a usable image, the result states the reason.

    ``known`` is the file's stamp, if the caller has it already; ``tiling`` decides whether the image is stored as
    tiles. If the disk fails to deliver the file, the reason is ``io``. Thread-safe. Raises ``InputError`` if a store
    does not answer, and ``MachineTrouble`` for machine faults.
    """
    try:
        # Take the stamp before the bytes: if the file changes in between, an old stamp makes it be read again.
        stamp = known if known is not None else files.stamp(name)
        require_size(stamp[0] if stamp else 0)
        data = files.read(name)
    except RejectedImage as rejected:
        return FileState(reason=rejected.reason, detail=rejected.detail)
    state = FileState(num_bytes=len(data), mtime_ns=stamp[1] if stamp else 0, sha256=hashlib.sha256(data).digest())
    try:
        kind = known_format(data)
    except RejectedImage as rejected:
        return replace(state, reason=rejected.reason, detail=rejected.detail)
    return replace(state, format=kind, tiled=tiling.takes(data, kind))


def scan(
    sources: SourceList, threads: int, advance: Callable[[int], object], tiling: Tiling, reject_unreadable: bool = False
) -> pa.Table:
    """Examines every file in ``sources`` with ``threads`` threads. Returns a table with the schema ``SCAN_SCHEMA``.

    The table has the rows of ``sources`` in the same order, with the results added. ``tiling`` decides which images are
    stored as tiles. ``advance(1)`` is called after each file.

    Byte-identical files are all rejected if their labels differ. If they are assigned to different splits, only the
    files in the split that comes last in ``SPLITS`` are kept. A file that the disk fails to deliver is rejected if
    ``reject_unreadable`` is set; otherwise raises ``MachineTrouble``, as for all other machine faults. Raises
    ``InputError`` if a store does not answer.
    """
    states: list[FileState] = []
    paths = sources.table.column("path")

    def one(name: str) -> FileState:
        state = examine(sources.files, name, sources.stamps.get(name), tiling)
        if state.reason == "io" and not reject_unreadable:
            raise image_not_given(sources.files.where(name), state.detail)
        return state

    for state in map_in_threads(one, paths.to_pylist(), threads):
        states.append(state)
        advance(1)
    states = _without_conflicts(states, sources.table)
    columns = {name: [getattr(state, name) for state in states] for name in FileState.__dataclass_fields__}
    found = pa.table(columns, schema=pa.schema(list(SCAN_SCHEMA)[len(SOURCE_SCHEMA) :]))
    return pa.table([*sources.table.columns, *found.columns], schema=SCAN_SCHEMA)


def map_in_threads(function: Callable[[str], T], names: Sequence[str], threads: int) -> Iterator[T]:
    """Yields ``function(name)`` for each of ``names``, in order. The first error is raised and cancels the rest."""
    with ThreadPoolExecutor(threads) as pool:
        try:
            for start in range(0, len(names), _SLICE):
                yield from pool.map(function, names[start : start + _SLICE])
        except BaseException:  # the caller no longer wants the rest of the slice
            pool.shutdown(cancel_futures=True)
            raise


def image_not_given(path: str, cause: str) -> MachineTrouble:
    """Returns the error to raise if the disk failed to deliver the image at ``path`` in ``TRIES`` attempts.

    ``cause`` is the operating system's message.
    """
    return disk_failed(path, f"{cause}, {TRIES} times", ", or leave such images out with --reject-unreadable")


def _without_conflicts(states: list[FileState], table: pa.Table) -> list[FileState]:
    """Rejects byte-identical files if their labels differ, or if they are assigned to different splits.

    If the splits differ, the files in the split that comes last in ``SPLITS`` are kept. As a result, no image that is
    kept for evaluation is also trained on.
    """
    rows = list(zip(states, *(table.column(name).to_pylist() for name in ("label", "split")), strict=True))
    labels: dict[bytes, int] = {}
    last: dict[bytes, int] = {}
    for state, label, split in rows:
        if not state.reason:
            labels[state.sha256] = labels.get(state.sha256, 0) | 1 << label
            last[state.sha256] = max(last.get(state.sha256, -1), _place(split))
    kept = []
    for state, _, split in rows:
        if not state.reason and labels[state.sha256] == 3:
            state = _again(state, "duplicate_conflict")
        elif not state.reason and split and _place(split) < last[state.sha256]:
            state = _again(state, "duplicate_split")
        kept.append(state)
    return kept


def _place(split: str) -> int:
    return SPLITS.index(split) if split else -1


def _again(state: FileState, reason: str) -> FileState:
    """Returns a copy of ``state``, rejected for ``reason``. The detail shows the start of the duplicates' SHA-256."""
    detail = f"SHA-256 {state.sha256.hex()[:16]}…"
    return FileState(state.num_bytes, state.mtime_ns, state.sha256, reason=reason, detail=detail)
