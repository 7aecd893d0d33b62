"""The last step of a build: writes one manifest for all shards, the list of rejects, and ``dataset.json``."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from msgspec.structs import replace

from shards.build.packing import ShardPlan
from shards.build.plan import BuildPlan
from shards.build.writer import Rejection, read_record, read_shard_manifest
from shards.cli.wording import by_reason, counted
from shards.errors import InputError
from shards.files.atomic import atomic_path, write_text_atomic
from shards.files.regular_file import file_sha256
from shards.images.rejection import REASONS
from shards.manifest.dataset import MANIFEST_NAME
from shards.manifest.info import INFO_NAME, DatasetInfo, SplitCounts
from shards.manifest.schema import BUILD_ID, CLASS_NAMES, REJECTED_NAME, SAMPLE_SCHEMA, SPLITS
from shards.manifest.tiled_bytes import tiled_bytes

__all__ = [
    "finish",
    "in_order",
    "is_finished",
    "not_indexable_counts",
    "require_left",
    "split_counts",
    "stored_as_counts",
    "write_data_set",
    "write_description",
    "write_manifest",
]

_REJECTED_SCHEMA = pa.schema(
    [
        ("source_path", pa.string()),
        ("class_name", pa.string()),  # null if not known
        ("generator", pa.string()),
        ("reason", pa.string()),  # key of shards.images.rejection.REASONS
        ("detail", pa.string()),
    ]
)


def is_finished(out: Path) -> bool:
    """Whether the build in ``out`` is complete."""
    return (out / INFO_NAME).exists() and (out / MANIFEST_NAME).exists()


def finish(plan: BuildPlan, shards: Sequence[ShardPlan], misnamed: Iterable[str], out: Path) -> DatasetInfo:
    """Writes ``samples.arrow``, ``rejected.parquet`` and, last, ``dataset.json``. All shards must be complete.

    ``misnamed`` are files whose names are not valid UTF-8. Raises ``InputError`` as :func:`write_data_set` does.
    """
    manifests = [out / f"{shard.stem}.parquet" for shard in shards]
    paths, splits = (plan.table.column(name).to_pylist() for name in ("path", "split"))
    given = {path: split for path, split in zip(paths, splits, strict=True) if split}
    settings = plan.settings
    return write_data_set(
        manifests,
        _rejected_first(plan, misnamed),
        out,
        given,
        global_size=settings.global_size,
        split_seed=settings.split_seed,
        split_shares=settings.split_shares,
        samples_per_shard=settings.samples_per_shard,
        equalised=plan.equalised,
        note=settings.note,
        written_by=plan.written_by,
    )


def require_left(plan: BuildPlan, misnamed: Iterable[str], out: Path) -> None:
    """Raises ``InputError`` if the first pass rejected every image of a class, or every image assigned to a split.

    The remaining images would not be the data set that the user asked for. Writes the list of rejects before raising.
    """
    lost: dict[str, Counter[str]] = {}
    left: set[str] = set()
    rows = zip(*(plan.table.column(name).to_pylist() for name in ("label", "split", "reason")), strict=True)
    for label, split, reason in rows:
        for kind in _kinds(label, split):
            if reason:
                lost.setdefault(kind, Counter())[reason] += 1
            else:
                left.add(kind)
    if left and lost.keys() - left:  # if nothing at all is left, the last step raises the error
        _write_rejected(_rejected_first(plan, misnamed), out / REJECTED_NAME)
        _require_kinds(lost, left, out)


def _rejected_first(plan: BuildPlan, misnamed: Iterable[str]) -> list[Rejection]:
    """Returns the files that the first pass rejected, and those whose names are not valid UTF-8."""
    found = [
        Rejection(row["path"], row["label"], row["generator"], row["reason"], row["detail"])
        for row in plan.table.to_pylist()
        if row["reason"]
    ]
    return found + [Rejection(name, None, None, "file_name", "") for name in misnamed]


def _kinds(label: int | None, split: str) -> list[str]:
    """Returns phrases for the categories that an image belongs to: its class, and the split assigned by the source.

    The class is omitted if ``label`` is ``None``, the split if ``split`` is ``""``.
    """
    of_class = [] if label is None else [f"{CLASS_NAMES[label]} images"]
    return of_class + ([f"images given to the split {split}"] if split else [])


def _require_kinds(lost: Mapping[str, Counter[str]], left: Collection[str], out: Path) -> None:
    """Raises ``InputError`` if a category in ``lost`` is not in ``left``, i.e. all of its images were rejected.

    ``lost`` maps each category (see :func:`_kinds`) that has rejected images to their number by reason.
    """
    for kind, reasons in lost.items():
        if kind not in left:
            raise InputError(
                f"none of the {reasons.total():,} {kind} was accepted ({by_reason(in_order(reasons))}): fix or leave "
                f"out the files listed in {out / REJECTED_NAME}, and build into another folder"
            )


def write_data_set(
    manifests: Sequence[Path],
    rejected: Sequence[Rejection],
    out: Path,
    given: Mapping[str, str],
    samples_per_shard: int = 0,
    **fields: Any,
) -> DatasetInfo:
    """Combines the shards with the given ``manifests`` into one data set. Returns the contents of ``dataset.json``.

    Writes the list of rejects, then ``samples.arrow`` (the manifests, concatenated and ordered by split), and finally
    ``dataset.json``. ``rejected`` are the images that were not assigned to any shard. ``samples_per_shard`` is the
    limit that was set, or 0 if there was none. ``given`` maps source paths to the splits that the source assigned to
    these images. ``fields`` are further fields of :class:`DatasetInfo`.

    Raises ``InputError`` if no samples are left. Also raises it if every image of a class, or every image assigned to a
    split, was rejected. In these cases, only the list of rejects is written.
    """
    records = [read_record(manifest) for manifest in manifests]
    found = [*rejected, *(rejection for record in records for rejection in record.rejected)]
    reasons = _write_rejected(found, out / REJECTED_NAME)
    table = _joined([read_shard_manifest(manifest) for manifest in manifests])
    if not table.num_rows:
        raise InputError(
            f"not one of {counted(sum(reasons.values()), 'image')} was accepted ({by_reason(reasons)}): fix the files "
            f"listed in {out / REJECTED_NAME}, and use another folder for the data set"
        )
    lost: dict[str, Counter[str]] = {}
    for rejection in found:
        for kind in _kinds(rejection.label, given.get(rejection.source_path, "")):
            lost.setdefault(kind, Counter())[rejection.reason] += 1
    if lost:
        paths, labels = (table.column(name).to_pylist() for name in ("source_path", "label"))
        pairs = {(label, given.get(path, "")) for path, label in zip(paths, labels, strict=True)}
        _require_kinds(lost, {kind for pair in pairs for kind in _kinds(*pair)}, out)
    info = DatasetInfo(
        samples_per_shard=samples_per_shard or max(record.info.samples for record in records),
        num_samples=table.num_rows,
        counts=split_counts(table),
        not_indexable=not_indexable_counts(table),
        rejected=reasons,
        shards=tuple(record.info for record in records if record.info.samples),
        stored_as=stored_as_counts(table),
        tiled=tiled_bytes(table),
        **fields,
    )
    return write_description(info, table, out)


def write_description(info: DatasetInfo, table: pa.Table, out: Path) -> DatasetInfo:
    """Writes the manifest and, last of all, ``dataset.json``. Returns the contents of ``dataset.json``."""
    write_manifest(table, out / MANIFEST_NAME, info.build_id)
    info = replace(info, manifest_sha256=file_sha256(out / MANIFEST_NAME))
    write_text_atomic(out / INFO_NAME, info.to_json())
    return info


def _joined(tables: Sequence[pa.Table]) -> pa.Table:
    """Concatenates the rows of all shards, ordered by split and then by shard."""
    if not tables:
        return SAMPLE_SCHEMA.empty_table()
    table = pa.concat_tables(tables)
    places = np.array([SPLITS.index(split) for split in table.column("split").to_pylist()], np.int64)
    if (np.diff(places) >= 0).all():  # the shards of a build are in this order already
        return table
    return table.unify_dictionaries().take(np.argsort(places, kind="stable"))


def write_manifest(table: pa.Table, path: Path, build_id: str = "") -> pa.Table:
    """Writes a table with the schema ``SAMPLE_SCHEMA`` as a data set's manifest. Returns the table as written.

    The manifest is a single record batch, so each column is one contiguous array when the file is memory-mapped.
    ``build_id`` is the build id in ``dataset.json``. If it is empty, opening the data set does not check that the
    manifest and ``dataset.json`` belong together.
    """
    table = table.unify_dictionaries().combine_chunks()
    metadata = dict(SAMPLE_SCHEMA.metadata)
    schema = SAMPLE_SCHEMA.with_metadata(metadata | ({BUILD_ID: build_id} if build_id else {}))
    with atomic_path(path) as temporary, temporary.open("wb") as file, pa.ipc.new_file(file, schema) as writer:
        writer.write_table(table)
    return table


def _write_rejected(found: Iterable[Rejection], path: Path) -> dict[str, int]:
    """Writes the list of rejects, sorted by path. Returns the number of rejects for each reason."""
    rows = [
        (
            rejection.source_path,
            None if rejection.label is None else CLASS_NAMES[rejection.label],
            rejection.generator,
            rejection.reason,
            rejection.detail,
        )
        for rejection in found
    ]
    rows.sort(key=lambda row: (row[0], row[1] or "", row[3]))
    columns = list(zip(*rows, strict=True)) or [()] * len(_REJECTED_SCHEMA)
    table = pa.table([list(column) for column in columns], schema=_REJECTED_SCHEMA)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        pq.write_table(table, file, compression="zstd")
    return in_order(Counter(row[3] for row in rows))


def in_order(reasons: Mapping[str, int]) -> dict[str, int]:
    """Returns ``reasons``, a mapping from reason to image count, sorted as in ``REASONS`` and without zero counts."""
    return {reason: reasons[reason] for reason in REASONS if reasons.get(reason)}


def split_counts(table: pa.Table) -> dict[str, SplitCounts]:
    """Computes the ``counts`` field of ``dataset.json`` from a manifest: the sample counts for each split."""
    columns = (table.column(name).to_pylist() for name in ("split", "label", "generator"))
    samples = Counter(zip(*columns, strict=True))
    counts = {}
    for split in SPLITS:
        here = {(label, name): n for (where, label, name), n in samples.items() if where == split}
        if here:
            labels = [sum(n for (kind, _), n in here.items() if kind == label) for label in (0, 1)]
            generators = {name: n for (label, name), n in sorted(here.items()) if label}
            counts[split] = SplitCounts(sum(labels), labels[0], labels[1], generators)
    return counts


def stored_as_counts(table: pa.Table) -> dict[str, int]:
    """Counts the samples in a manifest by stored form."""
    return dict(sorted(Counter(table.column("stored_as").to_pylist()).items()))


def not_indexable_counts(table: pa.Table) -> dict[str, int]:
    """Counts the samples in a manifest that lack entry points, by reason."""
    found = Counter(table.column("not_indexable").to_pylist())
    return {reason: found[reason] for reason in sorted(filter(None, found))}
