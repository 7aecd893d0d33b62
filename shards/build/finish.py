"""The last step of a build: one manifest for all shards, the list of rejects, ``dataset.json``."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from shards.build.packing import ShardPlan
from shards.build.plan import BuildPlan
from shards.build.writer import Rejection, read_record, read_shard_manifest
from shards.files.atomic import atomic_path, write_text_atomic
from shards.files.regular_file import file_sha256
from shards.images.rejection import REASONS
from shards.manifest.dataset import MANIFEST_NAME
from shards.manifest.info import INFO_NAME, DatasetInfo, SplitCounts
from shards.manifest.schema import BUILD_ID, CLASS_NAMES, REJECTED_NAME, SAMPLE_SCHEMA, SPLITS

__all__ = [
    "REJECTED_SCHEMA",
    "finish",
    "is_finished",
    "not_indexable_counts",
    "split_counts",
    "stored_as_counts",
    "write_description",
    "write_manifest",
    "write_rejected",
]

REJECTED_SCHEMA = pa.schema(
    [
        ("source_path", pa.string()),
        ("class_name", pa.string()),  # null where it is not known
        ("generator", pa.string()),
        ("reason", pa.string()),  # key of shards.images.rejection.REASONS
        ("detail", pa.string()),
    ]
)


def is_finished(out: Path) -> bool:
    """Whether a build in ``out`` has come to its end."""
    return (out / INFO_NAME).exists() and (out / MANIFEST_NAME).exists()


def finish(plan: BuildPlan, shards: Sequence[ShardPlan], misnamed: Iterable[str], out: Path) -> DatasetInfo:
    """Writes ``samples.arrow``, ``rejected.parquet`` and, last, ``dataset.json``.

    All shards must be done. Without a single sample only ``rejected.parquet`` is written.
    """
    manifests = [out / f"{shard.stem}.parquet" for shard in shards]
    records = [read_record(manifest) for manifest in manifests]
    found = [
        Rejection(row["path"], row["label"], row["generator"], row["reason"], row["detail"])
        for row in plan.table.to_pylist()
        if row["reason"]
    ]
    found += [rejection for record in records for rejection in record.rejected]
    found += [Rejection(name, None, None, "file_name", "") for name in misnamed]
    rejected = write_rejected(found, out / REJECTED_NAME)
    tables = [read_shard_manifest(manifest) for manifest in manifests]
    table = pa.concat_tables(tables) if tables else SAMPLE_SCHEMA.empty_table()
    info = DatasetInfo(
        global_size=plan.settings.global_size,
        split_seed=plan.settings.split_seed,
        split_shares=plan.settings.split_shares,
        samples_per_shard=plan.settings.samples_per_shard,
        num_samples=table.num_rows,
        counts=split_counts(table),
        not_indexable=not_indexable_counts(table),
        rejected=rejected,
        shards=tuple(record.info for record in records if record.info.samples),
        stored_as=stored_as_counts(table),
        equalised=plan.equalised,
        written_by=plan.written_by,
    )
    return write_description(info, table, out)


def write_description(info: DatasetInfo, table: pa.Table, out: Path) -> DatasetInfo:
    """Writes the manifest and, last of all, ``dataset.json``, and returns what that holds.

    Nothing is written where there is no sample.
    """
    if not table.num_rows:
        return info
    write_manifest(table, out / MANIFEST_NAME, info.build_id)
    info = replace(info, manifest_sha256=file_sha256(out / MANIFEST_NAME))
    write_text_atomic(out / INFO_NAME, info.to_json())
    return info


def write_manifest(table: pa.Table, path: Path, build_id: str = "") -> pa.Table:
    """Writes a table of ``SAMPLE_SCHEMA`` as the manifest of a data set, and returns it so.

    One record batch, so that every column is one array of the mapped file. ``build_id`` is that of
    the ``DatasetInfo`` beside it; without one the two are not compared at opening.
    """
    table = table.unify_dictionaries().combine_chunks()
    metadata = dict(SAMPLE_SCHEMA.metadata)
    schema = SAMPLE_SCHEMA.with_metadata(metadata | ({BUILD_ID: build_id} if build_id else {}))
    with atomic_path(path) as temporary, temporary.open("wb") as file, pa.ipc.new_file(file, schema) as writer:
        writer.write_table(table)
    return table


def write_rejected(found: Iterable[Rejection], path: Path) -> dict[str, int]:
    """Writes the list of rejects, sorted by path. Returns how many there are for each reason."""
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
    columns = list(zip(*rows, strict=True)) or [()] * len(REJECTED_SCHEMA)
    table = pa.table([list(column) for column in columns], schema=REJECTED_SCHEMA)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        pq.write_table(table, file, compression="zstd")
    counted = Counter(row[3] for row in rows)
    return {name: counted[name] for name in REASONS if counted[name]}


def split_counts(table: pa.Table) -> dict[str, SplitCounts]:
    """The counts of ``dataset.json``, from a manifest."""
    counted = Counter(zip(*(table.column(name).to_pylist() for name in ("split", "label", "generator")), strict=True))
    counts = {}
    for split in SPLITS:
        here = {(label, name): n for (where, label, name), n in counted.items() if where == split}
        if here:
            labels = [sum(n for (kind, _), n in here.items() if kind == label) for label in (0, 1)]
            generators = {name: n for (label, name), n in sorted(here.items()) if label}
            counts[split] = SplitCounts(sum(labels), labels[0], labels[1], generators)
    return counts


def stored_as_counts(table: pa.Table) -> dict[str, int]:
    """Form → samples stored so, from a manifest."""
    return dict(sorted(Counter(table.column("stored_as").to_pylist()).items()))


def not_indexable_counts(table: pa.Table) -> dict[str, int]:
    """Reason → samples without entry points, from a manifest."""
    found = Counter(table.column("not_indexable").to_pylist())
    return {reason: found[reason] for reason in sorted(filter(None, found))}
