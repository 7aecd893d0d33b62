"""Works out labels, splits and rejections for tars made elsewhere, before anything is written."""

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from shards.adopt.examine import ExaminedTar, TarImage, examine_tar, guess_rules
from shards.adopt.label_rules import LabelRules
from shards.adopt.notes import lost_images, notes_on_labels, unread_ends
from shards.adopt.settings import IndexSettings
from shards.adopt.split import draw_splits, given_splits, join_groups
from shards.adopt.tar_names import NamedTar
from shards.build.finish import in_order
from shards.build.writer import Rejection
from shards.cli.progress import progress_bar
from shards.cli.wording import by_reason
from shards.errors import InputError
from shards.manifest.group_list import GroupList
from shards.sources.source_list import notes_on_splits
from shards.sources.third_class import require_no_third_class

__all__ = ["UnderstoodTars", "understand_tars"]


@dataclass(frozen=True)
class UnderstoodTars:
    """Images from tars, labelled by one set of rules. ``tars``, ``examined`` and ``images`` have one entry per tar."""

    tars: Sequence[NamedTar]
    examined: Sequence[ExaminedTar]
    images: Sequence[Sequence[TarImage]]
    """The accepted images, with their splits."""
    rejected: list[Rejection]
    shares: Mapping[str, float] | None
    """Maps each split to its share; ``None`` if the splits come from the tars' names."""
    notes: list[str]
    """Sentences for the user on how the images were labelled."""


def understand_tars(
    tars: Sequence[NamedTar], settings: IndexSettings, workers: int, progress: bool, groups: GroupList | None
) -> UnderstoodTars:
    """Reads every tar once, and finds each image's label and split.

    Raises ``InputError`` if labels or splits cannot be determined, or if no image is accepted.
    """
    rules = guess_rules(tars, settings)
    rules.listed.require_clear(tars)
    examined = _examine(tars, rules, settings, workers, progress)
    rules.words.require_matched()
    if rules.label == "folder":
        _require_no_third_class(examined, rules)
    notes = notes_on_labels(tars, examined, rules, settings)
    if groups is not None:
        notes.append(join_groups(examined, groups))
    names = [tar.below for tar in tars]
    shares = settings.shares(names)
    given = [split for splits in given_splits(names, examined, by_name=shares is None) for split in splits]
    labels = [image.source.label for found in examined for image in found.images]
    notes += notes_on_splits(given, labels, "--split and a list without splits")
    try:
        images, rejected = draw_splits(names, examined, shares, settings.split_seed)
        if not any(images):
            reasons = Counter(rejection.reason for rejection in rejected)
            listed = [key for _, key in rules.listed.rows][:1]
            said = f"no image in the tars was accepted ({by_reason(in_order(reasons))})"
            if found := next((r.source_path for r in rejected if r.reason == "no_label"), ""):
                said += "".join(f": keys of the list, such as {key!r}, are not those of {found}" for key in listed)
            raise InputError(said)
    except InputError as error:  # perhaps only because images were lost
        lost = lost_images(examined) + unread_ends(tars, examined)
        raise InputError("; ".join([str(error), *lost])) from error
    return UnderstoodTars(tars, examined, images, rejected, shares, notes)


def _require_no_third_class(examined: Sequence[ExaminedTar], rules: LabelRules) -> None:
    """Raises ``InputError`` if a folder seems to be a third class (see :mod:`shards.sources.third_class`)."""
    counts = sum((found.folders for found in examined), Counter[tuple[str, ...]]())
    said: dict[tuple[str, ...], tuple[str, int] | None] = {}
    for folder in counts:
        word = rules.words.of_folders(folder)
        said[folder] = None if word is None or word.label is None else (word.word, word.label)
    require_no_third_class(said, counts)


def _examine(
    tars: Sequence[NamedTar], rules: LabelRules, settings: IndexSettings, workers: int, progress: bool
) -> list[ExaminedTar]:
    examined = []
    with ThreadPoolExecutor(2 * workers) as pool, progress_bar(0, "reading", progress) as bar:
        futures = [pool.submit(examine_tar, tar, rules, settings) for tar in tars]
        try:
            for future in futures:
                examined.append(future.result())
                bar.update(len(examined[-1].images))
        except InputError:
            pool.shutdown(cancel_futures=True)
            raise
    return examined
