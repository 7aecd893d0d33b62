"""What a build is about to do, kept in the output folder, so that it can be continued.

The plan holds the settings and the first pass over the sources. A later run in the same folder does
the same thing or, with a sentence that says what changed, nothing.
"""

import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import features

from shards.build.equalise import equalise
from shards.build.first_pass import SCAN_SCHEMA, examine, image_not_given, scan
from shards.build.packing import PackedSource, ShardPlan, pack
from shards.build.settings import BuildSettings
from shards.build.split import Splittable, assign_splits, missing_splits
from shards.cli.wording import counted
from shards.errors import InputError
from shards.files.atomic import write_bytes_atomic
from shards.files.documents import typed_document
from shards.files.json_file import parse_json
from shards.files.parquet_file import open_parquet
from shards.images.formats import EXTENSIONS
from shards.images.rejection import REASONS
from shards.manifest.group_list import GroupList
from shards.manifest.schema import FORMAT_VERSION, SPLITS, TRAIN, require_format
from shards.settings import as_flag
from shards.sources.files import Stamp
from shards.sources.source_list import SOURCE_SCHEMA, SourceList

__all__ = ["PLAN_NAME", "BuildPlan", "make_plan", "plan_shards", "read_plan", "require_unchanged", "write_plan"]

PLAN_NAME = ".build_plan.parquet"
_SETTINGS = b"settings"


@dataclass(frozen=True)
class BuildPlan:
    """Settings and first pass of a build."""

    settings: BuildSettings
    written_by: dict[str, str]
    """Versions of the programs that decide about bytes."""
    table: pa.Table
    """Columns of ``SCAN_SCHEMA``."""
    equalised: str = ""
    """What was done to make the classes alike, in words."""
    recompress_quality: int = 0
    """JPEG quality for all images, 0 to leave them as they are."""
    containers: Mapping[str, Stamp] = field(default_factory=dict)
    """The files that held several images each, with their stamps."""


class PlanRecord(TypedDict):
    """The plan without its table, in the metadata of the file."""

    format_version: int
    settings: dict[str, Any]
    """Of :class:`BuildSettings`."""
    written_by: dict[str, str]
    equalised: str
    recompress_quality: int
    containers: NotRequired[dict[str, tuple[int, int]]]
    """Older plans have none."""


def current_versions() -> dict[str, str]:
    """Versions of the programs on which the bytes of shards depend."""
    return {
        "glass-hires": version("glass-hires"),
        "pillow": version("pillow"),
        "libjpeg-turbo": str(features.version("libjpeg_turbo")),
        "jpeglib": version("jpeglib"),
        "pyarrow": version("pyarrow"),
    }


def make_plan(
    sources: SourceList,
    settings: BuildSettings,
    threads: int,
    advance: Callable[[int], object],
    reject_unreadable: bool = False,
) -> BuildPlan:
    """Does the first pass; writes nothing."""
    containers = sources.files.containers()
    table = with_groups(scan(sources, threads, advance, settings.tiling, reject_unreadable), sources.groups)
    decided = equalise(
        settings.equalise, table, sources.files, settings.split_seed, threads, advance, reject_unreadable
    )
    return BuildPlan(
        settings, current_versions(), decided.table, decided.description, decided.recompress_quality, containers
    )


def write_plan(plan: BuildPlan, out: Path) -> None:
    """Writes the plan into ``out``, which from then on belongs to this build."""
    record: PlanRecord = {
        "format_version": FORMAT_VERSION,
        "settings": asdict(plan.settings),
        "written_by": plan.written_by,
        "equalised": plan.equalised,
        "recompress_quality": plan.recompress_quality,
        "containers": dict(plan.containers),
    }
    table = plan.table.replace_schema_metadata({_SETTINGS: json.dumps(record).encode()})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
    write_bytes_atomic(out / PLAN_NAME, buffer.getvalue())


def read_plan(out: Path) -> BuildPlan | None:
    """The plan of the build that was begun in ``out``, ``None`` if none was."""
    path = out / PLAN_NAME
    try:
        with open_parquet(path) as file:
            table = file.read()
        fields = parse_json(table.schema.metadata[_SETTINGS])
        require_format(f"the build that was begun in {out}", fields["format_version"])
        record = typed_document(fields, PlanRecord, "plan")
        table = table.replace_schema_metadata(None)
        if table.schema != SCAN_SCHEMA:
            raise ValueError("other columns, as of another version")
        _require_known_words(table)
        settings = BuildSettings(**record["settings"])
        containers = {name: (stamp[0], stamp[1]) for name, stamp in record.get("containers", {}).items()}
        return BuildPlan(
            settings, record["written_by"], table, record["equalised"], record["recompress_quality"], containers
        )
    except FileNotFoundError:
        return None
    except (OSError, pa.ArrowException, KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path} is damaged ({error}): build into another folder") from error


