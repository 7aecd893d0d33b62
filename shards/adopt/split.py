"""Assigns the images in tars made elsewhere to splits: by the tar's name, by a list, or at random."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from shards.adopt.examine import ExaminedTar, TarImage
from shards.adopt.label_words import split_of_name
from shards.build.finish import in_order
from shards.build.split import Splittable, assign_splits
from shards.build.writer import Rejection
from shards.cli.wording import by_reason
from shards.errors import InputError
from shards.manifest.group_list import GroupList
from shards.manifest.schema import CLASS_NAMES, SPLITS, TRAIN

__all__ = ["draw_splits", "given_splits", "join_groups"]


def join_groups(examined: Sequence[ExaminedTar], groups: GroupList) -> str:
    """Merges the groups of all images with those in a group list. Returns a note for the user.

    Raises ``InputError`` if the list does not name any of the images.
    """
    sources = [image.source for e in examined for image in e.images]
    hashes = [source.sha256 for source in sources]
    joined = iter(groups.joined(hashes, [source.group for source in sources]))
    for e in examined:
        e.images = [replace(image, source=replace(image.source, group=next(joined))) for image in e.images]
    return groups.note(hashes)


def draw_splits(
    names: Sequence[str], examined: Sequence[ExaminedTar], shares: Mapping[str, float] | None, seed: int
) -> tuple[list[list[TarImage]], list[Rejection]]:
    """Assigns every image to a split. Returns (accepted images per tar, all rejections so far).

    ``shares`` is ``None`` if the splits come from the tars' names. Images with the same bytes are all rejected if their
    labels differ. If images with the same bytes were already assigned to different splits, only those in the last of
    these splits (in ``SPLITS`` order) are kept. The detector is thus never trained on images used to evaluate it.
    Raises ``InputError`` if all images have the same label, or if a group was already assigned to two splits.
    """
    given = given_splits(names, examined, by_name=shares is None)
    rejected = [rejection for e in examined for rejection in e.rejected]
    kept: list[list[TarImage]] = []
    labels, last_split = _by_content(examined, given)
    for e, splits in zip(examined, given, strict=True):
        kept.append([])
        for image, split in zip(e.images, splits, strict=True):
            source = replace(image.source, split=split)
            reason = ""
            if len(labels[source.sha256]) > 1:
                reason = "duplicate_conflict"
            elif split and SPLITS.index(split) != last_split[source.sha256]:
                reason = "duplicate_split"
            if reason:
                detail = f"SHA-256 {source.sha256.hex()[:16]}…"
                rejected.append(Rejection.of(source, reason, detail))
            else:
                kept[-1].append(replace(image, source=source))
    flat = [image.source for images in kept for image in images]
    named = {split_of_name(name) for name, e in zip(names, examined, strict=True) if e.images or e.rejected}
    if shares is None and (missing := named - {source.split for source in flat}):
        reasons = in_order(Counter(rejection.reason for rejection in rejected))
        raise InputError(
            f"no image was accepted from the tars named {min(filter(None, missing))}; rejected from all tars: "
            f"{by_reason(reasons)}; fix those tars, or give shares with --split"
        )
    _require_both_classes({source.label for source in flat})
    drawn = iter(
        assign_splits(
            [Splittable(s.sha256, s.label, s.group, s.split, s.path) for s in flat],
            dict(shares or {TRAIN: 1.0}),  # if names give the splits, none is drawn
            seed,
        )
    )
    return [[replace(i, source=replace(i.source, split=next(drawn))) for i in images] for images in kept], rejected


def given_splits(names: Sequence[str], examined: Sequence[ExaminedTar], by_name: bool) -> list[list[str]]:
    """Returns each image's split, from a list or (if ``by_name``) the tar's name; ``""`` if neither gives one."""
    named = [split_of_name(name) or "" if by_name else "" for name in names]
    return [[image.source.split or split for image in e.images] for split, e in zip(named, examined, strict=True)]


def _by_content(
    examined: Sequence[ExaminedTar], given: list[list[str]]
) -> tuple[dict[bytes, set[int]], dict[bytes, int]]:
    """Returns two mappings from SHA-256: to the labels of all images with that hash, and to the last of their splits.

    The split is an index into ``SPLITS``, or -1 if none of these images has a split yet.
    """
    labels: dict[bytes, set[int]] = {}
    last_split: dict[bytes, int] = {}
    for e, splits in zip(examined, given, strict=True):
        for image, split in zip(e.images, splits, strict=True):
            content = image.source.sha256
            labels.setdefault(content, set()).add(image.source.label)
            place = SPLITS.index(split) if split else -1
            last_split[content] = max(place, last_split.get(content, -1))
    return labels, last_split


def _require_both_classes(labels: set[int]) -> None:
    if len(labels) == 1:
        (label,) = labels
        raise InputError(
            f"all images in the tars are {CLASS_NAMES[label]}: a detector needs both classes, so index tars of both "
            "together"
        )
