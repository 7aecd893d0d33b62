"""Plain WebDataset tars made elsewhere become a data set, without being rewritten.

tars ──examine──▶ images with labels ──split──▶ tasks ──workers──▶ sidecar tar, parquet per tar
                                                 ──finish──▶ samples.arrow, dataset.json

The folder of the data set may be the one that the tars lie in: only new files are written.
"""

import json
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from shards.atomic import remove_temporaries, write_text_atomic
from shards.build import BuildReport
from shards.build_plan import current_versions
from shards.command import InputError
from shards.consolidate import (
    REJECTED_NAME,
    not_indexable_counts,
    split_counts,
    stored_as_counts,
    write_description,
    write_rejected,
)
from shards.dataset import MANIFEST_NAME
from shards.dataset_info import INFO_NAME, DatasetInfo, read_info
from shards.format_version import require_format
from shards.image_formats import FILE_SUFFIXES
from shards.index_settings import IndexSettings
from shards.index_split import draw_splits
from shards.json_file import read_json
from shards.label_rules import LabelRules
from shards.output_folder import by_reason, cannot_write, locked, progress_bar
from shards.rejection import REASONS
from shards.schema import FORMAT_VERSION, SPLITS
from shards.shard_writer import Rejection, read_record, read_shard_manifest
from shards.sidecar import ExaminedTar, SidecarTask, examine_tar, guess_rules
from shards.workers import write_shards

__all__ = ["index_tars"]

PLAN_NAME = ".index_plan.json"
_OURS = (INFO_NAME, MANIFEST_NAME, REJECTED_NAME)


@dataclass(frozen=True)
class _Tar:
    path: Path
    name: str
    """Relative to the data set's folder; says in the manifest which tar it is."""
    stem: str
    """Of its sidecar's name."""


def index_tars(
    paths: Sequence[Path], out: Path | None, settings: IndexSettings, workers: int = 1,
    progress: bool = True,
) -> BuildReport:  # fmt: skip
    """Makes sidecars for ``paths`` (tars, or folders of them) and the data set ``out`` over both.

    Without ``out`` the data set goes into the folder that all tars lie in. An interrupted run
    continues when it is started again. Raises ``InputError`` for mistakes of the person's, for
    files that are no tars, and where ``out`` cannot be written.
    """
    found = _find_tars(paths)
    folder = out or _common_folder(found)
    tars = _named(found, folder)
    try:
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder} is a file: give a folder with --out")
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder):
            return _index(tars, folder, settings, workers, progress)
    except OSError as error:
        raise InputError(cannot_write(folder, error)) from error


def _find_tars(paths: Sequence[Path]) -> list[Path]:
    """The tars, each once, sorted; of folders those directly inside, sidecars left out."""
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            inside = [p for p in sorted(path.glob("*.tar")) if not p.name.endswith(".sidecar.tar")]
            if not inside:
                raise InputError(f"{path} holds no .tar files")
            found.update(dict.fromkeys(p.resolve() for p in inside))
        elif path.exists():
            found[path.resolve()] = None
        else:
            raise InputError(f"{path} does not exist: give tars, or folders that hold them")
    return sorted(found)


def _common_folder(tars: list[Path]) -> Path:
    folders = {path.parent for path in tars}
    if len(folders) > 1:
        raise InputError(
            f"the tars lie in {len(folders)} folders: say with --out where the data set shall go"
        )
    return folders.pop()


def _named(paths: list[Path], out: Path) -> list[_Tar]:
    count = Counter(path.stem for path in paths)
    tars = []
    for number, path in enumerate(paths):
        stem = path.stem if count[path.stem] == 1 else f"{number:06d}-{path.stem}"
        tars.append(_Tar(path, Path(os.path.relpath(path, out.resolve())).as_posix(), stem))
    return tars


def _index(
    tars: list[_Tar], out: Path, settings: IndexSettings, workers: int, progress: bool
) -> BuildReport:
    plan = _plan(tars, settings)
    continued = _was_begun(plan, tars, out)
    remove_temporaries(out, {PLAN_NAME, *_final_names(tars)}.__contains__)
    if continued and (out / INFO_NAME).exists():
        return BuildReport(read_info(out), True, False, [])
    rules = guess_rules(
        tars[0].path, tars[0].name, settings.label_from, settings.generator_from,
        settings.group_from, settings.values,
    )  # fmt: skip
    examined = _examine(tars, rules, settings, workers, progress)
    shares = settings.shares([tar.path.name for tar in tars])
    images, rejected = draw_splits(
        [tar.path.name for tar in tars], examined, shares, settings.split_seed
    )
    if not any(images):
        raise InputError(f"no image can be taken in ({_reasons(rejected)})")
    if not continued:  # only now, so that a mistake above can be mended with other settings
        write_text_atomic(out / PLAN_NAME, json.dumps(plan, indent=1) + "\n")
    tasks = [
        SidecarTask(
            tar.path, tar.name, number, e.num_bytes, e.sha256, tuple(images[number]), out, tar.stem,
            settings.global_size,
        )
        for number, (tar, e) in enumerate(zip(tars, examined, strict=True))
    ]  # fmt: skip
    todo = [task for task in tasks if not _is_done(task)]
    total, left = (sum(task.num_images for task in some) for some in (tasks, todo))
    with progress_bar(total, "indexing", progress, total - left) as bar:
        write_shards(todo, workers, bar.update)
    info = _finish(tasks, rejected, settings, shares or {}, out)
    if not info.num_samples:
        raise InputError(
            f"all {sum(info.rejected.values()):,} images were rejected "
            f"({by_reason(info.rejected)}): see {out / REJECTED_NAME}"
        )
    return BuildReport(info, False, continued, _notes(rules, shares is None, examined))


