"""Chooses the images for a report: a reproducible selection that includes mistakes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

__all__ = ["MAX_CARDS", "Pick", "choose_samples"]

MAX_CARDS = 16

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Pick:
    """A sample chosen for the gallery, and why it was chosen."""

    row: int
    """The sample's row index in the predictions table."""
    reason: str


def choose_samples(predictions: pa.Table, threshold: float, real_below: float) -> list[Pick]:
    """Picks at most MAX_CARDS distinct images.

    Up to four are picked from the real images and from each generator's images: the most confident mistake, the image
    nearest to the threshold, the most confident correct verdict, and a typical image (with median confidence in its
    true class). A verdict with a score between ``real_below`` and ``threshold`` is uncertain and counts as neither
    correct nor mistaken. If there are more picks than MAX_CARDS, mistakes are the last to be dropped.
    """
    probability, label = predictions["probability"].to_numpy(), predictions["label"].to_numpy()
    flagged = probability >= threshold
    decided = flagged | (probability < real_below)
    right = decided & (flagged == (label == 1))
    mistaken = decided & ~right
    # Confidence in the true class: 1 is surely right, 0 surely wrong.
    support = np.where(label == 1, probability, 1 - probability)

    def by(key: npt.NDArray[Any], rows: Rows) -> Rows:
        return rows[np.argsort(key[rows], kind="stable")]

    orders: dict[str, Callable[[Rows], Rows]] = {
        "most confident mistake": lambda rows: by(support, rows[mistaken[rows]]),
        "nearest to the threshold": lambda rows: by(abs(probability - threshold), rows),
        "most confident correct verdict": lambda rows: by(-support, rows[right[rows]]),
        "typical": lambda rows: by(abs(support - np.median(support[rows])), rows),
    }
    picks: dict[int, Pick] = {}
    for reason, order in orders.items():
        for rows in _kinds(predictions, label):
            row = next((int(r) for r in order(rows) if int(r) not in picks), None)
            if row is not None and len(picks) < MAX_CARDS:
                picks[row] = Pick(row, reason)
    return list(picks.values())


def _kinds(predictions: pa.Table, label: npt.NDArray[Any]) -> list[Rows]:
    """Returns an array of row indices for the real images, then one for each generator's images, sorted by generator
    name. Empty arrays are omitted.
    """
    generator = predictions["generator"].to_numpy(zero_copy_only=False)
    kinds = [np.flatnonzero(label == 0)]
    for name in sorted(set(generator[label == 1])):
        kinds.append(np.flatnonzero((label == 1) & (generator == name)))
    return [rows for rows in kinds if len(rows)]
