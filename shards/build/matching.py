"""Which images to leave out so that what shows in the pixels is distributed alike in both classes.

Coarsened exact matching: facts are cut into cells, and of each cell as many images of each class
stay as the proportion of the classes asks for, drawn by seeded hash. Only facts in which the
classes differ (``shards.build.class_differences``) are matched on, because every further one costs
images; after a round all are tested again on what is left. What leaves no trace in the pixels,
such as metadata, is never matched on: leaving images out for it would make the pictures differ.
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
    """(which images stay (n,) bool, names of the facts that were matched on).

    ``raw`` is what ``compared_facts`` takes, (n,) each; ``label`` (n,) is 0 or 1, ``scenes`` (n,)
    numbers groups, ``hashes`` identify the images. The proportion of the classes stays. Depends on
    the set of images only, not on order. Where the classes have nothing in common, one of them is
    empty in what stays. Of one class alone all stay.
    """
    if len(np.unique(label)) < 2:
        return np.ones(len(label), bool), []
    rank = np.argsort(np.argsort([hashlib.sha256(b"match %d " % seed + h).digest() for h in hashes]))
    kept = np.ones(len(label), bool)
    chosen: dict[str, int] = {}
    for _ in range(_MAX_ROUNDS):
        facts = compared_facts(raw, kept)  # as an audit of what is left sees them
        classes = Classes(label[kept], scenes[kept])
        found = {name: classes.difference(name, facts[name][kept]) for name in PIXEL_FACTS}
        # Of names that were matched on, nothing is left; of numbers something, inside of the bins.
        excess = {
            name: difference.excess
            for name, difference in found.items()
            if difference.counts and (name in GRADED or name not in chosen)
        }
        if not excess:
            break
        # The most telling one; others often follow it, and are gone after the round.
        most = max(excess, key=excess.__getitem__)
        chosen[most] = 2 * chosen[most] if most in chosen else 1
        kept = _draw(facts, label, chosen, rank)
        if not all((kept & (label == kind)).any() for kind in (0, 1)):
            break  # nothing in common
    return kept, [PIXEL_FACTS[name] for name in PIXEL_FACTS if name in chosen]


def _draw(
    facts: Mapping[str, np.ndarray], label: np.ndarray, chosen: Mapping[str, int], rank: np.ndarray
) -> np.ndarray:
    """Which images stay when cells of the ``chosen`` facts hold both classes in proportion.

    ``chosen``: by how much finer than usual each fact is cut.
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
        # Rounded in integers; as many as the other class can stand beside.
        fair = (2 * counts[1 - kind] * mine + other) // (2 * other)
        quota = np.minimum(counts[kind], fair)
        rows = np.flatnonzero(label == kind)
        rows = rows[np.lexsort((rank[rows], places[rows]))]
        starts = np.searchsorted(places[rows], np.arange(counts.shape[1]))
        place = np.arange(len(rows)) - starts[places[rows]]
        kept[rows[place < quota[places[rows]]]] = True
    return kept
