"""Notes for the user about indexed tars: how they were interpreted, and what was left out."""

from collections import Counter
from collections.abc import Iterable, Sequence

from shards.adopt.examine import ExaminedTar
from shards.adopt.label_evidence import LabelEvidence
from shards.adopt.label_rules import LabelRules
from shards.adopt.settings import IndexSettings
from shards.adopt.tar_names import NamedTar
from shards.cli.wording import counted
from shards.errors import InputError

__all__ = ["lost_images", "notes_on_contents", "notes_on_labels", "unread_ends"]

_MOST_SHOWN = 5


def notes_on_labels(
    tars: Sequence[NamedTar], examined: Sequence[ExaminedTar], rules: LabelRules, settings: IndexSettings
) -> list[str]:
    """Returns notes on the rule used to label the samples, and on evidence against it.

    Raises ``InputError`` if the evidence contradicts the labels. Also raises it if a key in the label list occurs in
    several tars and the list does not specify the tar.
    """
    evidence = LabelEvidence()
    for found in examined:
        evidence.join(found.evidence)
    notes = [evidence.meaning(rules)]
    notes += evidence.contradictions(rules, settings.label_from is not None)
    if rules.label == "list":
        notes += _notes_on_list(tars, examined, rules)
    return notes


def _notes_on_list(tars: Sequence[NamedTar], examined: Sequence[ExaminedTar], rules: LabelRules) -> list[str]:
    listed = rules.listed
    first: dict[str, str] = {}
    used: set[tuple[str, str]] = set()
    for tar, found in zip(tars, examined, strict=True):
        names = listed.names_of(tar)
        for key in found.keys:
            place = next((name, key) for name in names if (name, key) in listed.rows)
            used.add(place)
            if place[0]:
                continue
            if (other := first.setdefault(key, tar.name)) != tar.name:
                raise InputError(
                    f"sample {key!r} is in {other} and in {tar.name}, and {listed.path} does not say which of them it "
                    "means: add a column tar with the names of the tars to the list"
                )
    if len(used) == len(listed.rows):
        return []
    example = next(key for place in listed.rows if place not in used for key in place[1:])
    missing = counted(len(listed.rows) - len(used), "row")
    return [f"no image in the tars for {missing} of {listed.path}, for example {example!r}"]


def lost_images(examined: Iterable[ExaminedTar]) -> list[str]:
    """Returns one note on all images left out because they share a key, with the remedy; ``[]`` if there are none."""
    folded = [found for found in examined if found.folded]
    lost = sum(r.reason == "shared_key" for found in folded for r in found.rejected)
    if not lost:
        return []
    return [
        f"{counted(lost, 'image')} left out because their names are equal up to the first dot, for example "
        f"{folded[0].folded}: to let keys end at the last dot, index with --last-dot into another folder (--out)"
    ]


def unread_ends(tars: Sequence[NamedTar], examined: Sequence[ExaminedTar]) -> list[str]:
    """Returns a note, naming the tar, for each tar without an end-of-archive marker or with unread bytes after it."""
    return [f"{tar.name}: {text}" for tar, found in zip(tars, examined, strict=True) for text in found.unread]


def notes_on_contents(tars: Sequence[NamedTar], examined: Sequence[ExaminedTar]) -> list[str]:
    """Returns notes on skipped files and images, on tars without samples, and on faults at the ends of tars."""
    notes = unread_ends(tars, examined)
    empty = [tar.name for tar, f in zip(tars, examined, strict=True) if not f.num_samples]
    if empty:
        notes.append(f"{counted(len(empty), 'tar')} without samples, for example {empty[0]}")
    passed_over = sum(found.passed_over for found in examined)
    if passed_over:
        notes.append(f"skipped {counted(passed_over, 'file')} outside of samples")
    further: Counter[str] = Counter()
    for found in examined:
        further.update(found.further)
    if further:
        shown = ", ".join(f"{ext} {n:,}" for ext, n in further.most_common(_MOST_SHOWN))
        more = " …" if len(further) > _MOST_SHOWN else ""
        notes.append(
            f"skipped {counted(further.total(), 'image')} of samples with several images ({shown}{more}): choose "
            "others with --image-ext, or make each a sample of its own with --last-dot"
        )
    return notes + lost_images(examined)
