"""Checks, before a build is continued, that nothing has changed since it was begun."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from shards.build.first_pass import examine, image_not_given
from shards.build.plan import BuildPlan, current_versions, with_groups
from shards.build.settings import BuildSettings
from shards.cli.wording import counted
from shards.errors import InputError
from shards.settings import as_flag
from shards.sources.files import Stamp
from shards.sources.note_file import NOTE_NAME
from shards.sources.source_list import SOURCE_SCHEMA, SourceList

__all__ = ["require_unchanged"]


def require_unchanged(plan: BuildPlan, sources: SourceList, settings: BuildSettings, out: Path, finished: bool) -> None:
    """Raises ``InputError`` unless settings, sources and versions are those that the build in ``out`` was begun with.

    The message lists the differences. Versions are compared only until the build is finished, since a different version
    could write different bytes.
    """
    changes = [
        _setting_change(name, before, now)
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


def _setting_change(name: str, before: Any, now: Any) -> str:
    if name == "note":  # the user may not have given it as a flag
        return f"the note (--note, or {NOTE_NAME} in the source) was {before!r} and is {now!r}"
    (flag, then), (_, shown) = as_flag(name, before), as_flag(name, now)
    return f"{flag} was {then} and is {shown}"


def _source_changes(plan: BuildPlan, sources: SourceList) -> list[str]:
    before, now = plan.table.select(SOURCE_SCHEMA.names), sources.table
    if before.column("path").equals(now.column("path")):
        hashes = plan.table.column("sha256")  # the plan holds the groups that the list made
        now = with_groups(now.append_column("sha256", hashes), sources.groups).drop_columns("sha256")
    if before.equals(now):
        changed, mended = _changed_files(plan, sources)
        found = (("changed", changed), ("can be read now but could not be read then", mended))
        return [_listing(verb, names) for verb, names in found if names]
    old, new = set(before.column("path").to_pylist()), set(now.column("path").to_pylist())
    parts = [("added", new - old), ("removed", old - new)]
    listed = [_listing(verb, sorted(names)) for verb, names in parts if names]
    return listed or ["labels, generators, groups or splits of the images changed"]


def _changed_files(plan: BuildPlan, sources: SourceList) -> tuple[list[str], list[str]]:
    """Returns two lists of files: those that have changed since the plan was made, and those that have become readable.

    Reads only files whose stamps differ from those in the plan. A file has changed if its contents have.
    """
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
        if found.reason == "io" and sha256:  # a failing disk does not mean that the file changed
            raise image_not_given(files.where(path), found.detail)
        if found.sha256 != sha256:
            (changed if sha256 else mended).append(path)
    return changed, mended


def _parents(name: str) -> Iterator[str]:
    """Yields the path of every folder or container around a file, innermost first; the last is ``""``, the root."""
    while name:
        name = name.rpartition("/")[0]
        yield name


def _listing(verb: str, names: list[str]) -> str:
    return f"{counted(len(names), 'file')} {verb}, for example {names[0]}"
