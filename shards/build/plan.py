"""A build's plan, stored in the output folder so that the build can be continued.

The plan holds the settings and the results of the first pass over the sources. A later run in the same folder either
continues the build, or stops with an error that says what has changed in the meantime.
"""

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import features

from shards.build.equalise import equalise
from shards.build.first_pass import SCAN_SCHEMA, scan
from shards.build.packing import PackedSource, ShardPlan, pack
from shards.build.settings import BuildSettings
from shards.build.split import Splittable, assign_splits, missing_splits
from shards.errors import InputError
from shards.files.atomic import write_bytes_atomic
from shards.files.documents import typed_document
from shards.files.json_file import parse_json
from shards.files.parquet_file import open_parquet
from shards.images.formats import EXTENSIONS
from shards.images.rejection import REASONS
from shards.manifest.group_list import GroupList
from shards.manifest.schema import FORMAT_VERSION, SPLITS, TRAIN, require_format
from shards.sources.files import Stamp
from shards.sources.source_list import SourceList

__all__ = ["PLAN_NAME", "BuildPlan", "make_plan", "plan_shards", "read_plan", "with_groups", "write_plan"]

PLAN_NAME = ".build_plan.parquet"
_SETTINGS = b"settings"


@dataclass(frozen=True)
class BuildPlan:
    """A build's settings, and the results of its first pass."""

    settings: BuildSettings
    written_by: dict[str, str]
    """Versions of the software that the shards' bytes depend on."""
    table: pa.Table
    """Results of the first pass: one row per source file, with the schema ``SCAN_SCHEMA``."""
    equalised: str = ""
    """Description of what was done to make the files of both classes alike; empty if nothing was done."""
    recompress_quality: int = 0
    """JPEG quality at which all images are re-encoded; 0 if they are not re-encoded."""
    containers: Mapping[str, Stamp] = field(default_factory=dict)
    """Source files that hold several images each, with their stamps."""


class PlanRecord(TypedDict):
    """The plan without its table. It is stored in the metadata of the plan's Parquet file."""

    format_version: int
    settings: dict[str, Any]
    """Fields of :class:`BuildSettings`."""
    written_by: dict[str, str]
    equalised: str
    recompress_quality: int
    containers: NotRequired[dict[str, tuple[int, int]]]
    """Source files that hold several images each, with their stamps. Absent from older plans."""


@cache
def current_versions() -> dict[str, str]:
    """Returns the installed versions of the software that the shards' bytes depend on."""
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
    """Makes the first pass over ``sources``, and equalises the classes if ``settings`` require it. Writes nothing."""
    containers = sources.files.containers()
    table = with_groups(scan(sources, threads, advance, settings.tiling, reject_unreadable), sources.groups)
    decided = equalise(
        settings.equalise, table, sources.files, settings.split_seed, threads, advance, reject_unreadable
    )
    return BuildPlan(
        settings, current_versions(), decided.table, decided.description, decided.recompress_quality, containers
    )


def write_plan(plan: BuildPlan, out: Path) -> None:
    """Writes the plan to the folder ``out``. From then on, the folder belongs to this build."""
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
    """Reads the plan in ``out``; ``None`` if no build was begun there. Raises ``InputError`` if the plan is damaged."""
    path = out / PLAN_NAME
    try:
        with open_parquet(path) as file:
            table = file.read()
        fields = parse_json(table.schema.metadata[_SETTINGS])
        require_format(f"the build that was begun in {out}", fields["format_version"])
        record = typed_document(fields, PlanRecord, "plan")
        table = table.replace_schema_metadata(None)
        if table.schema != SCAN_SCHEMA:
            raise ValueError("other columns, as written by another version")
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
    """Raises ``ValueError`` if ``table`` contains an unknown format, split or reason.

    This is a security check: the plan may come from a store, and formats and splits become parts of file names.
    """
    for column, known in (("format", EXTENSIONS), ("split", SPLITS), ("reason", REASONS)):
        for word in table.column(column).unique().to_pylist():
            if word != "" and word not in known:
                raise ValueError(f"its {column} {str(word)[:60]!r} is unknown")


def plan_shards(plan: BuildPlan) -> list[ShardPlan]:
    """Returns the shards that a build must write. They depend only on ``plan``."""
    settings = plan.settings
    taken = [row for row in plan.table.to_pylist() if not row["reason"]]
    given = frozenset(row["split"] for row in taken)
    again = bool(missing_splits(given, settings.split_shares))  # fill missing splits with train images
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
    """Merges the groups in the column ``group`` of ``table`` with those in a group list. Returns the resulting table.

    Images are identified by the column ``sha256``. If ``groups`` is ``None``, ``table`` is returned unchanged. Raises
    ``InputError`` if none of the images is in the list.
    """
    if groups is None:
        return table
    joined = groups.joined(table.column("sha256").to_pylist(), table.column("group").to_pylist())
    return table.set_column(
        table.column_names.index("group"), table.schema.field("group"), pa.array(joined, pa.string())
    )
