"""Turns plain WebDataset tars made elsewhere into a data set, without rewriting them.

tars ──examine──▶ images with labels ──split──▶ tasks ──workers──▶ sidecar tar, parquet per tar
                                                 ──finish──▶ samples.arrow, dataset.json

The data set may share a folder with the tars, since only new files are written.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shards.adopt.notes import notes_on_contents
from shards.adopt.settings import IndexSettings
from shards.adopt.sidecar import SidecarTask
from shards.adopt.tar_names import SIDECAR_ENDS, NamedTar, find_tars, folder_of, name_tars
from shards.adopt.understand import understand_tars
from shards.build.build import BuildReport
from shards.build.finish import write_data_set
from shards.build.plan import current_versions
from shards.build.workers import write_shards
from shards.build.writer import Rejection, read_record
from shards.cli.progress import progress_bar
from shards.errors import InputError
from shards.files.atomic import remove_temporaries, write_text_atomic
from shards.files.json_file import read_json
from shards.files.outputs import cannot_write, locked, refuse_address
from shards.manifest.dataset import MANIFEST_NAME
from shards.manifest.group_list import GroupList, read_group_list
from shards.manifest.info import INFO_NAME, DatasetInfo, read_info
from shards.manifest.schema import FORMAT_VERSION, REJECTED_NAME, require_format

__all__ = ["index_tars"]

PLAN_NAME = ".index_plan.json"
_OURS = (INFO_NAME, MANIFEST_NAME, REJECTED_NAME)


def index_tars(
    paths: Sequence[Path],
    out: Path | None,
    settings: IndexSettings,
    workers: int = 1,
    progress: bool = True,
    groups: Path | None = None,
) -> BuildReport:
    """Indexes the tars in ``paths`` as one data set in ``out``, with one sidecar per tar.

    Each path is a tar or a folder of tars. ``out`` defaults to the folder in ``paths`` if that is the only path, and
    otherwise to the folder that holds all the tars. Calling the function again continues an interrupted run. ``groups``
    is the path of a group list (see ``shards.manifest.group_list``), whose groups are merged with the samples' own
    groups. Raises ``InputError`` if an argument is invalid, a file is not a tar, or ``out`` cannot be written.
    """
    listed = read_group_list(groups) if groups is not None else None
    found = find_tars(paths)
    folder = out or folder_of(paths, found)
    refuse_address(folder)
    tars = name_tars(found, folder)
    try:
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder} is a file: give a folder with --out")
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder):
            return _index(tars, folder, settings, workers, progress, listed)
    except OSError as error:
        raise InputError(cannot_write(folder, error)) from error


def _index(
    tars: list[NamedTar], out: Path, settings: IndexSettings, workers: int, progress: bool, groups: GroupList | None
) -> BuildReport:
    plan = _plan(tars, settings, groups)
    continued = _was_begun(plan, tars, out)
    remove_temporaries(out, {PLAN_NAME, *_final_names(tars)}.__contains__)
    if continued and (out / INFO_NAME).exists():
        return BuildReport(read_info(out), True, False, [])
    understood = understand_tars(tars, settings, workers, progress, groups)
    if not continued:  # only now, so that after an error above the settings may still change
        write_text_atomic(out / PLAN_NAME, json.dumps(plan, indent=1) + "\n")
    tasks = [
        SidecarTask(
            tar.path, tar.name, number, e.num_bytes, e.sha256, tuple(images), out, tar.stem, settings.global_size
        )
        for number, (tar, e, images) in enumerate(zip(tars, understood.examined, understood.images, strict=True))
    ]
    todo = [task for task in tasks if not _is_done(task)]
    total, left = (sum(task.num_images for task in some) for some in (tasks, todo))
    with progress_bar(total, "indexing", progress, initial=total - left) as bar:
        write_shards(todo, workers, bar.update)
    info = _finish(tasks, understood.rejected, settings, dict(understood.shares or {}), out)
    notes = [*understood.notes, *(["splits from the names of the tars"] if understood.shares is None else [])]
    return BuildReport(info, False, continued, notes + notes_on_contents(tars, understood.examined))


def _plan(tars: list[NamedTar], settings: IndexSettings, groups: GroupList | None) -> dict[str, Any]:
    """Returns the run's plan as JSON values. A rerun continues an earlier run only if their plans match."""
    states = [(tar.name, tar.path.stat()) for tar in tars]
    return {
        "format_version": FORMAT_VERSION,
        "settings": settings.to_json(),
        "groups": groups.digest if groups is not None else None,
        "written_by": current_versions(),
        "tars": [[name, status.st_size, status.st_mtime_ns] for name, status in states],
    }


def _was_begun(plan: dict[str, Any], tars: list[NamedTar], out: Path) -> bool:
    """Whether a run with this plan has already begun in ``out``.

    Raises ``InputError`` if a run with a different plan was begun there, or if one of the user's files would be
    overwritten.
    """
    try:
        before = read_json(out / PLAN_NAME)
    except FileNotFoundError:
        if in_the_way := sorted(_final_names(tars) & set(os.listdir(out))):
            raise InputError(
                f"{out} already holds {in_the_way[0]}, which this command did not write: give another folder with --out"
            ) from None
        return False
    except ValueError:
        before = {}
    before = before if isinstance(before, dict) else {}
    if "format_version" in before:
        begun = f"the index that was begun in {out}"
        require_format(begun, before["format_version"], sidecars=True)
    changes = [name for name, value in plan.items() if before.get(name) != value]
    if changes == ["written_by"] and (out / INFO_NAME).exists():
        changes = []  # other versions matter only for an unfinished index
    if changes:
        raise InputError(
            f"{out} holds another index (different {', '.join(changes)}): use the same tars and settings, or another "
            "folder with --out"
        )
    return True


def _final_names(tars: list[NamedTar]) -> set[str]:
    """Returns the names of all files that a data set made from ``tars`` may contain, except the tars themselves."""
    return {*_OURS, *(f"{tar.stem}{end}" for tar in tars for end in SIDECAR_ENDS)}


def _is_done(task: SidecarTask) -> bool:
    """Whether the task's sidecar is complete and was made from the tar's current contents."""
    if not task.manifest.exists():
        return False
    info = read_record(task.manifest).info
    if info.sha256 != task.sha256:
        return False
    path = task.out / (info.sidecar or task.sidecar)
    return not info.samples or (path.exists() and path.stat().st_size == info.sidecar_bytes)


def _finish(
    tasks: list[SidecarTask], rejected: list[Rejection], settings: IndexSettings, shares: dict[str, float], out: Path
) -> DatasetInfo:
    return write_data_set(
        [task.manifest for task in tasks],
        rejected,
        out,
        {} if shares else {image.source.path: image.source.split for task in tasks for image in task.images},
        global_size=settings.global_size,
        split_seed=settings.split_seed,
        split_shares=shares,
        note=settings.note,
        written_by=current_versions(),
    )
