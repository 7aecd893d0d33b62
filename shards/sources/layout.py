"""Infers the class, split and generator of images from their folder names.

Names with a known meaning, anywhere on the path from the source to the image, give the class and the split. The
generator is taken from the remaining names: ``GEN/train/ai``, ``train/FAKE``, ``GEN/1_fake``, ``fake/GEN/part-3``,
where ``GEN`` is the generator. Contradictory names raise an error that quotes them. Folders whose names give no class
are skipped with a note.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from shards.cli.wording import counted
from shards.errors import InputError
from shards.manifest.schema import CLASS_NAMES
from shards.sources.source_list import UNKNOWN_GENERATOR, SourceRules
from shards.sources.third_class import BESIDE_CLASSES, require_no_third_class
from shards.sources.word_table import CLASS_WORDS, denied, letters_of, may_be_generated
from shards.sources.words import Meaning

__all__ = ["Folder", "Layout", "Place", "given_split", "named_generator", "read_layout"]

Folder = tuple[str, ...]
"""A folder as a tuple of path components, from the outermost to the folder itself. ``()`` is the source."""

_MOST_SHOWN = 5
_SAY_NOTHING = BESIDE_CLASSES | {word for word, label in CLASS_WORDS.items() if label == 0}
"""Words that say nothing about whether the images in a folder are generated. A folder with such a word in its name
(``real_faces``) is not assumed to hold generated images even if it lies beside a folder of real ones."""


@dataclass(frozen=True, slots=True)
class Place:
    """What the names on a folder's path indicate about its images."""

    label: int | None
    """The label; ``None`` if no name gives a class."""
    split: str
    generator: str
    """The generator; ``""`` for real images."""
    said_by: str = ""
    """The name that gives the label."""


@dataclass(frozen=True)
class Layout:
    """A source's folders and their meanings."""

    places: Mapping[Folder, Place]
    counts: Mapping[Folder, int]
    """Number of images directly in each folder."""
    beside_real: bool
    """Whether folders beside real images were assumed to hold generated images, because no name denotes generated
    images."""

    def notes(self) -> list[str]:
        """Notes on how names were understood, and on folders whose names give no class."""
        said: Counter[tuple[int, str]] = Counter()
        silent: Counter[str] = Counter()
        for folder, place in self.places.items():
            if place.label is None:
                silent[folder[0] + "/" if folder else "the folder itself"] += self.counts[folder]
            else:
                said[(place.label, place.said_by)] += self.counts[folder]
        notes = []
        if said:
            words = [f"{name} = {CLASS_NAMES[label]} ({said[(label, name)]:,})" for label, name in sorted(said)]
            notes.append(f"labels by folder: {_listed(words)}")
        if self.beside_real:
            notes.append(
                "no folder name stands for generated images: the folders beside those of real images are taken as "
                "generated"
            )
        if silent:
            words = [f"{name} ({counted(silent[name], 'image')})" for name in sorted(silent)]
            notes.append(
                f"skipped because no name says real or generated: {_listed(words)} (to use them: --label "
                "WORD=real|generated)"
            )
        return notes


def read_layout(counts: Mapping[Folder, int], rules: SourceRules) -> Layout:
    """Returns the layout of the folders in ``counts``, which maps each folder to its number of images.

    Raises ``InputError`` if the names on a folder's path contradict each other.
    """
    meanings = {name: rules.words.of_name(name) for folder in counts for name in folder}
    said = {folder: _place_of(folder, meanings, rules) for folder in counts}
    classes = {folder: None if place.label is None else (place.said_by, place.label) for folder, place in said.items()}
    require_no_third_class(classes, counts)
    beside: dict[Folder, str] = {}
    if {place.label for place in said.values()} - {None} == {0} and not _given(rules, 1):
        beside = _beside_real(said, rules)
        said.update({folder: replace(said[folder], label=1, said_by=name) for folder, name in beside.items()})
    # A name that has no meaning and is not a filler names something: a generator, a scene, or the whole source.
    left = {f: [name for name in f if not meanings[name] and not meanings[name].is_filler] for f in said}
    shared = _shared_start([left[folder] for folder, place in said.items() if place.label is not None])
    places = {
        folder: replace(place, generator=_generator(folder, left[folder], shared, rules)) if place.label else place
        for folder, place in said.items()
    }
    return Layout(places, counts, bool(beside))


def _given(rules: SourceRules, label: int) -> bool:
    return label in rules.words.given.values()


