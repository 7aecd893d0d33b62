"""Assigns each sample to a split: train, valid, test or calibration.

The split is *label-stratified*: the shares apply to the samples of each label separately. Groups and exact duplicates
are never divided between splits. The result depends only on the seed, the shares and the set of (content, label,
group), not on the file order.

Groups are assigned greedily, the largest first, with ties in a seeded random order. A split's chi-square distance is
the sum over labels of (count - target)² / target. Each group goes to the split whose chi-square distance increases
least. If every group has one sample, this is the Sainte-Laguë method of apportionment.
"""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from shards.errors import InputError
from shards.manifest.groups import tied
from shards.manifest.schema import CLASS_NAMES, SPLITS, TRAIN

__all__ = ["Splittable", "assign_splits", "missing_splits", "parse_shares"]

NUM_LABELS = len(CLASS_NAMES)


@dataclass(frozen=True, slots=True)
class Splittable:
    """The properties of a sample that determine its split."""

    sha256: bytes
    label: int
    group: str = ""
    """Name of the sample's group, ``""`` for none. All samples of a group go to the same split."""
    split: str = ""
    """The split that the source assigns to the sample; ``""`` if there is none."""
    name: str = ""
    """Name of the sample, used only in error messages."""


@dataclass(slots=True)
class _Unit:
    """Samples that must share a split."""

    rank: bytes
    counts: list[int] = field(default_factory=lambda: [0] * NUM_LABELS)
    split: str = ""
    named_by: str = ""


def parse_shares(text: str) -> dict[str, float]:
    """Parses shares such as ``"0.7,0.15,0.15"`` for train, valid and test. Returns a mapping from split to share.

    An optional fourth number is the calibration share. Raises ``InputError`` if ``text`` is invalid.
    """
    try:
        shares = [float(part) for part in text.split(",")]
    except ValueError:
        shares = []
    if len(shares) not in (3, 4):
        raise InputError(f"--split {text}: give three or four numbers: TRAIN,VALID,TEST[,CALIBRATION]")
    if not all(0 <= share <= 1 for share in shares) or abs(sum(shares) - 1) > 1e-6:
        raise InputError(f"--split {text}: give shares between 0 and 1 that add up to 1")
    return dict(zip(SPLITS, shares, strict=False))


def missing_splits(given: Collection[str], shares: dict[str, float]) -> list[str]:
    """Returns the splits to be filled with train images: those with a share but no images in the source.

    ``given`` holds the splits that the source assigns to images, including ``""`` if some images have none. The result
    is empty unless every image has an assigned split and some are in train.
    """
    if "" in given or TRAIN not in given:
        return []
    return [name for name, share in shares.items() if share > 0 and name not in given]


def assign_splits(
    samples: Sequence[Splittable],
    shares: dict[str, float],
    seed: int,
    closed: frozenset[str] = frozenset(),
    again: str = "",
) -> list[str]:
    """Returns the split of each sample, in the order of ``samples``.

    If the source assigns a split to a sample, that split applies to the sample's whole group. The group's samples then
    count towards the split's share. No further samples are assigned to the splits in ``closed``; all samples outside
    them are divided among the other splits in proportion to their shares. Samples that the source assigns to the split
    ``again`` are reassigned as if they had no split. Raises ``InputError`` if the source assigns different splits to
    samples in one group or with equal content.
    """
    roots = tied(filter(None, (sample.sha256, sample.group)) for sample in samples)
    units: dict[int, _Unit] = {}
    for sample, root in zip(samples, roots, strict=True):
        _add(units, root, sample, seed)
    targets = _targets(samples, shares, closed)
    counts = {name: [0] * NUM_LABELS for name in SPLITS}
    drawn = []
    for unit in units.values():
        if unit.split and unit.split != again:
            _count(counts[unit.split], unit)
        else:
            drawn.append(unit)
    for unit in sorted(drawn, key=lambda u: (-sum(u.counts), u.rank)):
        unit.split = min(targets, key=lambda name: _cost(unit, counts[name], targets[name]))
        _count(counts[unit.split], unit)
    return [units[root].split for root in roots]


def _add(units: dict[int, _Unit], root: int, sample: Splittable, seed: int) -> None:
    rank = hashlib.sha256(b"split %d " % seed + sample.sha256 + sample.group.encode()).digest()
    unit = units.setdefault(root, _Unit(rank))
    unit.rank = min(unit.rank, rank)  # independent of the order of the unit's samples
    unit.counts[sample.label] += 1
    if not sample.split:
        return
    if unit.split and unit.split != sample.split:
        tie = f"group {sample.group!r}" if sample.group else "content"
        raise InputError(
            f"{unit.named_by} is given to {unit.split} and {sample.name} to {sample.split}, but images with the same "
            f"{tie} must share a split: give both the same split"
        )
    unit.split, unit.named_by = sample.split, sample.name


def _targets(samples: Sequence[Splittable], shares: dict[str, float], closed: frozenset[str]) -> dict[str, list[float]]:
    open_shares = {name: share for name, share in shares.items() if share > 0 and name not in closed}
    whole = sum(open_shares.values()) if closed else 1.0
    totals = [sum(s.label == label for s in samples if s.split not in closed) for label in range(NUM_LABELS)]
    return {name: [share / whole * n for n in totals] for name, share in open_shares.items()}


def _cost(unit: _Unit, counts: list[int], targets: list[float]) -> float:
    """Returns how much adding ``unit`` to a split would increase the split's chi-square distance.

    ``counts`` and ``targets`` are the split's current and desired numbers of samples per label.
    """
    return sum(
        more * (2 * (count - target) + more) / target
        for more, count, target in zip(unit.counts, counts, targets, strict=True)
        if more
    )


def _count(counts: list[int], unit: _Unit) -> None:
    for label, more in enumerate(unit.counts):
        counts[label] += more
