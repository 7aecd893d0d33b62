"""Finds pictures that occur more than once: as the same file, as the same pixels, or as a modified copy.

Exact duplicates are found by the hashes in the manifest. Near duplicates are copies that were re-saved, resized, or
cropped by up to about 5 % of a side; some larger crops are found, too. ``glass.auditing.near_candidates`` proposes
candidate pairs, and ``glass.auditing.align_pictures`` confirms them by comparing the stored global views. Pairs within
a group are ignored, since renditions of one scene are expected to look alike.
"""

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image

from shards.manifest.dataset import ShardDataset
from shards.manifest.stored_views import StoredViews

__all__ = [
    "LEAST_COARSE",
    "LEAST_DETAIL",
    "Duplicates",
    "NearDuplicates",
    "exact_duplicates",
    "find_duplicates",
    "groups_across_splits",
    "near_duplicates",
]

LEAST_DETAIL, LEAST_COARSE = 0.75, 0.9
"""Two images count as the same picture if the correlations of their fine detail and of the whole pictures are at least
this high.

Measured on 600 computer-drawn scenes with views of at least 128 pixels, the detail correlation is at least 0.88 for
re-saves, resizes and 5 % crops, and at most 0.41 for different scenes. With 64-pixel views, these limits are 0.97 and
0.66.
"""

_CONFIRMED_PER_IMAGE, _CONFIRMED_AT_LEAST = 2, 50_000
"""The nearest candidate pairs are aligned and compared, up to a limit: two pairs per image in the data set, or 50,000
pairs if that is more. A comparison takes about a millisecond."""

_CHUNK = 256
_KEPT_PYRAMIDS = 1024  # per thread, 90 kB each


@dataclass(frozen=True)
class NearDuplicates:
    """The result of :func:`near_duplicates`."""

    pairs: np.ndarray
    """(m, 2) int64 manifest row indices, first < second."""
    detail: np.ndarray
    """(m,) float64: correlation of the two images' fine detail, from ``LEAST_DETAIL`` to 1."""
    candidates: int
    """Number of pairs that were similar enough to be compared."""
    compared: int
    """Number of candidates that were compared: all or, if there were too many, only the nearest."""


@dataclass(frozen=True)
class Duplicates:
    """The result of :func:`find_duplicates`: pairs of samples that show the same picture, the worst first."""

    pairs: np.ndarray
    """(m, 2) int64 manifest row indices, first < second. Pairs that differ in both split *and* class come first, then
    those that differ in one of the two, then all others. Within each of these three sets, pairs are sorted by
    decreasing similarity."""
    detail: np.ndarray
    """(m,) float64: correlation of the two images' fine detail, from ``LEAST_DETAIL`` to 1; 1 for equal pixels."""
    same_pixels: np.ndarray
    """(m,) bool: True for exact duplicates (equal decoded pixels), False for near ones."""
    near: NearDuplicates | None
    """The near duplicates; None if they were not searched for."""


def find_duplicates(
    dataset: ShardDataset, near: bool = True, threads: int = 1, advance: Callable[[int], object] = lambda done: None
) -> Duplicates:
    """Finds all duplicate pairs.

    ``near=False`` finds only pairs with equal pixels, and reads only the manifest. For ``advance`` and the exceptions
    raised, see :func:`near_duplicates`.
    """
    equal = exact_duplicates(dataset, "pixel_sha256")
    found = near_duplicates(dataset, threads, advance) if near else None
    pairs = np.concatenate([equal, found.pairs]) if found else equal
    detail = np.concatenate([np.ones(len(equal)), found.detail if found else np.empty(0)])
    apart = np.zeros(len(pairs), np.int64)
    for side in (dataset.codes("split")[0], dataset.column("label")):
        apart += side[pairs[:, 0]] != side[pairs[:, 1]]
    order = np.lexsort((pairs[:, 1], pairs[:, 0], -detail, -apart))
    return Duplicates(pairs[order], detail[order], order < len(equal), found)


def exact_duplicates(dataset: ShardDataset, column: str) -> np.ndarray:
    """Returns the pairs of samples with equal hashes in ``column`` ("sha256" or "pixel_sha256"), as (m, 2) int64
    manifest row indices.

    If k samples have the same hash, the first of them is paired with each of the k - 1 others.
    """
    hashes = np.ascontiguousarray(dataset.column(column)[:, :16]).view(np.uint64)
    order = np.lexsort((np.arange(len(hashes)), hashes[:, 1], hashes[:, 0]))
    ordered = hashes[order]
    same = np.flatnonzero((ordered[1:] == ordered[:-1]).all(axis=1)) + 1
    starts = np.ones(len(order), bool)
    starts[same] = False
    first = np.maximum.accumulate(np.where(starts, np.arange(len(order)), 0))
    return np.stack([order[first[same]], order[same]], axis=1).astype(np.int64)


