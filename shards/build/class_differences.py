"""Tests which facts about the files differ between the two classes. One test serves all callers.

``glass audit`` names the facts that differ, and ``--equalise match`` leaves out images until no fact differs. With two
tests, the audit could report differences that the build does not see.

A fact differs if chance does not explain the difference (chi-square test of homogeneity over cells, and a rank test for
numbers) and if it separates the classes by more than a little. The images of a group count as one image together, as in
a split.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "FACT_NAMES",
    "FILE_FACTS",
    "GRADED",
    "LEAST",
    "PIXEL_FACTS",
    "RAW_FACTS",
    "Classes",
    "Difference",
    "cells",
    "compared_facts",
    "scene_numbers",
]

Array = npt.NDArray[Any]

PIXEL_FACTS = {
    "format": "file format",
    "lossless": "lossless coding",
    "jpeg_quality": "JPEG quality",
    "subsampling": "chroma subsampling",
    "colour_transform": "colour transform",
    "quant_digest": "quantisation tables",
    "mode": "colour mode",
    "bit_depth": "bits per channel",
    "exif_orientation": "orientation",
    "width": "width",
    "height": "height",
    "megapixels": "size in megapixels",
    "aspect": "aspect ratio",
    "size": "exact size",
    "bits_per_pixel": "number of bits per pixel",
}
"""Facts that leave traces in the pixels, so that a detector can learn them → names for display. Causes come before
their effects: of facts that differ equally, matching takes the first."""

FILE_FACTS = {
    "metadata": "metadata beside the picture",
    "has_exif": "presence of EXIF",
    "has_icc": "presence of a colour profile",
    "other_bytes": "number of bytes without pixels",
    "progressive": "progressive JPEG",
    "huffman": "Huffman tables",
    "restart_interval": "restart markers",
    "num_frames": "number of frames",
}
"""Facts about the files that leave no trace in the pixels."""

FACT_NAMES = {**PIXEL_FACTS, **FILE_FACTS}

GRADED = frozenset(
    {
        "jpeg_quality",
        "width",
        "height",
        "megapixels",
        "aspect",
        "bits_per_pixel",
        "other_bytes",
        "restart_interval",
        "num_frames",
    }
)
"""Facts whose values are numbers, where close values are alike. The values of all other facts are names."""

_DERIVED = ("megapixels", "aspect", "size", "bits_per_pixel", "other_bytes")

RAW_FACTS = (*(name for name in FACT_NAMES if name not in _DERIVED), "pixel_bytes", "standard_bytes")
"""Fields of ``shards.metadata.facts.ImageFacts``, also columns of a manifest, from which all facts are computed."""

LEAST = 0.05
"""Smallest excess of an AUROC over 0.5 that matters, however certain it is."""

_LIKELY = 4.0  # standard deviations: chance exceeds it once in 30,000, and some two dozen facts are tested
_OPEN = ("size", "quant_digest", "metadata")  # facts with any number of names, mostly rare
_COMMON = 0.01  # smallest share of the images for which such a name has its own cell
_MOST_BINS, _FEWEST_BINS = 20, 3
_PER_CELL = 10  # images of the smaller class that a cell should hold


@dataclass(frozen=True, slots=True)
class Difference:
    """How far the classes differ in one fact."""

    excess: float
    """Difference beyond chance, in standard deviations."""
    auroc: float
    """How well the fact separates the classes of these images, 0.5 … 1."""

    @property
    def counts(self) -> bool:
        """Whether the difference is larger than chance explains, and large enough to matter."""
        return self.excess > _LIKELY and self.auroc - 0.5 > LEAST


def compared_facts(raw: Mapping[str, Array], among: Array | None = None) -> dict[str, Array]:
    """Computes each of ``FACT_NAMES``, (n,), from ``raw``, which has ``RAW_FACTS`` and ``file_bytes``.

    ``file_bytes`` are the lengths of the files. Names become codes from 0 on; numbers become float64, -1 if the file
    does not state them. If a fact has many names, rare names share a code; the images ``among`` (n,) bool, by default
    all, determine which names are rare.
    """
    among = np.ones(len(raw["width"]), bool) if among is None else among
    width, height = (raw[name].astype(np.int64) for name in ("width", "height"))
    own = {
        "megapixels": width * height / 1e6,
        "aspect": width / np.maximum(height, 1),
        "size": width << 32 | height,
        "bits_per_pixel": np.where(
            raw["standard_bytes"] > 0, 8 * raw["standard_bytes"] / np.maximum(width * height, 1), -1
        ),
        "other_bytes": np.where(raw["pixel_bytes"] > 0, np.maximum(raw["file_bytes"] - raw["pixel_bytes"], 0), -1),
    }
    columns = {name: own[name] if name in own else raw[name] for name in FACT_NAMES}
    return {
        name: values.astype(np.float64) if name in GRADED else _codes(name, values, among)
        for name, values in columns.items()
    }


def _codes(name: str, values: Array, among: Array) -> Array:
    found, codes = np.unique(values, return_inverse=True)
    if name not in _OPEN or not len(found):
        return codes
    counts = np.bincount(codes[among], minlength=len(found))
    rare = counts < max(2, _COMMON * among.sum())
    return np.where(rare[codes], 0, codes + 1)


def scene_numbers(groups: Array) -> Array:
    """(n,) int64: the number of each image's scene; ``groups`` (n,) are names of groups, ``""`` for none.

    Images of a group have the same number. An image without a group has a number of its own.
    """
    _, numbers = np.unique(groups.astype(str), return_inverse=True)
    alone = groups == ""
    numbers[alone] = len(groups) + np.arange(int(alone.sum()))
    return numbers


def cells(name: str, values: Array, smaller: int, graded: int = 1, finer: int = 1) -> Array:
    """(n,) int64: the cell, counted from 0, of each value of the fact ``name``.

    A name's code is its cell. Numbers are divided into bins of about equal counts. The number of bins grows with
    ``smaller``, the number of images in the smaller class. The number is lower if ``graded``, the number of numeric
    facts that are divided together, is above 1, and it is multiplied by ``finer``.
    """
    if name not in GRADED:
        return values.astype(np.int64)
    bins = (max(smaller, 1) / _PER_CELL) ** (1 / max(graded, 1))
    wanted = int(finer * np.clip(bins, _FEWEST_BINS, _MOST_BINS))
    quantiles = np.quantile(values, np.arange(1, wanted) / wanted, method="higher")
    return np.searchsorted(np.unique(quantiles), values, side="right")


class Classes:
    """The images of both classes, weighted so that each group counts as one image."""

    def __init__(self, label: Array, scenes: Array) -> None:
        """``label`` (n,) is 0 or 1, ``scenes`` (n,) the numbers of scenes."""
        self.masks = [label == kind for kind in (0, 1)]
        self.weights: list[Array] = []
        self.counts: list[int] = []
        """Number of groups in each class."""
        for mask in self.masks:
            _, place, sizes = np.unique(scenes[mask], return_inverse=True, return_counts=True)
            self.weights.append(1 / sizes[place])
            self.counts.append(len(sizes))

    def difference(self, name: str, values: Array) -> Difference:
        """The difference in the fact ``name``, whose ``values`` (n,) are from :func:`compared_facts`.

        If there is only one class, nothing differs.
        """
        if not min(self.counts):
            return Difference(0.0, 0.5)
        table = self._table(cells(name, values, min(self.counts)))
        excess = _chi_square(table)
        if name in GRADED:  # the rank test of Mann and Whitney detects a shift with fewer images
            ranks = self._table(np.unique(values, return_inverse=True)[1])
            real, generated = self.counts
            noise = np.sqrt((real + generated + 1) / (12 * real * generated))
            excess = max(excess, float(abs(_ordered_auroc(ranks) - 0.5) / noise))
        return Difference(excess, _auroc(table))

    def _table(self, codes: Array) -> Array:
        """Weights (2, cells) of the classes in each cell that is not empty."""
        size = int(codes.max()) + 1
        table = np.stack(
            [np.bincount(codes[mask], weight, size) for mask, weight in zip(self.masks, self.weights, strict=True)]
        )
        return table[:, table.sum(axis=0) > 0]


def _chi_square(table: Array) -> float:
    """Chi-square of homogeneity of (2, cells) weights, in standard deviations of a normal (Wilson and Hilferty).

    0 if there is only one cell.
    """
    degrees = table.shape[1] - 1
    if degrees < 1:
        return 0.0
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    chi = ((table - expected) ** 2 / expected).sum()
    spread = 2 / (9 * degrees)
    return float(((chi / degrees) ** (1 / 3) - (1 - spread)) / np.sqrt(spread))


def _auroc(table: Array) -> float:
    """AUROC of a classifier that knows the shares of the classes in each cell of (2, cells) weights."""
    return _ordered_auroc(table[:, np.argsort(table[1] / table.sum(axis=0), kind="stable")])


def _ordered_auroc(table: Array) -> float:
    """AUROC of (2, cells) weights, with cells in ascending order of the score."""
    real, generated = table / table.sum(axis=1, keepdims=True)
    below = np.cumsum(real) - real
    return float((generated * (below + real / 2)).sum())
