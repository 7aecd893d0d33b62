"""Computes statistics of a data set from its manifest and list of rejects: counts, sizes, formats and channels.

Statistics are given for each class and each generator. A million samples take seconds, because everything that needs
pixels was computed when the shards were built.
"""

from collections import Counter
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from shards.errors import InputError
from shards.files.documents import Number
from shards.files.parquet_file import read_parquet
from shards.images.channel_stats import CHANNELS
from shards.manifest.dataset import ShardDataset
from shards.manifest.schema import CLASS_NAMES, REJECTED_NAME

__all__ = ["HISTOGRAM_EDGES", "TEXTS", "UNNAMED", "DataStatistics", "GroupStatistics", "data_statistics"]

UNNAMED = "(unnamed)"
"""Name shown for an unknown generator."""
HISTOGRAM_EDGES = {
    "megapixels": [0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 200.0],
    "aspect_ratio": [0.0, 0.25, 0.5, 0.67, 0.8, 0.95, 1.05, 1.25, 1.5, 2.0, 4.0, 1e9],
    "brightness": [float(edge) for edge in range(0, 257, 16)],
}
"""Maps each property to the bin edges of its histogram. Each bin includes its lower edge but not its upper edge, except
for the last bin, which includes both. ``brightness`` is the mean of an image's channel means, 0 … 255."""
TEXTS = ("format", "mode", "subsampling", "stored_as")

Array = npt.NDArray[Any]


class SizeStatistics(TypedDict):
    """Statistics of image widths or heights, in pixels."""

    mean: Number
    median: Number
    smallest: int
    largest: int


class ChannelStatistics(TypedDict):
    """Mean and standard deviation of a colour channel over all pixels of all images, on the scale 0 … 255."""

    mean: Number
    sd: Number


class ClassCounts(TypedDict):
    """Number of images in each class."""

    real: int
    generated: int


if TYPE_CHECKING:  # mypy cannot read a TypedDict with computed keys
    Edges = dict[str, list[float]]
    Channels = dict[str, ChannelStatistics]
    Histograms = dict[str, list[int]]
    GroupStatistics = dict[str, Any]
else:
    Edges = TypedDict("Edges", dict.fromkeys(HISTOGRAM_EDGES, list[Number]))
    Channels = TypedDict("Channels", dict.fromkeys(CHANNELS, ChannelStatistics))
    Histograms = TypedDict("Histograms", dict.fromkeys(HISTOGRAM_EDGES, list[int]))
    GroupStatistics = TypedDict(
        "GroupStatistics",
        {
            "images": int,
            "width": SizeStatistics,
            "height": SizeStatistics,
            "pixels": Number,
            **dict.fromkeys(TEXTS, dict[str, int]),
            "jpeg_quality_median": Number | None,
            "channels": Channels,
            "histograms": Histograms,
        },
    )


class DataStatistics(TypedDict):
    """Statistics of a data set."""

    samples: int
    splits: dict[str, ClassCounts]
    edges: Edges
    """Bin edges of the histograms: ``HISTOGRAM_EDGES``."""
    rejected: dict[str, int]
    """Maps each reason to the number of images rejected for it."""
    rejected_by_group: dict[str, dict[str, int]]
    """Maps each group to a mapping from reason to number of rejected images. The groups are those in ``groups``, plus
    "unknown" for images whose class is not known."""
    groups: dict[str, GroupStatistics]
    """Maps each group to statistics of its images. The groups are "real", "generated" and one "generated/<generator>"
    per generator. Groups without images are left out."""


def data_statistics(dataset: ShardDataset) -> DataStatistics:
    """Computes the statistics of ``dataset``. Raises ``InputError`` if ``rejected.parquet`` cannot be read."""
    label = dataset.column("label")
    generator, generators = dataset.codes("generator")
    split, splits = dataset.codes("split")
    columns = _Columns(dataset)
    groups = {name: columns.describe(label == code) for code, name in enumerate(CLASS_NAMES) if (label == code).any()}
    for code, name in sorted(enumerate(generators), key=lambda pair: pair[1]):
        chosen = (generator == code) & (label == 1)
        if chosen.any():
            groups[_group_name(name)] = columns.describe(chosen)
    return {
        "samples": len(dataset),
        "splits": {
            name: {
                "real": int(((split == code) & (label == 0)).sum()),
                "generated": int(((split == code) & (label == 1)).sum()),
            }
            for code, name in enumerate(splits)
        },
        "edges": HISTOGRAM_EDGES,
        "rejected": dict(dataset.info.rejected),
        "rejected_by_group": _rejected_by_group(dataset),
        "groups": groups,
    }


