"""Builds a data set from images: first pass, split, shards, manifest. Can be interrupted at any point.

sources ──scan──▶ plan ──split, pack──▶ shard plans ──workers──▶ tar, idx, parquet per shard
                                                   ──finish──▶ samples.arrow, dataset.json
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from shards.build.finish import finish, is_finished, require_left
from shards.build.packing import ShardPlan
from shards.build.plan import PLAN_NAME, BuildPlan, make_plan, plan_shards, read_plan, write_plan
from shards.build.plan_changes import require_unchanged
from shards.build.ray_engine import write_shards_on_ray
from shards.build.settings import BuildSettings
from shards.build.split import missing_splits
from shards.build.upload import RemoteOutput
from shards.build.workers import Task, write_shards
from shards.build.writer import ShardTask, read_record
from shards.cli.progress import progress_bar
from shards.cli.shown_url import as_url
from shards.errors import InputError
from shards.files.atomic import final_name, remove_temporaries
from shards.files.outputs import cannot_write, locked
from shards.manifest.dataset import MANIFEST_NAME
from shards.manifest.group_list import read_group_list
from shards.manifest.info import INFO_NAME, DatasetInfo, read_info
from shards.manifest.schema import REJECTED_NAME, SPLITS, TRAIN
from shards.optional import require_installed
from shards.sources.files import SCRATCH_NAME
from shards.sources.read import read_sources
from shards.sources.source_list import SourceList, SourceRules

__all__ = ["ENGINES", "BuildReport", "build_dataset", "drawn_again"]

ENGINES = ("local", "ray")
"""Values of ``engine``. Workers run as processes on this machine (``local``) or on a Ray cluster (``ray``)."""


@dataclass(frozen=True)
class BuildReport:
    """The result of a build."""

    info: DatasetInfo
    finished_before: bool
    """Whether the folder already held the complete data set. If so, nothing was done."""
    continued: bool
    """Whether the build was continued after an interruption."""
    notes: list[str]
    """Notes for the user: how the sources were interpreted, which parts of them were skipped, and how the group list
    changed the groups."""


def build_dataset(
    source: str | Path,
    out: str | Path,
    settings: BuildSettings,
    workers: int = 1,
    progress: bool = True,
    engine: str = "local",
    on_note: Callable[[str], object] = lambda note: None,
    reject_unreadable: bool = False,
    rules: SourceRules | None = None,
    groups: Path | None = None,
) -> BuildReport:
    """Builds the data set ``out`` from ``source``, or resumes building it after an interruption.

    ``source`` is a path or URL that ``shards.sources.read`` can read; ``rules`` say how it is interpreted. ``groups``
    is the path of a group list (``shards.manifest.group_list``), whose groups are merged with the source's. ``out`` is
    a folder, or the URL of a store (``s3://…``, ``gs://…``). Only new files are written there, and each is complete
    when it appears. Equal sources and settings give equal bytes, whatever ``workers`` and ``engine`` (one of
    ``ENGINES``) are. If ``progress`` is true, progress bars are shown on stderr. ``on_note`` is called with each note
    in the report as soon as it is known; notes on the sources come before any image is read. If ``reject_unreadable``
    is true, files that the disk fails to deliver are left out.

    Raises ``InputError`` if an argument is wrong or the disk is full or read-only, and ``MachineTrouble`` for other
    machine faults. Once the fault is fixed, the same call continues the build.
    """
    sources = read_sources(source, rules)
    settings = replace(settings, note=settings.note or sources.dataset_note())
    sources.notes.extend(drawn_again(sources, settings))
    if groups is not None:
        sources = replace(sources, groups=read_group_list(groups))
    for note in sources.notes:
        on_note(note)
    url = as_url(out)
    store = None if url is None else RemoteOutput(url, PLAN_NAME)
    out = Path(out) if store is None else store.folder
    try:
        if store is None:
            _make_folder(out)
        else:
            out.mkdir(parents=True, exist_ok=True)
        with locked(out):
            if store is not None:
                store.pull()
            return _build(sources, out, settings, workers, progress, engine, store, reject_unreadable, on_note)
    except OSError as error:
        raise InputError(cannot_write(out, error)) from error


def _build(
    sources: SourceList,
    out: Path,
    settings: BuildSettings,
    workers: int,
    progress: bool,
    engine: str,
    store: RemoteOutput | None,
    reject_unreadable: bool,
    on_note: Callable[[str], object],
) -> BuildReport:
    _sweep(out)
    plan = read_plan(out)
    continued = plan is not None
    finished = is_finished(out) if store is None else store.is_finished
    files, elsewhere = sources.files, engine == "ray" and store is not None
    if plan is None or plan.containers != sources.files.containers():
        sources = _unpacked(sources, out, progress, elsewhere)
    if plan is None:
        passes = 1 if settings.equalise == "none" else 2
        require_installed("webdataset", "building shards")  # before the first pass, not after it
        with progress_bar(passes * sources.table.num_rows, "reading", progress) as bar:
            threads = max(2 * workers, sources.files.at_once)
            plan = make_plan(sources, settings, threads, bar.update, reject_unreadable)
        shards = plan_shards(plan)  # before the plan is written: after an error, the folder stays free
        write_plan(plan, out)
        if store is not None:
            store.push(PLAN_NAME)
    else:
        require_unchanged(plan, sources, settings, out, finished)
        shards = plan_shards(plan)
    require_left(plan, sources.misnamed, out)
    if sources.groups is not None:
        sources.notes.append(sources.groups.note(plan.table.column("sha256").to_pylist()))
        on_note(sources.notes[-1])
    todo = [shard for shard in shards if not _is_done(shard, out, store)]
    if not todo and finished:
        _remove_scratch(out)
        return BuildReport(read_info(out) if store is None else store.info(), True, False, sources.notes)
    if todo and sources.files is files:  # not unpacked yet
        sources = _unpacked(sources, out, progress, elsewhere)
    tasks = [_task(shard, sources, out, settings, reject_unreadable) for shard in todo]
    _write(tasks, shards, plan, out, workers, progress, engine, store)
    info = finish(plan, shards, sources.misnamed, out)
    if store is not None:
        store.push(MANIFEST_NAME, REJECTED_NAME, INFO_NAME)  # dataset.json last: it marks the data set as complete
    _remove_scratch(out)
    return BuildReport(info, False, continued, sources.notes)


def _task(
    shard: ShardPlan, sources: SourceList, out: Path, settings: BuildSettings, reject_unreadable: bool
) -> ShardTask:
    files = sources.files.only([source.path for source in shard.sources])
    return ShardTask(shard, files, out, settings.global_size, settings.keep_progressive, reject_unreadable)


def drawn_again(sources: SourceList, settings: BuildSettings) -> list[str]:
    """Returns a list with one note for the user if the train images are to be divided further, and otherwise ``[]``.

    They are divided further if the source assigns every image to a split, some of them to train, and none to some split
    whose share is above zero. The missing splits are then filled with random train images.
    """
    given = set(sources.table.column("split").unique().to_pylist())
    missing = missing_splits(given, settings.split_shares)
    if not missing:
        return []
    kept = [name for name in SPLITS if name in given]
    return [f"splits: {', '.join(kept)} as given; {' and '.join(missing)} drawn at random from {TRAIN}"]


def _write(
    tasks: list[ShardTask],
    shards: list[ShardPlan],
    plan: BuildPlan,
    out: Path,
    workers: int,
    progress: bool,
    engine: str,
    store: RemoteOutput | None,
) -> None:
    total = sum(len(shard.sources) for shard in shards)
    left = sum(task.num_images for task in tasks)
    work: list[Task] = list(tasks) if store is None else [store.task(task, elsewhere=engine == "ray") for task in tasks]
    with progress_bar(total, "building", progress, initial=total - left) as bar:
        if engine == "ray":
            write_shards_on_ray(work, workers, bar.update, plan.written_by)
            _sweep(out)  # left by lost workers; all tasks have ended
        else:
            write_shards(work, workers, bar.update)
    if store is not None:
        store.pull_manifests(f"{shard.stem}.parquet" for shard in shards)


def _sweep(out: Path) -> None:
    """Deletes all temporary files in ``out``. No other process is writing them, since the build has locked ``out``."""
    remove_temporaries(out, lambda _: True)


def _unpacked(sources: SourceList, out: Path, progress: bool, elsewhere: bool) -> SourceList:
    """Unpacks the containers (files that hold several images each) into ``out``, and returns the resulting sources.

    If ``elsewhere`` is true, the shards are built on other machines, which cannot read ``out``, so ``InputError`` is
    raised if there are any containers.
    """
    containers = sources.files.containers()
    if not containers:
        return sources
    if elsewhere:
        raise InputError(
            f"{sources.files.where(min(containers))} holds several images, which are unpacked on this machine, where "
            "other machines cannot read them: build into a folder that all of them share, or without --engine ray"
        )
    with progress_bar(sources.table.num_rows, "unpacking", progress, delay_s=1.0) as bar:
        return replace(sources, files=sources.files.prepared(out, bar.update))


def _remove_scratch(out: Path) -> None:
    """Removes the images that were unpacked from the sources, because a finished data set no longer needs them."""
    if (out / SCRATCH_NAME).exists():
        shutil.rmtree(out / SCRATCH_NAME)


def _is_done(shard: ShardPlan, out: Path, store: RemoteOutput | None) -> bool:
    """Whether a shard is complete. Raises ``InputError`` if it was completed earlier but is damaged now."""
    manifest = out / f"{shard.stem}.parquet"
    if store is not None:
        return store.has(manifest.name)
    if not manifest.exists():
        return False
    info = read_record(manifest).info
    if info.name != shard.name:
        raise InputError(
            f"{manifest} describes a shard {info.name[:100]!r}: delete it and run the same command again to build the "
            "shard again"
        )
    if info.samples:
        path = out / shard.name
        found = path.stat().st_size if path.exists() else 0
        if found != info.num_bytes or not (out / f"{shard.stem}.idx").exists():
            raise InputError(
                f"{path} has {found:,} bytes instead of {info.num_bytes:,}, or its .idx is missing: delete "
                f"{manifest.name} and run the same command again to build the shard again"
            )
    return True


def _make_folder(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: give a folder for the data set")
    out.mkdir(parents=True, exist_ok=True)
    names = [name for name in os.listdir(out) if final_name(name) is None and name != SCRATCH_NAME]
    if names and PLAN_NAME not in names:
        raise InputError(
            f"{out} is not empty and was not written by this command (it holds {sorted(names)[0]}): give a new folder"
        )