def _place_of(folder: Folder, meanings: Mapping[str, Meaning], rules: SourceRules) -> Place:
    """Returns the class and the split that the names on a folder's path indicate. The generator is left empty."""
    shown = "/".join(folder) + "/"
    labelled = [name for name in folder if meanings[name].label is not None]
    named = [name for name in labelled if meanings[name].is_given] or labelled
    if len({meanings[name].label for name in named}) > 1:
        words = " and ".join(f"{name} = {CLASS_NAMES[meanings[name].label or 0]}" for name in dict.fromkeys(named))
        raise InputError(
            f"{shown} names both classes ({words}): use --label WORD=real or --label WORD=generated to say which word "
            "counts, or rename the other folder"
        )
    split = given_split(folder, meanings, rules)
    label = meanings[named[0]].label if named else None
    if any(label in denied(letters_of(name)) for name in folder if not meanings[name].is_given):
        label = None  # as in ai/not_ai
    elif label == 0 and not meanings[named[0]].is_given:
        _require_real(folder, folder.index(named[-1]) + 1)
    return Place(label, split, "", "" if label is None else named[0])


def _require_real(folder: Folder, start: int) -> None:
    """Raises ``InputError`` if a name below a folder of real images may mean generated ones, as in ``real/fake_old``.

    ``folder[start - 1]`` is the name that denotes real images.
    """
    for name in folder[start:]:
        if may_be_generated(name):
            raise InputError(
                f"{'/'.join(folder)}/ is below {folder[start - 1]} = {CLASS_NAMES[0]}, but {name} may mean "
                f"{CLASS_NAMES[1]}: use --label {name}={CLASS_NAMES[1]} or --label {name}={CLASS_NAMES[0]} to say "
                "what it means"
            )


def given_split(folder: Folder, meanings: Mapping[str, Meaning], rules: SourceRules) -> str:
    """Returns the split that the names on a folder's path indicate, or ``""`` if they indicate none.

    If the user wants all splits assigned at random, always returns ``""``. Otherwise raises ``InputError`` if the path
    indicates two splits.
    """
    splits = list(dict.fromkeys(meanings[name].split for name in folder if meanings[name].split))
    if not splits or not rules.given_split:
        return ""
    if len(splits) > 1:
        raise InputError(
            f"{'/'.join(folder)}/ names two splits, {' and '.join(splits)}: rename one of the folders, or draw all "
            "splits with --no-given-split"
        )
    return splits[0]


def _beside_real(said: Mapping[Folder, Place], rules: SourceRules) -> dict[Folder, str]:
    """Finds the folders without a class that are assumed to hold generated images because they are beside real ones.

    Maps each of them to the name on its path that lies beside the folder of real images: its own name, or that of a
    folder above it. The folder of real images must have an unambiguous name. For example, ``nature`` may denote a
    scene, so folders beside ``nature`` are not included.
    """
    real = {folder: place.said_by for folder, place in said.items() if place.label is not None}
    parents = {folder[: folder.index(name)] for folder, name in real.items() if rules.words.is_certain(name)}
    found = {}
    for folder, place in said.items():
        if place.label is not None:
            continue
        depths = [len(parent) for parent in parents if len(parent) < len(folder) and folder[: len(parent)] == parent]
        words = letters_of(name := folder[max(depths)]) if depths else []
        if depths and _SAY_NOTHING.isdisjoint(words) and not denied(words) and "=" not in name:
            found[folder] = name
    return found


def _shared_start(names: Sequence[Sequence[str]]) -> int:
    """The length of the longest common prefix of ``names``."""
    shared = 0
    for column in zip(*names, strict=False):
        if len(set(column)) > 1:
            break
        shared += 1
    return shared


def _generator(folder: Folder, left: Sequence[str], shared: int, rules: SourceRules) -> str:
    """Returns a folder's generator. ``left`` holds the names on its path that denote neither a class nor a split.

    The first ``shared`` of these are common to all images, so they name the source itself. The generator is the next
    name, or the last shared name if no other follows. A level given by the user (``--generator-level``) takes
    precedence.
    """
    if rules.generator_level is not None:
        return named_generator(folder, rules)
    if len(left) > shared:
        return left[shared]
    return left[-1] if left else UNKNOWN_GENERATOR


def named_generator(folder: Folder, rules: SourceRules) -> str:
    """Returns the folder name at the level ``--generator-level``, or ``UNKNOWN_GENERATOR`` if there is none."""
    level = rules.generator_level
    return UNKNOWN_GENERATOR if level is None or level > len(folder) else folder[level - 1]


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words[:_MOST_SHOWN]) + (
        f" and {len(words) - _MOST_SHOWN:,} more" if len(words) > _MOST_SHOWN else ""
    )
