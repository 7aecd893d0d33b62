"""Tests which facts about the image files differ between the two classes.

A *fact* is a property of a file, such as its format or its JPEG quality. Its values are names or numbers, and they are
divided into *cells*: one cell per name, or one per range of numbers. ``glass audit`` names the facts that differ, and
``--equalise match`` leaves out images until no fact that shows in the pixels differs. Both use this test, so that the
audit cannot report differences that the build does not see.

A fact differs if two conditions hold. The difference must be too large to be chance (chi-square test of homogeneity
over cells, and a rank test for numbers). And the fact must separate the classes by more than a minimum. Each group
counts as one image, however many images it has.
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
"""Maps each fact that leaves traces in the pixels, and could therefore be learnt by a detector, to its display name.

A fact that determines another one precedes it, because matching picks the first of several facts that differ equally.
"""

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
"""Maps each fact that leaves no trace in the pixels to its display name."""

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
"""Facts with numeric values, where close values indicate similar files. All other facts have names as values."""

_DERIVED = ("megapixels", "aspect", "size", "bits_per_pixel", "other_bytes")

RAW_FACTS = (*(name for name in FACT_NAMES if name not in _DERIVED), "pixel_bytes", "standard_bytes")
"""Fields of ``shards.metadata.facts.ImageFacts`` from which all facts are computed. A manifest has these columns."""

LEAST = 0.05
"""A fact counts as differing only if AUROC - 0.5 exceeds this value. Smaller differences are ignored even if they are
statistically significant."""

_LIKELY = 4.0  # standard deviations: chance exceeds it once in 30,000, and some two dozen facts are tested
_OPEN = ("size", "quant_digest", "metadata")  # facts with any number of names, mostly rare
_COMMON = 0.01  # such a name needs this share of the images to have its own cell
_MOST_BINS, _FEWEST_BINS = 20, 3
_PER_CELL = 10  # images of the smaller class that a cell should hold


@dataclass(frozen=True, slots=True)
class Difference:
    """How much the classes differ in one fact."""

    excess: float
    """Test statistic of the difference, in standard deviations of its distribution under the null hypothesis."""
    auroc: float
    """AUROC on these images when they are classified by this fact alone, from 0.5 (chance) to 1."""

    @property
    def counts(self) -> bool:
        """Whether the difference is statistically significant and large enough to matter."""
        return self.excess > _LIKELY and self.auroc - 0.5 > LEAST


def compared_facts(raw: Mapping[str, Array], among: Array | None = None) -> dict[str, Array]:
    """Computes every fact in ``FACT_NAMES`` for n images. Returns a mapping from fact to values, of shape (n,).

    ``raw`` maps each of ``RAW_FACTS``, and ``file_bytes`` (the file's length), to an array of shape (n,). Values that
    are names become integers from 0; if a fact can have many names, all rare ones share a code. Numeric values become
    float64, with -1 where the file does not state them. Only the images selected by the mask ``among``, (n,) bool,
    decide which names are rare; by default, all images do.
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
    """Returns the index of each image's scene, (n,) int64.

    Each group is a scene, and so is each image without a group. ``groups``, of shape (n,), holds the name of each
    image's group, or ``""`` if it has none.
    """
    _, numbers = np.unique(groups.astype(str), return_inverse=True)
    alone = groups == ""
    numbers[alone] = len(groups) + np.arange(int(alone.sum()))
    return numbers


def cells(name: str, values: Array, smaller: int, graded: int = 1, finer: int = 1) -> Array:
    """Assigns each value of the fact ``name`` to a cell. Returns the cell indices, (n,) int64, counted from 0.

    For names, the integer code is the cell index. Numbers are binned into quantiles, with one cell per bin. The number
    of bins increases with ``smaller``, the number of images in the smaller class. It decreases with ``graded``, the
    number of numeric facts that are binned jointly. It is then multiplied by ``finer``.
    """
    if name not in GRADED:
        return values.astype(np.int64)
    bins = (max(smaller, 1) / _PER_CELL) ** (1 / max(graded, 1))
    wanted = int(finer * np.clip(bins, _FEWEST_BINS, _MOST_BINS))
    quantiles = np.quantile(values, np.arange(1, wanted) / wanted, method="higher")
    return np.searchsorted(np.unique(quantiles), values, side="right")


class Classes:
    """The images of each class, weighted so that each scene in the class counts as one image."""

    def __init__(self, label: Array, scenes: Array) -> None:
        """``label``, of shape (n,), is 0 or 1; ``scenes``, of shape (n,), comes from :func:`scene_numbers`."""
        self.masks = [label == kind for kind in (0, 1)]
        self.weights: list[Array] = []
        self.counts: list[int] = []
        """Number of scenes in each class."""
        for mask in self.masks:
            _, place, sizes = np.unique(scenes[mask], return_inverse=True, return_counts=True)
            self.weights.append(1 / sizes[place])
            self.counts.append(len(sizes))

    def difference(self, name: str, values: Array) -> Difference:
        """Measures how much the classes differ in the fact ``name``. The result is zero if all images are in one class.

        ``values``, of shape (n,), are the fact's values as returned by :func:`compared_facts`.
        """
        if not min(self.counts):
            return Difference(0.0, 0.5)
        table = self._table(cells(name, values, min(self.counts)))
        excess = _chi_square(table)
        if name in GRADED:  # the Mann-Whitney rank test detects a shift with fewer images
            ranks = self._table(np.unique(values, return_inverse=True)[1])
            real, generated = self.counts
            noise = np.sqrt((real + generated + 1) / (12 * real * generated))
            excess = max(excess, float(abs(_ordered_auroc(ranks) - 0.5) / noise))
        return Difference(excess, _auroc(table))

    def _table(self, codes: Array) -> Array:
        """Returns the total weight per class in each non-empty cell, an array of shape (2, cells).

        ``codes``, of shape (n,), are the images' cell indices.
        """
        size = int(codes.max()) + 1
        table = np.stack(
            [np.bincount(codes[mask], weight, size) for mask, weight in zip(self.masks, self.weights, strict=True)]
        )
        return table[:, table.sum(axis=0) > 0]


def _chi_square(table: Array) -> float:
    """Chi-square test of homogeneity of (2, cells) weights. Returns the statistic as a standard normal deviate.

    Uses the Wilson–Hilferty transformation. The result is 0 if there is only one cell.
    """
    degrees = table.shape[1] - 1
    if degrees < 1:
        return 0.0
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    chi = ((table - expected) ** 2 / expected).sum()
    spread = 2 / (9 * degrees)
    return float(((chi / degrees) ** (1 / 3) - (1 - spread)) / np.sqrt(spread))


def _auroc(table: Array) -> float:
    """Returns the AUROC obtained by scoring each image with the proportion of class 1 in its cell.

    ``table``, of shape (2, cells), holds the weight of each class in each cell.
    """
    return _ordered_auroc(table[:, np.argsort(table[1] / table.sum(axis=0), kind="stable")])


def _ordered_auroc(table: Array) -> float:
    """Returns the AUROC obtained by scoring each image with its cell index.

    ``table``, of shape (2, cells), holds the weight of each class in each cell.
    """
    real, generated = table / table.sum(axis=1, keepdims=True)
    below = np.cumsum(real) - real
    return float((generated * (below + real / 2)).sum())