class _Columns:
    """The manifest columns from which group statistics are computed."""

    def __init__(self, dataset: ShardDataset) -> None:
        self.width, self.height = dataset.column("width"), dataset.column("height")
        self.texts = {name: dataset.codes(name) for name in TEXTS}
        self.quality = dataset.column("jpeg_quality")
        self.moments = {
            channel: (dataset.column(f"{channel}_mean"), dataset.column(f"{channel}_sd")) for channel in CHANNELS
        }
        self.pixels = self.width.astype(np.float64) * self.height
        self.values = {
            "megapixels": self.pixels / 1e6,
            "aspect_ratio": self.width / np.maximum(self.height, 1),
            "brightness": sum(mean for mean, _ in self.moments.values()) / len(CHANNELS),
        }

    def describe(self, chosen: Array) -> GroupStatistics:
        """Computes the statistics of the images selected by the mask ``chosen``, (rows,) bool. It must select at least
        one."""
        quality = self.quality[chosen]
        known = quality[quality > 0]
        return {
            "images": int(chosen.sum()),
            "width": _size(self.width[chosen]),
            "height": _size(self.height[chosen]),
            "pixels": float(self.pixels[chosen].sum()),
            **{name: self._table(name, chosen) for name in TEXTS},
            "jpeg_quality_median": float(np.median(known)) if len(known) else None,
            "channels": {
                channel: _pooled(self.pixels[chosen], mean[chosen], sd[chosen])
                for channel, (mean, sd) in self.moments.items()
            },
            "histograms": {
                name: np.histogram(self.values[name][chosen], edges)[0].tolist()
                for name, edges in HISTOGRAM_EDGES.items()
            },
        }

    def _table(self, name: str, chosen: Array) -> dict[str, int]:
        codes, names = self.texts[name]
        counts = np.bincount(codes[chosen], minlength=len(names))
        found = {names[code] or "–": int(n) for code, n in enumerate(counts) if n}
        return dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))


def _size(values: Array) -> SizeStatistics:
    return {
        "mean": float(values.mean()),
        "median": float(np.median(values)),
        "smallest": int(values.min()),
        "largest": int(values.max()),
    }


def _pooled(pixels: Array, mean: Array, sd: Array) -> ChannelStatistics:
    """Computes the mean and standard deviation over the pooled pixels of all images.

    ``pixels``, ``mean`` and ``sd`` hold the pixel count, mean and standard deviation of each image.
    """
    weight = pixels / pixels.sum()
    overall = float((weight * mean).sum())
    variance = float((weight * (sd**2 + (mean - overall) ** 2)).sum())
    return {"mean": overall, "sd": variance**0.5}


def _rejected_by_group(dataset: ShardDataset) -> dict[str, dict[str, int]]:
    """Counts rejected images by group and reason. The group is "unknown" for images whose class is not known."""
    path = dataset.root / REJECTED_NAME
    if not path.is_file():
        return {}
    names = ["class_name", "generator", "reason"]
    try:
        table = read_parquet(path, names)
        columns = [table.column(name).to_pylist() for name in names]
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise InputError(f"{path} cannot be read ({error}): run glass verify {dataset.root}") from error
    found: Counter[tuple[str, str]] = Counter()
    for kind, generator, reason in zip(*columns, strict=True):
        found[kind or "unknown", reason] += 1
        if kind == CLASS_NAMES[1]:
            found[_group_name(generator), reason] += 1
    groups: dict[str, dict[str, int]] = {}
    for (group, reason), images in sorted(found.items()):
        groups.setdefault(group, {})[reason] = images
    return groups


def _group_name(generator: str | None) -> str:
    """Returns the group name for images made by ``generator``."""
    return f"{CLASS_NAMES[1]}/{generator or UNNAMED}"
