"""The images that a build packs, as an Arrow table, and the rules by which the table is made.

The table is sorted, so it does not depend on the order of files in a folder or rows in a list.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from shards.manifest.group_list import GroupList
from shards.manifest.schema import CLASS_NAMES, SPLITS, TRAIN
from shards.sources.files import SourceFiles, Stamp
from shards.sources.note_file import NoteFiles
from shards.sources.words import Words

__all__ = [
    "SOURCE_SCHEMA",
    "UNKNOWN_GENERATOR",
    "SourceList",
    "SourceRules",
    "lacking_classes",
    "notes_on_splits",
    "sorted_table",
]

UNKNOWN_GENERATOR = "unknown"
"""The generator recorded for generated images whose generator is unknown."""

SOURCE_SCHEMA = pa.schema(
    [
        ("path", pa.string()),  # a name in SourceList.files, "/" between its parts
        ("label", pa.int8()),
        ("generator", pa.string()),  # "" for real images
        ("group", pa.string()),  # "" for no group
        ("split", pa.string()),  # "" if it is to be assigned at random
    ]
)


@dataclass(frozen=True)
class SourceRules:
    """The user's choices about how to interpret a source. Picklable."""

    words: Words = field(default_factory=Words)
    generator_level: int | None = None
    """Depth of the folder that names the generator, 1 being directly below the source. If ``None``, any depth."""
    given_split: bool = True
    """Whether splits given by folders, files or lists are kept. If not, all images are assigned to splits at random."""


@dataclass(frozen=True)
class SourceList:
    """The images that a build packs."""

    files: SourceFiles
    """The files to which paths are relative."""
    table: pa.Table
    """The images, with columns of ``SOURCE_SCHEMA``, sorted by all columns."""
    misnamed: list[str] = field(default_factory=list)
    """Files whose names are not valid UTF-8, with the offending bytes escaped."""
    notes: list[str] = field(default_factory=list)
    """Notes to show to the user before any image is read: how words were understood, and what was skipped."""
    stamps: Mapping[str, Stamp] = field(default_factory=dict)
    """Maps paths to stamps, for files in a store whose listing included the stamps."""
    note_files: NoteFiles | None = None
    """The source's note files; ``None`` if it has none."""
    groups: GroupList | None = None
    """Image groups by file SHA-256, in addition to the groups in ``table``."""

    def dataset_note(self) -> str:
        """Returns the note from the source's note files, or ``""`` if there are none. See :meth:`NoteFiles.read`."""
        return "" if self.note_files is None else self.note_files.read()


def sorted_table(columns: dict[str, list[str] | list[int]]) -> pa.Table:
    """A table of ``SOURCE_SCHEMA``, sorted by all columns."""
    table = pa.table(columns, schema=SOURCE_SCHEMA)
    return table.sort_by([(name, "ascending") for name in SOURCE_SCHEMA.names])


def lacking_classes(splits: Sequence[str], labels: Sequence[int]) -> list[str]:
    """Returns a sentence for each split that contains samples of only one class.

    Returns ``[]`` if any sample has no split yet (``""``), because that sample may add the missing class to a split.
    """
    pairs = set(zip(splits, labels, strict=True))
    if "" in splits:
        return []
    return [
        f"split {name} holds {CLASS_NAMES[label]} images only: it cannot measure anything that needs both classes"
        for name in SPLITS
        for label in range(len(CLASS_NAMES))
        if (name, label) in pairs and (name, 1 - label) not in pairs
    ]


def notes_on_splits(splits: Sequence[str], labels: Sequence[int], remedy: str) -> list[str]:
    """Returns notes if only some images have a given split, if a split lacks a class, or if no image is in ``train``.

    ``remedy`` is the option that assigns all splits at random.
    """
    kinds = Counter(zip(splits, labels, strict=True))
    given = [name for name in SPLITS if name in {split for split, _ in kinds}]
    notes = lacking_classes(splits, labels)
    if not given:
        return notes
    if drawn := sum(count for (split, _), count in kinds.items() if not split):
        words = ", ".join(f"{name} {_counts(kinds, name)}" for name in given)
        notes.append(
            f"only some images are given a split ({words}); the splits of the other {drawn:,} are drawn at random: to "
            f"draw all splits, use {remedy}"
        )
    elif TRAIN not in given:
        notes.append(
            f"no image is given to {TRAIN}, only to {' and '.join(given)}: the data set can measure detectors but not "
            f"train them; to draw all splits, use {remedy}"
        )
    return notes


def _counts(kinds: Mapping[tuple[str, int], int], split: str) -> str:
    """Returns the number of images in a split as text, and their class if they all have the same one."""
    found = [(kinds[(split, label)], name) for label, name in enumerate(CLASS_NAMES) if (split, label) in kinds]
    number = f"{sum(count for count, _ in found):,}"
    return f"{number}, all of them {found[0][1]}" if len(found) == 1 else number