def _plan(tars: list[_Tar], settings: IndexSettings) -> dict[str, Any]:
    """What a run is about to do, as JSON holds it."""
    states = [(tar.name, tar.path.stat()) for tar in tars]
    return {
        "format_version": FORMAT_VERSION,
        "settings": settings.to_json(),
        "written_by": current_versions(),
        "tars": [[name, status.st_size, status.st_mtime_ns] for name, status in states],
    }


def _was_begun(plan: dict[str, Any], tars: list[_Tar], out: Path) -> bool:
    """Whether a run of this plan was begun in ``out`` before.

    Raises ``InputError`` where something else was begun, or files of the person's are in the way.
    """
    try:
        before = read_json(out / PLAN_NAME)
    except FileNotFoundError:
        if in_the_way := sorted(_final_names(tars) & set(os.listdir(out))):
            raise InputError(
                f"{out} holds {in_the_way[0]} already, which this command did not write: "
                "give another folder with --out"
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
        changes = []  # versions could change bytes in the middle only
    if changes:
        raise InputError(
            f"{out} holds another index (other {', '.join(changes)}): use the same tars and "
            "settings, or another folder with --out"
        )
    return True


def _final_names(tars: list[_Tar]) -> set[str]:
    """The files of a data set over ``tars``."""
    return {*_OURS, *(f"{tar.stem}.sidecar.{end}" for tar in tars for end in ("tar", "parquet"))}


def _examine(
    tars: list[_Tar], rules: LabelRules, settings: IndexSettings, workers: int, progress: bool
) -> list[ExaminedTar]:
    examined = []
    with (
        ThreadPoolExecutor(2 * workers) as pool,
        progress_bar(0, "reading", progress) as bar,
    ):
        futures = [
            pool.submit(examine_tar, t.path, t.name, rules, settings.image_ext, FILE_SUFFIXES)
            for t in tars
        ]
        try:
            for future in futures:
                examined.append(future.result())
                bar.update(len(examined[-1].images))
        except InputError:
            pool.shutdown(cancel_futures=True)
            raise
    return examined


def _is_done(task: SidecarTask) -> bool:
    """Whether a sidecar is complete, and of the tar as it is now."""
    if not task.manifest.exists():
        return False
    info = read_record(task.manifest).info
    if info.sha256 != task.sha256:
        return False
    path = task.out / task.sidecar
    return not info.samples or (path.exists() and path.stat().st_size == info.sidecar_bytes)


def _reasons(rejected: list[Rejection]) -> str:
    counted = Counter(rejection.reason for rejection in rejected)
    return by_reason({name: counted[name] for name in REASONS if counted[name]})


def _finish(
    tasks: list[SidecarTask], rejected: list[Rejection], settings: IndexSettings,
    shares: dict[str, float], out: Path,
) -> DatasetInfo:  # fmt: skip
    records = [read_record(task.manifest) for task in tasks]
    rejected = rejected + [rejection for record in records for rejection in record.rejected]
    tables = [read_shard_manifest(task.manifest) for task in tasks]
    table = pa.concat_tables(tables)
    # Split after split, and within a split by tar and place, as the tables come.
    places = [SPLITS.index(split) for split in table.column("split").to_pylist()]
    table = table.unify_dictionaries().take(np.argsort(places, kind="stable"))
    info = DatasetInfo(
        global_size=settings.global_size,
        split_seed=settings.split_seed,
        split_shares=shares,
        samples_per_shard=max((record.info.samples for record in records), default=0),
        num_samples=table.num_rows,
        counts=split_counts(table),
        not_indexable=not_indexable_counts(table),
        rejected=write_rejected(rejected, out / REJECTED_NAME),
        shards=tuple(record.info for record in records if record.info.samples),
        stored_as=stored_as_counts(table),
        written_by=current_versions(),
    )
    return write_description(info, table, out)


def _notes(rules: LabelRules, by_name: bool, examined: list[ExaminedTar]) -> list[str]:
    notes = [f"labels by {rules.label}"]
    if by_name:
        notes.append("splits by the names of the tars")
    passed_over = sum(e.passed_over for e in examined)
    if passed_over:
        notes.append(f"passed over {passed_over:,} files that belong to no sample")
    return notes