def _require_known_words(table: pa.Table) -> None:
    """What is to become part of a shard's name is ours, also in a plan out of a store. Raises
    ``ValueError``."""
    for column, known in (("format", EXTENSIONS), ("split", SPLITS), ("reason", REASONS)):
        for word in table.column(column).unique().to_pylist():
            if word != "" and word not in known:
                raise ValueError(f"its {column} {str(word)[:60]!r} is none that is known here")


def plan_shards(plan: BuildPlan) -> list[ShardPlan]:
    """The shards of a build: a pure function of the plan."""
    settings = plan.settings
    taken = [row for row in plan.table.to_pylist() if not row["reason"]]
    given = frozenset(row["split"] for row in taken)
    again = bool(missing_splits(given, settings.split_shares))  # train's images, to give some of them away
    splits = assign_splits(
        [Splittable(r["sha256"], r["label"], r["group"], r["split"], r["path"]) for r in taken],
        settings.split_shares,
        settings.split_seed,
        closed=given - {TRAIN} if again else frozenset(),
        again=TRAIN if again else "",
    )
    names = ("path", "sha256", "format", "label", "generator", "group")
    packed = (
        PackedSource(
            **{name: row[name] for name in names},
            split=split,
            tiled=row["tiled"],
            recompress_quality=plan.recompress_quality,
        )
        for row, split in zip(taken, splits, strict=True)
    )
    return pack(packed, settings.samples_per_shard, settings.split_seed)


def with_groups(table: pa.Table, groups: GroupList | None) -> pa.Table:
    """``table`` with its column ``group`` joined with a list's, by its column ``sha256``. Raises
    ``InputError`` where the list names none of the images."""
    if groups is None:
        return table
    joined = groups.joined(table.column("sha256").to_pylist(), table.column("group").to_pylist())
    return table.set_column(
        table.column_names.index("group"), table.schema.field("group"), pa.array(joined, pa.string())
    )


def require_unchanged(plan: BuildPlan, sources: SourceList, settings: BuildSettings, out: Path, finished: bool) -> None:
    """Raises ``InputError`` saying what differs from the build that was begun in ``out``.

    Versions of programs count only until it is finished: they could change bytes in the middle.
    """
    changes = [
        f"{as_flag(name, before)[0]} was {as_flag(name, before)[1]} and is {as_flag(name, now)[1]}"
        for (name, before), now in zip(asdict(plan.settings).items(), asdict(settings).values(), strict=True)
        if before != now
    ]
    if not finished:
        changes += [
            f"{name} was {before} and is {now}"
            for name, now in current_versions().items()
            if (before := plan.written_by.get(name)) != now
        ]
    changes += _source_changes(plan, sources)
    if changes:
        raise InputError(
            f"{out} holds another build ({'; '.join(changes)}): use the same settings and sources, or another folder"
        )


def _source_changes(plan: BuildPlan, sources: SourceList) -> list[str]:
    before, now = plan.table.select(SOURCE_SCHEMA.names), sources.table
    if before.column("path").equals(now.column("path")):
        hashes = plan.table.column("sha256")  # the list's part in the plan is the groups that it made
        now = with_groups(now.append_column("sha256", hashes), sources.groups).drop_columns("sha256")
    if before.equals(now):
        changed, mended = _changed_files(plan, sources)
        found = (("changed", changed), ("can be read that could not be then", mended))
        return [_listing(verb, names) for verb, names in found if names]
    old, new = set(before.column("path").to_pylist()), set(now.column("path").to_pylist())
    parts = [("added", new - old), ("removed", old - new)]
    listed = [_listing(verb, sorted(names)) for verb, names in parts if names]
    return listed or ["labels, generators, groups or splits of the images changed"]


def _changed_files(plan: BuildPlan, sources: SourceList) -> tuple[list[str], list[str]]:
    """Files whose contents differ from the plan, read only where their stamps do; and those of
    which it has no contents, because they could not be read."""
    names, files = ("path", "num_bytes", "mtime_ns", "sha256"), sources.files
    columns = [plan.table.column(name).to_pylist() for name in names]
    rows = list(zip(*columns, strict=True))
    if containers := files.containers():
        kept = {name for name, stamp in containers.items() if plan.containers.get(name) == stamp}
        rows = [row for row in rows if kept.isdisjoint(_parents(row[0]))]
    paths, known = [row[0] for row in rows], sources.stamps
    stamps: Iterable[Stamp | None] = [known.get(path) for path in paths] if known else files.stamps(paths)
    changed: list[str] = []
    mended: list[str] = []
    for (path, num_bytes, mtime_ns, sha256), stamp in zip(rows, stamps, strict=True):
        if stamp == (num_bytes, mtime_ns):
            continue
        found = examine(files, path)
        if found.reason == "io" and sha256:  # which says nothing about the file
            raise image_not_given(files.where(path), found.detail)
        if found.sha256 != sha256:
            (changed if sha256 else mended).append(path)
    return changed, mended


def _parents(name: str) -> Iterator[str]:
    """The folders or containers that a file lies in, last of all ``""``."""
    while name:
        name = name.rpartition("/")[0]
        yield name


def _listing(verb: str, names: list[str]) -> str:
    return f"{counted(len(names), 'file')} {verb}, such as {names[0]}"
