"""Extracts the file properties of a data set's images, such as format and JPEG quality. The code calls them facts.

The audit compares them as numbers and describes them to its readers as text.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from shards.build.class_differences import GRADED, RAW_FACTS
from shards.cli.wording import percent

if TYPE_CHECKING:
    from shards.manifest.dataset import ShardDataset

__all__ = ["facts_table", "raw_facts", "typical"]

Array = npt.NDArray[Any]

_NAMES = ("format", "subsampling", "colour_transform", "quant_digest", "mode", "metadata", "huffman")
_FLAGS = ("lossless", "progressive", "has_exif", "has_icc")
_MAX_CATEGORIES = 100  # the rarest share the last one; scikit-learn takes at most 255
_MOST_NAMED = 3
_DIGEST_SHOWN = 8  # hexadecimal digits


def raw_facts(dataset: "ShardDataset") -> dict[str, Array]:
    """Returns a dict that maps each file property to its values (n,), one per sample.

    The properties are those in ``RAW_FACTS`` plus ``file_bytes``, the file's length. Categorical properties are given
    as the manifest's integer codes. If the build re-encoded a sample, the values describe the re-encoded file.
    """
    raw = {name: dataset.codes(name)[0] if name in _NAMES else dataset.column(name) for name in RAW_FACTS}
    raw["jpeg_quality"] = np.where(raw["jpeg_quality"] > 0, raw["jpeg_quality"], -1)
    raw["file_bytes"] = np.where(
        dataset.column("stored_as") == "recompressed", dataset.column("image_length"), dataset.column("source_bytes")
    )
    return raw


def facts_table(facts: Mapping[str, Array], names: Sequence[str], rows: Array) -> Array:
    """Builds a float64 feature table with a row for each of ``rows`` and a column for each of ``names``.

    Numeric properties are unchanged; -1 means that the file does not state the value. NaN is not used, because the
    model rejects a column that is entirely NaN, which can happen within a fold. Categories are replaced by their
    frequency ranks. The model accepts only a limited number of categories, so the rarest ones share the last rank.
    """
    columns = []
    for name in names:
        values = facts[name][rows]
        if name in GRADED:
            columns.append(values)
            continue
        counts = np.bincount(values)
        rank = np.empty(len(counts), np.int64)
        rank[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
        columns.append(np.minimum(rank[values], _MAX_CATEGORIES - 1).astype(np.float64))
    return np.stack(columns, axis=1)


def typical(dataset: "ShardDataset", raw: dict[str, Array], facts: dict[str, Array], name: str, keep: Array) -> str:
    """Describes, as text, the typical values of property ``name`` among the images selected by ``keep`` (n,) bool.

    For a category, the text gives the most frequent values and their shares. For a number, it gives the median, the
    range of the middle 90 %, and the share of images without a value.
    """
    if name in _NAMES:
        found = dataset.codes(name)[1]
        return _shares([_shown(name, text) for text in found], raw[name][keep])
    if name in _FLAGS:
        return percent(raw[name][keep].mean(), 0)
    if name == "size":
        sizes, codes = np.unique(np.stack([raw["width"][keep], raw["height"][keep]]), axis=1, return_inverse=True)
        return _shares([f"{width}×{height}" for width, height in sizes.T.tolist()], codes)
    column = facts[name][keep] if name in GRADED else raw[name][keep]
    silent = percent((column < 0).mean(), 0)
    column = column[column >= 0]
    if not len(column):
        return "none"
    low, middle, high = (
        f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}" for value in np.percentile(column, [5, 50, 95])
    )
    numbers = low if low == high else f"{middle} ({low} to {high})"
    return numbers if silent == "0 %" else f"{numbers}, none {silent}"


def _shown(name: str, text: str) -> str:
    if not text:
        return "none"
    return text[:_DIGEST_SHOWN] if name == "quant_digest" else text.replace(", ", " + ")


def _shares(names: list[str], codes: Array) -> str:
    counts = np.bincount(codes.ravel(), minlength=len(names))
    order = [int(code) for code in np.argsort(-counts, kind="stable") if counts[code]]
    parts = [f"{names[i]} {percent(counts[i] / counts.sum(), 0)}" for i in order[:_MOST_NAMED]]
    if len(order) <= _MOST_NAMED:
        return ", ".join(parts)
    return f"{', '.join(parts)} … ({len(order):,} distinct)"
