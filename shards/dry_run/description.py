"""Describes to the user how a source is interpreted, before anything is built (``glass build SRC --dry-run``)."""

import statistics
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from shards.cli.command import one_line
from shards.cli.wording import counted, counts_line
from shards.dry_run.tiles_price import TilesPrice
from shards.errors import InputError
from shards.images.formats import open_image
from shards.images.rejection import RejectedImage
from shards.manifest.schema import CLASS_NAMES, SPLITS
from shards.sources.source_list import SOURCE_SCHEMA, SourceList

__all__ = ["describe_sources"]

_LOOKED_AT = 50
"""Maximum number of images that are opened to sample formats and sizes. They are evenly spaced among the images that
are cheap to read."""
_DEEPEST = 4
_MOST_LINES = 60


@dataclass
class _Branch:
    """A folder and everything below it."""

    images: int = 0
    kinds: Counter[tuple[int, str, str]] = field(default_factory=Counter)
    """Maps (label, generator, split) to the number of images."""
    inside: dict[str, "_Branch"] = field(default_factory=dict)


def describe_sources(sources: SourceList, shown: str, lossy_over: float = 0.0) -> list[str]:
    """Returns lines of text that summarise a source for the user. The lines call the source ``shown``.

    They give:

    - the number of images in each class, and what words in names and columns mean;
    - the folder tree, with each folder's image count, classes, generators and splits;
    - totals by generator, split and file extension;
    - the formats and megapixels of a sample of the images;
    - the cost of ``--lossy tiles``, if an image in this sample has more than ``lossy_over`` megapixels and can only be
      decoded whole.
    """
    labels = Counter(sources.table.column("label").to_pylist())
    classes = " and ".join(f"{labels[label]:,} {name}" for label, name in enumerate(CLASS_NAMES))
    lines = [f"{shown}: {counted(sources.table.num_rows, 'image')}, {classes}"]
    lines += [f"  {note}" for note in sources.notes]
    if sources.misnamed:
        lines.append(f"  skipped {counted(len(sources.misnamed), 'file')} whose name is not valid UTF-8")
    lines += ["", *_tree(sources), ""]
    return lines + _facts(sources, lossy_over)


def _tree(sources: SourceList) -> list[str]:
    root = _Branch()
    rows = zip(*(sources.table.column(name).to_pylist() for name in SOURCE_SCHEMA.names), strict=True)
    for path, label, generator, _, split in rows:
        branch = root
        for name in ("", *path.split("/")[:-1][:_DEEPEST]):
            branch = branch.inside.setdefault(name, _Branch()) if name else branch
            branch.images += 1
            branch.kinds[(label, generator, split)] += 1
    found = list(_branches(root, 0))
    width = max((len(name) for name, _ in found), default=0)
    lines = [
        f"  {name:<{width}}  {branch.images:>9,}  {_common_properties(branch)}".rstrip()
        for name, branch in found[:_MOST_LINES]
    ]
    left = len(found) - _MOST_LINES
    return lines + ([f"  … and {counted(left, 'folder')} more"] if left > 0 else [])


def _branches(branch: _Branch, depth: int) -> Iterator[tuple[str, _Branch]]:
    for name, below in sorted(branch.inside.items()):
        yield f"{'  ' * depth}{one_line(name)}/", below
        if len(below.kinds) > 1:  # else the folders below would repeat it
            yield from _branches(below, depth + 1)


def _common_properties(branch: _Branch) -> str:
    """Returns the class, generator and split that all images in a folder share, as text. Omits any that differ."""
    labels = {label for label, _, _ in branch.kinds}
    generators = {generator for _, generator, _ in branch.kinds}
    splits = {split for _, _, split in branch.kinds}
    words = CLASS_NAMES[min(labels)] if len(labels) == 1 else ""
    if labels == {1} and len(generators) == 1:
        words += f" by {min(generators)}"
    split = min(splits) if len(splits) == 1 else ""
    return ", ".join(part for part in (words, split) if part)


def _facts(sources: SourceList, lossy_over: float) -> list[str]:
    names = {name: Counter(sources.table.column(name).to_pylist()) for name in ("generator", "split", "path")}
    suffixes = Counter(PurePosixPath(path).suffix.lower() or "none" for path in names["path"])
    splits = {name or "to be drawn": names["split"][name] for name in (*SPLITS, "") if names["split"][name]}
    generators = {name: count for name, count in names["generator"].most_common() if name}
    lines = [counts_line("generators", generators), counts_line("splits", splits)]
    if suffixes.keys() != {"none"}:  # images inside tables have no file names
        lines.append(counts_line("extensions", dict(suffixes.most_common())))
    return [*lines, *_sample_lines(sources, lossy_over)]


def _sample_lines(sources: SourceList, lossy_over: float) -> list[str]:
    """Returns lines about the formats and sizes of a sample of the images, and about those that cannot be read."""
    formats: Counter[str] = Counter()
    megapixels: list[float] = []
    unread: Counter[str] = Counter()
    price = TilesPrice(sources.files, lossy_over)
    names = sources.files.samples(sources.table.column("path").to_pylist(), _LOOKED_AT)
    for name in names:
        try:
            data = sources.files.read(name)
            image = open_image(data)
            price.look_at(name, data, image)
            formats[str(image.format)] += 1
            megapixels.append(image.width * image.height / 1e6)
        except RejectedImage as rejected:
            unread[rejected.reason] += 1
        except InputError as error:  # the store does not answer; all other lines are known
            return [f"  images     none was opened: {error}"]
    lines = [counts_line("formats", dict(formats.most_common())) + f" (of {counted(len(names), 'image')} opened)"]
    if megapixels:
        low, middle, high = (f"{f(megapixels):.2g}" for f in (min, statistics.median, max))
        lines.append("  megapixels " + (low if low == high else f"{low} to {high}, median {middle}"))
    try:
        lines += price.lines(sources.table.num_rows)
    except InputError as error:
        lines.append(f"  whole      size with --lossy tiles unknown: {error}")
    if unread:
        lines.append(counts_line("rejected", dict(unread)) + " among those opened")
    return lines
