"""What folders say about the images in them: class, split and generator, by their names alone.

On the way from the source down to an image, names of a known meaning give the class and the split, and
what is left names the generator: ``GEN/train/ai``, ``train/FAKE``, ``GEN/1_fake``, ``fake/GEN/part-3``.
What contradicts itself is refused; what says nothing is passed over, and both are named.
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
"""The names of a folder and of those that it lies in, from the source on; ``()`` is the source."""

_MOST_SHOWN = 5
_SAY_NOTHING = BESIDE_CLASSES | {word for word, label in CLASS_WORDS.items() if label == 0}
"""Words in the names of folders that lie beside real images and are not taken for a generator's; ``real_faces`` may
be more of the same."""


@dataclass(frozen=True, slots=True)
class Place:
    """What the names of a folder say about the images in it."""

    label: int | None
    """``None`` where no name says a class."""
    split: str
    generator: str
    """``""`` for real images."""
    said_by: str = ""
    """The name that gave the label."""


@dataclass(frozen=True)
class Layout:
    """The folders of a source and what they say."""

    places: Mapping[Folder, Place]
    counts: Mapping[Folder, int]
    """Images right in each folder."""
    beside_real: bool
    """No name says "generated": what lies beside the folders of real images was taken for it."""

    def notes(self) -> list[str]:
        """What the names were taken to mean, and the folders that say no class."""
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
            notes.append("no folder names a class of generated images: those beside real ones were taken for it")
        if silent:
            words = [f"{name} ({counted(silent[name], 'image')})" for name in sorted(silent)]
            notes.append(
                f"passed over, as no name says real or generated: {_listed(words)} (--label WORD=real|generated)"
            )
        return notes


def read_layout(counts: Mapping[Folder, int], rules: SourceRules) -> Layout:
    """The layout of folders with their numbers of images. Raises ``InputError`` where the names of a
    folder contradict each other."""
    meanings = {name: rules.words.of_name(name) for folder in counts for name in folder}
    said = {folder: _said(folder, meanings, rules) for folder in counts}
    classes = {folder: None if place.label is None else (place.said_by, place.label) for folder, place in said.items()}
    require_no_third_class(classes, counts)
    beside: dict[Folder, str] = {}
    if {place.label for place in said.values()} - {None} == {0} and not _given(rules, 1):
        beside = _beside_real(said, rules)
        said.update({folder: replace(said[folder], label=1, said_by=name) for folder, name in beside.items()})
    # What has no meaning and is no filler is a name of its own: of a generator, a scene, or the source as a whole.
    left = {f: [name for name in f if not meanings[name] and not meanings[name].is_filler] for f in said}
    shared = _shared_start([left[folder] for folder, place in said.items() if place.label is not None])
    places = {
        folder: replace(place, generator=_generator(folder, left[folder], shared, rules)) if place.label else place
        for folder, place in said.items()
    }
    return Layout(places, counts, bool(beside))


def _given(rules: SourceRules, label: int) -> bool:
    return label in rules.words.given.values()


def _said(folder: Folder, meanings: Mapping[str, Meaning], rules: SourceRules) -> Place:
    """Class and split of a folder, without its generator."""
    shown = "/".join(folder) + "/"
    labelled = [name for name in folder if meanings[name].label is not None]
    named = [name for name in labelled if meanings[name].is_given] or labelled
    if len({meanings[name].label for name in named}) > 1:
        words = " and ".join(f"{name} = {CLASS_NAMES[meanings[name].label or 0]}" for name in dict.fromkeys(named))
        raise InputError(
            f"{shown} names both classes ({words}): say with --label WORD=real or WORD=generated which of the "
            "words counts, or rename the other folder"
        )
    split = given_split(folder, meanings, rules)
    label = meanings[named[0]].label if named else None
    if any(label in denied(letters_of(name)) for name in folder if not meanings[name].is_given):
        label = None  # as of ai/not_ai
    elif label == 0 and not meanings[named[0]].is_given:
        _require_real(folder, folder.index(named[-1]) + 1)
    return Place(label, split, "", "" if label is None else named[0])


def _require_real(folder: Folder, start: int) -> None:
    """Raises ``InputError`` where a name below a folder of real images speaks of generated ones: ``real/fake_old``."""
    for name in folder[start:]:
        if may_be_generated(name):
            raise InputError(
                f"{'/'.join(folder)}/ lies below {folder[start - 1]} = {CLASS_NAMES[0]}, and {name} may mean "
                f"{CLASS_NAMES[1]}: say with --label {name}={CLASS_NAMES[1]} or {name}={CLASS_NAMES[0]} what it does"
            )


def given_split(folder: Folder, meanings: Mapping[str, Meaning], rules: SourceRules) -> str:
    """The split that the names of a folder say, ``""`` for none. Raises ``InputError`` where they say two."""
    splits = list(dict.fromkeys(meanings[name].split for name in folder if meanings[name].split))
    if not splits or not rules.given_split:
        return ""
    if len(splits) > 1:
        raise InputError(
            f"{'/'.join(folder)}/ names two splits, {' and '.join(splits)}: rename one of the folders, or let all "
            "splits be drawn with --no-given-split"
        )
    return splits[0]


def _beside_real(said: Mapping[Folder, Place], rules: SourceRules) -> dict[Folder, str]:
    """Folders without a class below those in which a folder of real images lies → name beside it. A word
    that may name a scene, such as ``nature``, does not make what lies beside it generated."""
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
    """The number of names that all begin with."""
    shared = 0
    for column in zip(*names, strict=False):
        if len(set(column)) > 1:
            break
        shared += 1
    return shared


def _generator(folder: Folder, left: Sequence[str], shared: int, rules: SourceRules) -> str:
    """The first name that is not one of the whole source; where there is none, the last of those."""
    if rules.generator_level is not None:
        return named_generator(folder, rules)
    if len(left) > shared:
        return left[shared]
    return left[-1] if left else UNKNOWN_GENERATOR


def named_generator(folder: Folder, rules: SourceRules) -> str:
    """The name at the level that a person said names the generator."""
    level = rules.generator_level
    return UNKNOWN_GENERATOR if level is None or level > len(folder) else folder[level - 1]


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words[:_MOST_SHOWN]) + (
        f" and {len(words) - _MOST_SHOWN:,} more" if len(words) > _MOST_SHOWN else ""
    )
