"""From images to a data set: first pass, split, shards, manifest. Can be interrupted anywhere.

sources ──scan──▶ plan ──split, pack──▶ shard plans ──workers──▶ tar, idx, parquet per shard
                                                   ──finish──▶ samples.arrow, dataset.json
"""

import os
from dataclasses import dataclass
from pathlib import Path

from shards.build_plan import (
    PLAN_NAME,
    BuildPlan,
    make_plan,
    plan_shards,
    read_plan,
    require_unchanged,
)
from shards.command import InputError
from shards.consolidate import finish, is_finished
from shards.dataset_info import DatasetInfo, read_info
from shards.output_folder import (
    by_reason,
    cannot_write,
    is_temporary,
    locked,
    progress_bar,
    remove_temporaries,
)
from shards.packing import ShardPlan
from shards.settings import BuildSettings
from shards.shard_writer import ShardTask, read_record
from shards.source_lists import read_sources
from shards.sources import SourceList
from shards.workers import write_shards

__all__ = ["BuildReport", "build_dataset"]


@dataclass(frozen=True)
class BuildReport:
    """What a build did."""

    info: DatasetInfo
    finished_before: bool
    """The folder held this very data set already, and nothing was done."""
    continued: bool
    """An interrupted build was completed."""
    notes: list[str]
    """What was passed over in the sources."""


def build_dataset(
    source: Path, out: Path, settings: BuildSettings, workers: int = 1, progress: bool = True
) -> BuildReport:
    """Builds the data set ``out`` from ``source``, or continues to.

    Writes nothing but new files in ``out``, each complete when it appears. Equal sources and
    settings give equal bytes, whatever ``workers`` is. Shows bars on stderr with ``progress``.
    Raises ``InputError`` for mistakes in the arguments, and where the disk is full or read-only;
    the same call then continues.
    """
    sources = read_sources(source)
    try:
        _make_folder(out)
        with locked(out):
            return _build(sources, out, settings, workers, progress)
    except OSError as error:
        raise InputError(cannot_write(out, error)) from error


def _build(
    sources: SourceList, out: Path, settings: BuildSettings, workers: int, progress: bool
) -> BuildReport:
    remove_temporaries(out)
    plan = read_plan(out)
    continued = plan is not None
    if plan is None:
        with progress_bar(sources.table.num_rows, "reading", progress) as bar:
            plan = make_plan(sources, settings, out, 2 * workers, bar.update)
    else:
        require_unchanged(plan, sources, settings, out, is_finished(out))
    shards = plan_shards(plan)
    todo = [shard for shard in shards if not _is_done(shard, out)]
    if not todo and is_finished(out):
        return BuildReport(read_info(out), True, False, sources.notes)
    _write(todo, shards, plan, sources, out, workers, progress)
    info = finish(plan, shards, sources.misnamed, out)
    if not info.num_samples:
        raise InputError(
            f"all {sum(info.rejected.values()):,} images were rejected "
            f"({by_reason(info.rejected)}): see {out / 'rejected.parquet'}"
        )
    return BuildReport(info, False, continued, sources.notes)


def _write(
    todo: list[ShardPlan], shards: list[ShardPlan], plan: BuildPlan, sources: SourceList, out: Path,
    workers: int, progress: bool,
) -> None:  # fmt: skip
    size, keep = plan.settings.global_size, plan.settings.keep_progressive
    tasks = [ShardTask(shard, sources.root, out, size, keep) for shard in todo]
    total = sum(len(shard.sources) for shard in shards)
    left = sum(len(shard.sources) for shard in todo)
    with progress_bar(total, "building", progress, total - left) as bar:
        write_shards(tasks, workers, bar.update)


def _is_done(shard: ShardPlan, out: Path) -> bool:
    """Whether a shard is complete. ``InputError`` where it was complete and is damaged now."""
    manifest = out / f"{shard.stem}.parquet"
    if not manifest.exists():
        return False
    info = read_record(manifest).info
    if info.samples:
        path = out / info.name
        found = path.stat().st_size if path.exists() else 0
        if found != info.num_bytes or not (out / f"{shard.stem}.idx").exists():
            raise InputError(
                f"{path} has {found:,} bytes instead of {info.num_bytes:,}, or its .idx is gone: "
                f"delete {manifest.name} and run the same command again to build the shard anew"
            )
    return True


def _make_folder(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: give a folder for the data set")
    out.mkdir(parents=True, exist_ok=True)
    names = [name for name in os.listdir(out) if not is_temporary(name)]
    if names and PLAN_NAME not in names:
        raise InputError(
            f"{out} is not empty and was not begun by this command (it holds {sorted(names)[0]}): "
            "give a new folder"
        )
