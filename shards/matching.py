"""Which images to leave out so that facts about the files are distributed alike in both classes.

Coarsened exact matching: facts are cut into cells, and of each cell as many images of each class
stay as the proportion of the classes asks for, drawn by seeded hash. Only facts in which the
classes differ beyond chance are matched on, because every further one costs images; after a round
all are tested again on what is left.
"""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

__all__ = ["FACTS", "match_classes"]

FACTS = {
    "format": "format", "mode": "colour mode", "subsampling": "chroma subsampling",
    "jpeg_quality": "JPEG quality", "progressive": "progressive", "has_exif": "EXIF",
    "exif_orientation": "EXIF orientation", "has_icc": "colour profile",
    "bit_depth": "bits per channel", "size": "exact size", "width": "width", "height": "height",
    "pixels": "number of pixels", "aspect": "aspect ratio", "bits_per_pixel": "bits per pixel",
}  # fmt: skip
"""Fact → its name for people, in the order in which they are matched on."""

_GRADED = ("jpeg_quality", "width", "height", "pixels", "aspect", "bits_per_pixel")
_LIKELY = 3.0  # standard deviations: chance passes once in 700 facts
_MOST_BINS, _FEWEST_BINS = 20, 3
_PER_CELL = 10  # images of the smaller class that a cell should hold
_COMMON = 0.01  # share of the images from which an exact size is a cell of its own
_MAX_ROUNDS = 8


def match_classes(
    columns: Mapping[str, np.ndarray], label: np.ndarray, hashes: Sequence[bytes], seed: int
) -> tuple[np.ndarray, list[str]]:
    """(which images stay (n,) bool, names of the facts that were matched on).

    ``columns`` holds each of ``FACTS`` (n,), ``label`` (n,) is 0 or 1, ``hashes`` tell the images
    apart. The proportion of the classes stays. Depends on the set of images only, not on order.
    Where the classes have nothing in common, one of them is empty in what stays. Of one class alone
    all stay.
    """
    if len(np.unique(label)) < 2:
        return np.ones(len(label), bool), []
    rank = np.argsort(
        np.argsort([hashlib.sha256(b"match %d " % seed + h).digest() for h in hashes])
    )
    kept = np.ones(len(label), bool)
    chosen: list[str] = []
    for _ in range(_MAX_ROUNDS):
        cut = {name: _cut(name, columns[name], label, kept, 1) for name in FACTS}
        new = [n for n in FACTS if n not in chosen and _differs(cut[n][kept], label[kept])]
        if not new:
            break
        # The one that tells most; others often say the same, and are gone after the round.
        chosen.append(max(new, key=lambda name: _excess(cut[name][kept], label[kept])))
        kept = _draw(columns, label, chosen, rank)
        if not all((kept & (label == kind)).any() for kind in (0, 1)):
            break  # nothing in common
    return kept, [FACTS[name] for name in FACTS if name in chosen]


def _draw(
    columns: Mapping[str, np.ndarray], label: np.ndarray, chosen: Sequence[str], rank: np.ndarray
) -> np.ndarray:
    """Which images stay when cells of the ``chosen`` facts hold both classes in proportion."""
    everything = np.ones(len(label), bool)
    graded = sum(name in _GRADED for name in chosen)
    cells = np.zeros(len(label), np.int64)
    for name in chosen:
        codes = _cut(name, columns[name], label, everything, graded)
        cells = np.unique(cells * (codes.max() + 1) + codes, return_inverse=True)[1]
    counts = np.stack([np.bincount(cells[label == k], minlength=cells.max() + 1) for k in (0, 1)])
    total = [int((label == kind).sum()) for kind in (0, 1)]
    kept = np.zeros(len(label), bool)
    for kind in (0, 1):
        mine, other = total[kind], total[1 - kind]
        # Rounded in integers; as many as the other class can stand beside.
        fair = (2 * counts[1 - kind] * mine + other) // (2 * other)
        quota = np.minimum(counts[kind], fair)
        rows = np.flatnonzero(label == kind)
        rows = rows[np.lexsort((rank[rows], cells[rows]))]
        starts = np.searchsorted(cells[rows], np.arange(counts.shape[1]))
        place = np.arange(len(rows)) - starts[cells[rows]]
        kept[rows[place < quota[cells[rows]]]] = True
    return kept


def _cut(
    name: str, values: np.ndarray, label: np.ndarray, kept: np.ndarray, graded: int
) -> np.ndarray:
    """Codes (n,) int64 from 0: names as they are, numbers in bins of about equal counts."""
    if name == "size":
        _, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
        rare = counts < max(2, _COMMON * len(values))
        return np.where(rare[codes], 0, codes + 1)
    if name not in _GRADED:
        return np.unique(values, return_inverse=True)[1]
    numbers = values.astype(np.float64)
    smaller = int(min((label[kept] == kind).sum() for kind in (0, 1)))
    bins = (max(smaller, 1) / _PER_CELL) ** (1 / max(graded, 1))
    wanted = int(np.clip(bins, _FEWEST_BINS, _MOST_BINS))
    quantiles = np.quantile(numbers[kept], np.arange(1, wanted) / wanted, method="higher")
    return np.searchsorted(np.unique(quantiles), numbers, side="right")


def _differs(codes: np.ndarray, label: np.ndarray) -> bool:
    return _excess(codes, label) > _LIKELY


def _excess(codes: np.ndarray, label: np.ndarray) -> float:
    """Chi-square of homogeneity as a standard normal (Wilson and Hilferty); 0 for one code."""
    table = np.stack([np.bincount(codes[label == k], minlength=codes.max() + 1) for k in (0, 1)])
    table = table[:, table.sum(axis=0) > 0].astype(np.float64)
    degrees = table.shape[1] - 1
    if degrees < 1 or not table.sum(axis=1).all():
        return 0.0
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    chi = ((table - expected) ** 2 / expected).sum()
    spread = 2 / (9 * degrees)
    return float(((chi / degrees) ** (1 / 3) - (1 - spread)) / np.sqrt(spread))