def groups_across_splits(dataset: ShardDataset) -> list[str]:
    """Names of the groups with samples in more than one split, sorted."""
    groups, splits = dataset.column("group").astype(str), dataset.codes("split")[0]
    names, numbers = np.unique(groups, return_inverse=True)
    seen = np.unique(numbers.astype(np.int64) * 256 + splits) // 256
    several = np.flatnonzero(np.bincount(seen, minlength=len(names)) > 1)
    return [str(names[i]) for i in several if names[i]]


def near_duplicates(
    dataset: ShardDataset, threads: int = 1, advance: Callable[[int], object] = lambda done: None
) -> NearDuplicates:
    """Finds pairs of samples that show the same picture with different pixels and do not share a group.

    Reads every global view once, and those of the candidates a second time. During the first pass, calls ``advance(n)``
    each time a further ``n`` views have been read. Needs 400 bytes of memory per sample. Raises ``InputError`` if a
    shard cannot be read.
    """
    # Numba takes a second to import.
    from glass.auditing.near_candidates import describe, near_pairs

    with StoredViews(dataset) as views, ThreadPoolExecutor(threads) as pool:
        greys = np.empty((len(views), 16, 16), np.uint8)

        def shrink(start: int) -> int:
            stop = min(start + _CHUNK, len(views))
            for row in range(start, stop):
                grey = Image.fromarray(views[row]).convert("L")
                greys[row] = np.asarray(grey.resize((16, 16), Image.Resampling.BOX))
            return stop - start

        for done in pool.map(shrink, range(0, len(views), _CHUNK)):
            advance(done)
        candidates = near_pairs(describe(greys), _radius(len(views)))
        candidates = candidates[_worth_comparing(dataset, candidates)]
        limit = max(_CONFIRMED_AT_LEAST, _CONFIRMED_PER_IMAGE * len(views))
        compared = candidates[:limit]
        # Sorted, so that consecutive pairs share a picture and its pyramid is computed only once.
        compared = compared[np.lexsort((compared[:, 1], compared[:, 0]))]
        chunks = [compared[i : i + _CHUNK] for i in range(0, len(compared), _CHUNK)]
        scores = np.concatenate([np.empty((0, 2)), *pool.map(partial(_scores, views), chunks)])
    kept = (scores[:, 0] >= LEAST_DETAIL) & (scores[:, 1] >= LEAST_COARSE)
    return NearDuplicates(compared[kept], scores[kept, 0], len(candidates), len(compared))


def _radius(images: int) -> float:
    """Returns the maximum distance between the descriptors of a candidate pair, for a data set of ``images`` pictures.

    A larger distance would find larger crops, but also more unrelated pairs, whose number grows with the square of the
    number of pictures.
    """
    return 1.1 if images <= 5_000 else 0.9 if images <= 50_000 else 0.7


def _worth_comparing(dataset: ShardDataset, pairs: np.ndarray) -> np.ndarray:
    """(m,) bool: False for pairs within one group, and for exact duplicates, which are known already."""
    first, second = pairs[:, 0], pairs[:, 1]
    groups = dataset.column("group")
    same_group = (groups[first] == groups[second]) & (groups[first] != "")
    pixels = dataset.column("pixel_sha256")
    return ~(same_group.astype(bool) | (pixels[first] == pixels[second]).all(axis=1))


def _scores(views: StoredViews, pairs: np.ndarray) -> np.ndarray:
    """Returns the ``same_picture_scores`` of each pair, (m, 2) float64.

    Each pair is scored in both orders; the order with the higher detail correlation counts.
    """
    from glass.auditing.align_pictures import grey_pyramid, same_picture_scores

    kept: OrderedDict[int, list[np.ndarray]] = OrderedDict()

    def pyramid(row: int) -> list[np.ndarray]:
        if row not in kept:
            kept[row] = grey_pyramid(views[row])
            if len(kept) > _KEPT_PYRAMIDS:
                kept.popitem(last=False)
        return kept[row]

    scores = np.empty((len(pairs), 2))
    for i, (first, second) in enumerate(pairs.tolist()):
        one, other = pyramid(first), pyramid(second)
        scores[i] = max(same_picture_scores(one, other), same_picture_scores(other, one))
    return scores
