"""Chooses images to leave out, so that facts that show in the pixels have the same distribution in both classes.

This is coarsened exact matching. Fact values, such as JPEG qualities, are divided into cells. In each cell, images of
both classes are kept in the overall class ratio; a seeded hash decides which. Only facts in which the classes differ
(``shards.build.class_differences``) are matched on, because every additional fact costs images. After each round, all
facts that show in the pixels are tested again on the remaining images. Facts that leave no trace in the pixels, such as
metadata, are never matched on: leaving out images because of them could make the pictures differ.
"""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from shards.build.class_differences import GRADED, PIXEL_FACTS, Classes, cells, compared_facts

__all__ = ["match_classes"]

_MAX_ROUNDS = 16


def match_classes(
    raw: Mapping[str, np.ndarray], label: np.ndarray, scenes: np.ndarray, hashes: Sequence[bytes], seed: int
) -> tuple[np.ndarray, list[str]]:
    """Returns a mask of the images to keep, (n,) bool, and the display names of the facts that were matched on.

    ``raw`` has the form that ``compared_facts`` expects. ``label``, of shape (n,), is 0 or 1; ``scenes``, of shape
    (n,), comes from ``scene_numbers``; ``hashes`` identify the images. Matching preserves the overall class ratio. The
    result depends only on the set of images, not on their order. If the classes have no cell in common, at least one
    class is left without images. If there is only one class, all images are kept.
    """
    if len(np.unique(label)) < 2:
        return np.ones(len(label), bool), []
    rank = np.argsort(np.argsort([hashlib.sha256(b"match %d " % seed + h).digest() for h in hashes]))
    kept = np.ones(len(label), bool)
    chosen: dict[str, int] = {}
    for _ in range(_MAX_ROUNDS):
        facts = compared_facts(raw, kept)  # as an audit of the remaining images computes them
        classes = Classes(label[kept], scenes[kept])
        found = {name: classes.difference(name, facts[name][kept]) for name in PIXEL_FACTS}
        # Once matched on, names no longer differ. Numbers may still differ within their bins.
        excess = {
            name: difference.excess
            for name, difference in found.items()
            if difference.counts and (name in GRADED or name not in chosen)
        }
        if not excess:
            break
        # Take the fact that differs most. Others often depend on it and no longer differ afterwards.
        most = max(excess, key=excess.__getitem__)
        chosen[most] = 2 * chosen[most] if most in chosen else 1
        kept = _draw(facts, label, chosen, rank)
        if not all((kept & (label == kind)).any() for kind in (0, 1)):
            break  # the classes have nothing in common
    return kept, [PIXEL_FACTS[name] for name in PIXEL_FACTS if name in chosen]


def _draw(
    facts: Mapping[str, np.ndarray], label: np.ndarray, chosen: Mapping[str, int], rank: np.ndarray
) -> np.ndarray:
    """Returns a mask of the images to keep, (n,) bool, such that every cell has the overall class ratio.

    Here, a cell is a combination of one cell per fact in ``chosen``. ``chosen`` maps each fact to the factor by which
    its number of cells is increased. Within a cell, the images with the lowest ``rank``, of shape (n,), are kept.
    """
    total = [int((label == kind).sum()) for kind in (0, 1)]
    graded = sum(name in GRADED for name in chosen)
    places = np.zeros(len(label), np.int64)
    for name, finer in chosen.items():
        codes = cells(name, facts[name], min(total), graded, finer)
        places = np.unique(places * (codes.max() + 1) + codes, return_inverse=True)[1]
    counts = np.stack([np.bincount(places[label == k], minlength=places.max() + 1) for k in (0, 1)])
    kept = np.zeros(len(label), bool)
    for kind in (0, 1):
        mine, other = total[kind], total[1 - kind]
        # As many as are in proportion to the other class, rounded in integers.
        fair = (2 * counts[1 - kind] * mine + other) // (2 * other)
        quota = np.minimum(counts[kind], fair)
        rows = np.flatnonzero(label == kind)
        rows = rows[np.lexsort((rank[rows], places[rows]))]
        starts = np.searchsorted(places[rows], np.arange(counts.shape[1]))
        place = np.arange(len(rows)) - starts[places[rows]]
        kept[rows[place < quota[places[rows]]]] = True
    return kept
