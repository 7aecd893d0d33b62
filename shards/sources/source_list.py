"""The images that a build is asked to take in: one Arrow table, sorted, so that neither the order of a
directory nor that of a list matters; and the rules by which it was made."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from shards.cli.wording import counted
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
"""Generator of generated images whose generator is not known."""

SOURCE_SCHEMA = pa.schema(
    [
        ("path", pa.string()),  # a name in SourceList.files, "/" between its parts
        ("label", pa.int8()),
        ("generator", pa.string()),  # "" for real images
        ("group", pa.string()),  # "" where the image stands alone
        ("split", pa.string()),  # "" where it is to be drawn
    ]
)


@dataclass(frozen=True)
class SourceRules:
    """How a person wants sources to be understood. Picklable."""

    words: Words = field(default_factory=Words)
    generator_level: int | None = None
    """The folder that names the generator, 1 for those right below the source; ``None`` to find it."""
    given_split: bool = True
    """Whether splits that folders, files or lists name are kept."""


@dataclass(frozen=True)
class SourceList:
    """Images that a build is asked to take in."""

    files: SourceFiles
    """The files that paths are relative to."""
    table: pa.Table
    """Columns of ``SOURCE_SCHEMA``, sorted by all of them."""
    misnamed: list[str] = field(default_factory=list)
    """Files whose names are not valid UTF-8, with the offending bytes escaped."""
    notes: list[str] = field(default_factory=list)
    """For a person, before the work: what the words were taken to mean, and what was passed over."""
    stamps: Mapping[str, Stamp] = field(default_factory=dict)
    """By path, of files whose stamps came with the listing of a store."""
    note_files: NoteFiles | None = None
    """For readers of verdicts; None if the source says nothing."""
    groups: GroupList | None = None
    """Groups by the contents of files, beside those of the table."""

    def dataset_note(self) -> str:
        """The note that the source brings along, ``""`` for none, see :meth:`NoteFiles.read`."""
        return "" if self.note_files is None else self.note_files.read()


def sorted_table(columns: dict[str, list[str] | list[int]]) -> pa.Table:
    """A table of ``SOURCE_SCHEMA`` in its canonical order."""
    table = pa.table(columns, schema=SOURCE_SCHEMA)
    return table.sort_by([(name, "ascending") for name in SOURCE_SCHEMA.names])


def lacking_classes(splits: Sequence[str], labels: Sequence[int]) -> list[str]:
    """A sentence for each split that was given samples of one class only. The list is empty if the split of some
    samples is still to be drawn (``""``), since the draw may add the other class."""
    pairs = set(zip(splits, labels, strict=True))
    if "" in splits:
        return []
    return [
        f"split {name} holds {CLASS_NAMES[label]} images only: nothing can be measured there that needs both classes"
        for name in SPLITS
        for label in range(len(CLASS_NAMES))
        if (name, label) in pairs and (name, 1 - label) not in pairs
    ]


def notes_on_splits(splits: Sequence[str], labels: Sequence[int], remedy: str) -> list[str]:
    """Sentences on splits that were given to some images only, or to one class only, and on a train split that no
    image was given to; ``remedy`` says how all splits are drawn."""
    kinds = Counter(zip(splits, labels, strict=True))
    given = [name for name in SPLITS if name in {split for split, _ in kinds}]
    notes = lacking_classes(splits, labels)
    if not given:
        return notes
    if drawn := sum(count for (split, _), count in kinds.items() if not split):
        words = ", ".join(f"{name} {_counts(kinds, name)}" for name in given)
        notes.append(
            f"only some images are given a split ({words}), and the splits of {counted(drawn, 'image')} are drawn: "
            f"{remedy} draws all"
        )
    elif TRAIN not in given:
        notes.append(
            f"no image is given to {TRAIN}, only to {' and '.join(given)}: the data set measures detectors and trains "
            f"none; {remedy} draws all splits"
        )
    return notes


def _counts(kinds: Mapping[tuple[str, int], int], split: str) -> str:
    """The number of images in a split, and their class where it is one only."""
    found = [(kinds[(split, label)], name) for label, name in enumerate(CLASS_NAMES) if (split, label) in kinds]
    number = f"{sum(count for count, _ in found):,}"
    return f"{number}, all of them {found[0][1]}" if len(found) == 1 else number
