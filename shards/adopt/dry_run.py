"""Implements ``glass index --dry-run``: shows how tars made elsewhere are interpreted, without writing anything."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from shards.adopt.notes import notes_on_contents
from shards.adopt.settings import IndexSettings
from shards.adopt.tar_names import find_tars, folder_of, name_tars
from shards.adopt.understand import UnderstoodTars, understand_tars
from shards.build.finish import in_order
from shards.build.packing import PackedSource
from shards.cli.command import one_line
from shards.cli.wording import counted, counts_line
from shards.images.rejection import REASONS
from shards.manifest.group_list import read_group_list
from shards.manifest.schema import CLASS_NAMES, SPLITS

__all__ = ["describe_tars"]

_MOST_TARS = 20


def describe_tars(
    paths: Sequence[Path],
    out: Path | None,
    settings: IndexSettings,
    workers: int = 1,
    progress: bool = True,
    groups: Path | None = None,
) -> list[str]:
    """Returns lines of text that summarise tars for the user. Reads every tar and writes nothing.

    The lines give:

    - the number of images in each class;
    - the label rule in use, and what its values mean;
    - the tars, generators, splits and formats;
    - the images that are left out, with the reasons.

    Raises ``InputError`` for any tars or settings that :func:`shards.adopt.adopt.index_tars` would refuse before
    writing anything.
    """
    listed = read_group_list(groups) if groups is not None else None
    found = find_tars(paths)
    tars = name_tars(found, out or folder_of(paths, found))
    understood = understand_tars(tars, settings, workers, progress, listed)
    sources = [image.source for images in understood.images for image in images]
    lines = [f"{counted(len(found), 'tar')}, {counted(len(sources), 'image')}: {_classes(sources)}"]
    lines += [f"  {note}" for note in understood.notes]
    lines += ["", *_by_tar(understood), ""]
    generators = Counter(source.generator for source in sources if source.generator)
    splits = Counter(source.split for source in sources)
    drawn = (
        "from the names of the tars or a list"
        if understood.shares is None
        else "drawn at random, except where a list gives them"
    )
    lines += [
        counts_line("generators", _by_number(generators)),
        counts_line("splits", {name: splits[name] for name in SPLITS if splits[name]}) + f" ({drawn})",
        counts_line("formats", _by_number(Counter(source.format for source in sources))),
    ]
    if number := len({source.group for source in sources if source.group}):
        lines.append(f"  groups     {number:,}")
    return [*lines, *_left_out(understood)]


def _classes(sources: Sequence[PackedSource]) -> str:
    labels = Counter(source.label for source in sources)
    return " and ".join(f"{labels[label]:,} {name}" for label, name in enumerate(CLASS_NAMES))


def _by_tar(understood: UnderstoodTars) -> list[str]:
    shown = list(zip(understood.tars, understood.images, strict=True))[:_MOST_TARS]
    names = [one_line(tar.below) for tar, _ in shown]
    width = max(map(len, names))
    lines = [
        f"  {name:<{width}}  {len(images):>9,}  {_classes([image.source for image in images])}"
        for name, (_, images) in zip(names, shown, strict=True)
    ]
    left = len(understood.tars) - len(shown)
    return lines + ([f"  … and {counted(left, 'tar')} more"] if left else [])


def _by_number(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _left_out(understood: UnderstoodTars) -> list[str]:
    """Returns lines about the images left out, with one example per reason, followed by notes on the tars' contents."""
    reasons = in_order(Counter(rejection.reason for rejection in understood.rejected))
    example = {rejection.reason: rejection.source_path for rejection in reversed(understood.rejected)}
    lines = [
        f"  left out   {counted(number, 'image')}, {reason}: {REASONS[reason]}, for example {example[reason]}"
        for reason, number in reasons.items()
    ]
    return lines + [f"  {note}" for note in notes_on_contents(understood.tars, understood.examined)]
